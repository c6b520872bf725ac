//! The board's PL031, a real-time clock (DDI0224C). What the firmware has set is only read.

use crate::mm::mmio::Mmio;

/// RTCDR (3.3.1).
const DR: u64 = 0x00;

/// A PL031.
#[derive(Clone, Copy, Debug)]
pub struct Pl031 {
    registers: Mmio,
}

impl Pl031 {
    /// The PL031 with these registers.
    pub const fn new(registers: Mmio) -> Self {
        Self { registers }
    }

    /// The time of day, in seconds since 1970-01-01.
    pub fn seconds(&self) -> u32 {
        self.registers.read32(DR)
    }
}
