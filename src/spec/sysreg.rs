//! Names of AArch64 system registers: the encoding that MRS, MSR and the syndrome of a trapped
//! access share (Arm ARM C5.1.2 and D24.2.40, ISS encoding for EC 0x18).

use core::fmt;

/// A system register, by its encoding: op0 in `[15:14]`, op1 in `[13:11]`, CRn in `[10:7]`, CRm in `[6:3]`,
/// op2 in `[2:0]`, the order of the instruction's own fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysReg(u16);

impl SysReg {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`; of each number only the bits of its field
    /// count.
    pub const fn new(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Self {
        Self((op0 & 3) << 14 | (op1 & 7) << 11 | (crn & 15) << 7 | (crm & 15) << 3 | op2 & 7)
    }

    /// From the ISS of a trapped MSR, MRS or system instruction.
    pub const fn from_iss(iss: u64) -> Self {
        Self::new(
            (iss >> 20) as u16,
            (iss >> 14) as u16,
            (iss >> 10) as u16,
            (iss >> 1) as u16,
            (iss >> 17) as u16,
        )
    }

    /// The encoding, as a number to match on.
    pub const fn encoding(self) -> u16 {
        self.0
    }

    /// op0: 2 for debug and trace, 3 for everything else that is a register.
    pub const fn op0(self) -> u16 {
        self.0 >> 14
    }

    /// op1.
    pub const fn op1(self) -> u16 {
        self.0 >> 11 & 7
    }

    /// CRn.
    pub const fn crn(self) -> u16 {
        self.0 >> 7 & 15
    }

    /// CRm.
    pub const fn crm(self) -> u16 {
        self.0 >> 3 & 15
    }

    /// op2.
    pub const fn op2(self) -> u16 {
        self.0 & 7
    }
}

impl fmt::Display for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "S{}_{}_C{}_C{}_{}",
            self.op0(),
            self.op1(),
            self.crn(),
            self.crm(),
            self.op2()
        )
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal;)*) => {
        $($(#[$doc])* pub const $name: SysReg = SysReg::new($op0, $op1, $crn, $crm, $op2);)*
    };
}

registers! {
    /// OS Lock Access Register (D24.3).
    OSLAR_EL1 = 2, 0, 1, 0, 4;
    /// OS Lock Status Register.
    OSLSR_EL1 = 2, 0, 1, 1, 4;
    /// OS Double Lock Register.
    OSDLR_EL1 = 2, 0, 1, 3, 4;
    /// Debug Power Control Register.
    DBGPRCR_EL1 = 2, 0, 1, 4, 4;

    /// Revision ID Register: errata that MIDR_EL1 does not tell.
    REVIDR_EL1 = 3, 0, 0, 0, 6;
    /// AArch32 Processor Feature Register 0.
    ID_PFR0_EL1 = 3, 0, 0, 1, 0;
    /// AArch32 Processor Feature Register 1.
    ID_PFR1_EL1 = 3, 0, 0, 1, 1;
    /// AArch32 Debug Feature Register 0.
    ID_DFR0_EL1 = 3, 0, 0, 1, 2;
    /// AArch32 Memory Model Feature Register 0.
    ID_MMFR0_EL1 = 3, 0, 0, 1, 4;
    /// AArch32 Memory Model Feature Register 1.
    ID_MMFR1_EL1 = 3, 0, 0, 1, 5;
    /// AArch32 Memory Model Feature Register 2.
    ID_MMFR2_EL1 = 3, 0, 0, 1, 6;
    /// AArch32 Memory Model Feature Register 3.
    ID_MMFR3_EL1 = 3, 0, 0, 1, 7;
    /// AArch32 Instruction Set Attribute Register 0.
    ID_ISAR0_EL1 = 3, 0, 0, 2, 0;
    /// AArch32 Instruction Set Attribute Register 1.
    ID_ISAR1_EL1 = 3, 0, 0, 2, 1;
    /// AArch32 Instruction Set Attribute Register 2.
    ID_ISAR2_EL1 = 3, 0, 0, 2, 2;
    /// AArch32 Instruction Set Attribute Register 3.
    ID_ISAR3_EL1 = 3, 0, 0, 2, 3;
    /// AArch32 Instruction Set Attribute Register 4.
    ID_ISAR4_EL1 = 3, 0, 0, 2, 4;
    /// AArch32 Instruction Set Attribute Register 5.
    ID_ISAR5_EL1 = 3, 0, 0, 2, 5;
    /// AArch32 Memory Model Feature Register 4.
    ID_MMFR4_EL1 = 3, 0, 0, 2, 6;
    /// AArch32 Instruction Set Attribute Register 6.
    ID_ISAR6_EL1 = 3, 0, 0, 2, 7;
    /// AArch32 Media and VFP Feature Register 0.
    MVFR0_EL1 = 3, 0, 0, 3, 0;
    /// AArch32 Media and VFP Feature Register 1.
    MVFR1_EL1 = 3, 0, 0, 3, 1;
    /// AArch32 Media and VFP Feature Register 2.
    MVFR2_EL1 = 3, 0, 0, 3, 2;
    /// AArch32 Processor Feature Register 2.
    ID_PFR2_EL1 = 3, 0, 0, 3, 4;
    /// AArch32 Memory Model Feature Register 5.
    ID_MMFR5_EL1 = 3, 0, 0, 3, 6;
    /// AArch64 Processor Feature Register 0.
    ID_AA64PFR0_EL1 = 3, 0, 0, 4, 0;
    /// AArch64 Processor Feature Register 1.
    ID_AA64PFR1_EL1 = 3, 0, 0, 4, 1;
    /// AArch64 Debug Feature Register 0.
    ID_AA64DFR0_EL1 = 3, 0, 0, 5, 0;
    /// AArch64 Instruction Set Attribute Register 0.
    ID_AA64ISAR0_EL1 = 3, 0, 0, 6, 0;
    /// AArch64 Instruction Set Attribute Register 1.
    ID_AA64ISAR1_EL1 = 3, 0, 0, 6, 1;
    /// AArch64 Instruction Set Attribute Register 2.
    ID_AA64ISAR2_EL1 = 3, 0, 0, 6, 2;
    /// AArch64 Instruction Set Attribute Register 3.
    ID_AA64ISAR3_EL1 = 3, 0, 0, 6, 3;
    /// AArch64 Memory Model Feature Register 0.
    ID_AA64MMFR0_EL1 = 3, 0, 0, 7, 0;
    /// AArch64 Memory Model Feature Register 1.
    ID_AA64MMFR1_EL1 = 3, 0, 0, 7, 1;
    /// AArch64 Memory Model Feature Register 2.
    ID_AA64MMFR2_EL1 = 3, 0, 0, 7, 2;
    /// Auxiliary ID Register.
    AIDR_EL1 = 3, 1, 0, 0, 7;

    /// Auxiliary Control Register.
    ACTLR_EL1 = 3, 0, 1, 0, 1;
    /// Software Generated Interrupt group 1, own security state (IHI0069H 12.2.20).
    ICC_SGI1R_EL1 = 3, 0, 12, 11, 5;
    /// Software Generated Interrupt group 1, other security state (IHI0069H 12.2.4).
    ICC_ASGI1R_EL1 = 3, 0, 12, 11, 6;
    /// Deactivate Interrupt (IHI0069H 12.2.9).
    ICC_DIR_EL1 = 3, 0, 12, 11, 1;
    /// Software Generated Interrupt group 0 (IHI0069H 12.2.19).
    ICC_SGI0R_EL1 = 3, 0, 12, 11, 7;
    /// Physical timer, TimerValue view (D24.10).
    CNTP_TVAL_EL0 = 3, 3, 14, 2, 0;
    /// Physical timer, control.
    CNTP_CTL_EL0 = 3, 3, 14, 2, 1;
    /// Physical timer, CompareValue view.
    CNTP_CVAL_EL0 = 3, 3, 14, 2, 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_fields_of_the_syndrome_name_the_register() {
        // mrs x5, ID_AA64PFR0_EL1: op0 3, op2 0, op1 0, CRn 0, Rt 5, CRm 4, read.
        assert_eq!(SysReg::from_iss(0x30_00a9), ID_AA64PFR0_EL1);
        // msr ICC_SGI1R_EL1, x1: op0 3, op2 5, op1 0, CRn 12, Rt 1, CRm 11, write.
        assert_eq!(SysReg::from_iss(0x3a_3036), ICC_SGI1R_EL1);
        // msr CNTP_CVAL_EL0, x0: op0 3, op2 2, op1 3, CRn 14, Rt 0, CRm 2, write.
        assert_eq!(SysReg::from_iss(0x34_f804), CNTP_CVAL_EL0);
    }

    #[test]
    fn a_register_is_written_as_an_assembler_takes_it() {
        assert_eq!(CNTP_CVAL_EL0.to_string(), "S3_3_C14_C2_2");
        assert_eq!(
            SysReg::new(3, 7, 15, 15, 7).to_string(),
            "S3_7_C15_C15_7",
            "the highest encoding"
        );
    }
}
