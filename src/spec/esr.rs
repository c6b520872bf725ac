//! Why the guest left: ESR_EL2, decoded once (Arm ARM D24.2.40).
//!
//! A variant keeps its ISS as a number; what a field means is computed by who asks, so that an exit
//! pays for the fields it uses and for no other.

use super::sysreg::SysReg;
use crate::types::{Gpr, Ipa, Width};

/// Exception class and ISS of a synchronous exception that was taken to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// EC 0x16: HVC in AArch64 state. The return address is already behind it.
    Hvc {
        /// The immediate.
        imm: u16,
    },
    /// EC 0x24: data abort from a lower exception level.
    DataAbort(DataAbort),
    /// EC 0x01: trapped WFI, WFE, WFIT or WFET.
    Wfx,
    /// EC 0x18: trapped MSR, MRS or system instruction.
    Sysreg(SysregTrap),
    /// EC 0x17: SMC in AArch64 state, trapped by HCR_EL2.TSC. The return address is the SMC itself.
    Smc {
        /// The immediate.
        imm: u16,
    },
    /// EC 0x20: instruction abort from a lower exception level.
    InstrAbort(InstrAbort),
    /// EC 0x07: access to floating point, Advanced SIMD (or SVE, SME with CPTR_EL2.TFP).
    FpAccess,
    /// EC 0x19: access to SVE.
    Sve,
    /// EC 0x1d: access to SME.
    Sme,
    /// EC 0x09: use of pointer authentication, trapped by HCR_EL2.API or APK.
    PointerAuth,
    /// EC 0x03 to 0x06, 0x08, 0x0c: AArch32 coprocessor access, trapped.
    Coprocessor,
    /// EC 0x0e: illegal execution state.
    IllegalState,
    /// EC 0x2f: an SError interrupt; it is no synchronous exception, but ESR_EL2 describes it alike.
    SError,
    /// Any other exception class; nothing that Bulkhead enables leads here.
    Unknown {
        /// The exception class, 0 to 63.
        ec: u8,
    },
}

/// All of ESR_EL2 after `hvc #0` in AArch64 state: EC 0x16, IL, immediate 0.
pub const HVC_0: u64 = 0x5a00_0000;
/// What ESR_EL2 differs by after `smc #0`: EC 0x17.
pub const HVC_OR_SMC: u64 = 1 << 26;

/// The field of ESR_EL2 that names the register of a trapped MSR or MRS.
pub const RT: u64 = 0x1f << 5;
/// ESR_EL2 after a trapped MSR to ICC_SGI1R_EL1 but for [`RT`]: EC 0x18, IL, and the register, S3_0_C12_C11_5.
pub const ICC_SGI1R_WRITE: u64 = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;

/// The register of a trapped MSR or MRS.
pub const fn rt(esr: u64) -> Gpr {
    SysregTrap(esr).rt()
}

impl Syndrome {
    /// Decodes a value of ESR_EL2. HVC is tested first because it is the call that guests make most and
    /// whose cost is measured; calling the rest cold keeps the compiler from sorting it in between.
    #[inline(always)]
    pub const fn decode(esr: u64) -> Self {
        let ec = (esr >> 26 & 0x3f) as u8;
        let imm = esr as u16;
        if ec == 0x16 {
            return Self::Hvc { imm };
        }
        core::hint::cold_path();
        match ec {
            0x01 => Self::Wfx,
            0x03..=0x06 | 0x08 | 0x0c => Self::Coprocessor,
            0x07 => Self::FpAccess,
            0x09 => Self::PointerAuth,
            0x0e => Self::IllegalState,
            0x17 => Self::Smc { imm },
            0x18 => Self::Sysreg(SysregTrap(esr)),
            0x19 => Self::Sve,
            0x1d => Self::Sme,
            0x20 => Self::InstrAbort(InstrAbort(esr)),
            0x24 => Self::DataAbort(DataAbort(esr)),
            0x2f => Self::SError,
            _ => Self::Unknown { ec },
        }
    }
}

/// Length of the trapped instruction: ESR_EL2.IL. Only T32 instructions of AArch32 EL0 can have two
/// bytes.
pub const fn instruction_bytes(esr: u64) -> u64 {
    if esr & 1 << 25 != 0 { 4 } else { 2 }
}

