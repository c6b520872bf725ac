//! The ID registers of a vCPU: which features of the CPU a guest may know of.
//!
//! An allow-list. A field that has no row reads as zero, so a feature that is newer than this table
//! stays hidden, and so does a register: all of op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7 is trapped by
//! HCR_EL2.TID3, and what is reserved there reads as zero (Arm ARM D24.3.1).
//!
//! A row stands for a promise: what the value announces works at EL1 and EL0 under the controls that
//! `arch::el1::configure` puts in place, which says what they trap. Above each register stands what is
//! left out of it, and why.

use crate::spec::sysreg::{self, SysReg};

/// What a vCPU is, as far as its ID registers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The guest's interrupt controller is a GICv3 with system registers.
    pub gicv3: bool,
    /// The most that ID_AA64MMFR0_EL1.PARange may say: the encoding of the intermediate physical
    /// address size that stage 2 translates (0: 32 bits, 1: 36, 2: 40, 3: 42, 4: 44, 5: 48, 6: 52).
    pub pa_range: u8,
}

/// What becomes of a field; each is four bits wide.
#[derive(Clone, Copy)]
enum Offer {
    /// The CPU's value, at most this; for fields where a higher value includes the lower ones.
    UpTo(u8),
    /// Likewise for a signed field, where 0xf is -1 and means "not implemented" (D24.1.3).
    SignedUpTo(i8),
    /// Always this: the value that says "not implemented" where that is not zero.
    Fixed(u8),
    /// The CPU's value, at most [`View::pa_range`].
    PaRange,
    /// 1 (GICv3 system registers) or 0, by [`View::gicv3`].
    Gic,
}

use Offer::{Fixed, Gic, PaRange, SignedUpTo, UpTo};

/// A field that is passed as it is: a number, or a property that software must know exactly.
const AS_IS: Offer = UpTo(15);

impl Offer {
    fn apply(self, raw: u8, view: &View) -> u8 {
        match self {
            UpTo(max) => raw.min(max),
            SignedUpTo(max) => {
                let signed = ((raw << 4) as i8) >> 4;
                signed.min(max) as u8 & 15
            }
            Fixed(value) => value,
            PaRange => raw.min(view.pa_range),
            Gic => u8::from(view.gicv3),
        }
    }
}

/// Lowest bit of a field and what is offered of it.
type Field = (u32, Offer);

/// A register of 32 bits, all of them as they are.
const ALL_32: &[Field] = &[
    (0, AS_IS),
    (4, AS_IS),
    (8, AS_IS),
    (12, AS_IS),
    (16, AS_IS),
    (20, AS_IS),
    (24, AS_IS),
    (28, AS_IS),
];

