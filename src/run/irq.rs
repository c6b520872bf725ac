//! Physical interrupts, and what they mean for the vCPU that this CPU runs.

use super::{machine, serial, timers};
use crate::{
    arch::{self, guest::Exit},
    emul::vgic::{Delivery, ListRegs, Reply, State, Vgic},
    hw::gic::{Gic, HALT, KICK, Taken},
    spec::{
        gic::{SgiRegister, SgiRequest, ich_hcr},
        machine::{PHYSICAL_TIMER_INTID, SPI_BASE, VIRTUAL_TIMER_INTID},
    },
    sync::MutexGuard,
    types::{Op, VcpuSet},
    vm::Vcpu,
};
use core::ops::RangeInclusive;

/// The virtual timer's PPI on every board (the architecture's recommendation, which device trees confirm).
pub const VIRTUAL_TIMER: u32 = 27;
/// The hypervisor timer's PPI.
pub const HYPERVISOR_TIMER: u32 = 26;
/// INTIDs that are no interrupts (IHI0069H 2.2.1).
const SPECIAL: RangeInclusive<u32> = 1020..=1023;

/// An interrupt while the guest ran. One is handled; a further one traps again.
#[inline(always)]
pub fn on_irq(vcpu: &mut Vcpu) -> Exit {
    let taken = vcpu.vm.gic.acknowledge();
    match taken.intid {
        VIRTUAL_TIMER => virtual_timer(vcpu, taken),
        _ => handle(vcpu, taken),
    }
    match vcpu.vm.firmware.power.stopping() {
        None => Exit::Resume,
        Some(_) => Exit::Park,
    }
}

/// Handles all interrupts that are pending while the guest does not run. What others have sent the vCPU is looked at
/// afterwards: it begins, or it has to [`refresh`] before its CPU sleeps.
pub fn drain(vcpu: &mut Vcpu) {
    loop {
        let taken = vcpu.vm.gic.acknowledge();
        match taken.intid {
            KICK => finish(vcpu.vm.gic, taken),
            intid if SPECIAL.contains(&intid) => return,
            _ => handle(vcpu, taken),
        }
    }
}

/// Takes one interrupt on behalf of the vCPU of this CPU.
fn handle(vcpu: &mut Vcpu, taken: Taken) {
    match taken.intid {
        VIRTUAL_TIMER => {
            vcpu.vm.gic.drop_priority(taken);
            return set_line(vcpu, VIRTUAL_TIMER_INTID, true);
        }
        HYPERVISOR_TIMER => refresh(vcpu),
        KICK => {
            timers::look_at_alarm(vcpu);
            refresh_lists(vcpu);
        }
        intid if SPECIAL.contains(&intid) => return,
        intid if intid == machine::get().maintenance => refresh_lists(vcpu),
        _ => return handle_alone(taken),
    }
    finish(vcpu.vm.gic, taken);
}

/// The guest's own timer: its interrupt stays active until the guest deactivates it through its list register.
#[inline(always)]
fn virtual_timer(vcpu: &mut Vcpu, taken: Taken) {
    vcpu.vm.gic.drop_priority(taken);
    set_own_line(vcpu, VIRTUAL_TIMER_INTID, true);
}

/// Handles all interrupts that are pending on a CPU without a vCPU.
pub fn drain_alone() {
    loop {
        let taken = machine::get().gic.acknowledge();
        if SPECIAL.contains(&taken.intid) {
            return;
        }
        handle_alone(taken);
    }
}

/// Takes an interrupt that concerns no vCPU of this CPU.
fn handle_alone(taken: Taken) {
    let board = machine::get();
    match taken.intid {
        HALT => arch::halt(),
        KICK => {}
        intid if Some(intid) == board.uart_intid => serial::receive(),
        // An LPI of a loader that could not be turned off again: it has no active state.
        intid if intid > *SPECIAL.end() => return board.gic.drop_priority(taken),
        intid => {
            serial::warn(format_args!("interrupt {intid} has no owner: disabled"));
            board.gic.disable(intid);
        }
    }
    finish(&board.gic, taken);
}

fn finish(gic: &Gic, taken: Taken) {
    gic.drop_priority(taken);
    gic.deactivate(taken);
}

/// Looks at everything that can interrupt the vCPU again: its timers, what it has finished, what others have
/// sent it.
pub fn refresh(vcpu: &mut Vcpu) {
    timers::update(vcpu);
    refresh_lists(vcpu);
}

