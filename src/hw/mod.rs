//! Drivers of the board's own devices, chosen at run time from the device tree.

pub mod bcm2835_pm;
pub mod gic;
pub mod pl031;
pub mod psci;
pub mod smccc;
pub mod uart;
