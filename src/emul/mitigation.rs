//! The board's CPUs and speculation (DEN0070A, DEN0028 7.5 to 7.7): what guests are told of it, and what EL2 does
//! for itself when it is entered from a guest.
//!
//! A vCPU may be shown another CPU after each reset of the board, so the worst CPU speaks for all. EL2 looks at
//! each by itself. Its map has all RAM in it, so what a guest makes it do speculatively could reach any other's.
//!
//! Nothing is done about two further ways to look at EL2. No guest can read through the map itself (CVE-2017-5754,
//! ID_AA64PFR0_EL1.CSV3): it is of another translation regime. EL2's system registers (CVE-2018-3640) hold no
//! secret: the map is the same at every boot.

use super::firmware::{Mitigation, Workaround, Workarounds};
use core::fmt;

/// What one CPU says of itself, and the board's firmware of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuFacts {
    /// MIDR_EL1.
    pub midr: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// SMCCC_ARCH_FEATURES of workarounds 1, 2 and 3, asked on this CPU; `None` without SMCCC 1.1.
    pub firmware: Option<[i32; 3]>,
}

/// The implementer and part number of MIDR_EL1, whatever the revision.
const fn part(implementer: u32, number: u32) -> u32 {
    implementer << 24 | number << 4
}

const CORTEX_A35: u32 = part(0x41, 0xd04);
const CORTEX_A53: u32 = part(0x41, 0xd03);
const CORTEX_A55: u32 = part(0x41, 0xd05);
const CORTEX_A510: u32 = part(0x41, 0xd46);
const CORTEX_A520: u32 = part(0x41, 0xd80);
const BRAHMA_B53: u32 = part(0x42, 0x100);
const TSV110: u32 = part(0x48, 0xd01);
const KRYO_2XX_SILVER: u32 = part(0x51, 0x801);
const KRYO_3XX_SILVER: u32 = part(0x51, 0x803);
const KRYO_4XX_SILVER: u32 = part(0x51, 0x805);

/// CPUs whose branch predictors cannot be trained across contexts though CSV2 is zero.
const SAFE_PREDICTORS: [u32; 8] = [
    CORTEX_A35,
    CORTEX_A53,
    CORTEX_A55,
    BRAHMA_B53,
    TSV110,
    KRYO_2XX_SILVER,
    KRYO_3XX_SILVER,
    KRYO_4XX_SILVER,
];
/// CPUs that do not let a load pass an older store of unknown address.
const SAFE_STORES: [u32; 6] = [
    CORTEX_A35,
    CORTEX_A53,
    CORTEX_A55,
    BRAHMA_B53,
    KRYO_3XX_SILVER,
    KRYO_4XX_SILVER,
];
/// CPUs whose branch history steers no indirect branch.
const SAFE_HISTORY: [u32; 9] = [
    CORTEX_A35,
    CORTEX_A53,
    CORTEX_A55,
    CORTEX_A510,
    CORTEX_A520,
    BRAHMA_B53,
    KRYO_2XX_SILVER,
    KRYO_3XX_SILVER,
    KRYO_4XX_SILVER,
];

/// CPUs whose branch history is filled by a loop, and how many times it must run: Arm's table for CVE-2022-23960, and
/// Ampere's for its own.
#[rustfmt::skip]
const LOOPS: [(u32, u32); 21] = [
    (part(0x41, 0xd07), 8),   // Cortex-A57
    (part(0x41, 0xd08), 8),   // Cortex-A72
    (part(0xc0, 0xac3), 11),  // AmpereOne
    (part(0x41, 0xd0b), 24),  // Cortex-A76
    (part(0x41, 0xd0e), 24),  // Cortex-A76AE
    (part(0x41, 0xd0d), 24),  // Cortex-A77
    (part(0x41, 0xd0c), 24),  // Neoverse N1
    (part(0x51, 0x804), 24),  // Kryo 4xx Gold
    (part(0x41, 0xd41), 32),  // Cortex-A78
    (part(0x41, 0xd42), 32),  // Cortex-A78AE
    (part(0x41, 0xd4b), 32),  // Cortex-A78C
    (part(0x41, 0xd44), 32),  // Cortex-X1
    (part(0x41, 0xd4c), 32),  // Cortex-X1C
    (part(0x41, 0xd47), 32),  // Cortex-A710
    (part(0x41, 0xd48), 32),  // Cortex-X2
    (part(0x41, 0xd49), 32),  // Neoverse N2
    (part(0x41, 0xd40), 32),  // Neoverse V1
    (part(0x41, 0xd4d), 38),  // Cortex-A715
    (part(0x41, 0xd81), 38),  // Cortex-A720
    (part(0x41, 0xd4e), 132), // Cortex-X3
    (part(0x41, 0xd4f), 132), // Neoverse V2
];

