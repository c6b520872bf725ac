//! Flattened device trees (Devicetree Specification 0.4), read safely wherever they come from.
//!
//! [`open`] is the only way to a [`Tree`]: it checks all of the structure first, so that every query
//! afterwards is a walk along its tokens, and total. What a property *says* is still a claim; each
//! accessor answers `None` when the value is not of the form that was asked for.
//!
//! Queries are asked in hundreds of places, but only at boot: none is inlined.

mod check;
mod property;
#[cfg(test)]
pub(crate) mod source;
#[cfg(test)]
mod tests;
pub mod write;

use arrayvec::ArrayVec;
use core::{fmt, str};
use fdt::Fdt;

use check::Blocks;

pub use check::{MAX_DEPTH, MAX_NAME, Malformed};
pub use property::{Cells, Property};

/// Whether `bytes` claim to be a device tree.
pub fn is_tree(bytes: &[u8]) -> bool {
    check::word(bytes, 0) == Some(check::MAGIC)
}

/// The last bytes of the tokens: [`open`] has seen that the others are 0.
const BEGIN_NODE: u8 = check::BEGIN_NODE as u8;
const END_NODE: u8 = check::END_NODE as u8;
const PROP: u8 = check::PROP as u8;
const NOP: u8 = check::NOP as u8;

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
        Node {
            tree: self,
            name,
            body: name + 1,
        }
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
    pub fn nodes(&self) -> Nodes<'_, 'a> {
        Nodes {
            tree: self,
            at: 0,
            depth: 0,
        }
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
    #[inline(never)]
    pub fn ancestors<'t>(&'t self, node: Node<'t, 'a>) -> Ancestors<'t, 'a> {
        let mut way = Ancestors::new();
        let mut nodes = self.nodes();
        while let Some(here) = nodes.next().filter(|here| *here != node) {
            nodes.keep_way(&mut way, here);
        }
        way.truncate(nodes.depth.saturating_sub(1));
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
#[derive(Clone, Copy)]
pub struct Node<'t, 'a> {
    tree: &'t Tree<'a>,
    /// Where in the structure block its name is, and what follows that.
    name: usize,
    body: usize,
}

/// Two are equal when they are the same node of the same tree.
impl PartialEq for Node<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Node<'_, '_> {}

impl fmt::Debug for Node<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Node({:?})", self.name())
    }
}

impl<'t, 'a> Node<'t, 'a> {
    /// Its name with the unit address, `cpu@1`; empty for the root.
    pub fn name(self) -> &'a str {
        text(self.name_and_on())
    }

    /// The block from its name on.
    fn name_and_on(self) -> &'a [u8] {
        let words = self.tree.blocks.structs.get(self.name..);
        words.unwrap_or_default().as_flattened()
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
    pub fn children(self) -> Children<'t, 'a> {
        Children(Nodes {
            tree: self.tree,
            at: self.body,
            depth: 0,
        })
    }

    /// The child of that name, or else the first one that has it before a unit address.
    #[inline(never)]
    pub fn child(self, name: &str) -> Option<Self> {
        let mut before_unit = None;
        for child in self.children() {
            let rest = child.name_and_on().strip_prefix(name.as_bytes());
            match rest.and_then(<[u8]>::first) {
                Some(0) => return Some(child),
                Some(b'@') if child.base_name() == name => {
                    before_unit = before_unit.or(Some(child));
                }
                _ => {}
            }
        }
        before_unit
    }

    /// Its properties.
    pub fn properties(self) -> Properties<'a> {
        Properties {
            blocks: self.tree.blocks,
            at: self.body,
        }
    }

    /// The property of that name.
    #[inline(never)]
    pub fn property(self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.is_named(name))
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
}

/// Nodes in the order of the tree, parents before children.
#[derive(Clone)]
pub struct Nodes<'t, 'a> {
    tree: &'t Tree<'a>,
    /// Where in the structure block the walk is: somewhere in the node that came last.
    at: usize,
    /// How deep that one is; 1 at the top.
    depth: usize,
}

impl<'t, 'a> Nodes<'t, 'a> {
    /// Makes `way`, which led to the node before, lead to `node`, which came last.
    fn keep_way(&self, way: &mut Ancestors<'t, 'a>, node: Node<'t, 'a>) {
        way.truncate(self.depth.saturating_sub(1));
        // There is room: no node is deeper than `MAX_DEPTH`.
        let _ = way.try_push(node);
    }
}

impl<'t, 'a> Iterator for Nodes<'t, 'a> {
    type Item = Node<'t, 'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.tree.blocks.structs.get(self.at..)? {
                [[.., PROP], bytes, ..] => self.at += property_words(*bytes),
                [[.., NOP], ..] => self.at += 1,
                [[.., END_NODE], ..] if self.depth > 0 => {
                    self.depth -= 1;
                    self.at += 1;
                }
                [[.., BEGIN_NODE], rest @ ..] => {
                    let name = self.at + 1;
                    let length = rest.as_flattened().iter().position(|byte| *byte == 0)?;
                    self.at = name + length / 4 + 1;
                    self.depth += 1;
                    return Some(Node {
                        tree: self.tree,
                        name,
                        body: self.at,
                    });
                }
                _ => return None,
            }
        }
    }
}

/// The nodes right below one.
#[derive(Clone)]
pub struct Children<'t, 'a>(Nodes<'t, 'a>);

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = Node<'t, 'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let node = self.0.next()?;
            if self.0.depth == 1 {
                return Some(node);
            }
        }
    }
}

/// The properties of a node.
#[derive(Clone)]
pub struct Properties<'a> {
    blocks: Blocks<'a>,
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            match self.blocks.structs.get(self.at..)? {
                [[.., PROP], bytes, name, rest @ ..] => {
                    self.at += property_words(*bytes);
                    let (bytes, name) = (u32::from_be_bytes(*bytes), u32::from_be_bytes(*name));
                    return Some(Property::new(
                        self.blocks.strings.get(name as usize..)?,
                        rest.as_flattened().get(..bytes as usize)?,
                    ));
                }
                [[.., NOP], ..] => self.at += 1,
                _ => return None,
            }
        }
    }
}

/// The words of a property with a value of so many bytes.
fn property_words(bytes: [u8; 4]) -> usize {
    3 + (u32::from_be_bytes(bytes) as usize).div_ceil(4)
}

/// The name that `bytes` begin with.
fn text(bytes: &[u8]) -> &str {
    let length = bytes.iter().position(|byte| *byte == 0);
    let name = length.and_then(|length| bytes.get(..length));
    str::from_utf8(name.unwrap_or_default()).unwrap_or_default()
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
