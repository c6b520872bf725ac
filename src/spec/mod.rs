//! What the architecture and the standards define: formats, numbers and tables, nothing that acts.

pub mod crc32;
pub mod esr;
pub mod fdt;
pub mod gic;
pub mod gzip;
pub mod image;
pub mod machine;
pub mod psci;
#[cfg(test)]
mod psci_doc;
pub mod services;
#[cfg(test)]
mod services_doc;
pub mod smccc;
pub mod sysreg;
pub mod translation;
