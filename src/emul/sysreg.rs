//! Trapped system registers: what an MRS or MSR of a guest does that ended at EL2 (EC 0x18).
//!
//! Whatever is not named here is UNDEFINED for the guest, as it is on a CPU that lacks it: the PMU,
//! trace, profiling, LORegions, RAS error records, SCXTNUM, pointer authentication keys, and the
//! IMPLEMENTATION DEFINED registers that HCR_EL2.TIDCP traps.

use super::{
    id_registers::{self, View},
    timer,
};
use crate::{
    spec::{
        gic::SgiRegister,
        sysreg::{self, SysReg},
    },
    types::Op,
};

/// The instruction is UNDEFINED: the guest takes the exception, at the instruction's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undefined;

/// What an access comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A read of this value.
    Value(u64),
    /// A write without effect.
    Ignored,
    /// An access to this register of the vCPU's physical timer.
    Timer(timer::Register),
    /// A write that generates SGIs.
    Sgi {
        /// Which register was written.
        register: SgiRegister,
        /// Its value (IHI0069H 12.2.20).
        value: u64,
    },
    /// A write of this INTID to ICC_DIR_EL1, which is trapped while the interrupt may be in no list
    /// register.
    Deactivate(u32),
}

/// Decides an access of a vCPU that is `view`. `raw` reads an ID register of the CPU it runs on.
pub fn access(
    register: SysReg,
    op: Op,
    view: &View,
    raw: impl Fn(SysReg) -> u64,
) -> Result<Effect, Undefined> {
    match (register, op) {
        (sysreg::ICC_SGI1R_EL1, Op::Write(value)) => sgi(SgiRegister::Sgi1r, value, view),
        (sysreg::ICC_SGI0R_EL1, Op::Write(value)) => sgi(SgiRegister::Sgi0r, value, view),
        (sysreg::ICC_ASGI1R_EL1, Op::Write(value)) => sgi(SgiRegister::Asgi1r, value, view),
        (sysreg::ICC_DIR_EL1, Op::Write(value)) if view.gicv3 => {
            Ok(Effect::Deactivate(value as u32 & INTID))
        }
        (sysreg::CNTP_CTL_EL0, _) => Ok(Effect::Timer(timer::Register::Control)),
        (sysreg::CNTP_CVAL_EL0, _) => Ok(Effect::Timer(timer::Register::CompareValue)),
        (sysreg::CNTP_TVAL_EL0, _) => Ok(Effect::Timer(timer::Register::TimerValue)),
        (sysreg::REVIDR_EL1 | sysreg::AIDR_EL1, Op::Read) => Ok(Effect::Value(raw(register))),
        // HCR_EL2.TACR: the controls of the pCPU are not the guest's. Software of every kind
        // sets bits in here without asking, so it reads as zero rather than being UNDEFINED.
        (sysreg::ACTLR_EL1, _) => Ok(raz_wi(op)),
        // MDCR_EL2.TDOSA: the OS lock is open and stays so, power-down being the hypervisor's.
        (sysreg::OSLAR_EL1, Op::Write(_)) => Ok(Effect::Ignored),
        (sysreg::OSLSR_EL1, Op::Read) => Ok(Effect::Value(OSLSR_UNLOCKED)),
        (sysreg::OSDLR_EL1 | sysreg::DBGPRCR_EL1, _) => Ok(raz_wi(op)),
        (register, Op::Read) if id_registers::is_id_register(register) => {
            Ok(Effect::Value(id_registers::read(register, view, raw)))
        }
        _ => Err(Undefined),
    }
}

/// ICC_DIR_EL1.INTID (IHI0069H 12.2.9).
const INTID: u32 = 0xff_ffff;

/// OSLSR_EL1: OSLM = 0b10 (bit 3 and bit 0), the OS lock is implemented; OSLK (bit 1) = 0, it is open.
const OSLSR_UNLOCKED: u64 = 1 << 3;

/// With a GICv2 the CPU has no GIC system registers, whatever the board's CPU has.
fn sgi(register: SgiRegister, value: u64, view: &View) -> Result<Effect, Undefined> {
    if view.gicv3 {
        Ok(Effect::Sgi { register, value })
    } else {
        Err(Undefined)
    }
}

