//! The board's own PSCI firmware: the other CPUs, and the board's power.

use crate::{
    arch::firmware,
    spec::psci::Function,
    types::{Mpidr, Pa},
};

/// PSCI firmware: there is some only where the board's device tree says so.
#[derive(Clone, Copy, Debug)]
pub struct Psci {
    cpu_on: u32,
    /// It can turn the board off: 0.2 or newer.
    has_system: bool,
}

impl Psci {
    /// 0.2 or newer.
    pub fn standard() -> Self {
        let row = Function::CpuOn.row();
        Self {
            cpu_on: row.id64().unwrap_or(row.id32()).get(),
            has_system: true,
        }
    }

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
        self.system(Function::SystemOff);
    }

    /// SYSTEM_RESET; likewise.
    pub fn system_reset(self) {
        self.system(Function::SystemReset);
    }

    fn system(self, function: Function) {
        if self.has_system {
            firmware::call(function.row().id32().get(), [0; 3]);
        }
    }
}
