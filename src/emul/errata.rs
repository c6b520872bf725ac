//! Errata that EL2 works around at run time, where MIDR_EL1 says so. docs/errata.md has all that were considered.

/// Cortex-A57 to r1p2, erratum 834220: a load that crosses a page and faults in stage 1 may be reported as a stage 2
/// translation fault.
pub const fn misreports_stage_2_faults(midr: u64) -> bool {
    const CORTEX_A57: u64 = 0x4100_d070;
    let part = midr & 0xff00_fff0;
    let (variant, revision) = (midr >> 20 & 0xf, midr & 0xf);
    part == CORTEX_A57 && (variant < 1 || variant == 1 && revision <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MIDR_EL1: implementer [31:24], variant [23:20], part [15:4], revision [3:0].
    #[test]
    fn stage_2_faults_are_doubted_on_a_cortex_a57_to_r1p2() {
        for (midr, doubted) in [
            (0x410f_d070, true),
            (0x410f_d074, true),
            (0x411f_d070, true),
            (0x411f_d072, true),
            (0x411f_d073, false),
            (0x412f_d070, false),
            (0x411f_d080, false),
            (0x511f_d070, false),
        ] {
            assert_eq!(misreports_stage_2_faults(midr), doubted, "{midr:#x}");
        }
    }
}
