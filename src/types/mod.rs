//! Types that carry meaning: one newtype per kind of number.
//!
//! A guest address cannot be passed where a physical one is wanted, a vCPU index cannot be taken for
//! a pCPU, and what a guest claims stays a claim until somebody checked it. This module imports
//! nothing; everything else may import it.

mod access;
mod addr;
mod conduit;
mod cpu;
mod gpr;
mod psci_version;

pub use access::{Abort, Access, Op, Width};
pub use addr::{Ipa, IpaRange, Pa, PaRange};
pub use conduit::{Conduit, UnknownConduit};
pub use cpu::{MAX_PCPUS, MAX_VCPUS, MAX_VMS, Mpidr, VcpuId, VcpuSet, VmId};
pub use gpr::Gpr;
pub use psci_version::{PsciVersion, UnknownPsciVersion};
