//! Walks along the structure block, which has been checked.

use super::{
    Node, Path, Property, Tree,
    check::{self, Blocks},
};

/// The last bytes of the tokens: the check has seen that the others are 0.
const BEGIN_NODE: u8 = check::BEGIN_NODE as u8;
const END_NODE: u8 = check::END_NODE as u8;
const PROP: u8 = check::PROP as u8;
const NOP: u8 = check::NOP as u8;

/// What there is in a tree.
pub enum Item<'t, 'a> {
    /// A node. Its properties follow, then its children.
    Node(Node<'t, 'a>),
    /// A property of the node that came last.
    Property(Property<'a>),
}

/// A walk along the tokens.
#[derive(Clone)]
struct Walk<'t, 'a> {
    tree: &'t Tree<'a>,
    /// Where in the structure block the walk is: somewhere in the node that came last.
    at: usize,
    /// How deep that one is; 1 at the top.
    depth: usize,
}

/// What a walk comes by.
enum Step<'t, 'a> {
    Node(Node<'t, 'a>),
    Property(Words<'a>),
}

/// A property that has not been looked at: most are passed over.
struct Words<'a> {
    bytes: usize,
    name: [u8; 4],
    /// The value, and whatever follows.
    rest: &'a [[u8; 4]],
}

impl<'a> Words<'a> {
    #[inline(always)]
    fn new(bytes: [u8; 4], name: [u8; 4], rest: &'a [[u8; 4]]) -> Self {
        let bytes = u32::from_be_bytes(bytes) as usize;
        Self { bytes, name, rest }
    }

    /// How many there are, the token included.
    #[inline(always)]
    fn length(&self) -> usize {
        3 + self.bytes.div_ceil(4)
    }

    #[inline(always)]
    fn read(self, strings: &'a [u8]) -> Option<Property<'a>> {
        Some(Property {
            name: strings.get(u32::from_be_bytes(self.name) as usize..)?,
            value: self.rest.as_flattened().get(..self.bytes)?,
        })
    }
}

impl<'t, 'a> Walk<'t, 'a> {
    #[inline(always)]
    fn step(&mut self) -> Option<Step<'t, 'a>> {
        loop {
            match self.tree.blocks.structs.get(self.at..)? {
                [[.., PROP], bytes, name, rest @ ..] => {
                    let words = Words::new(*bytes, *name, rest);
                    self.at += words.length();
                    return Some(Step::Property(words));
                }
                [[.., NOP], ..] => self.at += 1,
                [[.., END_NODE], ..] if self.depth > 0 => {
                    self.depth -= 1;
                    self.at += 1;
                }
                [[.., BEGIN_NODE], rest @ ..] => {
                    let ends = |[a, b, c, d]: &[u8; 4]| *d == 0 || *c == 0 || *b == 0 || *a == 0;
                    let name = self.at + 1;
                    self.at = name + rest.iter().position(ends)? + 1;
                    self.depth += 1;
                    return Some(Step::Node(Node {
                        tree: self.tree,
                        name,
                    }));
                }
                _ => return None,
            }
        }
    }

    #[inline(never)]
    fn node(&mut self) -> Option<Node<'t, 'a>> {
        loop {
            if let Step::Node(node) = self.step()? {
                return Some(node);
            }
        }
    }
}

/// All nodes of a tree, parents before children.
#[derive(Clone)]
pub struct Nodes<'t, 'a> {
    walk: Walk<'t, 'a>,
    path: Path<'t, 'a>,
}

impl<'t, 'a> Nodes<'t, 'a> {
    pub(super) fn new(tree: &'t Tree<'a>) -> Self {
        Self {
            walk: Walk {
                tree,
                at: 0,
                depth: 0,
            },
            path: Path::root(tree),
        }
    }

    /// The node that came last, the root before there was any, with those above it.
    pub fn path(&self) -> &Path<'t, 'a> {
        &self.path
    }

    /// The next node, or the next property of the one that came last: for who wants to know a lot of
    /// the whole tree.
    #[inline]
    pub fn next_item(&mut self) -> Option<Item<'t, 'a>> {
        Some(match self.walk.step()? {
            Step::Node(node) => {
                self.path.turn(self.walk.depth, node);
                Item::Node(node)
            }
            Step::Property(words) => Item::Property(words.read(self.walk.tree.blocks.strings)?),
        })
    }
}

impl<'t, 'a> Iterator for Nodes<'t, 'a> {
    type Item = Node<'t, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.walk.node()?;
        self.path.turn(self.walk.depth, node);
        Some(node)
    }
}

/// The nodes right below one.
#[derive(Clone)]
pub struct Children<'t, 'a>(Walk<'t, 'a>);

impl<'t, 'a> Children<'t, 'a> {
    pub(super) fn new(parent: Node<'t, 'a>) -> Self {
        Self(Walk {
            tree: parent.tree,
            at: parent.body(),
            depth: 0,
        })
    }
}

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = Node<'t, 'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let node = self.0.node()?;
            if self.0.depth == 1 {
                return Some(node);
            }
        }
    }
}

/// The properties of a node.
#[derive(Clone)]
pub struct Properties<'t, 'a> {
    blocks: &'t Blocks<'a>,
    at: usize,
}

impl<'t, 'a> Properties<'t, 'a> {
    pub(super) fn new(node: Node<'t, 'a>) -> Self {
        Self {
            blocks: &node.tree.blocks,
            at: node.body(),
        }
    }

    /// The next one of that name.
    #[inline(always)]
    pub(super) fn find_named(&mut self, name: &str) -> Option<Property<'a>> {
        loop {
            let property = self.step()?;
            if property.is_named(name) {
                return Some(property);
            }
        }
    }

    #[inline(always)]
    fn step(&mut self) -> Option<Property<'a>> {
        loop {
            match self.blocks.structs.get(self.at..)? {
                [[.., PROP], bytes, name, rest @ ..] => {
                    let words = Words::new(*bytes, *name, rest);
                    self.at += words.length();
                    return words.read(self.blocks.strings);
                }
                [[.., NOP], ..] => self.at += 1,
                _ => return None,
            }
        }
    }
}

impl<'a> Iterator for Properties<'_, 'a> {
    type Item = Property<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Property<'a>> {
        self.step()
    }
}
