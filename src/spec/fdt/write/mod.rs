//! Writes a flattened device tree (Devicetree Specification 0.4, chapter 5) into memory of the caller.
//!
//! A tree is written as it reads: a node's properties, then its children, and it ends where its
//! value goes out of scope. The types keep the order of the format: what has begun its children takes
//! no property any more, and a parent is out of reach while a child is open.
//!
//! ```
//! use bulkhead::spec::fdt::write::Writer;
//!
//! let mut blob = [0; 512];
//! let size = Writer::new(&mut blob, 0).root(|mut root| {
//!     root.u32("#address-cells", 2).u32("#size-cells", 2);
//!     let mut nodes = root.children();
//!     nodes.node("psci").string("compatible", "arm,psci-0.2").string("method", "hvc");
//!     nodes.node_at("memory", 0x4000_0000).string("device_type", "memory");
//! });
//! assert!(size.is_ok());
//! ```

use super::{Property, Tree};
use arrayvec::ArrayVec;
use core::fmt::{self, Display, Write};

#[cfg(test)]
mod tests;

/// Devicetree Specification 0.4, 5.2.
const MAGIC: usize = 0xd00d_feed;
const VERSION: usize = 17;
const LAST_COMPATIBLE_VERSION: usize = 16;
const HEADER_BYTES: usize = 40;

/// Devicetree Specification 0.4, 5.4.1.
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const END: u32 = 9;

/// The most names of properties that a tree has besides those of another tree.
const MAX_NAMES: usize = 64;

/// The memory is too small for the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("device tree: no room left for it")
    }
}

/// A tree that has its memory reservations, but no node yet.
pub struct Writer<'b>(Blob<'b>);

impl<'b> Writer<'b> {
    /// A tree in `memory`, whatever that contains now; `boot_cpu` is the `reg` of the CPU that enters
    /// the kernel.
    pub fn new(memory: &'b mut [u8], boot_cpu: u32) -> Self {
        let mut blob = Blob {
            memory,
            boot_cpu,
            end: 0,
            given: &[],
            names: ArrayVec::new(),
            full: false,
        };
        blob.append(&[0; HEADER_BYTES]);
        Self(blob)
    }

    /// The same with the memory reservations of `given`, whose properties can be copied.
    pub fn from_tree(memory: &'b mut [u8], boot_cpu: u32, given: &Tree<'b>) -> Self {
        let mut writer = Self::new(memory, boot_cpu);
        writer.0.given = given.blocks.strings;
        for (address, bytes) in given.reservations() {
            writer.reserve(address, bytes);
        }
        writer
    }

    /// Adds `bytes` bytes from `address` to the memory reservation block.
    pub fn reserve(&mut self, address: u64, bytes: u64) {
        self.0.append(&address.to_be_bytes());
        self.0.append(&bytes.to_be_bytes());
    }

    /// Writes the nodes and returns the bytes that the tree takes.
    ///
    /// # Errors
    /// What did not fit is reported here and only here; everything in between may be written without
    /// a look at the room that is left.
    pub fn root(mut self, write: impl FnOnce(Node<'_, 'b>)) -> Result<usize, Full> {
        self.reserve(0, 0);
        let structure = self.0.end;
        write(self.0.node(format_args!("")));
        self.0.word(END);
        self.0.finish(structure)
    }
}

/// A node that takes properties; it ends where this is dropped.
pub struct Node<'n, 'b>(&'n mut Blob<'b>);

impl<'n, 'b> Node<'n, 'b> {
    /// A property without a value: its presence says it all.
    pub fn empty(&mut self, name: &'static str) -> &mut Self {
        self.cells(name, &[])
    }

    /// A property of this one cell.
    pub fn u32(&mut self, name: &'static str, value: u32) -> &mut Self {
        self.cells(name, &[value])
    }

    /// A property of two cells, the upper half first.
    pub fn u64(&mut self, name: &'static str, value: u64) -> &mut Self {
        self.cells(name, &[(value >> 32) as u32, value as u32])
    }

    /// A property of any number of cells.
    #[inline(never)]
    pub fn cells(&mut self, name: &'static str, values: &[u32]) -> &mut Self {
        self.0.property(name, 4 * values.len());
        values.iter().for_each(|value| self.0.word(*value));
        self
    }

    /// A property that is a string.
    pub fn string(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.strings(name, &[value])
    }

    /// A property that is a list of strings.
    #[inline(never)]
    pub fn strings(&mut self, name: &'static str, values: &[&str]) -> &mut Self {
        let bytes = values.iter().map(|value| value.len() + 1).sum();
        self.0.property(name, bytes);
        values.iter().for_each(|value| self.0.string(value));
        self.0.pad();
        self
    }

