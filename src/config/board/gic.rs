//! The interrupt controller.

use super::{
    Gic, Interrupt, MAX_REDIST_REGIONS,
    error::{BoardError, Fault},
    interrupt::interrupts,
    reg::Buses,
};
use crate::{
    spec::{
        fdt::{Node, Property, Tree},
        translation::PAGE,
    },
    types::PaRange,
};
use arrayvec::ArrayVec;

/// Which architecture a controller is of.
#[derive(Clone, Copy)]
enum Version {
    V2,
    V3,
}

/// What the device trees of controllers with virtualization support say.
const KNOWN: [(&str, Version); 5] = [
    ("arm,gic-v3", Version::V3),
    ("arm,gic-400", Version::V2),
    ("arm,cortex-a15-gic", Version::V2),
    ("arm,cortex-a7-gic", Version::V2),
    ("qcom,msm-qgic2", Version::V2),
];

/// The controller's node and what it says.
#[inline(never)]
pub(super) fn discover<'t, 'a>(
    tree: &'t Tree<'a>,
) -> Result<(Node<'t, 'a>, Gic), BoardError<'t, 'a>> {
    let known = |node: Node<'t, 'a>| {
        let row = KNOWN.iter().find(|(name, _)| node.is_compatible(name));
        row.filter(|_| node.is_okay())
            .map(|(_, version)| (node, *version))
    };
    let found = tree.nodes().find_map(known);
    let (node, version) = found.ok_or_else(|| unknown(tree))?;
    let gic = match version {
        Version::V3 => v3(tree, node)?,
        Version::V2 => v2(tree, node)?,
    };
    Ok((node, gic))
}

/// There is none of them: what the board has in their place, if it says that.
#[inline(never)]
fn unknown<'t, 'a>(tree: &'t Tree<'a>) -> BoardError<'t, 'a> {
    let allowed = "GICv2 or GICv3 (compatible = \"arm,gic-v3\", \"arm,gic-400\" ...)";
    let root = tree.root();
    let parent = root.property("interrupt-parent").and_then(Property::u32);
    let other = parent.and_then(|phandle| tree.by_phandle(phandle));
    match other.and_then(|node| Some((node, node.property("compatible")?))) {
        Some((node, property)) => BoardError::new(tree, node, Fault::Value { property, allowed }),
        None => BoardError::new(tree, root, Fault::NoNode(allowed)),
    }
}

/// `reg`: GICD, the redistributor regions, then what a GICv2 would have (bindings/interrupt-controller/
/// arm,gic-v3.yaml).
#[inline(never)]
fn v3<'t, 'a>(tree: &'t Tree<'a>, node: Node<'t, 'a>) -> Result<Gic, BoardError<'t, 'a>> {
    let refused = |property, allowed| {
        let fault = Fault::Value { property, allowed };
        BoardError::new(tree, node, fault)
    };
    let regions = match node.property("#redistributor-regions") {
        None => 1,
        Some(property) => property
            .u32()
            .filter(|count| (1..=MAX_REDIST_REGIONS as u32).contains(count))
            .ok_or(refused(property, "1 to 16"))?,
    };
    let stride = match node.property("redistributor-stride") {
        None => None,
        Some(property) => property
            .u64()
            .filter(|stride| *stride > 0 && stride.is_multiple_of(0x1_0000))
            .map(Some)
            .ok_or(refused(property, "a multiple of 0x10000"))?,
    };
    let buses = Buses::above(tree, node)?;
    let mut regs = buses.regs(node);
    let mut next = || {
        present(
            tree,
            node,
            regs.next(),
            "GICD and each redistributor region, at multiples of 0x1000",
        )
    };
    Ok(Gic::V3 {
        dist: next()?,
        redists: (0..regions)
            .map(|_| next())
            .collect::<Result<ArrayVec<_, _>, _>>()?,
        stride,
        maintenance: maintenance(tree, node)?,
    })
}

/// `reg`: GICD, GICC, GICH, GICV (bindings/interrupt-controller/arm,gic.yaml).
#[inline(never)]
fn v2<'t, 'a>(tree: &'t Tree<'a>, node: Node<'t, 'a>) -> Result<Gic, BoardError<'t, 'a>> {
    let buses = Buses::above(tree, node)?;
    let mut regs = buses.regs(node);
    let allowed = "GICD, GICC, GICH and GICV, at multiples of 0x1000";
    let mut next = || present(tree, node, regs.next(), allowed);
    Ok(Gic::V2 {
        dist: next()?,
        cpu: next()?,
        hyp: next()?,
        vcpu: next()?,
        maintenance: maintenance(tree, node)?,
    })
}

/// The range of an entry of `reg` that has to be there.
fn present<'t, 'a>(
    tree: &'t Tree<'a>,
    node: Node<'t, 'a>,
    entry: Option<Result<Option<PaRange>, BoardError<'t, 'a>>>,
    allowed: &'static str,
) -> Result<PaRange, BoardError<'t, 'a>> {
    let fault = match node.property("reg") {
        None => Fault::Missing("reg"),
        Some(property) => Fault::Value { property, allowed },
    };
    let absent = BoardError::new(tree, node, fault);
    let range = entry.transpose()?.flatten();
    range
        .filter(|range| range.start().is_aligned(PAGE))
        .ok_or(absent)
}

/// The controller's own interrupt, the maintenance interrupt.
fn maintenance<'t, 'a>(
    tree: &'t Tree<'a>,
    node: Node<'t, 'a>,
) -> Result<Interrupt, BoardError<'t, 'a>> {
    let first = interrupts(tree, node, node).first().copied().flatten();
    first.ok_or_else(|| {
        let fault = match node.property("interrupts") {
            None => Fault::Missing("interrupts"),
            Some(property) => Fault::Value {
                property,
                allowed: "one interrupt of the controller itself",
            },
        };
        BoardError::new(tree, node, fault)
    })
}
