//! An access of a guest to an emulated device, decoded once from the syndrome.

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 8 bits.
    Byte = 0,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Width {
    /// From the SAS field of a data abort's syndrome (Arm ARM D24.2.40, ISS encoding for Data Abort).
    pub const fn from_sas(sas: u64) -> Self {
        match sas & 3 {
            0 => Self::Byte,
            1 => Self::Half,
            2 => Self::Word,
            _ => Self::Double,
        }
    }

    /// Size in bytes: 1, 2, 4 or 8.
    #[inline(always)]
    pub const fn bytes(self) -> u64 {
        1 << self as u8
    }

    /// All ones in the bits that the access covers.
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// `value`, of which these bytes count, with them in reverse order.
    pub const fn reverse(self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - 8 * self.bytes())
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A load; the device answers with the value.
    Read,
    /// A store of this value, already cut to the width of the access.
    Write(u64),
}

/// One access to a device's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Bytes from the start of the device's window; a multiple of the width.
    pub offset: u64,
    /// How many bytes.
    pub width: Width,
    /// Load or store.
    pub op: Op,
}

/// The device does not answer such an access: the guest takes a synchronous external abort, as it
/// would on hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort;
