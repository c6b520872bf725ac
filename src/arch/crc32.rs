//! CRC-32 by the CPU's instructions (FEAT_CRC32), which Armv8.0 leaves optional.

use super::regs::read_reg;
use crate::spec::crc32;
use core::arch::aarch64::{__crc32b, __crc32d};

/// The CRC-32 of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    match read_reg!("id_aa64isar0_el1") >> 16 & 0xf {
        0 => crc32::crc32(bytes),
        // SAFETY: ID_AA64ISAR0_EL1.CRC32 says that the instructions are there.
        _ => unsafe { by_instructions(bytes) },
    }
}

/// Four aligned words at a time: two instructions for each, with the loop around them.
#[target_feature(enable = "crc")]
fn by_instructions(bytes: &[u8]) -> u32 {
    // SAFETY: any bytes make a word.
    let (head, lines, tail) = unsafe { bytes.align_to::<[u64; 4]>() };
    let byte = |crc, byte: &u8| __crc32b(crc, *byte);
    let line = |crc, [a, b, c, d]: &[u64; 4]| {
        let half = __crc32d(__crc32d(crc, *a), *b);
        __crc32d(__crc32d(half, *c), *d)
    };
    let crc = head.iter().fold(!0, byte);
    let crc = lines.iter().fold(crc, line);
    !tail.iter().fold(crc, byte)
}
