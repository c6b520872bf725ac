//! Interrupts of devices (DTSpec 2.4; Linux, bindings/interrupt-controller/arm,gic-v3.yaml).

use crate::spec::fdt::{Cells, Node, Property, Tree};
use arrayvec::ArrayVec;

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
pub(super) fn interrupts<'t, 'a>(
    tree: &'t Tree<'a>,
    device: Node<'t, 'a>,
    gic: Node<'t, 'a>,
) -> Interrupts {
    if let Some(list) = device.property("interrupts-extended") {
        return list
            .cells()
            .map(|cells| extended(tree, cells, gic))
            .unwrap_or_default();
    }
    let list = device.property("interrupts").and_then(Property::cells);
    let parent = interrupt_parent(tree, device);
    match list.zip(parent).filter(|(_, parent)| *parent == gic) {
        Some((list, parent)) => specifiers(list, interrupt_cells(parent)),
        None => Interrupts::new(),
    }
}

/// Entries of a phandle and as many cells as its controller wants.
fn extended(tree: &Tree, mut list: Cells, gic: Node) -> Interrupts {
    let mut interrupts = Interrupts::new();
    while let Some(controller) = list.next().and_then(|phandle| tree.by_phandle(phandle)) {
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

/// The controller that `interrupt-parent` names, of the node or of the nearest node above that has it.
fn interrupt_parent<'t, 'a>(tree: &'t Tree<'a>, device: Node<'t, 'a>) -> Option<Node<'t, 'a>> {
    let above = tree.ancestors(device);
    let mut way = core::iter::once(&device).chain(above.iter().rev());
    let property = way.find_map(|node| node.property("interrupt-parent"))?;
    tree.by_phandle(property.u32()?)
}