const fn bit(iss: u64, n: u32) -> bool {
    iss >> n & 1 != 0
}

/// ISS of EC 0x18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysregTrap(u64);

impl SysregTrap {
    /// Which register.
    pub const fn register(self) -> SysReg {
        SysReg::from_iss(self.0)
    }

    /// Where the value goes to or comes from.
    pub const fn rt(self) -> Gpr {
        Gpr::from_field(self.0 >> 5)
    }

    /// MRS rather than MSR.
    pub const fn is_read(self) -> bool {
        bit(self.0, 0)
    }
}

/// What kind of fault an abort was: DFSC or IFSC, without its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The address has bits beyond what the translation yields.
    AddressSize,
    /// No valid descriptor.
    Translation,
    /// Access flag clear.
    AccessFlag,
    /// Not permitted.
    Permission,
    /// Synchronous external abort on the access itself.
    External,
    /// Synchronous external abort on a walk of the translation tables.
    ExternalOnWalk,
    /// Misaligned.
    Alignment,
    /// Load or store exclusive or atomic to memory that does not support it.
    UnsupportedAtomic,
    /// Conflicting TLB entries.
    TlbConflict,
    /// Any other status code.
    Other(u8),
}

impl Fault {
    /// From the fault status code, `ISS[5:0]`. The codes with a level -1 (FEAT_LPA2) are 0x13, 0x1b,
    /// 0x29 and 0x2b.
    const fn from_iss(iss: u64) -> Self {
        match iss & 0x3f {
            0x00..=0x03 | 0x29 => Self::AddressSize,
            0x04..=0x07 | 0x2b => Self::Translation,
            0x08..=0x0b => Self::AccessFlag,
            0x0c..=0x0f => Self::Permission,
            0x10 | 0x18 => Self::External,
            0x13..=0x17 | 0x1b..=0x1f => Self::ExternalOnWalk,
            0x21 => Self::Alignment,
            0x30 => Self::TlbConflict,
            0x35 => Self::UnsupportedAtomic,
            other => Self::Other(other as u8),
        }
    }
}

/// The intermediate physical address of a stage 2 fault, from FAR_EL2 and HPFAR_EL2.
///
/// `HPFAR_EL2.FIPA[47:4]` holds `IPA[55:12]`; a CPU with fewer address bits reads the rest as zero. It is
/// written for translation, access flag and address size faults and for any fault of stage 2 on a walk
/// of stage 1 (Arm ARM D24.2.63); for a permission fault on the access itself it is UNKNOWN, and the
/// address must be asked of the CPU (`at s1e1r`): `None`. On such a walk FAR_EL2 is the address that
/// was being translated, which says nothing of the bits `[11:0]` of the descriptor: they read as zero.
const fn fault_ipa(iss: u64, far: u64, hpfar: u64) -> Option<Ipa> {
    let page = page(hpfar);
    let on_walk = bit(iss, 7);
    match Fault::from_iss(iss) {
        Fault::AddressSize | Fault::Translation | Fault::AccessFlag if !on_walk => {
            Some(Ipa::new(page | far & 0xfff))
        }
        Fault::AddressSize | Fault::Translation | Fault::AccessFlag | Fault::Permission
            if on_walk =>
        {
            Some(Ipa::new(page))
        }
        _ => None,
    }
}

const fn page(hpfar: u64) -> u64 {
    (hpfar >> 4 & 0xfff_ffff_ffff) << 12
}

/// ISS of EC 0x24. Width, register and sign are known with ISV only, for which see [`device_access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort(u64);

impl DataAbort {
    /// SSE.
    const SIGN_EXTEND: u64 = 1 << 21;
    /// EA, which no abort has that is not external; in what [`device_access`] yields it says [`Self::with_big_endian`].
    const BIG_ENDIAN: u64 = 1 << 9;

    /// The access is one of big-endian data. The bus of a device is little-endian: the bytes of what is stored or loaded are
    /// in reverse order there.
    pub const fn with_big_endian(self) -> Self {
        Self(self.0 | Self::BIG_ENDIAN)
    }

