//! The board's own PSCI firmware: the other CPUs, and the board's power.

use crate::{
    arch::firmware,
    types::{Mpidr, Pa},
};

const CPU_ON_64: u32 = 0xc400_0003;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;

/// PSCI firmware: there is some only where the board's device tree says so.
#[derive(Clone, Copy, Debug)]
pub struct Psci {
    cpu_on: u32,
    /// It can turn the board off: 0.2 or newer.
    has_system: bool,
}

impl Psci {
    /// 0.2 or newer.
    pub const STANDARD: Self = Self {
        cpu_on: CPU_ON_64,
        has_system: true,
    };

    /// 0.1, with this function id of CPU_ON.
    pub const fn v0_1(cpu_on: u32) -> Self {
        Self {
            cpu_on,
            has_system: false,
        }
    }

    /// CPU_ON: starts the CPU at `entry` with `context` in x0. The error is PSCI's code.
    pub fn cpu_on(self, target: Mpidr, entry: Pa, context: u64) -> Result<(), i32> {
        let arguments = [target.affinity(), entry.get(), context];
        match firmware::call(self.cpu_on, arguments) as i32 {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// SYSTEM_OFF; returns only when the firmware refuses or has no such call.
    pub fn system_off(self) {
        self.system(SYSTEM_OFF);
    }

    /// SYSTEM_RESET; likewise.
    pub fn system_reset(self) {
        self.system(SYSTEM_RESET);
    }

    fn system(self, function: u32) {
        if self.has_system {
            firmware::call(function, [0; 3]);
        }
    }
}
