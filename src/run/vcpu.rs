//! The loop of a vCPU: wait until it is on, run it, see why it left.

use super::{irq, lifecycle, timers};
use crate::{
    arch::{
        self, el1,
        guest::{self, GuestRegs},
        mmu,
    },
    emul::{power::Entry, timer::Timer},
    spec::translation,
    types::{Gpr, Mpidr},
    vm::{BOOT_VCPU, Vcpu},
};

/// Runs a vCPU's guest from where it is set to go on, with a value in x0 and zeros in its other registers, until it leaves.
/// main.rs has it, as it takes the vCPU back in the handlers of the guest's exceptions.
pub type Enter = fn(&mut Vcpu, x0: u64);

/// Runs `vcpu` on this CPU for ever.
pub fn run(vcpu: &mut Vcpu, enter: Enter) -> ! {
    let vm = vcpu.vm;
    mmu::load_stage2(translation::vtcr(mmu::physical_address_bits()), vm.vttbr);
    el1::configure(Mpidr::of_vcpu(vcpu.id), vm.counter_offset);
    // Last, for HCR_EL2.VM too may be cached in a TLB: until it was set, EL1's translations were the board's addresses.
    arch::tlb::invalidate_guest();
    if vcpu.id == BOOT_VCPU && !vm.config.manual_start {
        lifecycle::start(vm);
    }
    loop {
        irq::drain(vcpu);
        if let Some(event) = vm.firmware.power.parked(vcpu.id) {
            // The last of the VM's vCPUs to park carries out what was asked for.
            lifecycle::finish(vm, event);
        } else if let Some(entry) = vm.firmware.power.take_entry(vcpu.id) {
            start(vcpu, entry);
            vm.firmware.power.begins(vcpu.id, el1::counter());
            enter(vcpu, entry.context);
            stop(vcpu);
            vm.firmware.power.leaves(vcpu.id, el1::counter());
            if vm.firmware.power.cpu_off(vcpu.id) {
                vm.kick(vm.firmware.power.all().without(vcpu.id));
            }
        } else {
            irq::refresh(vcpu);
            arch::wait_for_interrupt();
        }
    }
}

/// Gives the vCPU the state of a CPU that has just been turned on (DEN0022F.b, initial state of a core).
fn start(vcpu: &mut Vcpu, entry: Entry) {
    // Its timers are silent since it stopped. The alarm that it looks after may be another one since it last slept.
    el1::reset_virtual_timer();
    if vcpu.id == timers::RTC_KEEPER {
        timers::update(vcpu);
    }
    irq::begin(vcpu);
    begin_at(entry);
}

/// Has the guest begin at `entry` with no state but what DEN0022F.b 6.4 wants; its registers are the caller's business. Its
/// timers and its interrupt controller are not touched.
fn begin_at(entry: Entry) {
    el1::reset(entry.big_endian);
    guest::set_return(entry.pc, el1::START_PSTATE);
}

/// The same for a vCPU whose registers stand in `regs`.
pub fn reset(regs: &mut GuestRegs, entry: Entry) {
    begin_at(entry);
    regs.clear();
    regs.set(Gpr::from_field(0), entry.context);
}

/// Takes back what the vCPU holds of the hardware: its timers are silenced and its interrupts are deactivated. Nobody
/// may see it off before: what is sent to it from then on is for its next life. What it has stored past the caches is in
/// memory before anybody fills that anew through them (B2.8).
fn stop(vcpu: &mut Vcpu) {
    arch::wait_for_accesses();
    el1::set_cntv_ctl(0);
    vcpu.physical_timer = Timer::new();
    timers::update(vcpu);
    match core::mem::take(&mut vcpu.frozen) {
        true => irq::refresh_lists(vcpu),
        false => irq::quiesce(vcpu),
    }
}
