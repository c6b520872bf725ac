//! The interrupt controller.

use super::{
    Gic, Interrupt,
    error::{BoardError, Fault},
    interrupt::{PPIS, interrupts},
    reg::Regs,
};
use crate::{
    spec::{
        fdt::{Node, Path, Property},
        gic::MAX_REDIST_REGIONS,
        translation::PAGE,
    },
    types::PaRange,
};
use arrayvec::ArrayVec;

/// The most bytes of one range: as many as 1024 of the largest redistributors take (IHI0069H 12.10). EL2 goes by pages
/// where ranges overlap.
const MOST_BYTES: u64 = 1024 * 0x4_0000;

/// Which architecture a controller is of.
#[derive(Clone, Copy)]
pub(super) enum Version {
    V2,
    V3,
}

/// What the controller says, if one was found.
#[inline(never)]
pub(super) fn discover<'t, 'a>(
    root: Node<'t, 'a>,
    found: Option<&(Path<'t, 'a>, Version)>,
) -> Result<Gic, BoardError<'t, 'a>> {
    match found {
        Some((path, Version::V3)) => v3(path),
        Some((path, Version::V2)) => v2(path),
        None => Err(unknown(root)),
    }
}

/// There is none of them: what the board has in their place, if it says that.
#[inline(never)]
fn unknown<'t, 'a>(root: Node<'t, 'a>) -> BoardError<'t, 'a> {
    let allowed = "GICv2 or GICv3 (compatible = \"arm,gic-v3\", \"arm,gic-400\" ...)";
    let parent = root.property("interrupt-parent").and_then(Property::u32);
    let other = parent.and_then(|phandle| root.tree().by_phandle(phandle));
    match other.and_then(|node| Some((node, node.property("compatible")?))) {
        Some((node, property)) => BoardError::new(node, Fault::Value { property, allowed }),
        None => BoardError::new(root, Fault::NoNode(allowed)),
    }
}

/// `reg`: GICD, the redistributor regions, then what a GICv2 would have (bindings/interrupt-controller/
/// arm,gic-v3.yaml).
#[inline(never)]
fn v3<'t, 'a>(path: &Path<'t, 'a>) -> Result<Gic, BoardError<'t, 'a>> {
    const REGIONS: &str = "#redistributor-regions";
    const STRIDE: &str = "redistributor-stride";
    let node = path.node();
    let regions = match node.property(REGIONS) {
        None => 1,
        Some(property) => property
            .u32()
            .filter(|count| (1..=MAX_REDIST_REGIONS as u32).contains(count))
            .ok_or_else(|| BoardError::refused(node, REGIONS, "1 to 8"))?,
    };
    let stride = match node.property(STRIDE) {
        None => None,
        Some(property) => property
            .u64()
            .filter(|stride| *stride > 0 && stride.is_multiple_of(0x1_0000))
            .map(Some)
            .ok_or_else(|| BoardError::refused(node, STRIDE, "a multiple of 0x10000"))?,
    };
    let mut regs = Regs::new(path.above(), node)?;
    let allowed = "GICD and each redistributor region, at multiples of 0x1000, up to 256 MiB";
    let mut next = || present(&mut regs, allowed);
    Ok(Gic::V3 {
        dist: next()?,
        redists: (0..regions)
            .map(|_| next())
            .collect::<Result<ArrayVec<_, _>, _>>()?,
        stride,
        maintenance: maintenance(path)?,
    })
}

/// `reg`: GICD, GICC, GICH, GICV (bindings/interrupt-controller/arm,gic.yaml).
#[inline(never)]
fn v2<'t, 'a>(path: &Path<'t, 'a>) -> Result<Gic, BoardError<'t, 'a>> {
    let mut regs = Regs::new(path.above(), path.node())?;
    let allowed = "GICD, GICC, GICH and GICV, at multiples of 0x1000, up to 256 MiB";
    let mut next = || present(&mut regs, allowed);
    Ok(Gic::V2 {
        dist: next()?,
        cpu: next()?,
        hyp: next()?,
        vcpu: next()?,
        maintenance: maintenance(path)?,
    })
}

/// The range of the next entry of `reg`, which has to be there.
#[inline(never)]
fn present<'t, 'a>(
    regs: &mut Regs<'_, 't, 'a>,
    allowed: &'static str,
) -> Result<PaRange, BoardError<'t, 'a>> {
    let range = regs.next().transpose()?.flatten();
    range
        .filter(|range| range.start().is_aligned(PAGE) && range.bytes() <= MOST_BYTES)
        .ok_or_else(|| BoardError::refused(regs.device(), "reg", allowed))
}

/// The controller's own interrupt, the maintenance interrupt: each CPU has one.
#[inline(never)]
fn maintenance<'t, 'a>(path: &Path<'t, 'a>) -> Result<Interrupt, BoardError<'t, 'a>> {
    let node = path.node();
    let first = interrupts(path, node).first().copied().flatten();
    let allowed = "one PPI of the controller itself";
    first
        .filter(|interrupt| PPIS.contains(&interrupt.intid))
        .ok_or_else(|| BoardError::refused(node, "interrupts", allowed))
}
