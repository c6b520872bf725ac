//! Words by which a CPU is told where to go that reads memory with its caches off.

#![allow(
    unsafe_code,
    reason = "the one place for it here; each use says why it is sound"
)]

use crate::{
    arch::cache,
    types::{Pa, PaRange},
};
use core::arch::asm;

/// A 64-bit word in a page that EL2 maps as data and that nobody else gets.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(PaRange);

impl Mailbox {
    /// Bytes of the word.
    const BYTES: u64 = 8;

    /// The word at `word`, a multiple of 8, whose page EL2's map has just got.
    pub(super) fn new(word: Pa) -> Option<Self> {
        let range = PaRange::new(word, Self::BYTES)?;
        word.is_aligned(Self::BYTES).then_some(Self(range))
    }

    /// Writes the word to memory. The line is dropped, so that it is not written back over what others store beside it.
    pub fn write(self, value: u64) {
        let address = self.0.start().get();
        // SAFETY: (1) mapped, aligned, and no Rust object. (2) The page may be page 0, whose addresses Rust's own
        // accesses must not use.
        unsafe {
            asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
        cache::clean_and_invalidate(self.0);
    }
}
