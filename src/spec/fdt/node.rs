//! A node, and the way to it.

use super::{Children, MAX_DEPTH, Properties, Property, Tree, text};
use arrayvec::ArrayVec;
use core::fmt;

/// One node.
#[derive(Clone, Copy)]
pub struct Node<'t, 'a> {
    pub(super) tree: &'t Tree<'a>,
    /// Where in the structure block its name is.
    pub(super) name: usize,
}

/// How well a node answers to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It has another name.
    None,
    /// It has that name before its unit address.
    Base,
    /// It has that name.
    Exact,
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
    /// The tree that it is a node of.
    pub fn tree(self) -> &'t Tree<'a> {
        self.tree
    }

    /// Its name with the unit address, `cpu@1`; empty for the root.
    pub fn name(self) -> &'a str {
        text(self.name_and_on())
    }

    /// The structure block from its name on.
    fn name_and_on(self) -> &'a [u8] {
        let words = self.tree.blocks.structs.get(self.name..);
        words.unwrap_or_default().as_flattened()
    }

    /// Where in the structure block its properties begin.
    pub(super) fn body(self) -> usize {
        let name = self.name_and_on();
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        self.name + length / 4 + 1
    }

    /// Its name without the unit address, `cpu`.
    pub fn base_name(self) -> &'a str {
        self.name()
            .split_once('@')
            .map_or(self.name(), |(base, _)| base)
    }

    /// How well it answers to `name`, which is not empty.
    pub fn answers_to(self, name: &str) -> Match {
        let bytes = self.name_and_on();
        let kind = match bytes.get(name.len()) {
            Some(0) => Match::Exact,
            Some(b'@') if !name.contains('@') => Match::Base,
            _ => return Match::None,
        };
        match bytes.starts_with(name.as_bytes()) {
            true => kind,
            false => Match::None,
        }
    }

    /// The way to it, which takes a walk from the root.
    #[inline(never)]
    pub fn path(self) -> Path<'t, 'a> {
        let mut nodes = self.tree.nodes();
        let _ = nodes.find(|node| *node == self);
        nodes.path().clone()
    }

    /// The nodes right below.
    pub fn children(self) -> Children<'t, 'a> {
        Children::new(self)
    }

    /// The child of that name, or else the first one that has it before a unit address.
    #[inline(never)]
    pub fn child(self, name: &str) -> Option<Self> {
        let mut best = None;
        for child in self.children() {
            match child.answers_to(name) {
                Match::Exact => return Some(child),
                Match::Base => best = best.or(Some(child)),
                Match::None => {}
            }
        }
        best
    }

    /// Its properties.
    pub fn properties(self) -> Properties<'t, 'a> {
        Properties::new(self)
    }

    /// The property of that name.
    #[inline(never)]
    pub fn property(self, name: &str) -> Option<Property<'a>> {
        self.properties().find_named(name)
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
            .is_some_and(|list| list.lists(device))
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

/// A node with those above it; prints as the path.
#[derive(Clone, Debug)]
pub struct Path<'t, 'a> {
    above: ArrayVec<Node<'t, 'a>, MAX_DEPTH>,
    node: Node<'t, 'a>,
}

impl<'t, 'a> Path<'t, 'a> {
    pub(super) fn root(tree: &'t Tree<'a>) -> Self {
        Self {
            above: ArrayVec::new(),
            node: tree.root(),
        }
    }

    /// The node itself.
    pub fn node(&self) -> Node<'t, 'a> {
        self.node
    }

    /// The nodes above it, the root first.
    pub fn above(&self) -> &[Node<'t, 'a>] {
        &self.above
    }

    /// Whether `path` leads there by names with their unit addresses.
    pub fn is(&self, path: &str) -> bool {
        let mut steps = path.split('/');
        let mut nodes = self.above.iter().chain([&self.node]);
        let is_step = |node: &Node| {
            let step = steps.next();
            step.is_some_and(|step| node.answers_to(step) == Match::Exact)
        };
        nodes.all(is_step) && steps.next().is_none()
    }

    /// Leads to `node` from now on, which is `depth` deep: it follows in the tree, or is a child.
    pub(super) fn turn(&mut self, depth: usize, node: Node<'t, 'a>) {
        match depth > self.above.len() + 1 {
            // There is room: no node is deeper than `MAX_DEPTH`.
            true => drop(self.above.try_push(self.node)),
            false => self.above.truncate(depth - 1),
        }
        self.node = node;
    }

    /// Leads to a child from now on.
    pub(super) fn step(&mut self, name: &str) -> Option<()> {
        let child = self.node.child(name)?;
        self.turn(self.above.len() + 2, child);
        Some(())
    }
}

impl fmt::Display for Path<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // The root has no name.
        for node in self.above.iter().skip(1) {
            write!(f, "/{}", node.name())?;
        }
        write!(f, "/{}", self.node.name())
    }
}
