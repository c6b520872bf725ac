//! CPU_SUSPEND and its like: a vCPU that sleeps on its CPU, with the interrupts of EL2 masked, so that
//! none gets lost between a look at them and the sleep.

use super::{irq, vcpu};
use crate::{
    arch::{
        self, el1,
        guest::{Exit, GuestRegs},
    },
    emul::firmware::Depth,
    vm::Vcpu,
};

/// Sleeps until an interrupt wakes the vCPU, even one that it masks, or its VM stops. Its virtual timer is left as the
/// guest has set it, for that is what wakes it most of the time; the physical one, which is emulated, counts on as well.
pub fn suspend(vcpu: &mut Vcpu, regs: &mut GuestRegs, depth: Depth) -> Exit {
    let power = &vcpu.vm.firmware.power;
    let began = el1::counter();
    let mut slept = false;
    loop {
        irq::drain(vcpu);
        if power.stopping().is_some() {
            return Exit::Park;
        }
        irq::refresh(vcpu);
        if vcpu.list_regs.any_pending() {
            break;
        }
        arch::wait_for_interrupt();
        slept = true;
    }
    if !slept && depth != Depth::System {
        power.abandon(vcpu.id);
        return Exit::Resume;
    }
    let ticks = el1::counter().wrapping_sub(began);
    if let Some(entry) = power.wake(vcpu.id, ticks) {
        irq::resume(vcpu);
        vcpu::reset(regs, entry);
        return Exit::Renew;
    }
    Exit::Resume
}
