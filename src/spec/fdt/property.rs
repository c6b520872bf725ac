//! A property, and the readings of its value.

use core::{fmt, str};

/// One property of a node.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    /// The strings block from its name on.
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} = {self}", self.name())
    }
}

impl<'a> Property<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        super::text(self.name)
    }

    /// Whether that is its name. The NUL behind tells most names apart without a look at the rest.
    #[inline(always)]
    pub fn is_named(self, name: &str) -> bool {
        self.name.get(name.len()) == Some(&0) && self.name.starts_with(name.as_bytes())
    }

    /// The value as it is.
    pub fn bytes(self) -> &'a [u8] {
        self.value
    }

    /// The value as one string: UTF-8 with a NUL at the end and nowhere else.
    #[inline(never)]
    pub fn str(self) -> Option<&'a str> {
        let (nul, text) = self.value.split_last()?;
        (*nul == 0 && !text.contains(&0))
            .then(|| str::from_utf8(text).ok())
            .flatten()
    }

    /// The value as a list of strings (DTSpec 2.2.4.1); ends before the first piece that is none.
    pub fn strings(self) -> impl Iterator<Item = &'a str> {
        self.entries().map_while(|entry| str::from_utf8(entry).ok())
    }

    /// The value as a list of strings, of any characters.
    pub fn entries(self) -> impl Iterator<Item = &'a [u8]> {
        self.value
            .split_inclusive(|byte| *byte == 0)
            .map_while(|piece| piece.strip_suffix(&[0]))
    }

    /// Whether `string` is one of the strings in the value.
    pub fn lists(self, string: &str) -> bool {
        self.entries().any(|entry| entry == string.as_bytes())
    }

    /// The value as one cell.
    #[inline(never)]
    pub fn u32(self) -> Option<u32> {
        let cell = self.value.try_into().ok()?;
        Some(u32::from_be_bytes(cell))
    }

    /// The value as one number of one or two cells.
    #[inline(never)]
    pub fn u64(self) -> Option<u64> {
        match self.u32() {
            Some(cell) => Some(cell.into()),
            None => Some(u64::from_be_bytes(self.value.try_into().ok()?)),
        }
    }

    /// The value as a list of cells; `None` when its length is not a multiple of four.
    pub fn cells(self) -> Option<Cells<'a>> {
        let (cells, []) = self.value.as_chunks() else {
            return None;
        };
        Some(Cells(cells))
    }
}

/// How much of a value is printed.
const SHOWN_BYTES: usize = 64;

/// The value, shortened to fit a line, as it would stand in a source file: strings if it could be
/// strings, else cells (small ones in decimal, as people write them), else the number of bytes.
impl fmt::Display for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let more = if self.value.len() > SHOWN_BYTES {
            " ..."
        } else {
            ""
        };
        let shown = Self {
            name: self.name,
            value: self.value.get(..SHOWN_BYTES).unwrap_or(self.value),
        };
        match shown.cells() {
            _ if self.value.is_empty() => f.write_str("no value"),
            _ if self.value == [0] => f.write_str("\"\""),
            _ if is_text(shown.value) => {
                let mut separator = "";
                for piece in shown.value.split_inclusive(|byte| *byte == 0) {
                    let text = str::from_utf8(piece).unwrap_or_default();
                    write!(f, "{separator}\"{}\"", text.trim_end_matches('\0'))?;
                    separator = ", ";
                }
                f.write_str(more)
            }
            Some(cells) => {
                let mut separator = "<";
                for cell in cells {
                    match cell {
                        0..1000 => write!(f, "{separator}{cell}")?,
                        _ => write!(f, "{separator}{cell:#x}")?,
                    }
                    separator = " ";
                }
                write!(f, "{more}>")
            }
            None => write!(f, "{} bytes", self.value.len()),
        }
    }
}

/// Whether the bytes are printable ASCII in non-empty pieces that a NUL ends. Lengths of four are
/// ambiguous by nature; a first byte that is a letter decides as the device tree compiler does.
fn is_text(bytes: &[u8]) -> bool {
    bytes.first() != Some(&0)
        && !bytes.windows(2).any(|pair| pair == [0, 0])
        && (bytes.len() == SHOWN_BYTES || bytes.last() == Some(&0))
        && bytes
            .iter()
            .all(|byte| *byte == 0 || (b' '..=b'~').contains(byte))
}

/// The cells of a value that are still to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cells<'a>(&'a [[u8; 4]]);

impl Cells<'_> {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a number of `cells` cells, the most significant first; 0 cells are a 0. `None` when
    /// fewer are left, or when it exceeds 64 bits; the cells that there are have been taken.
    #[inline(never)]
    pub fn number(&mut self, cells: u32) -> Option<u64> {
        let Some((number, rest)) = self.0.split_at_checked(cells as usize) else {
            self.0 = &[];
            return None;
        };
        self.0 = rest;
        number.iter().try_fold(0u64, |sum, cell| {
            (sum >> 32 == 0).then_some(sum << 32 | u64::from(u32::from_be_bytes(*cell)))
        })
    }

    /// Takes the next `cells` cells; `None`, and they stay, when fewer are left.
    pub fn split_front(&mut self, cells: u32) -> Option<Self> {
        let (front, rest) = self.0.split_at_checked(cells as usize)?;
        self.0 = rest;
        Some(Self(front))
    }
}

impl Iterator for Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*cell))
    }
}
