//! The power manager of the BCM2835 family: its watchdog resets boards whose firmware has no PSCI.
//!
//! There is no public manual. Registers and values are those of the binding brcm,bcm2835-pm-wdt and of its users; the
//! boot ROM reads the partition to boot from RSTS, and halts when that is 63.

use crate::mm::mmio::Mmio;

const RSTC: u64 = 0x1c;
const RSTS: u64 = 0x20;
const WDOG: u64 = 0x24;

/// Bits 31:24 of every write; others have no effect.
const PASSWORD: u32 = 0x5a << 24;
const PASSWORD_FIELD: u32 = 0xff << 24;
/// RSTC: what the watchdog does when it ends, and the value for a full reset.
const RSTC_CONFIG: u32 = 3 << 4;
const RSTC_FULL_RESET: u32 = 2 << 4;
/// RSTS: the partition's six bits, 0, 2, 4, 6, 8 and 10.
const RSTS_PARTITION: u32 = 0x555;
/// Ticks of 16 us until the reset.
const TICKS: u32 = 10;
/// How long to wait for it: more reads of a device than any CPU makes in that time.
const POLLS: u32 = 1_000_000;

/// A power manager.
#[derive(Clone, Copy, Debug)]
pub struct PowerManager {
    registers: Mmio,
}

impl PowerManager {
    /// The power manager with these registers.
    pub const fn new(registers: Mmio) -> Self {
        Self { registers }
    }

    /// Turns the board off, as far as it can be: it resets, and the boot ROM halts. Returns only when nothing happens.
    pub fn power_off(self) {
        self.restart_from(RSTS_PARTITION);
    }

    /// Resets the board. Returns only when nothing happens.
    pub fn reset(self) {
        self.restart_from(0);
    }

    fn restart_from(self, partition: u32) {
        let pm = self.registers;
        let status = pm.read32(RSTS) & !PASSWORD_FIELD & !RSTS_PARTITION;
        pm.write32(RSTS, PASSWORD | status | partition);
        pm.write32(WDOG, PASSWORD | TICKS);
        let control = pm.read32(RSTC) & !PASSWORD_FIELD & !RSTC_CONFIG;
        pm.write32(RSTC, PASSWORD | control | RSTC_FULL_RESET);
        for _ in 0..POLLS {
            pm.read32(RSTC);
        }
    }
}