/// The answer "required, and the call mitigates".
const REQUIRED: i32 = 0;
/// The answer "this CPU is not affected".
const UNAFFECTED: i32 = 1;
/// NOT_REQUIRED of workaround 2: no CPU needs it called.
const NOT_REQUIRED: i32 = -2;

impl CpuFacts {
    /// Whether the CPU generates random numbers: FEAT_RNG, ID_AA64ISAR0_EL1.RNDR.
    pub const fn has_random(&self) -> bool {
        field(self.isar0, 60) != 0
    }

    /// Whether store bypass can, and must, be prevented by workaround 2 on this CPU. A CPU with SSBS
    /// leaves it to the guest, which has that bit.
    pub fn needs_store_bypass_prevented(&self) -> bool {
        !self.is_one_of(&SAFE_STORES) && !self.has_ssbs() && self.answer(1) == Some(REQUIRED)
    }

    /// How this CPU stands to what the workarounds are for.
    pub fn workarounds(&self) -> Workarounds {
        Workarounds {
            branch_predictor: self.branch_predictor(),
            store_bypass: self.store_bypass(),
            branch_history: self.branch_history(),
        }
    }

    /// ID_AA64PFR0_EL1.CSV2: 1 and above mean that no context trains another's branches.
    fn branch_predictor(&self) -> Mitigation {
        match field(self.pfr0, 56) > 0 || self.is_one_of(&SAFE_PREDICTORS) {
            true => Mitigation::NotRequired,
            false => self.by_firmware(0),
        }
    }

    /// Not vulnerable, or prevented for good: see [`CpuFacts::needs_store_bypass_prevented`]. With
    /// SSBS the call is not there, so that a guest uses the bit.
    fn store_bypass(&self) -> bool {
        let unaffected = matches!(self.answer(1), Some(UNAFFECTED | NOT_REQUIRED));
        self.is_one_of(&SAFE_STORES) || unaffected || self.needs_store_bypass_prevented()
    }

    /// CSV2 3 and above cover branch history; ECBHB means that no history of EL0 is used at EL1.
    fn branch_history(&self) -> Mitigation {
        let by_design = field(self.pfr0, 56) >= 3 || field(self.mmfr1, 60) > 0;
        match by_design || self.is_one_of(&SAFE_HISTORY) {
            true => Mitigation::NotRequired,
            false => self.by_firmware(2),
        }
    }

    fn by_firmware(&self, workaround: usize) -> Mitigation {
        match self.answer(workaround) {
            Some(REQUIRED) => Mitigation::Callable,
            Some(UNAFFECTED) => Mitigation::NotRequired,
            _ => Mitigation::Unknown,
        }
    }

    fn answer(&self, workaround: usize) -> Option<i32> {
        self.firmware?.get(workaround).copied()
    }

    fn has_ssbs(&self) -> bool {
        field(self.pfr1, 4) != 0
    }

    fn is_one_of(&self, parts: &[u32]) -> bool {
        parts.contains(&self.part())
    }

    fn part(&self) -> u32 {
        self.midr as u32 & part(0xff, 0xfff)
    }
}

/// What EL2 does about a vulnerability of its own, each time that a guest exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nothing: the CPU is not vulnerable.
    NotNeeded,
    /// A call of the board's firmware.
    Call(Workaround),
    /// CLRBHB (FEAT_CLRBHB).
    Clear,
    /// A loop of taken branches, so many times.
    Loop(u32),
    /// Nothing: there is no measure but the firmware's, which it has not.
    Missing,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "not vulnerable",
            Self::Call(_) => "firmware call",
            Self::Clear => "CLRBHB",
            Self::Loop(count) => return write!(f, "loop of {count}"),
            Self::Missing => "no workaround in the firmware",
        })
    }
}

/// How EL2 is hardened against what a guest has left in one CPU's branch prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// CVE-2017-5715: where the guest has led EL2's indirect branches.
    pub predictors: Measure,
    /// CVE-2022-23960: which way the guest has come, by which the CPU selects among EL2's own targets.
    pub history: Measure,
}

