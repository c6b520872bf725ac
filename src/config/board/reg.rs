//! Addresses: `reg` (DTSpec 2.3.6), carried through the `ranges` of every bus above (2.3.8).

use super::error::{BoardError, Fault};
use crate::{
    spec::fdt::{Ancestors, Cells, MAX_DEPTH, Node, Property, Tree},
    types::{Pa, PaRange},
};
use arrayvec::ArrayVec;

/// PCI's addresses are the widest.
const MAX_CELLS: u32 = 3;

/// How a bus writes the addresses of what is on it, and where those are for the bus above.
struct Bus<'a> {
    address_cells: u32,
    size_cells: u32,
    ranges: Option<Cells<'a>>,
}

/// The buses from the CPU's down to the one that a device is on.
pub(super) struct Buses<'t, 'a> {
    tree: &'t Tree<'a>,
    way: ArrayVec<Bus<'a>, MAX_DEPTH>,
}

impl<'t, 'a> Buses<'t, 'a> {
    /// The buses that `device` is behind.
    pub(super) fn above(
        tree: &'t Tree<'a>,
        device: Node<'t, 'a>,
    ) -> Result<Self, BoardError<'t, 'a>> {
        Self::new(tree, &tree.ancestors(device))
    }

    /// The buses that children of `node` are behind.
    pub(super) fn below(
        tree: &'t Tree<'a>,
        node: Node<'t, 'a>,
    ) -> Result<Self, BoardError<'t, 'a>> {
        let mut way = tree.ancestors(node);
        // There is room, since a node that is as deep as can be has no children.
        let _ = way.try_push(node);
        Self::new(tree, &way)
    }

    fn new(tree: &'t Tree<'a>, way: &Ancestors<'t, 'a>) -> Result<Self, BoardError<'t, 'a>> {
        let bus = |node: &Node<'t, 'a>| {
            Ok(Bus {
                address_cells: cell_count(tree, *node, "#address-cells", node.address_cells())?,
                size_cells: cell_count(tree, *node, "#size-cells", node.size_cells())?,
                ranges: node.property("ranges").and_then(Property::cells),
            })
        };
        let way = way.iter().map(bus).collect::<Result<_, _>>()?;
        Ok(Self { tree, way })
    }

    /// Every entry of the `reg` of `device` as the CPU sees it; none without a `reg`. An entry of
    /// size 0 is `None`: firmware that fills in addresses leaves such where it has nothing to say.
    pub(super) fn regs(
        &self,
        device: Node<'t, 'a>,
    ) -> impl Iterator<Item = Result<Option<PaRange>, BoardError<'t, 'a>>> {
        let bus = self.way.last().zip(device.property("reg"));
        let mut cells = bus.and_then(|(_, property)| property.cells());
        core::iter::from_fn(move || {
            let ((bus, property), cells) = bus.zip(cells.as_mut())?;
            if cells.is_empty() {
                return None;
            }
            let address = cells.number(bus.address_cells);
            let size = cells.number(bus.size_cells);
            let range = match address.zip(size) {
                Some((_, 0)) => return Some(Ok(None)),
                Some((address, size)) => PaRange::new(Pa::new(address), size),
                None => None,
            };
            let refused = |allowed| {
                let fault = Fault::Value { property, allowed };
                Err(BoardError::new(self.tree, device, fault))
            };
            Some(match range.map(|range| self.translate(range)) {
                Some(Some(range)) => Ok(Some(range)),
                Some(None) => refused("what the ranges of the buses above lead to"),
                None => refused("addresses and sizes of 64 bits that do not wrap"),
            })
        })
    }

    /// The first entry of `reg`, if there is one that is of use: a misaligned access to device memory would fault.
    pub(super) fn first_reg(&self, device: Node<'t, 'a>) -> Option<PaRange> {
        let regs = self.regs(device).next()?.ok()?;
        regs.filter(|regs| regs.start().is_aligned(4))
    }

    /// The range that `range` on the last bus is for the CPU.
    fn translate(&self, range: PaRange) -> Option<PaRange> {
        let buses = self.way.iter().rev();
        let above = self.way.iter().rev().skip(1);
        buses.zip(above).try_fold(range, |range, (bus, above)| {
            bus.translate(range, above.address_cells)
        })
    }
}

impl Bus<'_> {
    /// The range that `range` on this bus is on the bus above; `None` when there is no way from there.
    fn translate(&self, range: PaRange, cells_above: u32) -> Option<PaRange> {
        let mut ranges = self.ranges?;
        if ranges.is_empty() {
            return Some(range);
        }
        while !ranges.is_empty() {
            let child = ranges.number(self.address_cells);
            let parent = ranges.number(cells_above);
            let size = ranges.number(self.size_cells);
            let (Some(child), Some(parent), Some(size)) = (child, parent, size) else {
                // Wider than 64 bits, as PCI's with its flags: nothing of ours is there.
                continue;
            };
            let window = PaRange::new(Pa::new(child), size);
            if window.is_some_and(|window| window.covers(range)) {
                let offset = range.start().get().checked_sub(child)?;
                return PaRange::new(Pa::new(parent).checked_add(offset)?, range.bytes());
            }
        }
        None
    }
}

/// The first registers of the first device in use that is, or is like, a `name`.
pub(super) fn of_device(tree: &Tree, name: &str) -> Option<PaRange> {
    let mut nodes = tree.nodes();
    let node = nodes.find(|node| node.is_compatible(name) && node.is_okay())?;
    Buses::above(tree, node).ok()?.first_reg(node)
}

/// `count`, which came from the property `name` of `node`, unless it is out of bounds.
fn cell_count<'t, 'a>(
    tree: &'t Tree<'a>,
    node: Node<'t, 'a>,
    name: &'static str,
    count: Option<u32>,
) -> Result<u32, BoardError<'t, 'a>> {
    let fault = match node.property(name) {
        Some(property) => Fault::Value {
            property,
            allowed: "0 to 3",
        },
        None => Fault::Missing(name),
    };
    count
        .filter(|count| *count <= MAX_CELLS)
        .ok_or(BoardError::new(tree, node, fault))
}
