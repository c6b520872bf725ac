//! The bundle: the one file, loaded as the initrd, that says what the VMs are and holds their images.
//!
//! It is a FIT image (U-Boot, doc/usage/fit): a device tree blob with `/images` and `/configurations`.
//! Each configuration with `compatible = "bulkhead,vm"` is a VM. What one VM's node or images have
//! wrong is that VM's error; the others are not affected.

mod error;
mod image;
mod settings;
#[cfg(test)]
mod tests;

use super::vm::{Kernel, OnCrash, Services, VmConfig};
use crate::{
    spec::{
        crc32::Crc32,
        fdt::{self, Malformed, Node, Tree},
        gzip::{self, GzipError},
        image::{HEADER_BYTES, ImageHeader},
        psci::{FunctionSet, LegacyIds},
    },
    types::{Conduit, MAX_VMS, PsciVersion},
};
use arrayvec::ArrayVec;
use core::{fmt, iter};

use error::{Allowed, Fault, Place};
use image::Images;

pub use error::ConfigError;

/// RAM of a VM that does not say how much, in bytes.
const DEFAULT_MEMORY: u64 = 256 << 20;
/// Name of the VM that is all there is.
const LONE_NAME: &str = "vm";

/// What was loaded as the initrd.
pub enum Bundle<'a> {
    /// A FIT image with at least one VM.
    Fit(Tree<'a>),
    /// A kernel: one VM with the board to itself.
    Kernel(Kernel<'a>),
}

/// Why the initrd as a whole is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// It is a FIT image by its magic number, but damaged.
    Malformed(Malformed),
    /// It is a FIT image without a VM.
    NoVm,
    /// It is gzip data that are damaged.
    Gzip(GzipError),
    /// It is something else, which begins with these four bytes.
    Unknown(u32),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "bundle: {malformed}"),
            Self::NoVm => f.write_str(
                "bundle: no node of /configurations has compatible = \"bulkhead,vm\", at least one must",
            ),
            Self::Gzip(error) => write!(f, "bundle: it {error}"),
            Self::Unknown(start) => write!(
                f,
                "bundle: it begins with {start:#010x}, allowed are a FIT image and an arm64 Image, plain or gzip"
            ),
        }
    }
}

/// What the board can give to its VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Board CPUs.
    pub cpus: usize,
    /// The most vCPUs that one VM can have: as many as the board's interrupt controller allows.
    pub vcpus: usize,
    /// RAM in bytes for a VM that has the board to itself.
    pub memory: u64,
    /// The most RAM that a guest can address, in bytes.
    pub reach: u64,
}

/// A VM of the bundle, good or bad.
pub struct Vm<'t, 'a> {
    /// Its name, as the bundle has it.
    pub name: &'a str,
    /// What it is, or why it cannot be.
    pub config: Result<VmConfig<'a>, ConfigError<'a>>,
    node: Option<Node<'t, 'a>>,
}

impl<'t, 'a> Vm<'t, 'a> {
    /// Names of properties that mean nothing to Bulkhead, probably misspelt: worth a warning.
    pub fn ignored(&self) -> impl Iterator<Item = &'a str> {
        let mut properties = self.node.map(Node::properties);
        iter::from_fn(move || properties.as_mut()?.next())
            .map(fdt::Property::name)
            .filter(|name| !settings::is_known(name))
    }
}

impl<'a> Bundle<'a> {
    /// Finds out what `initrd` is. Anything behind a FIT image's tree is its external data.
    pub fn open(initrd: &'a [u8]) -> Result<Self, BundleError> {
        if fdt::is_tree(initrd) {
            let tree = fdt::open(initrd).map_err(BundleError::Malformed)?;
            let has_vm = vm_nodes(&tree).next().is_some();
            return has_vm.then_some(Self::Fit(tree)).ok_or(BundleError::NoVm);
        }
        if ImageHeader::parse(initrd).is_some() {
            return Ok(Self::Kernel(Kernel::Plain(initrd)));
        }
        if gzip::is_gzip(initrd) {
            let mut header = [0; HEADER_BYTES];
            gzip::unpack_start(initrd, &mut header).map_err(BundleError::Gzip)?;
            if ImageHeader::parse(&header).is_some() {
                return Ok(Self::Kernel(Kernel::Gzip(initrd)));
            }
        }
        let start = initrd.first_chunk().copied().unwrap_or_default();
        Err(BundleError::Unknown(u32::from_be_bytes(start)))
    }

