//! Exceptions that a guest takes from us: AArch64.TakeException to EL1 (Arm ARM J1.1.2) over plain
//! values.
//!
//! EL1 is AArch64 always. Where the guest was comes from SPSR_EL2 and ELR_EL2; the caller writes the
//! result to the EL1 registers and returns to [`Entry::pc`] with [`Entry::pstate`].

/// Where the guest was when it left, and the EL1 registers that shape its exception entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// SPSR_EL2: its PSTATE.
    pub spsr: u64,
    /// ELR_EL2: the instruction that it is at. For a trapped one that is the instruction itself; an
    /// HVC has its return address behind it already, and to make it UNDEFINED takes 4 off.
    pub pc: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
}

/// The parts of PSTATE that exist on a pCPU, from its own ID registers: an exception entry
/// writes them whether or not the guest has been told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PstateFields {
    /// PAN (FEAT_PAN).
    pub pan: bool,
    /// SSBS (FEAT_SSBS).
    pub ssbs: bool,
    /// TCO (FEAT_MTE2).
    pub tco: bool,
    /// ALLINT (FEAT_NMI).
    pub allint: bool,
}

impl PstateFields {
    /// From the CPU's ID_AA64MMFR1_EL1 and ID_AA64PFR1_EL1.
    pub const fn of_cpu(mmfr1: u64, pfr1: u64) -> Self {
        Self {
            pan: mmfr1 >> 20 & 15 != 0,
            ssbs: pfr1 >> 4 & 15 != 0,
            tco: pfr1 >> 8 & 15 >= 2,
            allint: pfr1 >> 36 & 15 != 0,
        }
    }
}

/// What the guest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The instruction is UNDEFINED (EC 0x00).
    Undefined,
    /// Synchronous external abort on a load or store (EC 0x24, 0x25): nothing answers there.
    DataAbort {
        /// FAR_EL2; `None` when it was not valid.
        address: Option<u64>,
        /// A store, or cache maintenance.
        write: bool,
        /// Cache maintenance or address translation rather than an access.
        maintenance: bool,
    },
    /// Synchronous external abort on an instruction fetch (EC 0x20, 0x21).
    InstrAbort {
        /// FAR_EL2; `None` when it was not valid.
        address: Option<u64>,
    },
}

/// The guest's state in its exception handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// ELR_EL1: where the handler returns to.
    pub elr: u64,
    /// SPSR_EL1: the PSTATE that it returns to.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1, unless the exception leaves it alone.
    pub far: Option<u64>,
    /// Where the handler is.
    pub pc: u64,
    /// Its PSTATE, in the format of SPSR_EL2.
    pub pstate: u64,
}

/// SPSR.nRW: the guest was in AArch32 state.
const AARCH32: u64 = 1 << 4;
/// SPSR.M for EL1 with SP_EL1.
const EL1H: u64 = 0b0101;
/// SPSR.DAIF.
const DAIF: u64 = 0xf << 6;
const SSBS: u64 = 1 << 12;
const ALLINT: u64 = 1 << 13;
const PAN: u64 = 1 << 22;
const DIT: u64 = 1 << 24;
const TCO: u64 = 1 << 25;
const NZCV: u64 = 0xf << 28;

/// SCTLR_EL1.SPAN: an exception leaves PSTATE.PAN alone.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: the PSTATE.SSBS of handlers.
const SCTLR_DSSBS: u64 = 1 << 44;
/// SCTLR_EL1.SPINTMASK: handlers start with PSTATE.ALLINT clear.
const SCTLR_SPINTMASK: u64 = 1 << 62;

/// The state in which `exception` finds a guest.
pub const fn take(exception: Exception, from: &Interrupted, fields: PstateFields) -> Entry {
    Entry {
        elr: from.pc,
        spsr: from.spsr,
        esr: syndrome(exception, is_el0(from.spsr)),
        far: match exception {
            Exception::Undefined => None,
            Exception::DataAbort { address, .. } | Exception::InstrAbort { address } => address,
        },
        pc: (from.vbar & !0x7ff).wrapping_add(vector(from.spsr)),
        pstate: handler_pstate(from, fields),
    }
}

/// AArch32 has EL0 only, as EL1 is AArch64.
const fn is_el0(spsr: u64) -> bool {
    spsr & AARCH32 != 0 || spsr & 0b1100 == 0
}

