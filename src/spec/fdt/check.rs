//! The one pass over a flattened device tree that nobody has vouched for.
//!
//! What reads the tree afterwards takes tokens for what they are and names for names. The rules are
//! the format of the Devicetree Specification 0.4, chapter 5, with limits on depth and on names.

use core::{fmt, ops::Range};

/// Deepest nesting, the root being 1: the way to a node takes a slot per level.
pub const MAX_DEPTH: usize = 32;
/// Longest name of a node or property in bytes. The specification says 31, which a third of Linux's
/// own trees exceed; without a limit, looking a name up could mean reading megabytes.
pub const MAX_NAME: usize = 255;

/// What a blob begins with.
pub(super) const MAGIC: u32 = 0xd00d_feed;
/// Ten words (DTSpec 5.2).
const HEADER_BYTES: usize = 40;
const TOTAL_SIZE: usize = 4;
const OFF_DT_STRUCT: usize = 8;
const OFF_DT_STRINGS: usize = 12;
const OFF_MEM_RSVMAP: usize = 16;
const VERSION: usize = 20;
const LAST_COMP_VERSION: usize = 24;
const SIZE_DT_STRINGS: usize = 32;
const SIZE_DT_STRUCT: usize = 36;
/// The version with `size_dt_struct`, which everybody has written since 2007.
const SUPPORTED_VERSION: u32 = 17;

/// Tokens (DTSpec 5.4.1).
pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
pub(super) const NOP: u32 = 4;
const END: u32 = 9;

/// Why bytes are no device tree. Offsets are in bytes from the start of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin with the magic number.
    Magic {
        /// What it begins with; 0 when there are not even four bytes.
        found: u32,
    },
    /// There is less of it than its header says.
    Truncated {
        /// Bytes by its header.
        size: usize,
        /// Bytes at hand.
        have: usize,
    },
    /// It is of a version that is not understood.
    Version {
        /// The header's `version`.
        version: u32,
        /// The header's `last_comp_version`.
        compatible: u32,
    },
    /// One of its blocks is not inside of it, or shares bytes with another one.
    Block {
        /// "structure", "strings" or "memory reservation".
        block: &'static str,
        /// Where the block begins.
        offset: usize,
    },
    /// Something does not fit into its block.
    Overrun {
        /// What.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// A word of the structure block is no token, or none that may stand there.
    Token {
        /// The word.
        token: u32,
        /// Where it is.
        offset: usize,
    },
    /// Nodes are nested more than [`MAX_DEPTH`] deep.
    Depth {
        /// Where the first node begins that is too deep.
        offset: usize,
    },
    /// A name is empty, longer than [`MAX_NAME`], or has other than printable ASCII characters, a
    /// blank or a `/`.
    Name {
        /// Where the name begins.
        offset: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Magic { found } => write!(
                f,
                "no device tree: it begins with {found:#010x} instead of {MAGIC:#010x}"
            ),
            Self::Truncated { size, have } => write!(
                f,
                "device tree is cut off: its header says {size} bytes, there are {have}"
            ),
            Self::Version {
                version,
                compatible,
            } => write!(
                f,
                "device tree has version {version} (compatible with {compatible}), \
                 only {SUPPORTED_VERSION} is supported"
            ),
            Self::Block { block, offset } => write!(
                f,
                "device tree is damaged: the {block} block at {offset:#x} is outside or overlaps another"
            ),
            Self::Overrun { what, offset } => write!(
                f,
                "device tree is damaged: the {what} at {offset:#x} does not fit into its block"
            ),
            Self::Token { token, offset } => write!(
                f,
                "device tree is damaged: unexpected token {token:#x} at {offset:#x}"
            ),
            Self::Depth { offset } => write!(
                f,
                "device tree is nested deeper than {MAX_DEPTH} nodes at {offset:#x}"
            ),
            Self::Name { offset } => write!(
                f,
                "device tree is damaged: the name at {offset:#x} is not 1 to {MAX_NAME} \
                 printable characters without a '/'"
            ),
        }
    }
}

/// The big-endian word at `at`, if `bytes` has one there.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

