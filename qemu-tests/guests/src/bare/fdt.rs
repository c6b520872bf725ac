//! The device tree, as much of it as a guest asks for. The guest trusts it; a wild tree ends in a panic, which the test sees.

/// A flattened device tree (Devicetree Specification v0.4, chapter 5).
#[derive(Clone, Copy)]
pub struct Fdt(&'static [u8]);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn string_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = &bytes[at..];
    &rest[..rest.iter().position(|b| *b == 0).unwrap_or(rest.len())]
}

/// One step of a walk.
enum Item {
    Begin(&'static [u8]),
    End,
    Property(&'static [u8], &'static [u8]),
}

impl Fdt {
    /// # Safety
    /// `at` is the address of a device tree that stays.
    pub unsafe fn at(at: *const u8) -> Self {
        // SAFETY: the caller promises a header, and the header says how long the whole is.
        unsafe {
            let header = core::slice::from_raw_parts(at, 40);
            assert_eq!(u32_at(header, 0), 0xd00d_feed, "no device tree in x0");
            Self(core::slice::from_raw_parts(at, u32_at(header, 4) as usize))
        }
    }

    fn walk(self, mut visit: impl FnMut(Item)) {
        let (mut at, strings) = (u32_at(self.0, 8) as usize, u32_at(self.0, 12) as usize);
        loop {
            let token = u32_at(self.0, at);
            at += 4;
            match token {
                1 => {
                    let name = string_at(self.0, at);
                    at = (at + name.len() + 4) & !3;
                    visit(Item::Begin(name));
                }
                2 => visit(Item::End),
                3 => {
                    let (length, name) =
                        (u32_at(self.0, at) as usize, u32_at(self.0, at + 4) as usize);
                    let value = &self.0[at + 8..at + 8 + length];
                    visit(Item::Property(string_at(self.0, strings + name), value));
                    at = (at + 8 + length + 3) & !3;
                }
                4 => {}
                _ => return,
            }
        }
    }

    /// Visits the properties of the nodes at a path, whose words match names without their unit addresses. A node is also visited with
    /// an empty property name when it begins.
    fn visit(self, path: &str, mut visit: impl FnMut(&'static [u8], &'static [u8])) {
        let words = path.split('/').filter(|w| !w.is_empty()).count();
        let (mut depth, mut matched) = (0, 0);
        self.walk(|item| match item {
            Item::Begin(name) => {
                let base = name.split(|b| *b == b'@').next().unwrap_or_default();
                let word = path.split('/').filter(|w| !w.is_empty()).nth(matched);
                // The root has no name and depth 0.
                if depth > 0 && matched == depth - 1 && word.is_some_and(|w| w.as_bytes() == base) {
                    matched += 1;
                    if matched == words && depth == words {
                        visit(b"", b"");
                    }
                }
                depth += 1;
            }
            Item::End => {
                depth -= 1;
                matched = matched.min(if depth > 0 { depth - 1 } else { 0 });
            }
            Item::Property(name, value) => {
                if matched == words && depth == words + 1 {
                    visit(name, value);
                }
            }
        });
    }

    /// A property of the first node at a path.
    pub fn property(self, path: &str, name: &str) -> Option<&'static [u8]> {
        let mut found = None;
        self.visit(path, |n, value| {
            if n == name.as_bytes() && found.is_none() {
                found = Some(value);
            }
        });
        found
    }

    /// A property of one cell.
    pub fn property_u32(self, path: &str, name: &str) -> Option<u32> {
        self.property(path, name)
            .filter(|v| v.len() == 4)
            .map(|v| u32_at(v, 0))
    }

    /// Nodes at a path.
    pub fn count(self, path: &str) -> usize {
        let mut count = 0;
        self.visit(path, |name, _| count += usize::from(name.is_empty()));
        count
    }

    /// True when every node at the path has that property with that value.
    pub fn all_have(self, path: &str, name: &str, wanted: &[u8]) -> bool {
        let mut with = 0;
        self.visit(path, |n, value| {
            with += usize::from(n == name.as_bytes() && value == wanted)
        });
        with == self.count(path)
    }

    /// What stands behind `key` (such as "vm=") in the boot arguments.
    pub fn bootarg(self, key: &str) -> Option<&'static str> {
        let text = self.property("/chosen", "bootargs")?;
        let text = core::str::from_utf8(text).ok()?.trim_end_matches('\0');
        text.split(' ').find_map(|word| word.strip_prefix(key))
    }

    /// Base and size of the first memory node (two cells each).
    pub fn memory(self) -> Option<(u64, u64)> {
        let reg = self.property("/memory", "reg").filter(|r| r.len() >= 16)?;
        let two = |at| u64::from(u32_at(reg, at)) << 32 | u64::from(u32_at(reg, at + 4));
        Some((two(0), two(8)))
    }
}
