//! The one pass over a flattened device tree that nobody has vouched for.
//!
//! The crate that reads the tree afterwards indexes, unwraps and recurses on what it finds. Every
//! rule below takes away one way to make it fail; together they are the format of the Devicetree
//! Specification 0.4, chapter 5, with limits on depth and on names.

use core::{fmt, ops::Range};

/// Deepest nesting, the root being 1. The crate recurses once, and keeps one slot, per level.
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

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
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

/// Checks `blob` and takes every FDT_NOP out of its structure block, so that what remains is what
/// the `fdt` crate reads without fail. Returns the header's `totalsize`.
///
/// Property values are neither read nor, unless a NOP precedes them, written: the time is that for
/// the nodes and properties, however large the data between them.
pub(super) fn check(blob: &mut [u8]) -> Result<usize, Malformed> {
    let layout = Layout::read(blob)?;
    let structs = layout.structs.clone();
    let end = Walk::new(blob, layout.clone()).run()?;
    // The structure block ends where its last token does: nothing lies behind what was checked.
    let bytes = end.saturating_sub(structs.start) as u32;
    if let Some(field) = blob.get_mut(SIZE_DT_STRUCT..HEADER_BYTES) {
        field.copy_from_slice(&bytes.to_be_bytes());
    }
    Ok(layout.size)
}

/// Where the blocks are; they lie within the blob and apart from each other.
#[derive(Clone)]
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

/// The walk through the structure block: tokens are read at one place and, when NOPs have been
/// dropped on the way, moved down to another.
struct Walk<'b> {
    blob: &'b mut [u8],
    layout: Layout,
    read: usize,
    write: usize,
    depth: usize,
    /// Properties precede subnodes (DTSpec 5.4.2); the crate never looks for later ones.
    property_allowed: bool,
}

impl<'b> Walk<'b> {
    fn new(blob: &'b mut [u8], layout: Layout) -> Self {
        let start = layout.structs.start;
        Self {
            blob,
            layout,
            read: start,
            write: start,
            depth: 0,
            property_allowed: false,
        }
    }

    /// Walks to FDT_END and returns the offset behind it.
    fn run(mut self) -> Result<usize, Malformed> {
        let mut root_seen = false;
        loop {
            let offset = self.read;
            let token = self.word(offset, "token")?;
            match token {
                NOP => self.read += 4,
                BEGIN_NODE if self.depth > 0 || !root_seen => {
                    root_seen = true;
                    self.begin_node(offset)?;
                }
                END_NODE if self.depth > 0 => {
                    self.depth -= 1;
                    self.property_allowed = false;
                    self.keep("token", 4)?;
                }
                PROP if self.property_allowed => self.property(offset)?,
                END if self.depth == 0 && root_seen => {
                    self.keep("token", 4)?;
                    return Ok(self.write);
                }
                _ => return Err(Malformed::Token { token, offset }),
            }
        }
    }

    fn begin_node(&mut self, offset: usize) -> Result<(), Malformed> {
        let start = offset + 4;
        let block = self.blob.get(start..self.layout.structs.end);
        let name = c_string(block.unwrap_or_default()).ok_or(Malformed::Name { offset: start })?;
        // The root is the node without a name; the crate finds it by that.
        let good = match self.depth {
            0 => name.is_empty(),
            _ => is_name(name),
        };
        let bytes = padded(4 + name.len() + 1);
        if !good {
            return Err(Malformed::Name { offset: start });
        }
        if self.depth >= MAX_DEPTH {
            return Err(Malformed::Depth { offset });
        }
        self.depth += 1;
        self.property_allowed = true;
        self.keep("node", bytes)
    }

    fn property(&mut self, offset: usize) -> Result<(), Malformed> {
        let value_bytes = self.word(offset + 4, "property")? as usize;
        let name_offset = self.word(offset + 8, "property")? as usize;
        let strings = self.blob.get(self.layout.strings.clone());
        let at = self.layout.strings.start.saturating_add(name_offset);
        strings
            .and_then(|strings| strings.get(name_offset..))
            .and_then(c_string)
            .filter(|name| is_name(name))
            .ok_or(Malformed::Name { offset: at })?;
        self.keep("property", padded(12usize.saturating_add(value_bytes)))
    }

    /// The word of the structure block at `at`, where `what` is.
    fn word(&self, at: usize, what: &'static str) -> Result<u32, Malformed> {
        self.blob
            .get(..self.layout.structs.end)
            .and_then(|block| word(block, at))
            .ok_or(Malformed::Overrun {
                what,
                offset: self.read,
            })
    }

    /// Passes over the next `bytes` bytes, which are well formed, and closes the gap before them.
    fn keep(&mut self, what: &'static str, bytes: usize) -> Result<(), Malformed> {
        let offset = self.read;
        let end = offset
            .checked_add(bytes)
            .filter(|end| *end <= self.layout.structs.end)
            .ok_or(Malformed::Overrun { what, offset })?;
        if self.write != offset {
            self.blob.copy_within(offset..end, self.write);
        }
        self.read = end;
        self.write += bytes;
        Ok(())
    }
}

/// The bytes before the first NUL, which comes within [`MAX_NAME`].
fn c_string(bytes: &[u8]) -> Option<&[u8]> {
    let window = bytes.get(..=MAX_NAME).unwrap_or(bytes);
    let length = window.iter().position(|byte| *byte == 0)?;
    window.get(..length)
}

/// Names are printed, so more than the specification's set is fine, but no control characters, no
/// blanks, and no `/`: an alias by the name of a path would send the crate round in circles.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'/')
}

/// `bytes` rounded up to a whole number of words.
const fn padded(bytes: usize) -> usize {
    bytes.saturating_add(3) & !3
}