/// The input line of an interrupt of the vCPU of this CPU, or of an SPI, is at `level`.
pub fn set_line(vcpu: &mut Vcpu, intid: u32, level: bool) {
    if intid < SPI_BASE {
        return set_own_line(vcpu, intid, level);
    }
    let mut vgic = vcpu.vm.vgic.lock();
    let kick = vgic.set_line(intid, vcpu.id, level);
    if !kick.is_empty() {
        settle(vcpu, vgic, kick);
    }
}

/// The lines of the vCPU's timers: the physical one's is at `physical`, the virtual one's may have fallen. Mostly there is
/// nothing new.
pub fn set_timer_lines(vcpu: &mut Vcpu, physical: bool) {
    if physical {
        set_line(vcpu, PHYSICAL_TIMER_INTID, true);
    }
    let mut vgic = vcpu.vm.vgic.lock_inline();
    let mut kick = sample(vcpu, &mut vgic);
    if !physical {
        kick = kick.union(vgic.set_line(PHYSICAL_TIMER_INTID, vcpu.id, false));
    }
    if !kick.is_empty() {
        settle(vcpu, vgic, kick);
    }
}

/// Looks at the line of the vCPU's virtual timer before anything depends on it: the guest may have moved or masked the timer
/// without taking its interrupt, which is a level and then pending no more (IHI0069H 4.1). Whom to kick.
#[inline(always)]
fn sample(vcpu: &Vcpu, vgic: &mut Vgic) -> VcpuSet {
    match vgic.is_high(vcpu.id, VIRTUAL_TIMER_INTID) && !timers::virtual_timer_fires() {
        true => vgic.set_line(VIRTUAL_TIMER_INTID, vcpu.id, false),
        false => VcpuSet::EMPTY,
    }
}

/// That of an SGI or PPI.
#[inline(always)]
fn set_own_line(vcpu: &mut Vcpu, intid: u32, level: bool) {
    let empty = vcpu.vm.gic.empty_lists();
    let mut vgic = vcpu.vm.vgic.lock_inline();
    let delivery = vgic.set_own_line(vcpu.id, intid, level, &mut vcpu.list_regs, empty);
    deliver(vcpu, vgic, delivery);
}

/// The guest has requested an SGI of CPUs of its own.
pub fn request_sgi(vcpu: &mut Vcpu, register: SgiRegister, request: SgiRequest) {
    if register == SgiRegister::Sgi1r && request.targets == VcpuSet::one(vcpu.id) {
        return request_own_sgi(vcpu, request.intid);
    }
    let mut vgic = vcpu.vm.vgic.lock();
    let kick = vgic.request_sgi(register, request);
    if !kick.is_empty() {
        settle(vcpu, vgic, kick);
    }
}

#[inline(always)]
fn request_own_sgi(vcpu: &mut Vcpu, intid: u32) {
    let empty = vcpu.vm.gic.empty_lists();
    let mut vgic = vcpu.vm.vgic.lock_inline();
    let delivery = vgic.request_own_sgi(vcpu.id, intid, &mut vcpu.list_regs, empty);
    deliver(vcpu, vgic, delivery);
}

/// Has the vCPU of this CPU come by an interrupt of its own.
#[inline(always)]
fn deliver(vcpu: &mut Vcpu, vgic: MutexGuard<Vgic>, delivery: Delivery) {
    match delivery {
        Delivery::Listed(slot) => {
            drop(vgic);
            let lr = vcpu.list_regs.lr.get(slot).copied().unwrap_or(0);
            vcpu.vm.gic.write_list(slot, lr);
        }
        Delivery::Kick(kick) if kick.is_empty() => {}
        Delivery::Kick(kick) => settle(vcpu, vgic, kick),
    }
}

/// An access of the guest to its interrupt controller's state; what a read reads.
#[inline(always)]
pub fn access(vcpu: &mut Vcpu, state: State, op: Op) -> u64 {
    let mut vgic = vcpu.vm.vgic.lock_inline();
    let folded = match state.is_volatile() {
        true => fold(vcpu, &mut vgic),
        false => VcpuSet::EMPTY,
    };
    let sampled = sample(vcpu, &mut vgic);
    let Reply { value, kick } = vgic.access(&state, op);
    let kick = folded.union(sampled).union(kick);
    if !kick.is_empty() {
        settle(vcpu, vgic, kick);
    }
    value
}

