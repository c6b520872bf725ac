//! Drivers of the board's own devices, chosen at run time from the device tree.

pub mod bcm2835_pm;
pub mod gic;
pub mod mini_uart;
pub mod pl011;
pub mod pl031;
pub mod psci;
pub mod smccc;