impl Hardening {
    /// The firmware's workaround to call.
    pub fn call(self) -> Option<Workaround> {
        match (self.predictors, self.history) {
            (Measure::Call(workaround), _) | (_, Measure::Call(workaround)) => Some(workaround),
            _ => None,
        }
    }

    /// How often the loop runs.
    pub fn loops(self) -> u32 {
        match self.history {
            Measure::Loop(count) => count,
            _ => 0,
        }
    }

    /// Whether there is anything to do at all.
    pub fn is_needed(self) -> bool {
        let idle = |measure| matches!(measure, Measure::NotNeeded | Measure::Missing);
        !idle(self.predictors) || !idle(self.history)
    }
}

impl CpuFacts {
    /// What EL2 does on this CPU. Of the two calls, workaround 3 does what workaround 1 does as well (DEN0028 7.7). To
    /// fill the history is cheaper than any call, so a CPU that needs no call for its predictors gets none for that.
    pub fn hardening(&self) -> Hardening {
        let both = Measure::Call(Workaround::BranchHistory);
        let history = self.branch_history();
        let predictors = match self.branch_predictor() {
            Mitigation::NotRequired => Measure::NotNeeded,
            Mitigation::Callable if history == Mitigation::Callable => both,
            Mitigation::Callable => Measure::Call(Workaround::BranchPredictor),
            Mitigation::Unknown => Measure::Missing,
        };
        let row = LOOPS.iter().find(|(part, _)| *part == self.part());
        let history = match (history, row) {
            (Mitigation::NotRequired, _) => Measure::NotNeeded,
            _ if predictors == both => both,
            _ if self.has_clrbhb() => Measure::Clear,
            // A guest that can train the predictors themselves needs no history for it, so the loop alone is of no use.
            (_, Some((_, count))) if predictors != Measure::Missing => Measure::Loop(*count),
            (Mitigation::Callable, _) => both,
            (Mitigation::Unknown, _) => Measure::Missing,
        };
        Hardening {
            predictors,
            history,
        }
    }

    /// ID_AA64ISAR2_EL1.CLRBHB.
    const fn has_clrbhb(&self) -> bool {
        field(self.isar2, 28) != 0
    }
}

/// The four bits of an ID register from bit `low` on.
const fn field(register: u64, low: u32) -> u64 {
    register >> low & 0xf
}

