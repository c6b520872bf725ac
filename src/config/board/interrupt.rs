//! Interrupts of devices (DTSpec 2.4; Linux, bindings/interrupt-controller/arm,gic-v3.yaml).

use crate::spec::fdt::{Cells, Node, Path, Property};
use arrayvec::ArrayVec;
use core::ops::Range;

/// An interrupt of the GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number as the GIC has it.
    pub intid: u32,
    /// What makes it pending.
    pub trigger: Trigger,
}

/// What makes an interrupt pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A change of the signal.
    Edge,
    /// The signal being active.
    Level,
}

/// INTIDs that each CPU has for itself, and those that are shared (IHI0069H 2.2.1). Extended ones, of which there are more of
/// either, have registers of their own, which are not driven.
pub(super) const PPIS: Range<u32> = 16..32;
pub(super) const SPIS: Range<u32> = 32..1020;

/// Interrupts of a node that are looked at; a timer has five.
const MAX_INTERRUPTS: usize = 8;

/// Interrupts of a node in their order; `None` where another controller, or nobody, takes one.
pub(super) type Interrupts = ArrayVec<Option<Interrupt>, MAX_INTERRUPTS>;

impl Interrupt {
    /// From the cells of an interrupt specifier: kind, number, flags.
    fn from_specifier(mut cells: Cells) -> Option<Self> {
        let (kind, number, flags) = (cells.next()?, cells.next()?, cells.next()?);
        // First INTID and how many there are, by kind: SPI, PPI, extended SPI, extended PPI
        // (IHI0069H 2.2.1).
        let (first, count) = *[(32, 988), (16, 16), (4096, 1024), (1056, 64)].get(kind as usize)?;
        Some(Self {
            intid: (number < count).then(|| first + number)?,
            trigger: if flags & 3 != 0 {
                Trigger::Edge
            } else {
                Trigger::Level
            },
        })
    }
}

/// The interrupts of `device`, as far as they are those of `gic`.
#[inline(never)]
pub(super) fn interrupts(device: &Path, gic: Node) -> Interrupts {
    let node = device.node();
    if let Some(list) = node.property("interrupts-extended") {
        return list
            .cells()
            .map(|cells| extended(cells, gic))
            .unwrap_or_default();
    }
    let list = node.property("interrupts").and_then(Property::cells);
    let parent = interrupt_parent(device).filter(|parent| gic.phandle() == Some(*parent));
    match list.zip(parent) {
        Some((list, _)) => specifiers(list, interrupt_cells(gic)),
        None => Interrupts::new(),
    }
}

/// Entries of a phandle and as many cells as its controller wants.
fn extended(mut list: Cells, gic: Node) -> Interrupts {
    let own = gic.phandle();
    let controller = |phandle| match own == Some(phandle) {
        true => Some(gic),
        false => gic.tree().by_phandle(phandle),
    };
    let mut interrupts = Interrupts::new();
    while let Some(controller) = list.next().and_then(controller) {
        let own = list.split_front(interrupt_cells(controller));
        let own = own.filter(|_| controller == gic);
        let interrupt = own.and_then(Interrupt::from_specifier);
        if interrupts.try_push(interrupt).is_err() {
            break;
        }
    }
    interrupts
}

fn specifiers(mut list: Cells, count: u32) -> Interrupts {
    let mut interrupts = Interrupts::new();
    while let Some(cells) = list.split_front(count).filter(|_| count > 0) {
        if interrupts
            .try_push(Interrupt::from_specifier(cells))
            .is_err()
        {
            break;
        }
    }
    interrupts
}

/// `#interrupt-cells`; 0, of which there are no interrupts, when it is missing.
fn interrupt_cells(controller: Node) -> u32 {
    let cells = controller.property("#interrupt-cells");
    cells.and_then(Property::u32).unwrap_or(0)
}

/// The phandle of the controller: `interrupt-parent` of the node or of the nearest node above that has it.
fn interrupt_parent(device: &Path) -> Option<u32> {
    let node = device.node();
    let mut way = core::iter::once(&node).chain(device.above().iter().rev());
    way.find_map(|node| node.property("interrupt-parent"))?
        .u32()
}
