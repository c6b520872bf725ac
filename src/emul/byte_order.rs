//! In which order a guest's data accesses take bytes.

/// SPSR.nRW: AArch32 state, where only EL0 can be.
const AARCH32: u64 = 1 << 4;
/// SPSR.E of AArch32 state.
const E: u64 = 1 << 9;
/// SPSR.M[3:2]: the exception level in AArch64 state.
const EL: u64 = 0b11 << 2;
/// SCTLR_EL1.E0E.
const E0E: u64 = 1 << 24;
/// SCTLR_EL1.EE.
const EE: u64 = 1 << 25;

/// Whether they may be big-endian: almost no guest's are.
#[inline(always)]
pub const fn may_be_big(spsr: u64, sctlr: u64) -> bool {
    sctlr & (E0E | EE) != 0 || spsr & AARCH32 != 0
}

/// Whether they are, at the exception level and in the state of `spsr` (SPSR_EL2), with SCTLR_EL1 as it is.
pub const fn is_big(spsr: u64, sctlr: u64) -> bool {
    let big = match spsr & (AARCH32 | EL) {
        0 => sctlr & E0E,
        at if at & AARCH32 != 0 => spsr & E,
        _ => sctlr & EE,
    };
    big != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EL0T: u64 = 0;
    const EL1T: u64 = 4;
    const EL1H: u64 = 5;
    const USER: u64 = 0x10;

    #[test]
    fn each_level_has_its_own_bit() {
        for (spsr, sctlr, big) in [
            (EL0T, 0, false),
            (EL0T, 1 << 24, true),
            (EL0T, 1 << 25, false),
            (EL1T, 1 << 25, true),
            (EL1H, 1 << 25, true),
            (EL1H, 1 << 24, false),
            // PSTATE.D has the place of AArch32's E.
            (EL1H | 1 << 9, 0, false),
            (USER, 1 << 24 | 1 << 25, false),
            (USER | 1 << 9, 0, true),
        ] {
            assert_eq!(is_big(spsr, sctlr), big, "{spsr:#x} {sctlr:#x}");
        }
    }

    proptest! {
        #[test]
        fn what_is_big_may_be(spsr: u64, sctlr: u64) {
            prop_assert!(may_be_big(spsr, sctlr) || !is_big(spsr, sctlr));
        }
    }
}
