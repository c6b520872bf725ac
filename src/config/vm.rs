//! What one VM is: the validated content of its FIT configuration.

use crate::{
    spec::psci::{FunctionSet, LegacyIds},
    types::{Conduit, PsciVersion},
};

/// A VM as configured; nothing in here can be wrong any more.
#[derive(Clone, Debug)]
pub struct VmConfig<'a> {
    /// Name of the configuration node; unique in its bundle.
    pub name: &'a str,
    /// The kernel image, hash checked.
    pub kernel: Kernel<'a>,
    /// The initial RAM disk, hash checked.
    pub ramdisk: Option<&'a [u8]>,
    /// A device tree that replaces the generated one, hash checked; it may still be malformed.
    pub fdt: Option<&'a [u8]>,
    /// `/chosen/bootargs`.
    pub bootargs: &'a str,
    /// vCPUs, 1 to [`crate::types::MAX_VCPUS`].
    pub cpus: usize,
    /// Board CPUs that the vCPUs may use, as a bit mask, in the order of the board's device tree with the boot CPU first; `None` when Bulkhead chooses.
    pub affinity: Option<u64>,
    /// RAM in bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// PSCI revision.
    pub psci: PsciVersion,
    /// Ids by which PSCI 0.1 is called.
    pub psci_ids: LegacyIds,
    /// Optional PSCI functions that the VM is without.
    pub psci_hide: FunctionSet,
    /// Bitmaps of the SMCCC services that the VM has; `None` where it has all that the board can serve.
    pub services: Services,
    /// Conduit that the device tree names.
    pub conduit: Conduit,
    /// Created, but started only on request.
    pub manual_start: bool,
    /// What follows a crash.
    pub on_crash: OnCrash,
}

/// Bitmaps of the firmware registers of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// STD_BMAP.
    pub std: Option<u32>,
    /// STD_HYP_BMAP.
    pub std_hyp: Option<u32>,
    /// VENDOR_HYP_BMAP.
    pub vendor_hyp: Option<u32>,
}

/// How the kernel image is stored.
#[derive(Clone, Copy, Debug)]
pub enum Kernel<'a> {
    /// An arm64 Image.
    Plain(&'a [u8]),
    /// An arm64 Image compressed by gzip (RFC 1952).
    Gzip(&'a [u8]),
}

/// What follows a crash of the VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// It stays as it is.
    #[default]
    Halt,
    /// It starts again from its pristine images.
    Restart,
}