    /// A property with a value as it stands.
    pub fn bytes(&mut self, name: &'static str, value: &[u8]) -> &mut Self {
        self.0.property(name, value.len());
        self.0.append(value);
        self.0.pad();
        self
    }

    /// A property as it stands in the tree that the writer was made [from](Writer::from_tree). The
    /// name of one from elsewhere is lost.
    #[inline(never)]
    pub fn copy(&mut self, property: Property) -> &mut Self {
        let name = self.0.given.len().saturating_sub(property.name.len());
        self.0.begin_property(name, property.value.len());
        self.0.append(property.value);
        self.0.pad();
        self
    }

    /// The children, which follow the properties (5.4.2).
    pub fn children(self) -> Children<'n, 'b> {
        Children(self)
    }
}

impl Drop for Node<'_, '_> {
    fn drop(&mut self) {
        self.0.word(END_NODE);
    }
}

/// A node that has all its properties and takes children; it ends where this is dropped.
pub struct Children<'n, 'b>(Node<'n, 'b>);

impl<'b> Children<'_, 'b> {
    /// Begins a child of that name.
    pub fn node(&mut self, name: &str) -> Node<'_, 'b> {
        self.0.0.node(format_args!("{name}"))
    }

    /// Begins a child, `name` with a unit address.
    pub fn node_at(&mut self, name: &str, address: u64) -> Node<'_, 'b> {
        self.0.0.node(format_args!("{name}@{address:x}"))
    }
}

/// Header, reservations and structure up to `end`; the strings follow when it is known how many
/// there are.
struct Blob<'b> {
    memory: &'b mut [u8],
    boot_cpu: u32,
    /// End of what was appended.
    end: usize,
    /// Strings of another tree, then the names of our own.
    given: &'b [u8],
    names: ArrayVec<&'static str, MAX_NAMES>,
    /// Something did not fit.
    full: bool,
}

impl<'b> Blob<'b> {
    #[inline(never)]
    fn node(&mut self, name: fmt::Arguments) -> Node<'_, 'b> {
        self.word(BEGIN_NODE);
        // Neither this writer nor the name has a reason to fail; room is accounted for by `append`.
        let _ = self.write_fmt(name);
        self.append(&[0]);
        self.pad();
        Node(self)
    }

    /// Begins a property of so many bytes.
    #[inline(never)]
    fn property(&mut self, name: &'static str, bytes: usize) {
        let name = self.name_offset(name);
        self.begin_property(name, bytes);
    }

    /// Lengths and offsets are less than the tree's, which is checked to be below 4 GiB when it is
    /// finished.
    fn begin_property(&mut self, name_offset: usize, bytes: usize) {
        self.word(PROP);
        self.word(bytes as u32);
        self.word(name_offset as u32);
    }

    /// Where in the strings `name` is, which is one of ours now if it was not.
    fn name_offset(&mut self, name: &'static str) -> usize {
        let mut offset = self.given.len();
        for known in &self.names {
            if *known == name {
                return offset;
            }
            offset += known.len() + 1;
        }
        self.full |= self.names.try_push(name).is_err();
        offset
    }

    fn string(&mut self, text: &str) {
        self.append(text.as_bytes());
        self.append(&[0]);
    }

    /// Up to the next cell. The memory is not ours alone (it was the host's or another guest's), so
    /// even what nobody reads is written.
    fn pad(&mut self) {
        let missing = self.end.wrapping_neg() % 4;
        self.append([0; 3].get(..missing).unwrap_or_default());
    }

    #[inline(never)]
    fn word(&mut self, word: u32) {
        self.set_word(self.end, word);
        self.end += 4;
    }

    #[inline(never)]
    fn append(&mut self, bytes: &[u8]) {
        let end = self.end.saturating_add(bytes.len());
        match self.memory.get_mut(self.end..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.full = true,
        }
        self.end = end;
    }

    fn set_word(&mut self, at: usize, word: u32) {
        match self.memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            Some(place) => *place = word.to_be_bytes(),
            None => self.full = true,
        }
    }

    /// Adds the strings and fills in the header (5.2); `structure` is where the structure block begins.
    fn finish(mut self, structure: usize) -> Result<usize, Full> {
        let strings = self.end;
        self.append(self.given);
        let mut names = 0;
        while let Some(name) = self.names.get(names) {
            self.string(name);
            names += 1;
        }
        let size = self.end;
        let header = [
            MAGIC,
            size,
            structure,
            strings,
            HEADER_BYTES,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            self.boot_cpu as usize,
            size - strings,
            strings - structure,
        ];
        for (index, word) in header.into_iter().enumerate() {
            self.set_word(4 * index, word as u32);
        }
        match self.full || u32::try_from(size).is_err() {
            true => Err(Full),
            false => Ok(size),
        }
    }
}

impl Write for Blob<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}
