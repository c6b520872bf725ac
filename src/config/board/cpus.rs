//! CPUs (DTSpec 3.7 and 3.8; Linux, Documentation/devicetree/bindings/arm/cpus.yaml).

use super::{
    Cpu, EnableMethod,
    error::{BoardError, Fault},
};
use crate::{
    spec::{
        fdt::{Node, Property},
        translation::PAGE,
    },
    types::{MAX_PCPUS, Mpidr, Pa, PaRange},
};
use arrayvec::ArrayVec;

pub(super) type Cpus = ArrayVec<Cpu, MAX_PCPUS>;

/// Adds the CPUs below `parent`, `/cpus`, in the order of the tree, and says how many there are beyond [`MAX_PCPUS`].
#[inline(never)]
pub(super) fn discover<'t, 'a>(
    root: Node<'t, 'a>,
    parent: Option<Node<'t, 'a>>,
    cpus: &mut Cpus,
) -> Result<usize, BoardError<'t, 'a>> {
    let no_node = |node, wanted| BoardError::new(node, Fault::NoNode(wanted));
    let parent = parent.ok_or(no_node(root, "/cpus"))?;
    let mut left_out = 0;
    for node in parent.children().filter(|node| is_usable(*node)) {
        let cpu = cpu(parent, node).map_err(|fault| BoardError::new(node, fault))?;
        let known = cpus.iter().any(|known: &Cpu| known.mpidr == cpu.mpidr);
        if let (true, Some(property)) = (known, node.property("reg")) {
            let allowed = "an affinity that no other CPU has";
            let fault = Fault::Value { property, allowed };
            return Err(BoardError::new(node, fault));
        }
        if cpus.try_push(cpu).is_err() {
            left_out += 1;
        }
    }
    match cpus.is_empty() {
        true => Err(no_node(parent, "CPU")),
        false => Ok(left_out),
    }
}

/// Whether `node` is a CPU that works. `status = "disabled"` is no obstacle: it means that the CPU is
/// quiescent until its enable-method is used (DTSpec 3.8.1).
fn is_usable(node: Node) -> bool {
    let text = |name| node.property(name).and_then(Property::str);
    text("device_type") == Some("cpu")
        && text("status").is_none_or(|status| !status.starts_with("fail"))
}

fn cpu<'a>(parent: Node<'_, 'a>, node: Node<'_, 'a>) -> Result<Cpu, Fault<'a>> {
    let property = node.property("reg").ok_or(Fault::Missing("reg"))?;
    let affinity = parent
        .address_cells()
        .zip(property.cells())
        .and_then(|(count, mut cells)| cells.number(count))
        .and_then(Mpidr::from_affinity);
    Ok(Cpu {
        mpidr: affinity.ok_or(Fault::Value {
            property,
            allowed: "the affinity fields of an MPIDR",
        })?,
        enable: enable_method(parent, node)?,
    })
}

/// The words that CPUs of a spin table poll, but for those whose page is partly of `ours`: what is there would be
/// overwritten, and nobody polls it.
pub fn mailboxes(
    cpus: &[Cpu],
    ours: impl Iterator<Item = PaRange> + Clone,
) -> ArrayVec<Pa, MAX_PCPUS> {
    let release = |cpu: &Cpu| match cpu.enable {
        EnableMethod::SpinTable { release } => Some(release),
        EnableMethod::Psci | EnableMethod::Unknown => None,
    };
    let words = cpus.iter().filter_map(release);
    let free = words.filter(|word| {
        let page = mailbox_page(*word);
        page.is_some_and(|page| !ours.clone().any(|range| range.overlaps(page)))
    });
    free.take(MAX_PCPUS).collect()
}

/// The page of a word that a CPU polls.
pub fn mailbox_page(word: Pa) -> Option<PaRange> {
    PaRange::new(word.align_down(PAGE), PAGE)
}

fn enable_method<'a>(parent: Node<'_, 'a>, node: Node<'_, 'a>) -> Result<EnableMethod, Fault<'a>> {
    let method = node
        .property("enable-method")
        .or_else(|| parent.property("enable-method"));
    match method.and_then(Property::str) {
        Some("psci") => Ok(EnableMethod::Psci),
        Some("spin-table") => {
            let property = node.property("cpu-release-addr");
            let property = property.ok_or(Fault::Missing("cpu-release-addr"))?;
            let release = property.u64().filter(|address| address.is_multiple_of(8));
            Ok(EnableMethod::SpinTable {
                release: Pa::new(release.ok_or(Fault::Value {
                    property,
                    allowed: "the address of a 64-bit word",
                })?),
            })
        }
        _ => Ok(EnableMethod::Unknown),
    }
}