    /// The VMs in the order of the bundle, with the hashes of their images checked, CRC-32 by `crc32`. When there are
    /// more than [`MAX_VMS`], one error stands for the rest.
    pub fn vms<'t>(&'t self, board: Resources, crc32: Crc32) -> impl Iterator<Item = Vm<'t, 'a>> {
        let (mut lone, tree) = match self {
            Self::Kernel(kernel) => (Some(lone_vm(*kernel, board)), None),
            Self::Fit(tree) => (None, Some(tree)),
        };
        let mut listed = tree.map(|tree| {
            let reader = Reader::new(tree, board, crc32);
            (reader, vm_nodes(tree).take(MAX_VMS + 1))
        });
        let mut next_listed = move || {
            let (reader, nodes) = listed.as_mut()?;
            let node = nodes.next()?;
            Some(Vm {
                name: node.name(),
                config: reader.vm(node),
                node: Some(node),
            })
        };
        iter::from_fn(move || lone.take().or_else(&mut next_listed))
    }
}

fn vm_nodes<'t, 'a>(tree: &'t Tree<'a>) -> impl Iterator<Item = Node<'t, 'a>> {
    let mut configurations = tree.node("/configurations").map(Node::children);
    iter::from_fn(move || configurations.as_mut()?.next())
        .filter(|node| node.is_compatible("bulkhead,vm"))
}

/// The VM around a kernel that is all there is: every CPU, and the RAM that `board` offers.
fn lone_vm<'t, 'a>(kernel: Kernel<'a>, board: Resources) -> Vm<'t, 'a> {
    let config = VmConfig {
        cpus: board.cpus.min(board.vcpus).max(1),
        memory: board.memory.min(board.reach) & !0xf_ffff,
        ..defaults(LONE_NAME, kernel)
    };
    Vm {
        name: LONE_NAME,
        config: Ok(config),
        node: None,
    }
}

/// A VM that says nothing of itself but its name.
fn defaults<'a>(name: &'a str, kernel: Kernel<'a>) -> VmConfig<'a> {
    VmConfig {
        name,
        kernel,
        ramdisk: None,
        fdt: None,
        bootargs: "",
        cpus: 1,
        affinity: None,
        memory: DEFAULT_MEMORY,
        psci: PsciVersion::NEWEST,
        psci_ids: LegacyIds::KVM,
        psci_hide: FunctionSet::default(),
        services: Services::default(),
        conduit: Conduit::Hvc,
        manual_start: false,
        on_crash: OnCrash::default(),
    }
}

/// Reads one VM after the other, and remembers what concerns several.
struct Reader<'t, 'a> {
    images: Images<'t, 'a>,
    board: Resources,
    names: ArrayVec<&'a str, MAX_VMS>,
}

impl<'t, 'a> Reader<'t, 'a> {
    fn new(tree: &'t Tree<'a>, board: Resources, crc32: Crc32) -> Self {
        Self {
            images: Images::new(tree, crc32),
            board,
            names: ArrayVec::new(),
        }
    }

    #[inline(never)]
    fn vm(&mut self, node: Node<'t, 'a>) -> Result<VmConfig<'a>, ConfigError<'a>> {
        let name = node.name();
        let error = |fault| Place::Configuration(name).error(fault);
        self.claim(name).map_err(error)?;
        if node.property("kernel").is_none() {
            return Err(error(Fault::Missing("kernel")));
        }
        let mut vm = defaults(name, Kernel::Plain(&[]));
        let mut given = 0u32;
        for property in node.properties() {
            if let Some((index, setting)) = settings::find(property.name()) {
                if given & 1 << index != 0 {
                    let allowed = Allowed::Words("once");
                    return Err(error(Fault::Value { property, allowed }));
                }
                given |= 1 << index;
                setting.read(&mut vm, property, &mut self.images, self.board)?;
            }
        }
        settings::check_psci_ids(node, &vm).map_err(error)?;
        Ok(vm)
    }

    /// Takes the name for a VM. A name stands in log lines and in commands, so it has the characters
    /// that DTSpec 2.2.1 gives to node names, and no others.
    fn claim(&mut self, name: &'a str) -> Result<(), Fault<'a>> {
        const LONGEST: usize = 31;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-@".contains(&byte);
        let taken = self.names.contains(&name);
        // A VM counts whatever is wrong with it: none is left out without a word.
        self.names.try_push(name).map_err(|_| Fault::TooMany)?;
        match name.len() <= LONGEST && name.bytes().all(good) {
            true if taken => Err(Fault::Taken),
            true => Ok(()),
            false => Err(Fault::Name),
        }
    }
}
