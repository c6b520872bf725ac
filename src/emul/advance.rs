//! A guest goes on behind an instruction that EL2 has carried out in its place: what the CPU would have
//! done to PSTATE had it executed the instruction itself.

/// SPSR.nRW: AArch32 state.
const AARCH32: u64 = 1 << 4;
/// SPSR.SS: a guest that steps itself stops behind this instruction, not behind the next (Arm ARM D2.12).
const SS: u64 = 1 << 21;
/// SPSR.BTYPE: only a branch leaves other than 0.
const BTYPE: u64 = 0b11 << 10;
/// IT[7:2] and IT[1:0] in the SPSR of AArch32 state.
const IT_HIGH: u32 = 10;
const IT_LOW: u32 = 25;

/// Whether PSTATE, in the format of SPSR_EL2, is the same behind an instruction as before it, and the instruction one of
/// AArch64 state.
#[inline(always)]
pub const fn is_plain(spsr: u64) -> bool {
    spsr & (AARCH32 | SS | BTYPE) == 0
}

/// PSTATE behind an instruction, in the format of SPSR_EL2, from the one before it.
#[inline(always)]
pub const fn behind(spsr: u64) -> u64 {
    let spsr = spsr & !SS;
    match spsr & AARCH32 {
        0 => spsr & !BTYPE,
        _ => behind_in_block(spsr),
    }
}

/// The same in AArch32 state, where the instruction may be of an IT block.
#[cold]
#[inline(never)]
const fn behind_in_block(spsr: u64) -> u64 {
    let it = spsr >> IT_HIGH << 2 & 0xfc | spsr >> IT_LOW & 0b11;
    let it = next_in_block(it);
    spsr & !(0x3f << IT_HIGH | 0b11 << IT_LOW) | it >> 2 << IT_HIGH | (it & 0b11) << IT_LOW
}

/// ITAdvance() (Arm ARM J1.3): the condition of the next instruction of an IT block, 0 behind its last.
const fn next_in_block(it: u64) -> u64 {
    match it & 0b111 {
        0 => 0,
        _ => it & 0xe0 | it << 1 & 0x1f,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a64_loses_step_and_branch_type_and_keeps_the_rest() {
        // N, TCO, PAN, SS, BTYPE 3, DAIF, EL1h.
        assert_eq!(behind(0x8260_0fc5), 0x8240_03c5);
    }

    #[test]
    fn a32_and_t32_outside_a_block_keep_their_state() {
        assert_eq!(behind(0x2000_0010), 0x2000_0010);
        assert_eq!(behind(0x2000_0030), 0x2000_0030);
    }

    #[test]
    fn a_t32_block_goes_on_to_its_end() {
        // ITTE EQ before its first instruction: IT 0b0000_0110; then 0b0000_1100, 0b0001_1000, none.
        let it = |it: u64| 0x30 | it >> 2 << 10 | (it & 3) << 25;
        assert_eq!(behind(it(0b0000_0110)), it(0b0000_1100));
        assert_eq!(behind(it(0b0000_1100)), it(0b0001_1000));
        assert_eq!(behind(it(0b0001_1000)), it(0));
        // ITE NE: NE is 0b0001, and EQ, 0b0000, what its second instruction has.
        assert_eq!(behind(it(0b0001_0100)), it(0b0000_1000));
    }

    proptest! {
        #[test]
        fn a_plain_state_stays(spsr: u64) {
            prop_assert_eq!(is_plain(spsr), spsr & 1 << 4 == 0 && behind(spsr) == spsr);
        }

        #[test]
        fn neither_mode_nor_flags_nor_masks_change(spsr: u64) {
            let kept = 0xf180_03ff;
            prop_assert_eq!(behind(spsr) & kept, spsr & kept);
            prop_assert_eq!(behind(spsr) & (1 << 21), 0);
        }
    }
}
