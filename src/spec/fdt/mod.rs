//! Flattened device trees (Devicetree Specification 0.4), read safely wherever they come from.
//!
//! [`open`] is the only way to a [`Tree`]: it checks all of the structure first, so that every query
//! afterwards is total. What a property *says* is still a claim; each accessor answers `None` when
//! the value is not of the form that was asked for.
//!
//! Queries are long and asked in hundreds of places, but only at boot: none is inlined.

mod check;
mod property;
#[cfg(test)]
pub(crate) mod source;
#[cfg(test)]
mod tests;
pub mod write;

use arrayvec::ArrayVec;
use core::fmt;
use fdt::{Fdt, node::FdtNode};

pub use check::{MAX_DEPTH, MAX_NAME, Malformed};
pub use property::{Cells, Property};

/// Whether `bytes` claim to be a device tree.
pub fn is_tree(bytes: &[u8]) -> bool {
    check::word(bytes, 0) == Some(check::MAGIC)
}

/// Checks the device tree at the start of `blob`, which may be longer, and removes its FDT_NOPs.
pub fn open(blob: &mut [u8]) -> Result<Tree<'_>, Malformed> {
    let have = blob.len();
    let size = check::check(blob)?;
    let blob = &*blob;
    let damaged = Malformed::Truncated { size, have };
    let tree = blob.get(..size).ok_or(damaged)?;
    let fdt = Fdt::new(tree).map_err(|_| damaged)?;
    Ok(Tree { fdt, blob })
}

/// A checked device tree.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    fdt: Fdt<'a>,
    blob: &'a [u8],
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
    #[inline(never)]
    pub fn root(&self) -> Node<'_, 'a> {
        let Some(root) = self.fdt.find_node("/") else {
            unreachable!("open() has seen the root node")
        };
        Node(root)
    }

    /// The node at an absolute path such as `/cpus/cpu@1`. A step without a unit address also finds
    /// the first node of that name with one.
    #[inline(never)]
    pub fn node(&self, path: &str) -> Option<Node<'_, 'a>> {
        let steps = path.strip_prefix('/')?.split('/');
        steps
            .filter(|step| !step.is_empty())
            .try_fold(self.root(), |node, step| node.child(step))
    }

    /// Every node, parents before children.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_, 'a>> {
        // The crate renames the root here, and the name tells who is who.
        let others = self.fdt.all_nodes().skip(1).map(Node);
        OutOfLine(core::iter::once(self.root()).chain(others))
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

    /// The nodes on the way to `node`, the root first, without `node` itself.
    pub fn ancestors<'t>(&'t self, node: Node<'t, 'a>) -> Ancestors<'t, 'a> {
        let mut way = Ancestors::new();
        let mut here = self.root();
        while here != node && way.try_push(here).is_ok() {
            // Nodes lie in the blob in the order of the walk: the child that leads to `node` is the
            // last one that does not begin behind it.
            let leads = |child: &Node| child.position() <= node.position();
            match here.children().take_while(leads).last() {
                Some(child) => here = child,
                None => break,
            }
        }
        way
    }

    /// The path of `node`, to print.
    pub fn path<'t>(&'t self, node: Node<'t, 'a>) -> Path<'t, 'a> {
        let mut steps = self.ancestors(node);
        let _ = steps.try_push(node);
        Path(steps)
    }
}

/// The nodes above one; see [`Tree::ancestors`].
pub type Ancestors<'t, 'a> = ArrayVec<Node<'t, 'a>, MAX_DEPTH>;

/// One node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t, 'a>(FdtNode<'t, 'a>);

/// Two are equal when they are the same node of the same tree.
impl PartialEq for Node<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.position() == other.position()
    }
}

impl Eq for Node<'_, '_> {}

impl<'t, 'a> Node<'t, 'a> {
    /// Its name with the unit address, `cpu@1`; empty for the root.
    pub fn name(self) -> &'a str {
        self.0.name
    }

    /// Its name without the unit address, `cpu`.
    pub fn base_name(self) -> &'a str {
        self.name()
            .split_once('@')
            .map_or(self.name(), |(base, _)| base)
    }

    /// Its unit address, the `1` of `cpu@1`.
    pub fn unit_address(self) -> Option<&'a str> {
        self.name().split_once('@').map(|(_, unit)| unit)
    }

    /// The nodes right below.
    pub fn children(self) -> impl Iterator<Item = Node<'t, 'a>> {
        OutOfLine(self.0.children().map(Node))
    }

    /// The child of that name, or else the first one that has it before a unit address.
    pub fn child(self, name: &str) -> Option<Self> {
        self.children()
            .find(|child| child.name() == name)
            .or_else(|| self.children().find(|child| child.base_name() == name))
    }

    /// Its properties.
    pub fn properties(self) -> impl Iterator<Item = Property<'a>> + 't {
        OutOfLine(self.0.properties().map(Property::new))
    }

    /// The property of that name.
    #[inline(never)]
    pub fn property(self, name: &str) -> Option<Property<'a>> {
        self.0.property(name).map(Property::new)
    }

    /// The number by which other nodes refer to it.
    pub fn phandle(self) -> Option<u32> {
        let mut names = ["phandle", "linux,phandle"].into_iter();
        names.find_map(|name| self.property(name))?.u32()
    }

    /// Whether `compatible` lists `device`.
    #[inline(never)]
    pub fn is_compatible(self, device: &str) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.strings().any(|entry| entry == device))
    }

    /// Whether `status` is absent or says that the device may be used (DTSpec 2.3.4).
    pub fn is_okay(self) -> bool {
        self.property("status")
            .is_none_or(|status| matches!(status.str(), Some("okay" | "ok")))
    }

    /// How many cells addresses of its children have (DTSpec 2.3.5); `None` when the property is
    /// not one cell.
    pub fn address_cells(self) -> Option<u32> {
        self.property("#address-cells")
            .map_or(Some(2), Property::u32)
    }

    /// How many cells sizes of its children have (DTSpec 2.3.5); `None` when the property is not
    /// one cell.
    pub fn size_cells(self) -> Option<u32> {
        self.property("#size-cells").map_or(Some(1), Property::u32)
    }

    /// Where the node is: its name is a piece of the blob, and no two nodes share one.
    fn position(self) -> usize {
        self.0.name.as_ptr() as usize
    }
}

/// An iterator over the tree with one copy of its step, which is long, for all the loops there are.
struct OutOfLine<I>(I);

impl<I: Iterator> Iterator for OutOfLine<I> {
    type Item = I::Item;

    #[inline(never)]
    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
}

/// The path of a node, to print.
#[derive(Clone, Debug)]
pub struct Path<'t, 'a>(Ancestors<'t, 'a>);

impl fmt::Display for Path<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let steps = self.0.get(1..).unwrap_or_default();
        if steps.is_empty() {
            return f.write_str("/");
        }
        steps
            .iter()
            .try_for_each(|step| write!(f, "/{}", step.name()))
    }
}