/// What holds for every one of `cpus`; of no CPU nothing is known.
pub fn worst<'a>(cpus: impl IntoIterator<Item = &'a CpuFacts>) -> Workarounds {
    let all = cpus.into_iter().map(CpuFacts::workarounds);
    let worst = all.reduce(|a, b| Workarounds {
        branch_predictor: a.branch_predictor.min(b.branch_predictor),
        store_bypass: a.store_bypass && b.store_bypass,
        branch_history: a.branch_history.min(b.branch_history),
    });
    worst.unwrap_or(Workarounds {
        branch_predictor: Mitigation::Unknown,
        store_bypass: false,
        branch_history: Mitigation::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mitigation::{Callable, NotRequired, Unknown};

    /// Cortex-A72 r0p3 and Cortex-A53 r0p4.
    const A72: u64 = 0x410f_d083;
    const A53: u64 = 0x410f_d034;

    fn cpu(midr: u64, firmware: Option<[i32; 3]>) -> CpuFacts {
        CpuFacts {
            midr,
            firmware,
            ..CpuFacts::default()
        }
    }

    fn told(cpu: CpuFacts) -> (Mitigation, bool, Mitigation) {
        let all = worst([&cpu]);
        (all.branch_predictor, all.store_bypass, all.branch_history)
    }

    #[test]
    fn a_vulnerable_cpu_without_firmware_is_unknown() {
        assert_eq!(told(cpu(A72, None)), (Unknown, false, Unknown));
        assert_eq!(told(cpu(A72, Some([-1; 3]))), (Unknown, false, Unknown));
        // A code that nobody has defined promises nothing.
        assert_eq!(told(cpu(A72, Some([2, 2, 2]))), (Unknown, false, Unknown));
    }

    #[test]
    fn firmware_that_mitigates_is_called_but_for_store_bypass() {
        let a72 = cpu(A72, Some([0, 0, 0]));
        assert_eq!(told(a72), (Callable, true, Callable));
        assert!(a72.needs_store_bypass_prevented());
    }

    #[test]
    fn firmware_that_knows_the_cpu_to_be_safe_is_believed() {
        let a72 = cpu(A72, Some([1, 1, 1]));
        assert_eq!(told(a72), (NotRequired, true, NotRequired));
        assert!(!a72.needs_store_bypass_prevented());
        assert!(worst([&cpu(A72, Some([-1, -2, -1]))]).store_bypass);
        // NOT_REQUIRED is workaround 2's alone.
        assert_eq!(
            told(cpu(A72, Some([-2, -1, -2]))),
            (Unknown, false, Unknown)
        );
    }

    /// MIDR: any revision; no other implementer's part of the same number.
    #[test]
    fn a_cpu_in_order_needs_nothing() {
        for midr in [A53, 0x411f_d030, 0x410f_d041, 0x412f_d050, 0x420f_1000] {
            assert_eq!(
                told(cpu(midr, None)),
                (NotRequired, true, NotRequired),
                "{midr:#x}"
            );
        }
        assert_eq!(told(cpu(0x430f_d034, None)), (Unknown, false, Unknown));
        // Cortex-A510 has no entry for store bypass: it tells by PFR1.
        assert_eq!(told(cpu(0x410f_d460, None)).2, NotRequired);
    }

    /// ID_AA64PFR0_EL1.CSV2 is [59:56]; 1 and 2 say nothing of the history.
    #[test]
    fn csv2_covers_predictors_and_from_3_on_history() {
        for (csv2, wanted) in [
            (1, (NotRequired, false, Unknown)),
            (2, (NotRequired, false, Unknown)),
            (3, (NotRequired, false, NotRequired)),
        ] {
            let pfr0 = csv2 << 56;
            assert_eq!(
                told(CpuFacts {
                    pfr0,
                    ..cpu(A72, None)
                }),
                wanted,
                "{csv2}"
            );
        }
        // CSV3, [63:60], is about loads that fault and stands for none of the three.
        let pfr0 = 1 << 60;
        assert_eq!(
            told(CpuFacts {
                pfr0,
                ..cpu(A72, None)
            }),
            (Unknown, false, Unknown)
        );
    }

    /// ID_AA64MMFR1_EL1.ECBHB is [63:60].
    #[test]
    fn ecbhb_covers_history() {
        let mmfr1 = 1 << 60;
        assert_eq!(
            told(CpuFacts {
                mmfr1,
                ..cpu(A72, None)
            }),
            (Unknown, false, NotRequired)
        );
    }

    /// ID_AA64PFR1_EL1.SSBS is [7:4]: a guest that has the bit is not told that it needs nothing.
    #[test]
    fn a_cpu_with_ssbs_leaves_store_bypass_to_the_guest() {
        let ssbs = CpuFacts {
            pfr1: 2 << 4,
            ..cpu(A72, Some([0, 0, 0]))
        };
        assert_eq!(told(ssbs), (Callable, false, Callable));
        assert!(!ssbs.needs_store_bypass_prevented());
    }

    #[test]
    fn the_worst_cpu_speaks_for_all() {
        let (little, big) = (cpu(A53, Some([1, 1, 1])), cpu(A72, Some([0, 0, 0])));
        let all = worst([&little, &big]);
        assert_eq!(all.branch_predictor, Callable);
        let dark = cpu(A72, None);
        for order in [[&little, &big, &dark], [&dark, &big, &little]] {
            let all = worst(order);
            assert_eq!(
                (all.branch_predictor, all.store_bypass, all.branch_history),
                (Unknown, false, Unknown)
            );
        }
        assert_eq!(worst([]).branch_predictor, Unknown);
    }

    fn hardened(cpu: CpuFacts) -> (Measure, Measure) {
        let Hardening {
            predictors,
            history,
        } = cpu.hardening();
        (predictors, history)
    }

    /// Cortex-A72 before r1p0 has CSV2 0, from r1p0 on 1; Cortex-A73 has no loop, and its call is the only way.
    #[test]
    fn el2_does_what_midr_id_registers_and_firmware_say() {
        use Measure::{Call, Clear, Loop, Missing, NotNeeded};
        const ONE: Measure = Call(Workaround::BranchPredictor);
        const THREE: Measure = Call(Workaround::BranchHistory);
        const A73: u64 = 0x411f_d091;
        const A76: u64 = 0x414f_d0b1;
        const N1: u64 = 0x414f_d0c1;
        let csv2 = |value: u64, cpu: CpuFacts| CpuFacts {
            pfr0: value << 56,
            ..cpu
        };
        let answers = |one, three| Some([one, -1, three]);
        for (what, cpu, wanted) in [
            ("A72 r0, no firmware", cpu(A72, None), (Missing, Missing)),
            (
                "A72 r0, none of 1 and 3",
                cpu(A72, answers(-1, -1)),
                (Missing, Missing),
            ),
            ("A72 r0, only 3", cpu(A72, answers(-1, 0)), (Missing, THREE)),
            ("A72 r0, only 1", cpu(A72, answers(0, -1)), (ONE, Loop(8))),
            ("A72 r0, 1 and 3", cpu(A72, answers(0, 0)), (THREE, THREE)),
            (
                "A72 r0, fixed in hardware",
                cpu(A72, answers(1, 1)),
                (NotNeeded, NotNeeded),
            ),
            (
                "A72 r1",
                csv2(1, cpu(0x411f_d080, None)),
                (NotNeeded, Loop(8)),
            ),
            (
                "A72 r1, 1 and 3",
                csv2(1, cpu(0x411f_d080, answers(1, 0))),
                (NotNeeded, Loop(8)),
            ),
            ("A57", cpu(0x411f_d070, None), (Missing, Missing)),
            ("A73, no firmware", cpu(A73, None), (Missing, Missing)),
            ("A73, only 3", cpu(A73, answers(-1, 0)), (Missing, THREE)),
            (
                "A73 r1, 3",
                csv2(1, cpu(A73, answers(1, 0))),
                (NotNeeded, THREE),
            ),
            ("A76", csv2(1, cpu(A76, None)), (NotNeeded, Loop(24))),
            ("N1", csv2(1, cpu(N1, None)), (NotNeeded, Loop(24))),
            (
                "N1 by another implementer",
                csv2(1, cpu(0x424f_d0c1, None)),
                (NotNeeded, Missing),
            ),
            ("CSV2_3", csv2(3, cpu(N1, None)), (NotNeeded, NotNeeded)),
            ("A53", cpu(A53, None), (NotNeeded, NotNeeded)),
            (
                "A53, odd firmware",
                cpu(A53, answers(0, 0)),
                (NotNeeded, NotNeeded),
            ),
            ("unknown, no firmware", cpu(0, None), (Missing, Missing)),
            (
                "CLRBHB, [31:28] of ISAR2",
                CpuFacts {
                    isar2: 1 << 28,
                    ..csv2(2, cpu(N1, answers(-1, 0)))
                },
                (NotNeeded, Clear),
            ),
            (
                "ECBHB",
                CpuFacts {
                    mmfr1: 1 << 60,
                    isar2: 1 << 28,
                    ..csv2(2, cpu(N1, None))
                },
                (NotNeeded, NotNeeded),
            ),
        ] {
            assert_eq!(hardened(cpu), wanted, "{what}");
        }
    }

    /// Arm's figures, by the part numbers of the CPUs' manuals.
    #[test]
    fn each_loop_is_as_long_as_its_cpu_wants() {
        for (midr, count) in [
            (0xc00f_ac30, 11),
            (0x411f_d0d0, 24),
            (0x51df_804e, 24),
            (0x411f_d410, 32),
            (0x410f_d490, 32),
            (0x411f_d4d0, 38),
            (0x410f_d4f0, 132),
        ] {
            let cpu = CpuFacts {
                pfr0: 1 << 56,
                ..cpu(midr, None)
            };
            assert_eq!(cpu.hardening().loops(), count, "{midr:#x}");
        }
    }

    /// CPUs that need nothing, or for which nothing is there, keep the vectors that do nothing.
    #[test]
    fn vectors_are_hardened_only_where_they_help() {
        let needs = |cpu: CpuFacts| cpu.hardening().is_needed();
        assert!(!needs(cpu(A53, None)) && !needs(cpu(0, None)));
        assert!(!needs(cpu(A72, None)));
        assert!(needs(cpu(A72, Some([0, -1, -1]))) && needs(cpu(0, Some([0, -1, -1]))));
        let call = |one, three| cpu(A72, Some([one, -1, three])).hardening().call();
        assert_eq!(call(-1, -1), None);
        assert_eq!(call(0, -1), Some(Workaround::BranchPredictor));
        assert_eq!(call(0, 0), Some(Workaround::BranchHistory));
        assert_eq!(cpu(A53, None).hardening().loops(), 0);
    }

    /// ID_AA64ISAR0_EL1.RNDR is [63:60].
    #[test]
    fn rndr_is_a_field_of_its_own() {
        let random = |isar0| {
            CpuFacts {
                isar0,
                ..cpu(A72, None)
            }
            .has_random()
        };
        assert!(random(1 << 60) && !random(0) && !random(0x0fff_ffff_ffff_ffff));
    }
}
