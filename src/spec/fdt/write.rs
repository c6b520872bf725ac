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
//!     nodes.node("chosen").string("bootargs", "quiet");
//! });
//! assert!(size.is_ok());
//! ```

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
            strings: 0,
            full: false,
        };
        blob.append(&[0; HEADER_BYTES]);
        Self(blob)
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
    pub fn empty(&mut self, name: &str) -> &mut Self {
        self.bytes(name, &[])
    }

    /// A property of this one cell.
    pub fn u32(&mut self, name: &str, value: u32) -> &mut Self {
        self.bytes(name, &value.to_be_bytes())
    }

    /// A property of two cells, the upper half first.
    pub fn u64(&mut self, name: &str, value: u64) -> &mut Self {
        self.bytes(name, &value.to_be_bytes())
    }

    /// A property of any number of cells.
    pub fn cells(&mut self, name: &str, values: impl IntoIterator<Item = u32>) -> &mut Self {
        let mut values = values.into_iter();
        self.property(name, &mut |blob| values.by_ref().for_each(|v| blob.word(v)))
    }

    /// A property that is a string.
    pub fn string(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.property(name, &mut |blob| blob.string(format_args!("{value}")))
    }

    /// A property that is a list of strings.
    pub fn strings(&mut self, name: &str, values: &[&str]) -> &mut Self {
        self.property(name, &mut |blob| {
            let string = |value: &&str| blob.string(format_args!("{value}"));
            values.iter().for_each(string);
        })
    }

    /// A property with this value as it stands.
    #[inline(never)]
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.property(name, &mut |blob| blob.append(value))
    }

    /// The children, which follow the properties (5.4.2).
    pub fn children(self) -> Children<'n, 'b> {
        Children(self)
    }

    #[inline(never)]
    fn property(&mut self, name: &str, value: &mut dyn FnMut(&mut Blob<'b>)) -> &mut Self {
        self.0.property(name, value);
        self
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
    /// Begins a child, `name` with its unit address.
    pub fn node(&mut self, name: impl Display) -> Node<'_, 'b> {
        self.0.0.node(format_args!("{name}"))
    }
}

/// The blocks in the order that they have in the end: what was appended up to `end` (header,
/// reservations and structure), then the strings.
///
/// Each append moves the strings along. That is cheaper than it looks, a few hundred bytes where the
/// search for a known name reads as many, and it means that offsets of names never change.
struct Blob<'b> {
    memory: &'b mut [u8],
    boot_cpu: u32,
    /// End of what was appended.
    end: usize,
    /// Bytes of the strings behind it.
    strings: usize,
    /// Something did not fit: nothing is written any more.
    full: bool,
}

impl<'b> Blob<'b> {
    fn node(&mut self, name: fmt::Arguments) -> Node<'_, 'b> {
        self.word(BEGIN_NODE);
        self.string(name);
        self.pad();
        Node(self)
    }

    fn property(&mut self, name: &str, value: &mut dyn FnMut(&mut Self)) {
        let name = self.name_offset(name);
        self.word(PROP);
        let length_at = self.end;
        self.word(0);
        self.word(name);
        let start = self.end;
        value(self);
        self.set_word(length_at, self.end - start);
        self.pad();
    }

    fn word(&mut self, word: u32) {
        self.append(&word.to_be_bytes());
    }

    #[inline(never)]
    fn string(&mut self, text: fmt::Arguments) {
        // Neither this writer nor the text has a reason to fail; room is accounted for by `append`.
        let _ = self.write_fmt(text);
        self.append(&[0]);
    }

    /// Up to the next cell. The memory is not ours alone (it was the host's or another guest's), so
    /// even what nobody reads is written.
    fn pad(&mut self) {
        let missing = self.end.wrapping_neg() % 4;
        (0..missing).for_each(|_| self.append(&[0]));
    }

    /// Puts `bytes` between what was appended before and the strings.
    #[inline(never)]
    fn append(&mut self, bytes: &[u8]) {
        if let Some(tail) = self.tail(bytes.len()) {
            tail.copy_within(..tail.len() - bytes.len(), bytes.len());
            if let Some(gap) = tail.get_mut(..bytes.len()) {
                gap.copy_from_slice(bytes);
            }
            self.end += bytes.len();
        }
    }

    /// The offset of `name` in the strings, where it may be the end of a longer one (5.5).
    #[inline(never)]
    fn name_offset(&mut self, name: &str) -> u32 {
        let ends_with_name = |w: &[u8]| w.split_last() == Some((&0, name.as_bytes()));
        let strings = self.tail(0).unwrap_or_default();
        let known = strings.windows(name.len() + 1).position(ends_with_name);
        let offset = known.unwrap_or_else(|| self.add_name(name));
        offset as u32 // The whole tree is checked to be below 4 GiB when it is finished.
    }

    fn add_name(&mut self, name: &str) -> usize {
        let offset = self.strings;
        if let Some(tail) = self.tail(name.len() + 1) {
            let new = tail.iter_mut().skip(offset);
            let bytes = name.bytes().chain([0]);
            new.zip(bytes).for_each(|(to, byte)| *to = byte);
            self.strings += name.len() + 1;
        }
        offset
    }

    /// The strings with `more` bytes of room behind them; `None`, now and for ever, when there is
    /// less.
    fn tail(&mut self, more: usize) -> Option<&mut [u8]> {
        let end = self.end + self.strings;
        let wanted = end.checked_add(more).filter(|_| !self.full);
        let tail = wanted.and_then(|end| self.memory.get_mut(self.end..end));
        self.full = tail.is_none();
        tail
    }

    /// Sets a word that was appended before.
    fn set_word(&mut self, at: usize, word: usize) {
        let place = self.memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        match (place, u32::try_from(word)) {
            (Some(place), Ok(word)) if !self.full => *place = word.to_be_bytes(),
            _ => self.full = true,
        }
    }

    /// Fills in the header (5.2); `structure` is where the structure block begins.
    fn finish(mut self, structure: usize) -> Result<usize, Full> {
        let size = self.end + self.strings;
        let header = [
            MAGIC,
            size,
            structure,
            self.end,
            HEADER_BYTES,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            self.boot_cpu as usize,
            self.strings,
            self.end - structure,
        ];
        for (index, word) in header.into_iter().enumerate() {
            self.set_word(4 * index, word);
        }
        if self.full { Err(Full) } else { Ok(size) }
    }
}

impl Write for Blob<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}
