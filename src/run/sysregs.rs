//! Trapped system registers, applied.

use super::{irq, outcome::Outcome, timers};
use crate::{
    arch::{el1, guest::GuestRegs},
    emul::{
        id_registers::View,
        inject::Exception,
        sysreg::{self, Effect},
        timer::Register,
    },
    spec::{
        esr::SysregTrap,
        gic::{GicVersion, SgiRequest},
        sysreg::SysReg,
    },
    types::Op,
    vm::Vcpu,
};

/// Carries out an MRS or MSR.
pub fn access(vcpu: &mut Vcpu, regs: &mut GuestRegs, trap: SysregTrap) -> Outcome {
    let op = match trap.is_read() {
        true => Op::Read,
        false => Op::Write(regs.get(trap.rt())),
    };
    let view = View {
        gicv3: vcpu.vm.gic.version() == GicVersion::V3,
        // 40 bits, the next encoding above the 39 that stage 2 translates at most.
        pa_range: 2,
    };
    match sysreg::access(trap.register(), op, &view, raw) {
        Ok(Effect::Value(value)) => regs.set(trap.rt(), value),
        Ok(Effect::Ignored) => {}
        Ok(Effect::Timer(register)) => timer(vcpu, regs, trap, register, op),
        Ok(Effect::Sgi { register, value }) => {
            let request = SgiRequest::decode(value, vcpu.id, vcpu.vm.config.cpus);
            irq::request_sgi(vcpu, register, request);
        }
        Ok(Effect::Deactivate(intid)) => irq::deactivate(vcpu, intid),
        Err(_) => return Outcome::Inject(Exception::Undefined),
    }
    Outcome::Advance
}

fn timer(vcpu: &mut Vcpu, regs: &mut GuestRegs, trap: SysregTrap, register: Register, op: Op) {
    let now = el1::counter();
    match op {
        Op::Read => regs.set(trap.rt(), vcpu.physical_timer.read(register, now)),
        Op::Write(value) => {
            vcpu.physical_timer.write(register, value, now);
            timers::update(vcpu);
        }
    }
}

/// What the CPU itself says of an ID register.
fn raw(register: SysReg) -> u64 {
    el1::id_register(register.crm() as u8, register.op2() as u8)
}
