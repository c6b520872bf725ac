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

/// Runs `vcpu` on this CPU for ever.
pub fn run(vcpu: &mut Vcpu) -> ! {
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
            enter(vcpu);
            stop(vcpu);
            if vm.firmware.power.cpu_off(vcpu.id) {
                vm.kick(vm.firmware.power.all().without(vcpu.id));
            }
        } else {
            arch::wait_for_interrupt();
        }
    }
}

/// Gives the vCPU the state of a CPU that has just been turned on (DEN0022F.b, initial state of a core).
fn start(vcpu: &mut Vcpu, entry: Entry) {
    el1::reset_virtual_timer();
    irq::begin(vcpu);
    reset(&mut vcpu.regs, entry);
}

/// Has the guest begin at `entry` with nothing in its registers but what DEN0022F.b 6.4 wants. Its timers and its
/// interrupt controller are not touched.
pub fn reset(regs: &mut GuestRegs, entry: Entry) {
    el1::reset(entry.big_endian);
    regs.clear();
    regs.set(Gpr::from_field(0), entry.context);
    guest::set_return(entry.pc, el1::START_PSTATE);
}

fn enter(vcpu: &mut Vcpu) {
    let mut regs = vcpu.regs.clone();
    guest::enter(&mut regs, vcpu);
    vcpu.regs = regs;
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
