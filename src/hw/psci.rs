//! The board's own PSCI firmware: the other CPUs, and the board's power.

use crate::{
    arch::firmware,
    types::{Conduit, Mpidr, Pa},
};

const CPU_ON_64: u32 = 0xc400_0003;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;

/// PSCI 0.2 or newer behind the conduit that the board's device tree names.
#[derive(Clone, Copy, Debug)]
pub struct Psci {
    conduit: Conduit,
}

impl Psci {
    /// The firmware behind `conduit`.
    pub const fn new(conduit: Conduit) -> Self {
        Self { conduit }
    }

    /// CPU_ON: starts the CPU at `entry` with `context` in x0. The error is PSCI's code.
    pub fn cpu_on(self, target: Mpidr, entry: Pa, context: u64) -> Result<(), i32> {
        match firmware::call(
            self.conduit,
            CPU_ON_64,
            [target.affinity(), entry.get(), context],
        ) as i32
        {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// SYSTEM_OFF; returns only when the firmware refuses.
    pub fn system_off(self) {
        firmware::call(self.conduit, SYSTEM_OFF, [0; 3]);
    }

    /// SYSTEM_RESET; returns only when the firmware refuses.
    pub fn system_reset(self) {
        firmware::call(self.conduit, SYSTEM_RESET, [0; 3]);
    }
}