    /// Whether it is.
    pub const fn is_big_endian(self) -> bool {
        self.0 & Self::BIG_ENDIAN != 0
    }

    /// What a store of a register that holds `register` puts onto the bus, in the bits of the width.
    #[inline(always)]
    pub const fn stored(self, register: u64) -> u64 {
        match self.is_big_endian() {
            true => self.reverse(register),
            false => register & self.width().mask(),
        }
    }

    #[cold]
    const fn reverse(self, value: u64) -> u64 {
        self.width().reverse(value)
    }

    /// What happened.
    pub const fn fault(self) -> Fault {
        Fault::from_iss(self.0)
    }

    /// The address that stage 2 refused; `None` when HPFAR_EL2 does not hold it.
    #[inline]
    pub const fn ipa(self, far: u64, hpfar: u64) -> Option<Ipa> {
        fault_ipa(self.0, far, hpfar)
    }

    /// SAS: bytes accessed.
    pub const fn width(self) -> Width {
        Width::from_sas(self.0 >> 22)
    }

    /// SSE: a load extends the sign.
    pub const fn sign_extends(self) -> bool {
        self.0 & Self::SIGN_EXTEND != 0
    }

    /// SRT: the register.
    pub const fn register(self) -> Gpr {
        Gpr::from_field(self.0 >> 16)
    }

    /// SF: the register is 64 bits wide; otherwise a load clears its upper half.
    pub const fn is_64_bit(self) -> bool {
        bit(self.0, 15)
    }

    /// FnV: FAR_EL2 is not valid. Possible for an external abort only.
    pub const fn far_invalid(self) -> bool {
        bit(self.0, 10)
    }

    /// CM: a cache maintenance or address translation instruction faulted, not an access.
    pub const fn is_cache_maintenance(self) -> bool {
        bit(self.0, 8)
    }

    /// S1PTW: stage 2 refused a walk of stage 1.
    pub const fn is_stage_1_walk(self) -> bool {
        bit(self.0, 7)
    }

    /// WnR: a write. Also set for cache maintenance.
    pub const fn is_write(self) -> bool {
        bit(self.0, 6)
    }

    /// What a load leaves in its register, of `value` on the bus: the bits of the width, extended by their sign, and cut to the
    /// register's width then, or by zero. Eight bytes are loaded only into a register of 64 bits.
    #[inline(always)]
    pub const fn loaded(self, value: u64) -> u64 {
        if self.sign_extends() || self.is_big_endian() {
            return self.loaded_otherwise(value);
        }
        value & self.width().mask()
    }

    #[cold]
    const fn loaded_otherwise(self, value: u64) -> u64 {
        let value = self.stored(value);
        if !self.sign_extends() {
            return value;
        }
        let unused = 64 - 8 * self.width().bytes();
        let extended = ((value << unused) as i64 >> unused) as u64;
        if self.is_64_bit() {
            extended
        } else {
            extended & 0xffff_ffff
        }
    }
}

/// The access and its address, when ESR_EL2 tells of an access that is decoded and that stage 2 had no translation for:
/// a driver's to a device that is emulated. ISV says that width, register and sign are known: they are for a single load or store
/// of a general-purpose register without writeback. One test does for what [`Syndrome::decode`] and [`DataAbort::ipa`] find out in
/// many.
#[inline(always)]
pub const fn device_access(esr: u64, far: u64, hpfar: u64) -> Option<(DataAbort, Ipa)> {
    const CLASS: u64 = 0x3f << 26;
    const DATA_ABORT: u64 = 0x24 << 26;
    const ISV: u64 = 1 << 24;
    const S1PTW: u64 = 1 << 7;
    const STATUS: u64 = 0b11_1100;
    const TRANSLATION_FAULT: u64 = 0b00_0100;
    match esr & (CLASS | ISV | DataAbort::BIG_ENDIAN | S1PTW | STATUS)
        == DATA_ABORT | ISV | TRANSLATION_FAULT
    {
        true => Some((DataAbort(esr), Ipa::new(page(hpfar) | far & 0xfff))),
        false => None,
    }
}

/// ISS of EC 0x20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrAbort(u64);

