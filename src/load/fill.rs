//! A VM's images into its RAM.

use super::{
    guest_dtb::{self, GuestTree, MergeError},
    image::{self, ImageError, Placement, PlacementError},
};
use crate::{
    config::vm::VmConfig,
    emul::power::Entry,
    spec::{
        crc32::Crc32,
        fdt::{self, Malformed, write::Full},
        gic::GicVersion,
        machine::RAM_BASE,
        psci::LegacyIds,
    },
    types::IpaRange,
};
use core::fmt;

/// Bytes that are kept for what we write into a device tree: 32 CPU nodes and all the devices take half of it,
/// the longest command line a quarter.
const TREE_BYTES: u64 = 64 << 10;

/// Why a VM's images do not get to run; each prints as one line.
#[derive(Debug)]
pub enum LoadError {
    /// The kernel is not one.
    Kernel(ImageError),
    /// There is no room.
    Placement(PlacementError),
    /// The configured device tree is damaged.
    Malformed(Malformed),
    /// The configured device tree cannot be completed.
    Merge(MergeError),
    /// The generated device tree does not fit.
    Full(Full),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::Placement(error) => error.fmt(f),
            Self::Malformed(error) => write!(f, "fdt: {error}"),
            Self::Merge(error) => write!(f, "fdt: {error}"),
            Self::Full(error) => error.fmt(f),
        }
    }
}

/// Where the images of `config` go.
pub fn place(config: &VmConfig) -> Result<Placement, LoadError> {
    let header = image::header(&config.kernel).map_err(LoadError::Kernel)?;
    let ramdisk = config.ramdisk.map_or(0, |ramdisk| ramdisk.len() as u64);
    Placement::new(
        &config.kernel,
        &header,
        tree_bytes(config),
        ramdisk,
        config.memory,
    )
    .map_err(LoadError::Placement)
}

/// Room for the device tree.
fn tree_bytes(config: &VmConfig) -> u64 {
    TREE_BYTES + config.fdt.map_or(0, |given| given.len() as u64)
}

/// Completes the room of an image at whose start so many bytes have been written: these follow, the rest becomes zero, and memory holds
/// all of it as a guest sees it that reads past the caches.
pub type Settle = fn(&mut [u8], usize, &[u8]);

/// Puts the images into `ram`, each settled in its room, and says where and with what in x0 the first CPU begins.
pub fn fill(
    config: &VmConfig,
    placement: &Placement,
    gic: GicVersion,
    psci_ids: LegacyIds,
    (crc32, settle): (Crc32, Settle),
    ram: &mut [u8],
) -> Result<Entry, LoadError> {
    let kernel = part(ram, placement.kernel);
    let (bytes, plain) = image::unpack(&config.kernel, kernel, crc32).map_err(LoadError::Kernel)?;
    settle(kernel, bytes, plain);
    if let (Some(range), Some(ramdisk)) = (placement.ramdisk, config.ramdisk) {
        settle(part(ram, range), 0, ramdisk);
    }
    let guest = GuestTree {
        memory: config.memory,
        cpus: config.cpus,
        psci: config.psci,
        psci_ids,
        conduit: config.conduit,
        bootargs: config.bootargs,
        initrd: placement.ramdisk,
        gic,
    };
    let memory = part(ram, placement.dtb);
    let bytes = write_tree(config, &guest, memory)?;
    settle(memory, bytes, &[]);
    Ok(Entry {
        pc: placement.kernel.start().get(),
        context: placement.dtb.start().get(),
        big_endian: false,
    })
}

/// Writes the device tree to the start of `memory` and says how many bytes it takes.
fn write_tree(config: &VmConfig, guest: &GuestTree, memory: &mut [u8]) -> Result<usize, LoadError> {
    let Some(given) = config.fdt else {
        return guest_dtb::generate(guest, memory).map_err(LoadError::Full);
    };
    let given = fdt::open(given).map_err(LoadError::Malformed)?;
    guest_dtb::merge(guest, &given, memory).map_err(LoadError::Merge)
}

/// The bytes of `range`; none when it is not RAM, which `place` has excluded.
fn part(ram: &mut [u8], range: IpaRange) -> &mut [u8] {
    let start = range.start().get().wrapping_sub(RAM_BASE.get()) as usize;
    let end = start.saturating_add(range.bytes() as usize);
    ram.get_mut(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Conduit, Ipa, PsciVersion};
    use std::vec;

    #[test]
    fn the_largest_generated_tree_fits_into_its_room() {
        let guest = GuestTree {
            memory: 1 << 38,
            cpus: 32,
            psci: PsciVersion::NEWEST,
            psci_ids: LegacyIds::KVM,
            conduit: Conduit::Smc,
            bootargs: &"x".repeat(16384),
            initrd: IpaRange::new(Ipa::new(1 << 38), 1),
            gic: GicVersion::V3,
        };
        let mut memory = vec![0; TREE_BYTES as usize];
        let written = guest_dtb::generate(&guest, &mut memory).unwrap();
        assert!(written as u64 <= TREE_BYTES / 2 + 16384, "{written}");
    }
}