/// Offset of the vector for a synchronous exception (Arm ARM D1.4.1).
const fn vector(spsr: u64) -> u64 {
    if spsr & AARCH32 != 0 {
        0x600
    } else if is_el0(spsr) {
        0x400
    } else if spsr & 1 != 0 {
        0x200
    } else {
        0x000
    }
}

/// PSTATE on entry. NZCV and DIT stay as they are: SPSR holds them at the same place for both
/// execution states. UAO, SS, IL and BTYPE become 0.
const fn handler_pstate(from: &Interrupted, fields: PstateFields) -> u64 {
    let mut pstate = from.spsr & (NZCV | DIT) | DAIF | EL1H;
    if fields.pan {
        pstate |= from.spsr & PAN;
        if from.sctlr & SCTLR_SPAN == 0 {
            pstate |= PAN;
        }
    }
    if fields.ssbs && from.sctlr & SCTLR_DSSBS != 0 {
        pstate |= SSBS;
    }
    if fields.tco {
        pstate |= TCO;
    }
    if fields.allint && from.sctlr & SCTLR_SPINTMASK == 0 {
        pstate |= ALLINT;
    }
    pstate
}

/// ESR_EL1 (Arm ARM D24.2.39). IL is 1 for each of these: it is RES1 for EC 0, for instruction aborts
/// and for data aborts without ISV, and we give none.
const fn syndrome(exception: Exception, el0: bool) -> u64 {
    const IL: u64 = 1 << 25;
    const FNV: u64 = 1 << 10;
    const EXTERNAL: u64 = 0x10;
    let (ec, iss) = match exception {
        Exception::Undefined => (0x00, 0),
        Exception::InstrAbort { address } => {
            let ec = if el0 { 0x20 } else { 0x21 };
            (ec, EXTERNAL | if address.is_none() { FNV } else { 0 })
        }
        Exception::DataAbort {
            address,
            write,
            maintenance,
        } => {
            let ec = if el0 { 0x24 } else { 0x25 };
            let fnv = if address.is_none() { FNV } else { 0 };
            let iss = EXTERNAL | (write as u64) << 6 | (maintenance as u64) << 8 | fnv;
            (ec, iss)
        }
    };
    ec << 26 | IL | iss
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: PstateFields = PstateFields {
        pan: true,
        ssbs: true,
        tco: true,
        allint: true,
    };
    const NONE: PstateFields = PstateFields {
        pan: false,
        ssbs: false,
        tco: false,
        allint: false,
    };

    fn from(spsr: u64) -> Interrupted {
        Interrupted {
            spsr,
            pc: 0xffff_8000_1000_0004,
            vbar: 0xffff_8000_1001_0800,
            sctlr: 1 << 23 | 1 << 62,
        }
    }

    #[test]
    fn an_undefined_instruction_at_el1() {
        // PSTATE 0x600003c5: Z, C, DAIF, EL1h.
        assert_eq!(
            take(Exception::Undefined, &from(0x6000_03c5), NONE),
            Entry {
                elr: 0xffff_8000_1000_0004,
                spsr: 0x6000_03c5,
                esr: 0x0200_0000,
                far: None,
                pc: 0xffff_8000_1001_0a00,
                pstate: 0x6000_03c5,
            }
        );
    }

    #[test]
    fn the_vector_tells_where_the_guest_was() {
        for (spsr, offset) in [
            (0x4, 0x000),   // EL1t
            (0x5, 0x200),   // EL1h
            (0x0, 0x400),   // EL0
            (0x10, 0x600),  // AArch32 User
            (0x1f0, 0x600), // AArch32 User, all masked
        ] {
            let entry = take(Exception::Undefined, &from(spsr), NONE);
            assert_eq!(entry.pc, 0xffff_8000_1001_0800 + offset, "{spsr:#x}");
        }
    }

    #[test]
    fn a_data_abort_tells_direction_address_and_level() {
        let abort = Exception::DataAbort {
            address: Some(0x1234),
            write: true,
            maintenance: false,
        };
        let same = take(abort, &from(0x3c5), NONE);
        assert_eq!((same.esr, same.far), (0x9600_0050, Some(0x1234)));
        let lower = take(abort, &from(0x0), NONE);
        assert_eq!(lower.esr, 0x9200_0050);
        let aarch32 = take(abort, &from(0x10), NONE);
        assert_eq!(aarch32.esr, 0x9200_0050);
        let maintenance = Exception::DataAbort {
            address: None,
            write: true,
            maintenance: true,
        };
        let entry = take(maintenance, &from(0x3c5), NONE);
        assert_eq!((entry.esr, entry.far), (0x9600_0550, None));
    }

    #[test]
    fn an_instruction_abort_tells_the_level() {
        let abort = Exception::InstrAbort {
            address: Some(0x8000),
        };
        assert_eq!(take(abort, &from(0x5), NONE).esr, 0x8600_0010);
        assert_eq!(take(abort, &from(0x0), NONE).esr, 0x8200_0010);
        let unknown = Exception::InstrAbort { address: None };
        assert_eq!(take(unknown, &from(0x5), NONE).esr, 0x8600_0410);
    }

    #[test]
    fn flags_and_dit_stay_and_the_rest_is_cleared() {
        // All flags, TCO, DIT, UAO, PAN, SS, IL, SSBS, BTYPE set; EL1h.
        let entry = take(Exception::Undefined, &from(0xf3f0_1c05), NONE);
        assert_eq!(entry.pstate, 0xf100_03c5);
        assert_eq!(entry.spsr, 0xf3f0_1c05);
    }

    #[test]
    fn pan_is_set_unless_span_says_leave_it() {
        let pan = PstateFields { pan: true, ..NONE };
        let leave = from(0x5);
        assert_eq!(take(Exception::Undefined, &leave, pan).pstate, 0x3c5);
        let was_set = from(0x40_0005);
        assert_eq!(take(Exception::Undefined, &was_set, pan).pstate, 0x40_03c5);
        let set = Interrupted { sctlr: 0, ..leave };
        assert_eq!(take(Exception::Undefined, &set, pan).pstate, 0x40_03c5);
        assert_eq!(take(Exception::Undefined, &set, NONE).pstate, 0x3c5);
    }

    #[test]
    fn handlers_get_ssbs_from_sctlr_and_not_from_before() {
        let ssbs = PstateFields { ssbs: true, ..NONE };
        let dssbs = Interrupted {
            sctlr: 1 << 44 | 1 << 23,
            ..from(0x5)
        };
        assert_eq!(take(Exception::Undefined, &dssbs, ssbs).pstate, 0x13c5);
        assert_eq!(
            take(Exception::Undefined, &from(0x1005), ssbs).pstate,
            0x3c5
        );
    }

    #[test]
    fn newer_masks_are_set_where_the_cpu_has_them() {
        let bare = Interrupted {
            sctlr: 1 << 23,
            ..from(0x5)
        };
        assert_eq!(take(Exception::Undefined, &bare, ALL).pstate, 0x200_23c5);
        let spintmask = Interrupted {
            sctlr: 1 << 62 | 1 << 23,
            ..bare
        };
        assert_eq!(
            take(Exception::Undefined, &spintmask, ALL).pstate,
            0x200_03c5
        );
    }

    #[test]
    fn the_fields_are_those_that_the_id_registers_name() {
        assert_eq!(PstateFields::of_cpu(0, 0), NONE);
        // Neoverse N1: PAN 2, SSBS 2, no MTE, no NMI.
        let n1 = PstateFields::of_cpu(0x1021_2122, 0x20);
        assert_eq!(
            n1,
            PstateFields {
                pan: true,
                ssbs: true,
                ..NONE
            }
        );
        assert!(
            !PstateFields::of_cpu(0, 0x100).tco,
            "MTE without tags has no TCO"
        );
        assert!(PstateFields::of_cpu(0, 0x200).tco);
        assert!(PstateFields::of_cpu(0, 1 << 36).allint);
    }

    proptest! {
        #[test]
        fn a_handler_runs_at_el1_with_interrupts_masked(spsr: u64, pc: u64, vbar: u64, sctlr: u64) {
            let from = Interrupted { spsr, pc, vbar, sctlr };
            let entry = take(Exception::Undefined, &from, ALL);
            prop_assert_eq!(entry.pstate & 0x3df, 0x3c5);
            prop_assert_eq!(entry.pstate & !0xf340_33c5, 0, "N Z C V TCO DIT PAN ALLINT SSBS DAIF M");
            prop_assert_eq!(entry.pc & 0x1ff, 0);
            prop_assert_eq!((entry.elr, entry.spsr), (pc, spsr));
        }
    }
}