/// The blocks of a tree whose structure is as it should be.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'b> {
    /// The header's `totalsize`.
    pub(super) size: usize,
    /// The structure block.
    pub(super) structs: &'b [[u8; 4]],
    /// The strings block.
    pub(super) strings: &'b [u8],
    /// Where in the structure block the root node's name is, which is one word.
    pub(super) root: usize,
}

/// Checks `blob` and says where its blocks are.
///
/// Property values are not read: the time is that for the nodes and properties, however large the
/// data between them.
pub(super) fn check(blob: &[u8]) -> Result<Blocks<'_>, Malformed> {
    let layout = Layout::read(blob)?;
    let block = |range: &Range<usize>| blob.get(range.clone()).unwrap_or_default();
    let strings = block(&layout.strings);
    let (structs, _) = block(&layout.structs).as_chunks();
    let mut walk = Walk {
        structs,
        strings,
        start: layout.structs.start,
        strings_start: layout.strings.start,
        names_end: names_end(strings),
        at: 0,
        depth: 0,
        property_allowed: false,
    };
    let root = walk.run()?;
    Ok(Blocks {
        size: layout.size,
        structs,
        strings,
        root,
    })
}

/// Where the blocks are; they lie within the blob and apart from each other.
struct Layout {
    size: usize,
    structs: Range<usize>,
    strings: Range<usize>,
}

impl Layout {
    fn read(blob: &[u8]) -> Result<Self, Malformed> {
        let found = word(blob, 0).unwrap_or(0);
        if found != MAGIC {
            return Err(Malformed::Magic { found });
        }
        let have = blob.len();
        let field = |at| {
            word(blob, at).ok_or(Malformed::Truncated {
                size: HEADER_BYTES,
                have,
            })
        };
        let size = field(TOTAL_SIZE)? as usize;
        let (version, compatible) = (field(VERSION)?, field(LAST_COMP_VERSION)?);
        if version < SUPPORTED_VERSION || compatible > SUPPORTED_VERSION {
            return Err(Malformed::Version {
                version,
                compatible,
            });
        }
        let tree = blob
            .get(..size)
            .filter(|tree| tree.len() >= HEADER_BYTES)
            .ok_or(Malformed::Truncated { size, have })?;
        let block = |offset, bytes: u32| {
            let start = field(offset)? as usize;
            Ok(start..start.saturating_add(bytes as usize))
        };
        let structs = block(OFF_DT_STRUCT, field(SIZE_DT_STRUCT)?)?;
        let strings = block(OFF_DT_STRINGS, field(SIZE_DT_STRINGS)?)?;
        let reserved = reservation_block(tree, field(OFF_MEM_RSVMAP)? as usize)?;
        apart(
            size,
            [
                ("memory reservation", &reserved),
                ("structure", &structs),
                ("strings", &strings),
            ],
        )?;
        Ok(Self {
            size,
            structs,
            strings,
        })
    }
}

/// The memory reservation block: pairs of 64-bit words up to one that is all zero (DTSpec 5.3).
fn reservation_block(tree: &[u8], start: usize) -> Result<Range<usize>, Malformed> {
    let rest = tree.get(start..).unwrap_or_default();
    let entries = rest
        .chunks_exact(16)
        .position(|entry| entry.iter().all(|byte| *byte == 0));
    entries
        .map(|entries| start..start + (entries + 1) * 16)
        .ok_or(Malformed::Block {
            block: "memory reservation",
            offset: start,
        })
}

