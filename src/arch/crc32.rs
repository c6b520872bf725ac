//! CRC-32 by the CPU's instructions (FEAT_CRC32), which Armv8.0 leaves optional.

use super::regs::read_reg;
use crate::spec::crc32;
use core::arch::{aarch64::__crc32b, asm};

/// The CRC-32 of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    match read_reg!("id_aa64isar0_el1") >> 16 & 0xf {
        0 => crc32::crc32(bytes),
        // SAFETY: ID_AA64ISAR0_EL1.CRC32 says that the instructions are there.
        _ => unsafe { by_instructions(bytes) },
    }
}

/// Two words in three instructions, and the loop around 128 bytes.
#[target_feature(enable = "crc")]
fn by_instructions(bytes: &[u8]) -> u32 {
    let (lines, rest) = bytes.as_chunks::<128>();
    let (mut crc, mut at) = (!0u32, lines.as_ptr());
    for _ in lines {
        // SAFETY: (1) it loads the next line of 128 bytes, which may be anywhere in Normal memory. (2) The CPU has the
        // instructions: this function is called only then.
        unsafe {
            asm!(
                ".rept 8",
                "ldp {a}, {b}, [{at}], #16",
                "crc32x {crc:w}, {crc:w}, {a}",
                "crc32x {crc:w}, {crc:w}, {b}",
                ".endr",
                a = out(reg) _,
                b = out(reg) _,
                at = inout(reg) at,
                crc = inout(reg) crc,
                options(readonly, nostack, preserves_flags)
            )
        };
    }
    !rest.iter().fold(crc, |crc, byte| __crc32b(crc, *byte))
}
