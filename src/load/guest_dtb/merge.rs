//! A tree that the VM brings along, with what only Bulkhead knows filled in.

use super::{
    GuestTree,
    vm::{self, CellCount, RegCells},
};
use crate::{
    spec::{
        fdt::{
            Node, Tree,
            write::{self, Children, Full, Writer},
        },
        machine,
    },
    types::Mpidr,
};
use core::fmt;

/// Why a VM's own tree cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There is no room for the result.
    Full,
    /// The root says how its children write addresses, but not in a way that memory could have.
    Cells {
        /// `#address-cells` or `#size-cells`.
        property: &'static str,
        /// What it says; `None` when it is not one cell.
        value: Option<u32>,
    },
    /// The VM's memory does not fit into the cells of the root.
    Memory {
        /// Bytes of RAM.
        bytes: u64,
    },
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Full => Full.fmt(f),
            Self::Cells {
                property,
                value: Some(value),
            } => write!(f, "/: {property} is {value}, allowed are 1 and 2"),
            Self::Cells { property, .. } => {
                write!(f, "/: {property} is not one cell, allowed are 1 and 2")
            }
            Self::Memory { bytes } => write!(
                f,
                "/: {} MiB of memory need #address-cells and #size-cells of 2",
                bytes >> 20
            ),
        }
    }
}

impl From<Full> for MergeError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// Writes `given` into `memory`, with the guest's own memory, cpus, psci and boot parameters, and
/// returns the bytes that the result takes.
///
/// Everything else stays as it is, phandles included. Phandles of a CPU that goes on to exist stay as
/// well, so that `interrupt-affinity` and the like keep their meaning.
///
/// # Errors
/// `memory` is too small, or the root of `given` is such that the VM's memory cannot be described.
pub fn merge(guest: &GuestTree, given: &Tree, memory: &mut [u8]) -> Result<usize, MergeError> {
    let top = given.root();
    let cells = reg_cells(top, guest)?;
    let size = Writer::from_tree(memory, 0, given).root(|mut root| {
        // Said even where `given` leaves it open: not every kernel has the specification's defaults.
        cells.declare(&mut root);
        copy_properties(top, &mut root, |name| {
            !matches!(name, "#address-cells" | "#size-cells")
        });
        let mut nodes = root.children();
        chosen(&mut nodes, top.child("chosen"), guest);
        vm::memory(&mut nodes, guest, cells);
        vm::cpus(&mut nodes, guest, unused_phandle(given), &|mpidr| {
            phandle_of_cpu(top, mpidr)
        });
        vm::psci(&mut nodes, guest);
        for node in top.children().filter(|node| !is_replaced(*node)) {
            copy(node, &mut nodes);
        }
    })?;
    Ok(size)
}

fn reg_cells(root: Node, guest: &GuestTree) -> Result<RegCells, MergeError> {
    let count = |property, value: Option<u32>| match value {
        Some(1) => Ok(CellCount::One),
        Some(2) => Ok(CellCount::Two),
        _ => Err(MergeError::Cells { property, value }),
    };
    let cells = RegCells {
        address: count("#address-cells", root.address_cells())?,
        size: count("#size-cells", root.size_cells())?,
    };
    let bytes = guest.memory;
    let end = machine::RAM_BASE.get().saturating_add(bytes);
    if cells.address.fits(end) && cells.size.fits(bytes) {
        Ok(cells)
    } else {
        Err(MergeError::Memory { bytes })
    }
}

/// Whether another node is written in place of this child of the root.
fn is_replaced(node: Node) -> bool {
    let device_type = node.property("device_type").and_then(|kind| kind.str());
    matches!(node.base_name(), "chosen" | "memory" | "cpus" | "psci")
        || device_type == Some("memory")
        || is_firmware(node)
}

/// Whether a kernel would take the node for its PSCI firmware: it looks for that by `compatible`,
/// wherever in the tree, and must find none but ours.
fn is_firmware(node: Node) -> bool {
    node.property("compatible")
        .is_some_and(|list| list.strings().any(|entry| entry.starts_with("arm,psci")))
}

fn phandle_of_cpu(root: Node, mpidr: Mpidr) -> Option<u32> {
    let is_meant = |cpu: &Node| {
        let reg = cpu.property("reg").and_then(|reg| reg.u64());
        cpu.base_name() == "cpu" && reg == Some(mpidr.affinity())
    };
    root.child("cpus")?.children().find(is_meant)?.phandle()
}

/// The first phandle above those of all nodes of `given`, the ones that are left out too: what refers to one of
/// them must not find an idle state instead.
fn unused_phandle(given: &Tree) -> u32 {
    let highest = given.nodes().filter_map(Node::phandle).max();
    highest.unwrap_or(0).saturating_add(1)
}

/// Where the initrd lay for whom the tree was made is of no use to this guest; its command line is,
/// unless another one is configured.
fn chosen(nodes: &mut Children, given: Option<Node>, guest: &GuestTree) {
    let mut chosen = nodes.node("chosen");
    vm::boot_parameters(&mut chosen, guest);
    let Some(given) = given else { return };
    copy_properties(given, &mut chosen, |name| match name {
        "linux,initrd-start" | "linux,initrd-end" => false,
        "bootargs" => guest.bootargs.is_empty(),
        _ => true,
    });
    copy_children(given, chosen.children());
}

/// Not deeper than [`crate::spec::fdt::MAX_DEPTH`], to which a [`Tree`] is checked.
fn copy(node: Node, nodes: &mut Children) {
    let mut copy = nodes.node(node.name());
    copy_properties(node, &mut copy, |_| true);
    copy_children(node, copy.children());
}

fn copy_children(from: Node, mut to: Children) {
    for child in from.children().filter(|child| !is_firmware(*child)) {
        copy(child, &mut to);
    }
}

fn copy_properties(from: Node, to: &mut write::Node, wanted: impl Fn(&str) -> bool) {
    for property in from.properties().filter(|p| wanted(p.name())) {
        to.copy(property);
    }
}
