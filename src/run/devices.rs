//! Accesses to emulated devices: which one, what it says, whom it wakes.

use super::{exit, irq, serial, timers};
use crate::{
    arch::guest::GuestRegs,
    emul::vgic::{Found, Hit, Place},
    spec::{
        esr::DataAbort,
        gic::{GicVersion, gicc},
        machine::{self, Window},
        translation::PAGE,
    },
    types::{Abort, Access, Ipa, Op, Width},
    vm::{Vcpu, Vm},
};

/// Carries out a decoded access of a guest.
type Device = fn(&mut GuestRegs, &mut Vcpu, DataAbort, Ipa);

/// The device whose registers are at `ipa`.
#[inline(always)]
pub fn at(ipa: Ipa) -> Option<Device> {
    let inside = |window: Window| ipa.get().wrapping_sub(window.base.get()) < window.size;
    if inside(machine::UART) {
        Some(uart)
    } else if inside(machine::GICD) {
        Some(distributor)
    } else if inside(machine::GICR) {
        Some(redistributors)
    } else if inside(machine::GICC) {
        Some(|regs, vcpu, abort, ipa| seldom(regs, vcpu, abort, ipa, machine::GICC, cpu_interface))
    } else if inside(machine::RTC) {
        Some(|regs, vcpu, abort, ipa| seldom(regs, vcpu, abort, ipa, machine::RTC, rtc))
    } else {
        None
    }
}

/// Has `device`, at `window`, carry out an access.
#[inline(always)]
fn on(
    regs: &mut GuestRegs,
    vcpu: &mut Vcpu,
    abort: DataAbort,
    ipa: Ipa,
    window: Window,
    device: impl FnOnce(&mut Vcpu, Access) -> Result<u64, Abort>,
) {
    let access = access(regs, abort, ipa, window);
    exit::answered(regs, abort, access.and_then(|access| device(vcpu, access)))
}

/// The same for what is seldom or long, out of line.
#[inline(never)]
fn seldom(
    regs: &mut GuestRegs,
    vcpu: &mut Vcpu,
    abort: DataAbort,
    ipa: Ipa,
    window: Window,
    device: fn(&mut Vcpu, Access) -> Result<u64, Abort>,
) {
    on(regs, vcpu, abort, ipa, window, device)
}

/// The access as the device at `window` sees it. Device memory faults unaligned accesses before stage 2 is asked, but a guest
/// may map it as it likes.
#[inline(always)]
fn access(regs: &GuestRegs, abort: DataAbort, ipa: Ipa, window: Window) -> Result<Access, Abort> {
    let width = abort.width();
    if !ipa.is_aligned(width.bytes()) {
        return Err(Abort);
    }
    Ok(Access {
        offset: ipa.get() - window.base.get(),
        width,
        op: op(regs, abort),
    })
}

/// What the access does.
#[inline(always)]
fn op(regs: &GuestRegs, abort: DataAbort) -> Op {
    match abort.is_write() {
        true => Op::Write(abort.stored(regs.get(abort.register()))),
        false => Op::Read,
    }
}

/// What never changes is read at once, and without locking anything.
fn distributor(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, ipa: Ipa) {
    let offset = ipa.get().wrapping_sub(machine::GICD.base.get());
    let place = Place::in_distributor(vcpu.vm.gic.version(), vcpu.id, offset);
    let Some(hit) = place.look_up() else {
        return gic_place(regs, vcpu, abort, place);
    };
    match hit.fixed(abort.width()) {
        Some(which) => {
            let value = vcpu.vm.vgic_identity.get(which);
            exit::answered(regs, abort, Ok(value.into()))
        }
        None => gic_register(regs, vcpu, abort, place, hit),
    }
}

/// A GICv2 has none.
fn redistributors(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, ipa: Ipa) {
    let offset = ipa.get().wrapping_sub(machine::GICR.base.get());
    let place = match vcpu.vm.gic.version() {
        GicVersion::V2 => None,
        GicVersion::V3 => Place::in_redistributors(vcpu.vm.config.cpus, offset),
    };
    match place {
        Some(place) => gic_place(regs, vcpu, abort, place),
        None => exit::answered(regs, abort, Err(Abort)),
    }
}

/// Whatever is in a place among the interrupt controller's registers.
#[inline(never)]
fn gic_place(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, place: Place) {
    match place.hit() {
        Some(hit) => gic_register(regs, vcpu, abort, place, hit),
        None if place.is_aligned(abort.width()) => exit::answered(regs, abort, Ok(0)),
        None => exit::answered(regs, abort, Err(Abort)),
    }
}

/// One of them, or what is in its place for this access.
#[inline(never)]
fn gic_register(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, place: Place, hit: Hit) {
    let found = match place.is_aligned(abort.width()) {
        true => hit.found(place, vcpu.id, abort.width()),
        false => Err(Abort),
    };
    let value = found.map(|found| match found {
        Found::Reserved => 0,
        Found::Fixed(which) => vcpu.vm.vgic_identity.get(which).into(),
        Found::State(state) => irq::access(vcpu, state, op(regs, abort)),
    });
    exit::answered(regs, abort, value)
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

/// Most accesses read a register or send a byte, and there is no more to them: those want no stack frame.
fn uart(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, ipa: Ipa) {
    match uart_at_once(vcpu.vm, regs, abort, ipa.get() % machine::UART.size) {
        Some(value) => exit::answered(regs, abort, Ok(value)),
        None => seldom(regs, vcpu, abort, ipa, machine::UART, uart_in_full),
    }
}

/// What the access yields; `None` when it was not one of those, and nothing has happened.
#[inline(always)]
fn uart_at_once(vm: &Vm, regs: &GuestRegs, abort: DataAbort, offset: u64) -> Option<u64> {
    if abort.width() == Width::Double || abort.is_big_endian() {
        return None;
    }
    if !abort.is_write() {
        return vm.uart.try_lock_inline()?.peek(offset).map(u64::from);
    }
    if offset != 0 || !vm.uart.try_lock_inline()?.is_sending() {
        return None;
    }
    let byte = regs.get(abort.register()) as u8;
    serial::guest_output_at_once(vm.id, byte).then_some(0)
}

fn uart_in_full(vcpu: &mut Vcpu, access: Access) -> Result<u64, Abort> {
    let vm = vcpu.vm;
    let effect = {
        let mut uart = vm.uart.lock();
        let effect = uart.access(access)?;
        // Under the device's lock: levels reach the interrupt controller in the order in which they arose.
        if let Some(line) = effect.line {
            irq::set_line(vcpu, machine::UART_INTID, line);
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
        irq::set_line(vcpu, machine::RTC_INTID, effect.line);
        effect
    };
    // After a write the alarm may be another one: vCPU 0 looks after it.
    match (access.op, vcpu.id) {
        (Op::Read, _) => {}
        (_, timers::RTC_KEEPER) => timers::update(vcpu),
        _ => timers::alarm_is_set(vm),
    }
    Ok(effect.value)
}
