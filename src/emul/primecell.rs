//! What Arm's PrimeCell peripherals have in common: 32-bit registers on an APB and an identification.

use crate::types::{Abort, Access, Width};

/// PeriphID0 to 3 and PCellID0 to 3, one byte each.
pub type Identification = [u8; 8];

/// Which register an access is for. The bus has 32 data lines: an access of 8 or 16 bits sees its lanes
/// of them, one of 64 bits has no answer.
#[derive(Clone, Copy)]
pub struct Lanes {
    /// Position of the register, four bytes each.
    pub register: usize,
    shift: u32,
}

impl Lanes {
    /// Where `access` goes.
    pub fn of(access: &Access) -> Result<Self, Abort> {
        if access.width == Width::Double {
            return Err(Abort);
        }
        Ok(Self {
            register: (access.offset / 4) as usize,
            shift: 8 * (access.offset & 3) as u32,
        })
    }

    /// What a load gets of the register's `value`, and lanes beyond its width, which the CPU leaves alone.
    pub const fn load(self, value: u32) -> u64 {
        (value >> self.shift) as u64
    }

    /// What a store of `value` puts into the register; `None` when it misses the lowest byte, as the
    /// registers are written as a whole.
    pub const fn store(self, value: u64) -> Option<u32> {
        if self.shift == 0 {
            Some(value as u32)
        } else {
            None
        }
    }
}

/// The identification registers, from 0xfe0 on; every other position reads as zero.
pub fn identify(register: usize, id: &Identification) -> u32 {
    let byte = id.get(register.wrapping_sub(0xfe0 / 4));
    byte.copied().map_or(0, u32::from)
}
