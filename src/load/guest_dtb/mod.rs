//! The device tree that a guest gets.
//!
//! [`generate()`] describes the machine of [`crate::spec::machine`], node by node as QEMU describes its
//! `virt`, so that what was built for that one finds everything where it looks for it. A VM may bring
//! a tree of its own: [`merge()`] fills in what only Bulkhead knows.

mod generate;
mod merge;
#[cfg(test)]
mod tests;
mod vm;

use crate::{
    spec::{gic::GicVersion, psci::LegacyIds},
    types::{Conduit, IpaRange, MAX_VCPUS, PsciVersion, VcpuId},
};

pub use generate::generate;
pub use merge::{MergeError, merge};

/// What the device tree says about one VM.
#[derive(Clone, Copy, Debug)]
pub struct GuestTree<'a> {
    /// RAM in bytes, from [`crate::spec::machine::RAM_BASE`].
    pub memory: u64,
    /// vCPUs, 1 to [`crate::types::MAX_VCPUS`]; at most 8 with a GICv2.
    pub cpus: usize,
    /// Revision of the VM's firmware.
    pub psci: PsciVersion,
    /// Function ids of a firmware of revision 0.1.
    pub psci_ids: LegacyIds,
    /// How the guest calls it.
    pub conduit: Conduit,
    /// Kernel command line; empty when none is configured.
    pub bootargs: &'a str,
    /// Where the initial RAM disk lies.
    pub initrd: Option<IpaRange>,
    /// Which interrupt controller the guest sees.
    pub gic: GicVersion,
}

impl GuestTree<'_> {
    fn vcpus(&self) -> impl Iterator<Item = VcpuId> {
        (0..self.cpus.min(MAX_VCPUS) as u8).map(VcpuId::new)
    }
}
