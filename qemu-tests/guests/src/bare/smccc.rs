//! Calls to the firmware (SMCCC, DEN0028; PSCI, DEN0022).

use super::{cpu, exception::catch, fdt::Fdt};

/// The instruction that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC #0.
    Hvc,
    /// SMC #0.
    Smc,
}

unsafe extern "C" {
    fn hvc0();
    fn smc0();
    fn with_registers(instruction: unsafe extern "C" fn(), registers: *mut u64);
}

/// x0 to x28.
pub type Registers = [u64; 29];

/// x1 to x28 filled with values that are easily recognised.
pub fn pattern(x0: u64) -> Registers {
    core::array::from_fn(|i| match i {
        0 => x0,
        _ => 0x5a5a_0000_a5a5_0000 | (i as u64) << 32 | i as u64,
    })
}

/// Runs an instruction with these registers and returns what they are afterwards: all as before if it is UNDEFINED.
pub fn with(instruction: unsafe extern "C" fn(), mut registers: Registers) -> Registers {
    // SAFETY: boot.S keeps what the caller's ABI wants kept.
    catch(|| unsafe { with_registers(instruction, registers.as_mut_ptr()) });
    registers
}

impl Conduit {
    /// The instruction.
    pub fn instruction(self) -> unsafe extern "C" fn() {
        match self {
            Self::Hvc => hvc0,
            Self::Smc => smc0,
        }
    }

    /// Makes a call with all of these registers.
    pub fn call(self, registers: Registers) -> Registers {
        with(self.instruction(), registers)
    }

    /// Makes a call with up to three arguments; x0 of the answer.
    pub fn call3(self, function: u64, x1: u64, x2: u64, x3: u64) -> u64 {
        let mut registers = pattern(function);
        registers[1..4].copy_from_slice(&[x1, x2, x3]);
        self.call(registers)[0]
    }
}

/// PSCI as the device tree tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Psci {
    /// The conduit.
    pub conduit: Conduit,
    /// Only 0.1: no "arm,psci-0.2" or later among the compatible strings.
    pub only_0_1: bool,
    /// The ids of CPU_OFF and CPU_ON.
    pub cpu_off: u64,
    /// See `cpu_off`.
    pub cpu_on: u64,
    /// `cpu_suspend` of 0.1, if there is one.
    pub cpu_suspend: Option<u32>,
    /// `migrate` of 0.1, if there is one.
    pub migrate: Option<u32>,
}

impl Psci {
    /// As `/psci` says.
    pub fn from_fdt(fdt: Fdt) -> Self {
        let strings = fdt.property("/psci", "compatible").unwrap_or_default();
        let only_0_1 = !strings.split(|b| *b == 0).any(|s| s == b"arm,psci-0.2");
        let id = |name| fdt.property_u32("/psci", name);
        Self {
            conduit: match fdt.property("/psci", "method") {
                Some(b"smc\0") => Conduit::Smc,
                _ => Conduit::Hvc,
            },
            only_0_1,
            cpu_off: if only_0_1 {
                id("cpu_off").unwrap_or(0).into()
            } else {
                0x8400_0002
            },
            cpu_on: if only_0_1 {
                id("cpu_on").unwrap_or(0).into()
            } else {
                0xc400_0003
            },
            cpu_suspend: id("cpu_suspend"),
            migrate: id("migrate"),
        }
    }

    /// CPU_ON.
    pub fn on(self, target: u64, entry: u64, context: u64) -> i64 {
        self.conduit.call3(self.cpu_on, target, entry, context) as i64
    }

    /// Ends the machine: SYSTEM_OFF, or where that does not exist, CPU_OFF of the last CPU.
    pub fn off(self) {
        if !self.only_0_1 {
            self.conduit.call3(0x8400_0008, 0, 0, 0);
        }
        self.cpu_off();
    }

    /// CPU_OFF.
    pub fn cpu_off(self) {
        self.conduit.call3(self.cpu_off, 0, 0, 0);
    }

    /// SYSTEM_OFF without a device tree, by one conduit and then the other.
    pub fn system_off_by_both() {
        for conduit in [Conduit::Hvc, Conduit::Smc] {
            conduit.call3(0x8400_0008, 0, 0, 0);
        }
        cpu::wfi();
    }
}
