//! Addresses: `reg` (DTSpec 2.3.6), carried through the `ranges` of every bus above (2.3.8).

use super::error::{BoardError, Fault};
use crate::{
    spec::fdt::{Cells, MAX_DEPTH, Node, Path, Property},
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
pub(super) struct Buses<'a>(ArrayVec<Bus<'a>, MAX_DEPTH>);

impl<'a> Buses<'a> {
    /// The buses that children of the last node are behind; the first one is the root.
    #[inline(never)]
    pub(super) fn of<'t>(way: &[Node<'t, 'a>]) -> Result<Self, BoardError<'t, 'a>> {
        let bus = |node: &Node<'t, 'a>| {
            Ok(Bus {
                address_cells: cell_count(*node, "#address-cells", node.address_cells())?,
                size_cells: cell_count(*node, "#size-cells", node.size_cells())?,
                ranges: node.property("ranges").and_then(Property::cells),
            })
        };
        way.iter().map(bus).collect::<Result<_, _>>().map(Self)
    }

    /// Every entry of the `reg` of `device` as the CPU sees it; none without a `reg`. An entry of
    /// size 0 is `None`: firmware that fills in addresses leaves such where it has nothing to say.
    pub(super) fn regs<'t>(
        &self,
        device: Node<'t, 'a>,
    ) -> impl Iterator<Item = Result<Option<PaRange>, BoardError<'t, 'a>>> {
        let bus = self.0.last().zip(device.property("reg"));
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
                Err(BoardError::new(device, fault))
            };
            Some(match range.map(|range| self.translate(range)) {
                Some(Some(range)) => Ok(Some(range)),
                Some(None) => refused("what the ranges of the buses above lead to"),
                None => refused("addresses and sizes of 64 bits that do not wrap"),
            })
        })
    }

    /// The first entry of `reg`, if there is one that is of use: a misaligned access to device memory would fault.
    fn first_reg(&self, device: Node<'_, 'a>) -> Option<PaRange> {
        let regs = self.regs(device).next()?.ok()?;
        regs.filter(|regs| regs.start().is_aligned(4))
    }

    /// The range that `range` on the last bus is for the CPU.
    fn translate(&self, range: PaRange) -> Option<PaRange> {
        let buses = self.0.iter().rev();
        let above = self.0.iter().rev().skip(1);
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

/// The first registers of `device`, if they are of use.
#[inline(never)]
pub(super) fn of_device(device: &Path) -> Option<PaRange> {
    Buses::of(device.above()).ok()?.first_reg(device.node())
}

/// `count`, which came from the property `name` of `node`, unless it is out of bounds.
fn cell_count<'t, 'a>(
    node: Node<'t, 'a>,
    name: &'static str,
    count: Option<u32>,
) -> Result<u32, BoardError<'t, 'a>> {
    count.filter(|count| *count <= MAX_CELLS).ok_or_else(|| {
        let fault = match node.property(name) {
            Some(property) => Fault::Value {
                property,
                allowed: "0 to 3",
            },
            None => Fault::Missing(name),
        };
        BoardError::new(node, fault)
    })
}