/// Whether every block lies behind the header, within `size`, and shares no byte with another.
fn apart(size: usize, blocks: [(&'static str, &Range<usize>); 3]) -> Result<(), Malformed> {
    for (index, (block, range)) in blocks.into_iter().enumerate() {
        let inside = range.start >= HEADER_BYTES && range.end <= size;
        let overlap = blocks
            .iter()
            .take(index)
            .any(|(_, other)| range.start < other.end && other.start < range.end);
        if !inside || overlap {
            return Err(Malformed::Block {
                block,
                offset: range.start,
            });
        }
    }
    Ok(())
}

/// The walk through the structure block, which counts in words.
struct Walk<'b> {
    structs: &'b [[u8; 4]],
    strings: &'b [u8],
    /// Where the blocks are in the blob, in bytes.
    start: usize,
    strings_start: usize,
    /// See [`names_end`].
    names_end: usize,
    at: usize,
    depth: usize,
    /// Properties precede subnodes (DTSpec 5.4.2); nobody looks for later ones.
    property_allowed: bool,
}

impl Walk<'_> {
    /// Walks to FDT_END and returns where the root node's name is.
    fn run(&mut self) -> Result<usize, Malformed> {
        let mut root = None;
        loop {
            let word = self.structs.get(self.at);
            let token = u32::from_be_bytes(*word.ok_or_else(|| self.overrun("token"))?);
            match token {
                NOP => self.at += 1,
                BEGIN_NODE if self.depth > 0 || root.is_none() => {
                    root = root.or(Some(self.at + 1));
                    self.begin_node()?;
                }
                END_NODE if self.depth > 0 => {
                    self.depth -= 1;
                    self.property_allowed = false;
                    self.at += 1;
                }
                PROP if self.property_allowed => self.property()?,
                END if self.depth == 0 => match root {
                    Some(root) => return Ok(root),
                    None => return Err(self.unexpected(token)),
                },
                _ => return Err(self.unexpected(token)),
            }
        }
    }

    fn begin_node(&mut self) -> Result<(), Malformed> {
        let offset = self.offset();
        let rest = self.structs.get(self.at + 1..).unwrap_or_default();
        // The root is the node without a name.
        let is_root = self.depth == 0;
        let length = name_length(rest.as_flattened())
            .filter(|length| (*length == 0) == is_root)
            .ok_or(Malformed::Name { offset: offset + 4 })?;
        if self.depth >= MAX_DEPTH {
            return Err(Malformed::Depth { offset });
        }
        self.depth += 1;
        self.property_allowed = true;
        self.at += 2 + length / 4;
        Ok(())
    }

    fn property(&mut self) -> Result<(), Malformed> {
        let what = "property";
        let Some([_, bytes, name, value @ ..]) = self.structs.get(self.at..) else {
            return Err(self.overrun(what));
        };
        let bytes = u32::from_be_bytes(*bytes) as usize;
        let name = u32::from_be_bytes(*name) as usize;
        if !self.is_name(name) {
            let offset = self.strings_start + name;
            return Err(Malformed::Name { offset });
        }
        let words = bytes.div_ceil(4);
        if words > value.len() {
            return Err(self.overrun(what));
        }
        self.at += 3 + words;
        Ok(())
    }

    /// Whether a name begins at `offset` in the strings.
    fn is_name(&self, offset: usize) -> bool {
        let strings = self.strings.get(offset..).unwrap_or_default();
        match strings.first() {
            Some(first) if offset < self.names_end => *first != 0,
            _ => name_length(strings).is_some_and(|length| length > 0),
        }
    }

    /// Where the walk is in the blob, in bytes.
    fn offset(&self) -> usize {
        self.start + 4 * self.at
    }

    fn overrun(&self, what: &'static str) -> Malformed {
        let offset = self.offset();
        Malformed::Overrun { what, offset }
    }

    fn unexpected(&self, token: u32) -> Malformed {
        let offset = self.offset();
        Malformed::Token { token, offset }
    }
}

/// Up to where `strings` are nothing but names: what begins there and is not empty is a name. That
/// is all of them in any sane tree, where thousands of properties have a few hundred names.
fn names_end(strings: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = strings.get(end..).and_then(name_length) {
        end += length + 1;
    }
    end
}

/// The length of the name that `bytes` begin with, up to a NUL that comes within [`MAX_NAME`].
///
/// Names are printed, so more than the specification's set is fine, but no control characters, no
/// blanks, and no `/`, which is what paths are made of.
fn name_length(bytes: &[u8]) -> Option<usize> {
    let window = bytes.get(..=MAX_NAME).unwrap_or(bytes);
    let is_part = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    let length = window.iter().position(|byte| !is_part(*byte))?;
    (window.get(length) == Some(&0)).then_some(length)
}
