//! Flattened device trees (Devicetree Specification 0.4), read safely wherever they come from.
//!
//! [`open`] is the only way to a [`Tree`]: it checks all of the structure first, so that every query
//! afterwards is a walk along its tokens, and total. What a property *says* is still a claim; each
//! accessor answers `None` when the value is not of the form that was asked for.
//!
//! Queries are asked in hundreds of places, but only at boot: none is inlined.

mod check;
mod node;
mod property;
#[cfg(test)]
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod walk;
pub mod write;

use check::Blocks;
use core::str;
use fdt::Fdt;

pub use check::{MAX_DEPTH, MAX_NAME, Malformed};
pub use node::{Match, Node, Path};
pub use property::{Cells, Property};
pub use walk::{Children, Item, Nodes, Properties};

/// Whether `bytes` claim to be a device tree.
pub fn is_tree(bytes: &[u8]) -> bool {
    check::word(bytes, 0) == Some(check::MAGIC)
}

/// Checks the device tree at the start of `blob`, which may be longer.
#[inline(never)]
pub fn open(blob: &[u8]) -> Result<Tree<'_>, Malformed> {
    let blocks = check::check(blob)?;
    let (size, have) = (blocks.size, blob.len());
    let fdt = Fdt::new(blob).map_err(|_| Malformed::Truncated { size, have })?;
    Ok(Tree { fdt, blob, blocks })
}

/// A checked device tree.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// The header and the memory reservations.
    fdt: Fdt<'a>,
    blob: &'a [u8],
    blocks: Blocks<'a>,
}

impl<'a> Tree<'a> {
    /// Bytes that the tree takes, by its header.
    pub fn size(&self) -> usize {
        self.fdt.total_size()
    }

    /// All that [`open`] was given, with what follows the tree.
    pub fn blob(&self) -> &'a [u8] {
        self.blob
    }

    /// The root node; its name is empty.
    pub fn root(&self) -> Node<'_, 'a> {
        let name = self.blocks.root;
        Node { tree: self, name }
    }

    /// The node at an absolute path such as `/cpus/cpu@1`. A step without a unit address also finds
    /// the first node of that name with one.
    pub fn node(&self, path: &str) -> Option<Node<'_, 'a>> {
        self.path(path).map(|path| path.node())
    }

    /// The same with the nodes above it.
    #[inline(never)]
    pub fn path(&self, path: &str) -> Option<Path<'_, 'a>> {
        let steps = path.strip_prefix('/')?.split('/');
        let mut way = Path::root(self);
        for step in steps.filter(|step| !step.is_empty()) {
            way.step(step)?;
        }
        Some(way)
    }

    /// Every node, parents before children.
    pub fn nodes(&self) -> Nodes<'_, 'a> {
        Nodes::new(self)
    }

    /// The node that others refer to by `phandle`.
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'_, 'a>> {
        self.nodes().find(|node| node.phandle() == Some(phandle))
    }

    /// What the alias `name` stands for: a path.
    pub fn alias(&self, name: &str) -> Option<&'a str> {
        self.node("/aliases")?.property(name)?.str()
    }

    /// The memory reservation block: address and size of each entry, unchecked.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.fdt
            .memory_reservations()
            .map(|entry| (entry.address() as u64, entry.size() as u64))
    }
}

/// The name that `bytes` begin with.
fn text(bytes: &[u8]) -> &str {
    let length = bytes.iter().position(|byte| *byte == 0);
    let name = length.and_then(|length| bytes.get(..length));
    str::from_utf8(name.unwrap_or_default()).unwrap_or_default()
}
