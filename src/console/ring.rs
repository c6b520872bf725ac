//! The last bytes of a stream, for who comes to look afterwards.

/// Keeps the last bytes that were put in, as many as it has memory for.
pub struct Ring {
    bytes: &'static mut [u8],
    /// Where the next byte goes.
    next: usize,
    /// The ring has come round: every byte of it counts.
    full: bool,
}

impl Ring {
    /// Nothing yet. What `bytes` holds does not matter: none is read before it was put in.
    pub const fn new(bytes: &'static mut [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            full: false,
        }
    }

    /// Adds `byte`, forgetting the oldest if need be.
    pub fn put(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.next) {
            *slot = byte;
        }
        self.next += 1;
        if self.next >= self.bytes.len() {
            self.next = 0;
            self.full = true;
        }
    }

    /// What is kept, oldest first, in two pieces.
    pub fn contents(&self) -> (&[u8], &[u8]) {
        let (new, old) = self.bytes.split_at_checked(self.next).unwrap_or_default();
        if self.full { (old, new) } else { (new, &[]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec::Vec};

    fn after(input: &[u8]) -> Vec<u8> {
        let mut ring = Ring::new(Box::leak(Box::new([b'?'; 4])));
        input.iter().for_each(|b| ring.put(*b));
        let (old, new) = ring.contents();
        [old, new].concat()
    }

    #[test]
    fn the_last_bytes_are_kept_in_order() {
        for (input, kept) in [
            ("", ""),
            ("abc", "abc"),
            ("abcd", "abcd"),
            ("abcde", "bcde"),
            ("abcdefgh", "efgh"),
            ("abcdefghij", "ghij"),
        ] {
            assert_eq!(after(input.as_bytes()), kept.as_bytes(), "{input}");
        }
    }
}
