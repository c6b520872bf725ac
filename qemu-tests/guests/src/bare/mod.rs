//! The runtime of a guest.

pub mod boot;
pub mod cpu;
pub mod exception;
pub mod fdt;
pub mod gic;
pub mod instruction;
pub mod mmio;
pub mod sleep;
pub mod smccc;
pub mod tap;
pub mod uart;

pub use boot::Guest;
pub use exception::{Fault, catch};
pub use tap::Tap;
