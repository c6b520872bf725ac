//! The machine that a guest sees: devices, interrupt controller and firmware, as plain state machines.
//!
//! A device gets who asks and what, changes its own state, and answers. It knows neither the board nor
//! the VM around it; whom to wake because of the change is part of the answer.

pub mod advance;
pub mod byte_order;
pub mod errata;
pub mod firmware;
pub mod fw_registers;
pub mod id_registers;
pub mod inject;
pub mod mitigation;
pub mod power;
mod primecell;
pub mod psci;
pub mod pv_time;
pub mod rtc;
pub mod smccc;
pub mod sysreg;
pub mod timer;
pub mod trng;
pub mod uart;
pub mod vgic;
