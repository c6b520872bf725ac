//! Time for those that need to be woken: the emulated physical timer of this CPU's vCPU, the VM's RTC, which one
//! vCPU looks after, and the console after lines of this vCPU. All stand on the hypervisor timer (CNTHP).

use super::{irq, serial};
use crate::{
    arch::el1,
    spec::machine::RTC_INTID,
    sync::atomic::{AtomicU64, Ordering},
    types::{VcpuId, VcpuSet},
    vm::{Vcpu, Vm},
};

/// The vCPU that looks after the RTC's alarm.
pub const RTC_KEEPER: VcpuId = VcpuId::new(0);
/// ENABLE of CNTHP_CTL_EL2 and CNTV_CTL_EL0.
const ENABLE: u64 = 1;
/// CNTV_CTL_EL0.ISTATUS.
const ISTATUS: u64 = 1 << 2;
/// What the virtual timer's line depends on: ENABLE, IMASK, ISTATUS.
const CNTV_LINE: u64 = 0b111;

/// Counter value at which there will have been no line out of focus for a tenth of a second, of no vCPU.
static QUIET_AT: AtomicU64 = AtomicU64::new(0);

/// Seconds of the board's counter: the time base of RTCs.
pub fn seconds() -> u64 {
    el1::counter() / frequency()
}

/// Ticks of the board's counter per second; its firmware may have left CNTFRQ_EL0 at 0.
pub fn frequency() -> u64 {
    el1::counter_frequency().max(1)
}

/// Brings the inputs of the interrupt controller up to date with the clock, and sets the hypervisor timer for
/// the next change.
pub fn update(vcpu: &mut Vcpu) {
    let now = el1::counter();
    let line = vcpu.physical_timer.line(now);
    irq::set_timer_lines(vcpu, line);
    // While the line is up there is nothing to wait for but the guest.
    let timer = vcpu.physical_timer.deadline().filter(|_| !line);
    let rtc = match vcpu.id {
        RTC_KEEPER => update_rtc(vcpu),
        _ => None,
    };
    if vcpu.settle_at.is_some_and(|at| at <= now) {
        vcpu.settle_at = None;
        // The vCPU that has printed since settles it. So the line in focus comes back ten times a second at most.
        if QUIET_AT.load(Ordering::Relaxed) <= now {
            serial::settle();
        }
    }
    let deadlines = [timer, rtc, vcpu.settle_at];
    match deadlines.into_iter().flatten().min() {
        Some(at) => {
            el1::set_cnthp_cval(at);
            el1::set_cnthp_ctl(ENABLE);
        }
        None => el1::set_cnthp_ctl(0),
    }
}

/// Whether the virtual timer of this CPU's vCPU asserts its interrupt.
pub fn virtual_timer_fires() -> bool {
    el1::cntv_ctl() & CNTV_LINE == ENABLE | ISTATUS
}

/// Another vCPU has set the RTC's alarm: whoever looks after it has to know.
pub fn alarm_is_set(vm: &Vm) {
    vm.alarm_is_set.store(true, Ordering::Release);
    vm.kick(VcpuSet::one(RTC_KEEPER));
}

/// A kick may be for that.
pub fn look_at_alarm(vcpu: &mut Vcpu) {
    if vcpu.id == RTC_KEEPER && vcpu.vm.alarm_is_set.swap(false, Ordering::Acquire) {
        update(vcpu);
    }
}

/// The RTC's interrupt as of now, and the counter value at which it changes.
fn update_rtc(vcpu: &mut Vcpu) -> Option<u64> {
    let mut rtc = vcpu.vm.rtc.lock();
    let line = rtc.advance(seconds());
    irq::set_line(vcpu, RTC_INTID, line);
    let deadline = rtc.deadline();
    deadline.map(|seconds| seconds.saturating_mul(frequency()))
}

/// The VM in focus gets its unfinished line back as soon as this vCPU, and every other, has printed nothing for a tenth of a second.
pub fn settle_soon(vcpu: &mut Vcpu) {
    let at = el1::counter().saturating_add(frequency() / 10);
    QUIET_AT.store(at, Ordering::Relaxed);
    if vcpu.settle_at.replace(at).is_none() {
        update(vcpu);
    }
}