/// A write to ICC_DIR_EL1 that trapped because the interrupt may be in nobody's list register.
pub fn deactivate(vcpu: &mut Vcpu, intid: u32) {
    let vm = vcpu.vm;
    let mut vgic = vm.vgic.lock();
    let folded = fold(vcpu, &mut vgic);
    let kick = vgic.deactivate(vcpu.id, intid);
    settle(vcpu, vgic, kick.union(folded));
}

/// What the guest has done since is known to the interrupt controller; whose list registers are out of date now:
/// those of this vCPU are in any case.
fn fold(vcpu: &mut Vcpu, vgic: &mut Vgic) -> VcpuSet {
    load(vcpu.vm.gic, &mut vcpu.list_regs);
    let kick = vgic.fold(vcpu.id, &mut vcpu.list_regs);
    kick.union(VcpuSet::one(vcpu.id))
}

/// The virtual interface of a vCPU that begins. What has been sent to it while it was off stood in its former list
/// registers; new ones mean that it is handed over anew.
pub fn begin(vcpu: &mut Vcpu) {
    let vm = vcpu.vm;
    vm.gic.reset_virtual_interface();
    vcpu.list_regs.renew();
    let kick = vm.vgic.lock_inline().fill(vcpu.id, &mut vcpu.list_regs);
    store(vm.gic, &mut vcpu.list_regs);
    vm.kick(kick.without(vcpu.id));
}

/// The virtual interface of a vCPU that wakes without state: what its list registers held goes to the distributor,
/// which has kept its own, and comes back into new ones.
pub fn resume(vcpu: &mut Vcpu) {
    let vm = vcpu.vm;
    let kick = fold(vcpu, &mut vm.vgic.lock());
    vcpu.vm.kick(kick.without(vcpu.id));
    begin(vcpu);
    timers::update(vcpu);
}

/// Takes back what the vCPU's list registers hold, when it leaves the guest for good: nobody may wait for it,
/// and the board's interrupts that it had go back.
pub fn quiesce(vcpu: &mut Vcpu) {
    let vm = vcpu.vm;
    let mut vgic = vm.vgic.lock();
    let folded = fold(vcpu, &mut vgic);
    let kick = vgic.reset_vcpu(vcpu.id).union(folded);
    let _ = vgic.fill(vcpu.id, &mut vcpu.list_regs);
    drop(vgic);
    store(vcpu.vm.gic, &mut vcpu.list_regs);
    vm.kick(kick.without(vcpu.id));
}

/// List registers to state and state to list registers.
pub fn refresh_lists(vcpu: &mut Vcpu) {
    let vm = vcpu.vm;
    settle(vcpu, vm.vgic.lock(), VcpuSet::one(vcpu.id));
}

/// Refreshes this CPU's list registers when its vCPU is in `kick`, and kicks the others.
fn settle(vcpu: &mut Vcpu, mut vgic: MutexGuard<Vgic>, mut kick: VcpuSet) {
    let (vm, me) = (vcpu.vm, vcpu.id);
    if kick.contains(me) {
        kick = kick.union(sample(vcpu, &mut vgic));
        load(vm.gic, &mut vcpu.list_regs);
        kick = kick.union(vgic.fill(me, &mut vcpu.list_regs));
        drop(vgic);
        store(vm.gic, &mut vcpu.list_regs);
    } else {
        drop(vgic);
    }
    vm.kick(kick.without(me));
}

/// Reads what the guest may have changed.
fn load(gic: &Gic, lists: &mut ListRegs) {
    let used = lists.lr.get_mut(..lists.used).unwrap_or_default();
    let (vmcr, hcr) = gic.read_virtual(used);
    lists.vmcr = vmcr;
    lists.eoi_count = ich_hcr::eoi_count(hcr);
}

/// Writes what has changed, and gives back the board's interrupts that nobody needs any more.
fn store(gic: &Gic, lists: &mut ListRegs) {
    gic.write_virtual(&lists.lr, lists.dirty, lists.hcr);
    lists.dirty = 0;
    if !lists.release.is_empty() {
        lists
            .release
            .drain(..)
            .for_each(|intid| gic.release(intid.into()));
    }
}
