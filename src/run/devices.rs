//! Accesses to emulated devices: which one, what it says, whom it wakes.

use super::{irq, serial, timers};
use crate::{
    arch::guest::GuestRegs,
    emul::vgic::Vgic,
    spec::{
        esr::DataAbort,
        gic::{GicVersion, gicc},
        machine::{self, Window},
        translation::PAGE,
    },
    types::{Abort, Access, Ipa, Op, VcpuSet, Width},
    vm::Vcpu,
};

/// Carries out a decoded access at `ipa`; false when no device answers it.
#[inline(always)]
pub fn access(vcpu: &mut Vcpu, regs: &mut GuestRegs, abort: DataAbort, ipa: Ipa) -> bool {
    let width = abort.width();
    let op = match abort.is_write() {
        true => Op::Write(regs.get(abort.register()) & width.mask()),
        false => Op::Read,
    };
    // Device memory faults unaligned accesses before stage 2 is asked, but a guest may map it as it likes.
    if !ipa.is_aligned(width.bytes()) {
        return false;
    }
    let at = |window: Window| Access {
        offset: ipa.get() - window.base.get(),
        width,
        op,
    };
    let answer = match ipa {
        ipa if inside(machine::GICD, ipa) => distributor(vcpu, at(machine::GICD)),
        ipa if inside(machine::GICR, ipa) => redistributor(vcpu, at(machine::GICR)),
        ipa if inside(machine::GICC, ipa) => cpu_interface(vcpu, at(machine::GICC)),
        ipa if inside(machine::UART, ipa) => uart(vcpu, at(machine::UART)),
        ipa if inside(machine::RTC, ipa) => rtc(vcpu, at(machine::RTC)),
        _ => Err(Abort),
    };
    if let (Ok(value), Op::Read) = (answer, op) {
        regs.set(abort.register(), abort.extend(value));
    }
    answer.is_ok()
}

fn inside(window: Window, ipa: Ipa) -> bool {
    ipa.get().wrapping_sub(window.base.get()) < window.size
}

fn distributor(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    irq::access(vcpu, access, Vgic::distributor)
}

fn redistributor(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    irq::access(vcpu, access, Vgic::redistributor)
}

/// A GICv2's CPU interface is the board's GICV but for the page that holds GICC_DIR, where everything else is reserved
/// (IHI0048B 4.1.3). With EOImode 0 a write of GICC_DIR is UNPREDICTABLE (4.4.15): it deactivates then too.
fn cpu_interface(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    if vcpu.vm.gic.version() == GicVersion::V3 || access.width != Width::Word {
        return Err(Abort);
    }
    match (access.offset, access.op) {
        (gicc::DIR, Op::Write(value)) => irq::deactivate(vcpu, value as u32 & gicc::IAR_INTID),
        (PAGE..gicc::SIZE, _) => {}
        _ => return Err(Abort),
    }
    Ok(0)
}

fn uart(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    let vm = vcpu.vm;
    let effect = {
        let mut uart = vm.uart.lock();
        let effect = uart.access(access)?;
        // Under the device's lock: levels reach the interrupt controller in the order in which they arose.
        if let Some(line) = effect.line {
            irq::on_vgic(vcpu, |vgic, id| {
                vgic.set_line(machine::UART_INTID, id, line)
            });
        }
        effect
    };
    if let Some(byte) = effect.transmit
        && serial::guest_output(vm.id, byte)
    {
        timers::settle_soon(vcpu);
    }
    Ok(effect.value)
}

fn rtc(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    let vm = vcpu.vm;
    let effect = {
        let mut rtc = vm.rtc.lock();
        let effect = rtc.access(access, timers::seconds())?;
        irq::on_vgic(vcpu, |vgic, id| {
            vgic.set_line(machine::RTC_INTID, id, effect.line)
        });
        effect
    };
    // The alarm may be another one now: vCPU 0 looks after it.
    match vcpu.id {
        timers::RTC_KEEPER => timers::update(vcpu),
        _ => vm.kick(VcpuSet::one(timers::RTC_KEEPER)),
    }
    Ok(effect.value)
}
