//! Registers of the board's devices.

#![allow(
    unsafe_code,
    reason = "the one place for it here; each use says why it is sound"
)]

use crate::types::PaRange;
use core::arch::asm;

/// A device's registers: a range that EL2 maps as device memory for its whole life.
///
/// Loads are load-acquires: on a Cortex-A57 to r1p2 plain loads from devices may deadlock with exclusives (erratum
/// 832075), and elsewhere that costs nothing next to the access.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    range: PaRange,
}

impl Mmio {
    /// The registers at `range`, which EL2's map has just got as device memory.
    pub(super) const fn new(range: PaRange) -> Self {
        Self { range }
    }

    /// Where and how large.
    pub const fn range(self) -> PaRange {
        self.range
    }

    /// The `bytes` bytes from `offset` on, as a device of their own; `None` when they do not lie within.
    pub fn at(self, offset: u64, bytes: u64) -> Option<Self> {
        let range = PaRange::new(self.range.start().checked_add(offset)?, bytes)?;
        self.range.covers(range).then_some(Self { range })
    }

    /// Whether `bytes` at `offset` lie within; an access outside is not made.
    fn address(self, offset: u64, bytes: u64) -> Option<u64> {
        let end = offset.checked_add(bytes)?;
        (end <= self.range.bytes()).then(|| self.range.start().get().wrapping_add(offset))
    }

    /// The 32-bit register at `offset` bytes; `None` when it does not lie within.
    pub fn register(self, offset: u64) -> Option<Register> {
        let address = self.address(offset, 4)?;
        Some(Register { address })
    }

    /// Reads the 32-bit register at `offset` bytes.
    pub fn read32(self, offset: u64) -> u32 {
        self.register(offset).map_or(0, Register::read)
    }

    /// Writes the 32-bit register at `offset` bytes.
    pub fn write32(self, offset: u64, value: u32) {
        if let Some(register) = self.register(offset) {
            register.write(value);
        }
    }

    /// Reads the 64-bit register at `offset` bytes.
    pub fn read64(self, offset: u64) -> u64 {
        let Some(address) = self.address(offset, 8) else {
            return 0;
        };
        let value: u64;
        // SAFETY: as for `Register::read`.
        unsafe {
            asm!("ldar {}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
        value
    }

    /// Writes the 64-bit register at `offset` bytes.
    pub fn write64(self, offset: u64, value: u64) {
        let Some(address) = self.address(offset, 8) else {
            return;
        };
        // SAFETY: as for `Register::write`.
        unsafe {
            asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
    }
}

/// A 32-bit register of a device.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Within an [`Mmio`].
    address: u64,
}

impl Register {
    /// Reads it.
    #[inline(always)]
    pub fn read(self) -> u32 {
        let value: u32;
        // SAFETY: (1) within a device's range, which is mapped. (2) LDAR has no writeback, as devices want it. (3) It is aligned: the
        // range is (`Memory::device`), and so are the drivers' offsets.
        unsafe {
            asm!("ldar {:w}, [{}]", out(reg) value, in(reg) self.address, options(nostack, preserves_flags))
        };
        value
    }

    /// Writes it.
    #[inline(always)]
    pub fn write(self, value: u32) {
        // SAFETY: as for `read`; what the device does with it is the driver's business.
        unsafe {
            asm!("str {:w}, [{}]", in(reg) value, in(reg) self.address, options(nostack, preserves_flags))
        };
    }
}