/// The registers of the AArch32 view (CRm = 1 to 3); they matter to a guest whose EL0 may use AArch32.
/// EL1 may not, so nothing in them may speak of AArch32 exception levels above EL0.
const AARCH32: &[(SysReg, &[Field])] = &[
    // Left out: AMU [23:20] and RAS [31:28], see ID_AA64PFR0_EL1; CSV2 2 is SCXTNUM, see there.
    (
        sysreg::ID_PFR0_EL1,
        &[
            (0, AS_IS),    // State0
            (4, AS_IS),    // State1
            (8, AS_IS),    // State2
            (12, AS_IS),   // State3
            (16, UpTo(1)), // CSV2
            (24, UpTo(1)), // DIT
        ],
    ),
    // Left out: ProgMod, Security, MProgMod, Virtualization, Sec_frac, Virt_frac [15:0], [27:20]: they
    // describe AArch32 EL1 and above. GenTimer 2 is ECV, see ID_AA64MMFR0_EL1.
    (sysreg::ID_PFR1_EL1, &[(16, UpTo(1)), (28, Gic)]),
    // Left out: RAS_frac [11:8].
    (sysreg::ID_PFR2_EL1, &[(0, AS_IS), (4, UpTo(1))]), // CSV3, SSBS
    // Left out: memory-mapped debug, trace and PMU, as in ID_AA64DFR0_EL1.
    (sysreg::ID_DFR0_EL1, &[(0, UpTo(10))]), // CopDbg
    (sysreg::ID_MMFR0_EL1, ALL_32),
    (sysreg::ID_MMFR1_EL1, ALL_32),
    (sysreg::ID_MMFR2_EL1, ALL_32),
    (sysreg::ID_MMFR3_EL1, ALL_32),
    // Left out: XNX [11:8] and EVT [31:28], which belong to EL2.
    (
        sysreg::ID_MMFR4_EL1,
        &[
            (0, AS_IS),  // SpecSEI
            (4, AS_IS),  // AC2
            (12, AS_IS), // CnP
            (16, AS_IS), // HPDS
            (20, AS_IS), // LSM
            (24, AS_IS), // CCIDX
        ],
    ),
    (sysreg::ID_MMFR5_EL1, &[(0, AS_IS), (4, AS_IS)]), // ETS, nTLBPA
    (sysreg::ID_ISAR0_EL1, ALL_32),
    (sysreg::ID_ISAR1_EL1, ALL_32),
    (sysreg::ID_ISAR2_EL1, ALL_32),
    (sysreg::ID_ISAR3_EL1, ALL_32),
    (sysreg::ID_ISAR4_EL1, ALL_32),
    (sysreg::ID_ISAR5_EL1, ALL_32),
    (sysreg::ID_ISAR6_EL1, ALL_32),
    (sysreg::MVFR0_EL1, ALL_32),
    (sysreg::MVFR1_EL1, ALL_32),
    (sysreg::MVFR2_EL1, ALL_32),
];

