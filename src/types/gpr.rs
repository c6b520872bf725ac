//! The number of a general-purpose register in an instruction.

/// x0-x30, or 31 for XZR: it reads as zero and what is written to it vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(u8);

impl Gpr {
    /// The zero register.
    pub const ZR: Self = Self(31);

    /// From a five-bit register field; higher bits are ignored.
    pub const fn from_field(field: u64) -> Self {
        Self((field & 31) as u8)
    }

    /// The index of x0-x30; `None` for XZR.
    pub const fn index(self) -> Option<usize> {
        if self.0 == 31 {
            None
        } else {
            Some(self.0 as usize)
        }
    }
}
