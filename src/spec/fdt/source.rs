//! Device trees for tests, written token by token so that they can also be wrong.

use std::{
    env, fs,
    path::PathBuf,
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// The words of a structure block and the strings that they name.
#[derive(Clone, Default)]
pub(crate) struct Source {
    structs: Vec<u8>,
    strings: Vec<u8>,
    reserved: Vec<(u64, u64)>,
}

impl Source {
    /// A tree whose root node has been opened.
    pub(crate) fn new() -> Self {
        Self::default().begin("")
    }

    /// Opens a node.
    pub(crate) fn begin(self, name: &str) -> Self {
        let mut bytes = Vec::from(name);
        bytes.push(0);
        self.token(1).raw(&bytes)
    }

    /// Closes a node.
    pub(crate) fn end(self) -> Self {
        self.token(2)
    }

    /// A node with what `content` adds to it.
    pub(crate) fn node(self, name: &str, content: impl FnOnce(Self) -> Self) -> Self {
        content(self.begin(name)).end()
    }

    /// A property.
    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        self.token(3)
            .token(value.len() as u32)
            .token(offset)
            .raw(value)
    }

    /// A property without value.
    pub(crate) fn flag(self, name: &str) -> Self {
        self.bytes(name, &[])
    }

    /// A property with strings.
    pub(crate) fn str(self, name: &str, strings: &[&str]) -> Self {
        let value: String = strings.iter().flat_map(|s| [*s, "\0"]).collect();
        self.bytes(name, value.as_bytes())
    }

    /// A property with cells.
    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// The tree in `blob`, with its root node open again.
    pub(crate) fn reopen(blob: &[u8]) -> Self {
        let tree = super::open(blob).unwrap();
        let (reserved, blob) = (tree.reservations().collect(), tree.blob());
        let word = |at| super::check::word(blob, at).unwrap() as usize;
        let (structs, strings) = (word(8), word(12));
        Self {
            // Without the last two words, which end the root node and the block.
            structs: blob[structs..structs + word(36) - 8].to_vec(),
            strings: blob[strings..strings + word(32)].to_vec(),
            reserved,
        }
    }

    /// Any word.
    pub(crate) fn token(self, token: u32) -> Self {
        self.raw(&token.to_be_bytes())
    }

    /// Bytes as they are, and padding.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.structs.extend(bytes);
        self.structs
            .resize(self.structs.len().next_multiple_of(4), 0);
        self
    }

    /// An entry of the memory reservation block.
    pub(crate) fn reserve(mut self, address: u64, bytes: u64) -> Self {
        self.reserved.push((address, bytes));
        self
    }

    /// The blob, the root node being closed.
    pub(crate) fn build(self) -> Vec<u8> {
        self.end().token(9).blob()
    }

    /// The blob as it is.
    pub(crate) fn blob(mut self) -> Vec<u8> {
        self.reserved.push((0, 0));
        let reserved = 40;
        let structs = reserved + 16 * self.reserved.len();
        let strings = structs + self.structs.len();
        let size = strings + self.strings.len();
        let header = [
            0xd00d_feed,
            size,
            structs,
            strings,
            reserved,
            17,
            16,
            0,
            self.strings.len(),
            self.structs.len(),
        ];
        let mut blob: Vec<u8> = header
            .iter()
            .flat_map(|word| (*word as u32).to_be_bytes())
            .collect();
        for (address, bytes) in self.reserved {
            blob.extend(address.to_be_bytes());
            blob.extend(bytes.to_be_bytes());
        }
        blob.extend(self.structs);
        blob.extend(self.strings);
        blob
    }
}

/// Linux's own device trees, from `BULKHEAD_DTBS` or from where the scripts leave them in `build`; there must be some.
pub(crate) fn board_trees() -> Vec<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/build/guests/dtbs");
    let root = env::var("BULKHEAD_DTBS").unwrap_or(default.to_string());
    let mut found = vec![];
    let mut directories = vec![PathBuf::from(&root)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "dtb") {
                found.push(path);
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no device trees under {root}: run scripts/setup --tests, or set BULKHEAD_DTBS to a directory that has some"
    );
    found.sort();
    found
}

/// The one of that name.
pub(crate) fn board_tree(name: &str) -> PathBuf {
    let mut trees = board_trees().into_iter();
    let found = trees.find(|path| path.ends_with(name));
    found.unwrap_or_else(|| panic!("{name} is not among Linux's device trees"))
}
