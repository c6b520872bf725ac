//! Random numbers by the CPU (FEAT_RNG).

use core::arch::asm;

/// RNDRRS: a number from a generator that was reseeded for it (Arm ARM D24.2, RNDRRS). `None` when it
/// could not be in time. Only on a CPU with ID_AA64ISAR0_EL1.RNDR.
pub fn random() -> Option<u64> {
    let (value, done): (u64, u64);
    // SAFETY: reads a register and the flags that say whether the read counts (NZCV = 0b0100: it does not).
    unsafe {
        asm!(
            "mrs {value}, s3_3_c2_c4_1",
            "cset {done}, ne",
            value = out(reg) value,
            done = out(reg) done,
            options(nomem, nostack)
        )
    };
    (done != 0).then_some(value)
}
