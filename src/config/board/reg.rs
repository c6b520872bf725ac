//! Addresses: `reg` (DTSpec 2.3.6), carried through the `ranges` of every bus above (2.3.8).

use super::error::BoardError;
use crate::{
    spec::fdt::{Cells, Node, Path, Property},
    types::{Pa, PaRange},
};

/// PCI's addresses are the widest.
const MAX_CELLS: u32 = 3;
/// Bytes from a device's first register to behind its last that is of use.
const REACH: u64 = 0x1_0000;

/// The entries of a `reg` that are still to be read.
pub(super) struct Regs<'w, 't, 'a> {
    way: &'w [Node<'t, 'a>],
    device: Node<'t, 'a>,
    cells: Cells<'a>,
    address_cells: u32,
    size_cells: u32,
}

impl<'w, 't, 'a> Regs<'w, 't, 'a> {
    /// The `reg` of `device`, which is on the last of the buses `way`; the first one is the root.
    #[inline(never)]
    pub(super) fn new(
        way: &'w [Node<'t, 'a>],
        device: Node<'t, 'a>,
    ) -> Result<Self, BoardError<'t, 'a>> {
        let cells = device.property("reg").and_then(Property::cells);
        let bus = way.last().copied().unwrap_or(device);
        let regs = Self {
            way,
            device,
            cells: cells.unwrap_or_default(),
            address_cells: address_cells(bus)?,
            size_cells: size_cells(bus)?,
        };
        match regs.cells.is_empty() || regs.address_cells + regs.size_cells > 0 {
            true => Ok(regs),
            false => Err(regs.refused("none, as #address-cells and #size-cells are 0")),
        }
    }

    /// Whose it is.
    pub(super) fn device(&self) -> Node<'t, 'a> {
        self.device
    }

    /// The next entry as it stands.
    fn read(&mut self) -> Option<(u64, u64)> {
        let address = self.cells.number(self.address_cells);
        let size = self.cells.number(self.size_cells);
        address.zip(size)
    }

    /// The range that `range` on the last bus is for the CPU; `None` when there is no way from there.
    fn translate(&self, mut range: PaRange) -> Result<Option<PaRange>, BoardError<'t, 'a>> {
        for pair in self.way.windows(2).rev() {
            let [above, bus] = pair else { continue };
            match translate(*above, *bus, range)? {
                Some(outside) => range = outside,
                None => return Ok(None),
            }
        }
        Ok(Some(range))
    }

    #[inline(never)]
    fn refused(&self, allowed: &'static str) -> BoardError<'t, 'a> {
        BoardError::refused(self.device, "reg", allowed)
    }
}

/// Entries as the CPU sees them. One of size 0 is `None`: firmware that fills in addresses leaves such
/// where it has nothing to say.
impl<'t, 'a> Iterator for Regs<'_, 't, 'a> {
    type Item = Result<Option<PaRange>, BoardError<'t, 'a>>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cells.is_empty() {
            return None;
        }
        let range = match self.read() {
            Some((_, 0)) => return Some(Ok(None)),
            Some((address, size)) => PaRange::new(Pa::new(address), size),
            None => None,
        };
        Some(match range.map(|range| self.translate(range)) {
            Some(Ok(None)) => Err(self.refused("what the ranges of the buses above lead to")),
            Some(range) => range,
            None => Err(self.refused("addresses and sizes of 64 bits that do not wrap")),
        })
    }
}

/// The range that `range` on `bus` is on the bus `above`; `None` when there is no way from there.
#[inline(never)]
fn translate<'t, 'a>(
    above: Node<'t, 'a>,
    bus: Node<'t, 'a>,
    range: PaRange,
) -> Result<Option<PaRange>, BoardError<'t, 'a>> {
    let ranges = bus.property("ranges").and_then(Property::cells);
    let Some(mut ranges) = ranges else {
        return Ok(None);
    };
    if ranges.is_empty() {
        return Ok(Some(range));
    }
    let (own_cells, cells_above) = (address_cells(bus)?, address_cells(above)?);
    let size_cells = size_cells(bus)?;
    // Of entries without any cells there would be no end.
    while !ranges.is_empty() && own_cells + cells_above + size_cells > 0 {
        let child = ranges.number(own_cells);
        let parent = ranges.number(cells_above);
        let size = ranges.number(size_cells);
        let (Some(child), Some(parent), Some(size)) = (child, parent, size) else {
            // Wider than 64 bits, as PCI's with its flags: nothing of ours is there.
            continue;
        };
        let window = PaRange::new(Pa::new(child), size);
        if window.is_some_and(|window| window.covers(range)) {
            let offset = range.start().get().wrapping_sub(child);
            let start = Pa::new(parent).checked_add(offset);
            return Ok(start.and_then(|start| PaRange::new(start, range.bytes())));
        }
    }
    Ok(None)
}

/// The first registers of `device`, if they are of use: a misaligned access to device memory would fault. However many
/// there are said to be, no driver reaches further than [`REACH`].
#[inline(never)]
pub(super) fn of_device(device: &Path) -> Option<PaRange> {
    let regs = Regs::new(device.above(), device.node()).ok()?.next()?;
    let regs = regs.ok()?.filter(|regs| regs.start().is_aligned(4))?;
    PaRange::new(regs.start(), regs.bytes().min(REACH))
}

fn address_cells<'t, 'a>(bus: Node<'t, 'a>) -> Result<u32, BoardError<'t, 'a>> {
    cell_count(bus, "#address-cells", bus.address_cells())
}

fn size_cells<'t, 'a>(bus: Node<'t, 'a>) -> Result<u32, BoardError<'t, 'a>> {
    cell_count(bus, "#size-cells", bus.size_cells())
}

/// `count`, which came from the property `name` of `bus`, unless it is out of bounds.
fn cell_count<'t, 'a>(
    bus: Node<'t, 'a>,
    name: &'static str,
    count: Option<u32>,
) -> Result<u32, BoardError<'t, 'a>> {
    count
        .filter(|count| *count <= MAX_CELLS)
        .ok_or_else(|| BoardError::refused(bus, name, "0 to 3"))
}