const fn raz_wi(op: Op) -> Effect {
    match op {
        Op::Read => Effect::Value(0),
        Op::Write(_) => Effect::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V3: View = View {
        gicv3: true,
        pa_range: 2,
    };
    const V2: View = View {
        gicv3: false,
        pa_range: 2,
    };

    fn ones(_: SysReg) -> u64 {
        u64::MAX
    }

    #[test]
    fn the_physical_timer_is_reached_by_its_three_registers() {
        for (op2, register) in [
            (0, timer::Register::TimerValue),
            (1, timer::Register::Control),
            (2, timer::Register::CompareValue),
        ] {
            for op in [Op::Read, Op::Write(5)] {
                assert_eq!(
                    access(SysReg::new(3, 3, 14, 2, op2), op, &V2, ones),
                    Ok(Effect::Timer(register))
                );
            }
        }
    }

    #[test]
    fn sgi_registers_are_write_only_and_need_a_gicv3() {
        for (op2, register) in [
            (5, SgiRegister::Sgi1r),
            (6, SgiRegister::Asgi1r),
            (7, SgiRegister::Sgi0r),
        ] {
            let icc = SysReg::new(3, 0, 12, 11, op2);
            let value = 0x0300_0000_0000_000f;
            assert_eq!(
                access(icc, Op::Write(value), &V3, ones),
                Ok(Effect::Sgi { register, value })
            );
            assert_eq!(access(icc, Op::Read, &V3, ones), Err(Undefined));
            assert_eq!(access(icc, Op::Write(value), &V2, ones), Err(Undefined));
        }
    }

    #[test]
    fn an_id_register_cannot_be_written() {
        for crm in 1..=7 {
            for op2 in 0..=7 {
                let id = SysReg::new(3, 0, 0, crm, op2);
                assert_eq!(access(id, Op::Write(0), &V3, ones), Err(Undefined));
                assert!(matches!(
                    access(id, Op::Read, &V3, ones),
                    Ok(Effect::Value(_))
                ));
            }
        }
    }

    #[test]
    fn the_auxiliary_control_register_is_empty() {
        let actlr = SysReg::new(3, 0, 1, 0, 1);
        assert_eq!(access(actlr, Op::Read, &V3, ones), Ok(Effect::Value(0)));
        assert_eq!(
            access(actlr, Op::Write(u64::MAX), &V3, ones),
            Ok(Effect::Ignored)
        );
    }

    #[test]
    fn the_os_lock_is_open() {
        let oslar = SysReg::new(2, 0, 1, 0, 4);
        let oslsr = SysReg::new(2, 0, 1, 1, 4);
        assert_eq!(access(oslar, Op::Write(1), &V3, ones), Ok(Effect::Ignored));
        assert_eq!(access(oslar, Op::Read, &V3, ones), Err(Undefined));
        assert_eq!(access(oslsr, Op::Read, &V3, ones), Ok(Effect::Value(8)));
        assert_eq!(access(oslsr, Op::Write(0), &V3, ones), Err(Undefined));
    }

    #[test]
    fn what_the_guest_does_not_have_is_undefined() {
        for register in [
            SysReg::new(3, 3, 9, 12, 0),  // PMCR_EL0
            SysReg::new(3, 3, 9, 14, 0),  // PMUSERENR_EL0
            SysReg::new(3, 0, 9, 9, 0),   // PMSCR_EL1
            SysReg::new(3, 0, 10, 4, 0),  // LORSA_EL1
            SysReg::new(3, 0, 10, 4, 7),  // LORID_EL1
            SysReg::new(3, 0, 13, 0, 7),  // SCXTNUM_EL1
            SysReg::new(3, 0, 2, 1, 0),   // APIAKeyLo_EL1
            SysReg::new(3, 0, 1, 2, 0),   // ZCR_EL1
            SysReg::new(3, 0, 1, 2, 1),   // TRFCR_EL1
            SysReg::new(3, 0, 2, 0, 3),   // TCR2_EL1
            SysReg::new(3, 0, 12, 12, 5), // ICC_SRE_EL1, trapped without a GICv3 only
            SysReg::new(3, 1, 15, 2, 1),  // CPUECTLR_EL1 of Cortex-A72: IMPLEMENTATION DEFINED
            SysReg::new(2, 1, 0, 0, 2),   // trace
            SysReg::new(3, 1, 0, 0, 6),   // SMIDR_EL1
        ] {
            for op in [Op::Read, Op::Write(0)] {
                assert_eq!(
                    access(register, op, &V3, ones),
                    Err(Undefined),
                    "{register}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_read_never_writes_and_a_write_never_reads(iss: u64, value: u64, raw: u64, gicv3: bool) {
            let view = View { gicv3, pa_range: 5 };
            let register = SysReg::from_iss(iss);
            let read = access(register, Op::Read, &view, |_| raw);
            let writes = matches!(read, Ok(Effect::Ignored | Effect::Sgi { .. }));
            prop_assert!(!writes);
            let write = access(register, Op::Write(value), &view, |_| raw);
            prop_assert!(!matches!(write, Ok(Effect::Value(_))));
        }
    }
}
