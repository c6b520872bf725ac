//! What firmware left for its successor: PSCI, the timer's wiring, the initrd.

use super::{
    Psci, PsciIds, Timer,
    error::{BoardError, Fault},
    interrupt::interrupts,
    memory::Ranges,
};
use crate::{
    spec::fdt::{Node, Path, Property},
    types::{Pa, PaRange},
};

/// The board's own PSCI firmware (Linux, bindings/arm/psci.yaml).
#[inline(never)]
pub(super) fn psci<'t, 'a>(node: Option<Node<'t, 'a>>) -> Result<Option<Psci>, BoardError<'t, 'a>> {
    const STANDARD: [&str; 2] = ["arm,psci-1.0", "arm,psci-0.2"];
    let Some(node) = node.filter(|node| node.is_okay()) else {
        return Ok(None);
    };
    let is_standard = STANDARD.iter().any(|name| node.is_compatible(name));
    let error = |fault| BoardError::new(node, fault);
    let method = node.property("method");
    let property = method.ok_or(error(Fault::Missing("method")))?;
    if property.str() != Some("smc") {
        return Err(error(Fault::Value {
            property,
            allowed: "\"smc\" (an HVC from EL2 is taken to EL2)",
        }));
    }
    let id = |name| node.property(name).and_then(Property::u32);
    Ok(Some(Psci {
        v0_1: (!is_standard).then(|| PsciIds {
            cpu_suspend: id("cpu_suspend"),
            cpu_off: id("cpu_off"),
            cpu_on: id("cpu_on"),
            migrate: id("migrate"),
        }),
    }))
}

/// The timer's interrupts: by `interrupt-names`, or in the order of the binding (Linux,
/// bindings/timer/arm,arch_timer.yaml).
#[inline(never)]
pub(super) fn timer(timer: Option<&Path>, gic: Node) -> Timer {
    const ORDER: [&str; 5] = ["sec-phys", "phys", "virt", "hyp-phys", "hyp-virt"];
    let Some(timer) = timer else {
        return Timer::default();
    };
    let interrupts = interrupts(timer, gic);
    let names = timer.node().property("interrupt-names");
    let by_name = |wanted: &str| {
        let index = match names {
            Some(names) => names.strings().position(|name| name == wanted),
            None => ORDER.iter().position(|name| *name == wanted),
        };
        interrupts.get(index?).copied().flatten()
    };
    Timer {
        physical: by_name("phys"),
        virt: by_name("virt"),
        hyp_physical: by_name("hyp-phys"),
    }
}

/// The initrd that `/chosen` announces (Linux, bindings/chosen.txt), which must be in `memory`.
#[inline(never)]
pub(super) fn initrd<'t, 'a>(
    chosen: Option<Node<'t, 'a>>,
    memory: &Ranges,
) -> Result<Option<PaRange>, BoardError<'t, 'a>> {
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    let property = |name| chosen.property(name);
    let (start, end) = (property("linux,initrd-start"), property("linux,initrd-end"));
    let Some((start, end)) = start.zip(end) else {
        return Ok(None);
    };
    let refused = |property, allowed| {
        let fault = Fault::Value { property, allowed };
        BoardError::new(chosen, fault)
    };
    let address = |property: Property<'a>| {
        let address = property.u64().map(Pa::new);
        address.ok_or(refused(property, "an address"))
    };
    let (from, to) = (address(start)?, address(end)?);
    if from == to {
        return Ok(None);
    }
    let range = PaRange::between(from, to);
    let range = range.ok_or(refused(end, "an address above linux,initrd-start"))?;
    match memory.iter().any(|piece| piece.covers(range)) {
        true => Ok(Some(range)),
        false => Err(refused(start, "memory up to linux,initrd-end")),
    }
}
