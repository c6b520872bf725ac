//! What guests are told of the board's CPUs and speculation (DEN0070A, DEN0028 7.5 to 7.7).
//!
//! A vCPU may be shown another CPU after each reset of the board, so the worst CPU speaks for all.

use super::firmware::{Mitigation, Workarounds};

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
    /// SMCCC_ARCH_FEATURES of workarounds 1, 2 and 3, asked on this CPU; `None` without SMCCC 1.1.
    pub firmware: Option<[i32; 3]>,
}

/// The implementer and part number of MIDR_EL1, whatever the revision.
const fn part(implementer: u64, number: u64) -> u64 {
    implementer << 24 | number << 4
}

const CORTEX_A35: u64 = part(0x41, 0xd04);
const CORTEX_A53: u64 = part(0x41, 0xd03);
const CORTEX_A55: u64 = part(0x41, 0xd05);
const CORTEX_A510: u64 = part(0x41, 0xd46);
const CORTEX_A520: u64 = part(0x41, 0xd80);
const BRAHMA_B53: u64 = part(0x42, 0x100);
const TSV110: u64 = part(0x48, 0xd01);
const KRYO_2XX_SILVER: u64 = part(0x51, 0x801);
const KRYO_3XX_SILVER: u64 = part(0x51, 0x803);
const KRYO_4XX_SILVER: u64 = part(0x51, 0x805);

/// CPUs whose branch predictors cannot be trained across contexts though CSV2 is zero.
const SAFE_PREDICTORS: [u64; 8] = [
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
const SAFE_STORES: [u64; 6] = [
    CORTEX_A35,
    CORTEX_A53,
    CORTEX_A55,
    BRAHMA_B53,
    KRYO_3XX_SILVER,
    KRYO_4XX_SILVER,
];
/// CPUs whose branch history steers no indirect branch.
const SAFE_HISTORY: [u64; 9] = [
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

    fn is_one_of(&self, parts: &[u64]) -> bool {
        const PART: u64 = part(0xff, 0xfff);
        parts.contains(&(self.midr & PART))
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