/// The registers of the AArch64 view (CRm = 4 to 7).
///
/// Registers without a row read as zero: ID_AA64PFR2 (MTE details, FPMR: HCRX_EL2.EnFPM is needed),
/// ID_AA64ZFR0, ID_AA64SMFR0, ID_AA64FPFR0 (SVE, SME, FP8: CPTR_EL2 and HCRX_EL2 grant them),
/// ID_AA64DFR1/2 (extended debug: MDCR_EL2.EBWE), ID_AA64AFR0/1 (IMPLEMENTATION DEFINED), ID_AA64MMFR3
/// (TCR2, SCTLR2, permission indirection and overlays, D128, MEC: HCRX_EL2 grants them) and
/// ID_AA64MMFR4 (about EL2 and EL3).
const AARCH64: &[(SysReg, &[Field])] = &[
    // Left out:
    // EL2, EL3 [15:8]: a guest has neither.
    // RAS [31:28]: error records are the board's; a virtual SError carries no RAS syndrome.
    // SVE [35:32]: CPTR_EL2 traps it; its state is not switched.
    // SEL2 [39:36], RME [55:52]: no secure and no realm world.
    // MPAM [43:40]: partitions of the board's caches are not the guest's to choose.
    // AMU [47:44]: counters of the pCPU tell of other VMs.
    // CSV2 2 and 3 add SCXTNUM_ELx, which HCR_EL2.EnSCXT = 0 traps; the promise of 1 stays true.
    (
        sysreg::ID_AA64PFR0_EL1,
        &[
            (0, UpTo(2)),        // EL0: AArch64, and AArch32 where the CPU has it
            (4, UpTo(1)),        // EL1: AArch64 only, HCR_EL2.RW is 1
            (16, SignedUpTo(1)), // FP
            (20, SignedUpTo(1)), // AdvSIMD
            (24, Gic),           // GIC
            (48, UpTo(1)),       // DIT
            (56, UpTo(1)),       // CSV2
            (60, AS_IS),         // CSV3
        ],
    ),
    // Left out:
    // MTE [11:8], MTE_frac [43:40], MTEX [55:52]: HCR_EL2.ATA is 0; stage 2 memory is not tagged.
    // RAS_frac [15:12], MPAM_frac [19:16]: with RAS and MPAM.
    // SME [27:24]: CPTR_EL2 traps it; its state is not switched.
    // RNDR_trap [31:28]: EL3.
    // NMI [39:36]: the vGIC has none.
    // GCS [47:44], THE [51:48]: HCRX_EL2 grants them.
    // DF2 [59:56], PFAR [63:60]: delivery of board errors.
    (
        sysreg::ID_AA64PFR1_EL1,
        &[
            (0, UpTo(1)),  // BT
            (4, UpTo(2)),  // SSBS
            (32, UpTo(1)), // CSV2_frac; 2 adds SCXTNUM_ELx
        ],
    ),
    // Left out:
    // TraceVer [7:4], TraceFilt [43:40], TraceBuffer [47:44], ExtTrcBuff [59:56]: trace is trapped.
    // PMUVer [11:8], PMSS [19:16], MTPMU [51:48], HPMN0 [63:60]: the PMU is trapped.
    // SEBEP [27:24], PMSVer [35:32], BRBE [55:52]: profiling state is not switched.
    // DoubleLock [39:36]: power-down belongs to the hypervisor; 0xf says that it is absent.
    (
        sysreg::ID_AA64DFR0_EL1,
        &[
            (0, UpTo(10)),   // DebugVer: up to Armv8.8; 8.9 adds MDSELR_EL1 (MDCR_EL2.EBWE)
            (12, AS_IS),     // BRPs
            (20, AS_IS),     // WRPs
            (28, AS_IS),     // CTX_CMPs
            (36, Fixed(15)), // DoubleLock
        ],
    ),
    // Left out: TME [27:24], whose transactions every exit would abort.
    (
        sysreg::ID_AA64ISAR0_EL1,
        &[
            (4, UpTo(2)),  // AES
            (8, UpTo(1)),  // SHA1
            (12, UpTo(2)), // SHA2
            (16, UpTo(1)), // CRC32
            (20, UpTo(3)), // Atomic
            (28, UpTo(1)), // RDM
            (32, UpTo(1)), // SHA3
            (36, UpTo(1)), // SM3
            (40, UpTo(1)), // SM4
            (44, UpTo(1)), // DP
            (48, UpTo(1)), // FHM
            (52, UpTo(2)), // TS
            (56, UpTo(2)), // TLB
            (60, UpTo(1)), // RNDR
        ],
    ),
    // Left out:
    // APA, API [11:4], GPA, GPI [31:24]: HCR_EL2.API and APK are 0, keys are not switched.
    // LS64 [63:60]: HCRX_EL2.EnALS is 0.
    (
        sysreg::ID_AA64ISAR1_EL1,
        &[
            (0, UpTo(2)),  // DPB
            (12, UpTo(1)), // JSCVT
            (16, UpTo(1)), // FCMA
            (20, UpTo(3)), // LRCPC
            (32, UpTo(1)), // FRINTTS
            (36, UpTo(1)), // SB
            (40, UpTo(2)), // SPECRES
            (44, UpTo(2)), // BF16
            (48, UpTo(1)), // DGH
            (52, UpTo(1)), // I8MM
            (56, UpTo(1)), // XS
        ],
    ),
    // Left out:
    // GPA3, APA3 [15:8], PAC_frac [27:24]: pointer authentication, as above.
    // MOPS [19:16]: HCRX_EL2.MSCEn is 0.
    // SYSREG_128, SYSINSTR_128 [39:32]: D128; ATS1A [63:60]: with permission indirection.
    (
        sysreg::ID_AA64ISAR2_EL1,
        &[
            (0, UpTo(2)),  // WFxT
            (4, UpTo(1)),  // RPRES
            (20, UpTo(1)), // BC
            (28, UpTo(1)), // CLRBHB
            (40, UpTo(1)), // PRFMSLC
            (48, UpTo(1)), // RPRFM
            (52, UpTo(1)), // CSSC
            (56, UpTo(1)), // LUT
        ],
    ),
    // Left out: CPA [3:0] (SCTLR2_EL1), TLBIW [11:8] (HCRX_EL2), PACM [15:12], OCCMO, LSUI [27:20].
    (
        sysreg::ID_AA64ISAR3_EL1,
        &[
            (4, UpTo(1)),  // FAMINMAX
            (16, UpTo(1)), // LSFE
            (28, UpTo(1)), // FPRCVT
        ],
    ),
    // Left out:
    // SNSMem [15:12]: no secure world.
    // TGran16_2, TGran64_2, TGran4_2 [43:32]: stage 2 of a guest that has EL2.
    // FGT [59:56]: EL2. ECV [63:60]: CNTPOFF_EL2 and its traps; the plain counters remain.
    (
        sysreg::ID_AA64MMFR0_EL1,
        &[
            (0, PaRange),
            (4, UpTo(2)),        // ASIDBits
            (8, UpTo(1)),        // BigEnd
            (16, UpTo(1)),       // BigEndEL0
            (20, UpTo(2)),       // TGran16
            (24, SignedUpTo(0)), // TGran64
            (28, SignedUpTo(1)), // TGran4
            (44, UpTo(1)),       // ExS
        ],
    ),
    // Left out:
    // HAFDBS 3 (HAFT) needs TCR2_EL1, 4 (HDBSS) needs EL2.
    // VMIDBits, VH [11:4], XNX [31:28], TWED [35:32], HCX [43:40]: EL2.
    // LO [19:16]: HCR_EL2.TLOR traps LORegions, which describe physical memory.
    // CMOW [59:56]: HCRX_EL2.CMOW is the other half of it.
    (
        sysreg::ID_AA64MMFR1_EL1,
        &[
            (0, UpTo(2)),  // HAFDBS
            (12, UpTo(2)), // HPDS
            (20, UpTo(3)), // PAN
            (24, UpTo(1)), // SpecSEI
            (36, AS_IS),   // ETS
            (44, UpTo(1)), // AFP
            (48, AS_IS),   // nTLBPA
            (52, UpTo(1)), // TIDCP1
            (60, AS_IS),   // ECBHB
        ],
    ),
    // Left out:
    // IESB [15:12]: with RAS. NV [27:24], FWB [43:40], EVT [59:56]: EL2.
    // VARange 2 (56 bits) needs D128. IDS 2 reports more registers by EC 0x18 than we do.
    (
        sysreg::ID_AA64MMFR2_EL1,
        &[
            (0, UpTo(1)),  // CnP
            (4, UpTo(1)),  // UAO
            (8, UpTo(1)),  // LSM
            (16, UpTo(1)), // VARange
            (20, AS_IS),   // CCIDX: the format of CCSIDR_EL1, which is read natively
            (28, UpTo(1)), // ST
            (32, UpTo(1)), // AT
            (36, UpTo(1)), // IDS
            (48, UpTo(1)), // TTL
            (52, UpTo(2)), // BBM
            (60, UpTo(1)), // E0PD
        ],
    ),
];

/// Whether HCR_EL2.TID3 traps reads of this register: the ID registers and the room kept for more.
pub const fn is_id_register(register: SysReg) -> bool {
    register.op0() == 3
        && register.op1() == 0
        && register.crn() == 0
        && register.crm() >= 1
        && register.crm() <= 7
}

/// What the guest reads from an ID register; `raw` reads the CPU's own and is called for registers of
/// [`is_id_register`] only.
pub fn read(register: SysReg, view: &View, raw: impl Fn(SysReg) -> u64) -> u64 {
    let aarch32 = register.crm() <= 3;
    // On a CPU without AArch32 the registers that describe it are UNKNOWN.
    if aarch32 && raw(sysreg::ID_AA64PFR0_EL1) & 15 < 2 {
        return 0;
    }
    let table = if aarch32 { AARCH32 } else { AARCH64 };
    let Some((_, fields)) = table.iter().find(|row| row.0 == register) else {
        return 0;
    };
    let value = raw(register);
    fields.iter().fold(0, |seen, &(shift, offer)| {
        let field = (value >> shift & 15) as u8;
        seen | u64::from(offer.apply(field, view)) << shift
    })
}

#[cfg(test)]
mod tests;
