//! What the architecture and the standards define: formats, numbers and tables, nothing that acts.

pub mod crc32;
#[cfg(test)]
mod docs;
pub mod esr;
pub mod fdt;
pub mod gic;
pub mod gzip;
pub mod image;
pub mod machine;
pub mod psci;
pub mod services;
pub mod smccc;
pub mod sysreg;
pub mod translation;
pub mod uart;