impl InstrAbort {
    /// What happened.
    pub const fn fault(self) -> Fault {
        Fault::from_iss(self.0)
    }

    /// The address that stage 2 refused; `None` when HPFAR_EL2 does not hold it.
    pub const fn ipa(self, far: u64, hpfar: u64) -> Option<Ipa> {
        fault_ipa(self.0, far, hpfar)
    }

    /// FnV: FAR_EL2 is not valid. Possible for an external abort only.
    pub const fn far_invalid(self) -> bool {
        bit(self.0, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data_abort(esr: u64) -> DataAbort {
        match Syndrome::decode(esr) {
            Syndrome::DataAbort(abort) => abort,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn calls_carry_their_immediate() {
        // hvc #0 as QEMU and hardware report it: EC 0x16, IL 1.
        assert_eq!(Syndrome::decode(0x5a00_0000), Syndrome::Hvc { imm: 0 });
        assert_eq!(Syndrome::decode(0x5a00_ffff), Syndrome::Hvc { imm: 0xffff });
        assert_eq!(Syndrome::decode(0x5e00_0001), Syndrome::Smc { imm: 1 });
    }

    #[test]
    fn a_store_of_a_word_to_a_device() {
        // str w3, [x4]: EC 0x24, IL, ISV, SAS 2, SRT 3, WnR, translation fault level 3.
        let abort = data_abort(0x9383_0047);
        assert!(abort.is_write() && !abort.is_64_bit());
        assert_eq!(abort.width(), Width::Word);
        assert_eq!(abort.register(), Gpr::from_field(3));
        assert_eq!(abort.fault(), Fault::Translation);
        assert_eq!(
            abort.ipa(0xffff_8000_0901_8018, 0x9_0000),
            Some(Ipa::new(0x900_0018))
        );
    }

    #[test]
    fn only_a_decoded_access_without_translation_is_a_devices() {
        let ipa = |esr| device_access(esr, 0xffff_8000_0901_8018, 0x9_0000).map(|(_, ipa)| ipa);
        for level in 0..4 {
            assert_eq!(ipa(0x9383_0044 | level), Some(Ipa::new(0x900_0018)));
        }
        // Not decoded; on a walk of stage 1; permission; address size; level -1; an instruction's; EL2's own.
        for esr in [
            0x9200_0047,
            0x9383_00c7,
            0x9383_004f,
            0x9383_0043,
            0x9383_006b,
            0x8383_0047,
            0x9783_0047,
        ] {
            assert_eq!(ipa(esr), None, "{esr:#x}");
        }
    }

    #[test]
    fn the_upper_word_of_the_syndrome_does_not_disturb() {
        assert_eq!(
            Syndrome::decode(0x00ff_ffff_5a00_0000),
            Syndrome::Hvc { imm: 0 }
        );
    }

    #[test]
    fn loads_extend_as_their_instruction_says() {
        let ldr_w = data_abort(0x9380_0007);
        assert_eq!(ldr_w.loaded(0xffff_ffff_8000_0000), 0x8000_0000);
        let ldr_x = data_abort(0x93c0_8007);
        assert_eq!(ldr_x.loaded(0x8000_0000_0000_0001), 0x8000_0000_0000_0001);
        let ldrb = data_abort(0x9300_0007);
        assert_eq!(ldrb.loaded(0xffff_ff80), 0x80);
        let ldrsb_w = data_abort(0x9320_0007);
        assert_eq!(ldrsb_w.loaded(0x80), 0xffff_ff80);
        let ldrsb_x = data_abort(0x9320_8007);
        assert_eq!(ldrsb_x.loaded(0x80), 0xffff_ffff_ffff_ff80);
        let ldrsw = data_abort(0x93a0_8007);
        assert_eq!(ldrsw.loaded(0x8000_0000), 0xffff_ffff_8000_0000);
        let ldr_x = data_abort(0x93c0_8007);
        assert_eq!(ldr_x.loaded(u64::MAX), u64::MAX);
    }

    #[test]
    fn big_endian_data_change_places() {
        // LDRSH Xt, LDR Wt, STR Xt, LDRB Wt: width and sign as above.
        let ldrsh_x = data_abort(0x9360_8007).with_big_endian();
        assert_eq!(ldrsh_x.loaded(0x1180), 0xffff_ffff_ffff_8011);
        let ldr_w = data_abort(0x9380_0007).with_big_endian();
        assert_eq!(ldr_w.loaded(0xffff_ffff_1234_5678), 0x7856_3412);
        assert_eq!(ldr_w.stored(0xffff_ffff_1234_5678), 0x7856_3412);
        let str_x = data_abort(0x93c0_8047).with_big_endian();
        assert_eq!(str_x.stored(0x0102_0304_0506_0708), 0x0807_0605_0403_0201);
        let ldrb = data_abort(0x9300_0007).with_big_endian();
        assert_eq!(ldrb.loaded(0xabcd), 0xcd);
        assert!(ldrb.is_big_endian() && !data_abort(0x9300_0007).is_big_endian());
    }

    #[test]
    fn a_permission_fault_has_no_address_but_on_a_walk_it_has() {
        assert_eq!(data_abort(0x9200_004f).ipa(0x123, 0x10), None);
        let walk = data_abort(0x9200_00cf);
        assert!(walk.is_stage_1_walk());
        assert_eq!(walk.ipa(0xfff, 0x4_0010), Some(Ipa::new(0x400_1000)));
    }

    #[test]
    fn the_page_of_a_52_bit_address_is_kept_and_the_security_bit_is_not() {
        let abort = data_abort(0x9200_0007);
        assert_eq!(
            abort.ipa(0, 0x8000_0fff_ffff_fff0),
            Some(Ipa::new(0xf_ffff_ffff_f000))
        );
    }

    #[test]
    fn fault_status_codes_are_those_of_the_table() {
        for (code, fault) in [
            (0b000000, Fault::AddressSize),
            (0b000111, Fault::Translation),
            (0b001001, Fault::AccessFlag),
            (0b001111, Fault::Permission),
            (0b010000, Fault::External),
            (0b010001, Fault::Other(0x11)),
            (0b010011, Fault::ExternalOnWalk),
            (0b010101, Fault::ExternalOnWalk),
            (0b011000, Fault::External),
            (0b011101, Fault::ExternalOnWalk),
            (0b100001, Fault::Alignment),
            (0b101001, Fault::AddressSize),
            (0b101011, Fault::Translation),
            (0b110000, Fault::TlbConflict),
            (0b110101, Fault::UnsupportedAtomic),
        ] {
            assert_eq!(data_abort(0x9200_0000 | code).fault(), fault, "{code:#08b}");
        }
    }

    #[test]
    fn a_register_trap_tells_register_and_direction() {
        let trap = match Syndrome::decode(0x6230_03e9) {
            Syndrome::Sysreg(trap) => trap,
            other => panic!("{other:?}"),
        };
        assert!(trap.is_read());
        assert_eq!(trap.rt(), Gpr::ZR);
        assert_eq!(trap.register(), SysReg::new(3, 0, 0, 4, 0));
    }

    #[test]
    fn a_16_bit_instruction_is_two_bytes_long() {
        assert_eq!(instruction_bytes(0x5a00_0000), 4);
        assert_eq!(instruction_bytes(0x0400_0000), 2);
    }

    proptest! {
        #[test]
        fn every_value_decodes_to_its_class(esr: u64, far: u64, hpfar: u64) {
            let ec = (esr >> 26 & 0x3f) as u8;
            match Syndrome::decode(esr) {
                Syndrome::DataAbort(abort) => {
                    prop_assert_eq!(ec, 0x24);
                    if let Some(ipa) = abort.ipa(far, hpfar) {
                        prop_assert!(ipa.get() < 1 << 56);
                    }
                    let value = abort.loaded(far);
                    let whole = abort.is_64_bit() || abort.width() == Width::Double;
                    prop_assert!(whole || value <= 0xffff_ffff);
                }
                Syndrome::InstrAbort(_) => prop_assert_eq!(ec, 0x20),
                Syndrome::Unknown { ec: unknown } => prop_assert_eq!(ec, unknown),
                Syndrome::Hvc { imm } | Syndrome::Smc { imm } => prop_assert_eq!(imm, esr as u16),
                _ => {}
            }
        }
    }
}
