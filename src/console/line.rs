//! A line of a guest's output that is not finished yet.

/// Longer lines of a VM that is not in focus come in pieces of this many bytes.
pub const LINE_BYTES: usize = 240;

/// What has come since the last line feed, as far as it still shows: a carriage return starts the
/// text over, as it does on a terminal where a prompt is drawn again or a percentage goes up.
pub struct Line {
    bytes: [u8; LINE_BYTES],
    /// How many of them there are.
    len: usize,
    /// Where the next one goes: at their end, or after a carriage return at the start, where it replaces all of them.
    next: usize,
}

impl Line {
    pub const fn new() -> Self {
        Self {
            bytes: [0; LINE_BYTES],
            len: 0,
            next: 0,
        }
    }

    /// Adds a byte other than a line feed. When there is no room, what was there is forgotten.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        if byte == b'\r' {
            self.next = 0;
            return;
        }
        let at = if self.is_full() { 0 } else { self.next };
        if let Some(slot) = self.bytes.get_mut(at) {
            *slot = byte;
        }
        self.len = at + 1;
        self.next = self.len;
    }

    pub fn clear(&mut self) {
        self.len = 0;
        self.next = 0;
    }

    /// How many bytes it has.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether one more byte would make the text disappear that is there.
    fn is_full(&self) -> bool {
        self.next >= LINE_BYTES
    }

    /// Whether `byte` fits in, with those that follow it in its character.
    pub const fn has_room_for(&self, byte: u8) -> bool {
        let bytes = if byte < 0xc0 { 1 } else { 4 };
        byte == b'\r' || self.next + bytes <= LINE_BYTES
    }

    /// What brings a terminal to where it was, from an empty row, without what it would answer once more.
    pub fn replay(&self) -> impl Iterator<Item = &[u8]> {
        let end: &[u8] = if self.next < self.len { b"\r" } else { b"" };
        let pieces = self.pieces().filter(|piece| !is_request(piece));
        pieces.chain([end])
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The text without what would move the cursor or change the terminal: a VM that is not in focus
    /// owns its line and nothing else.
    pub fn text(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces().filter(|piece| is_text(piece))
    }

    /// Its control sequences, its characters, and runs of bytes that are no character.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut escape = Escape::No;
        self.bytes().chunk_by(move |byte, next| {
            escape.advance(*byte);
            escape != Escape::No || matches!((byte, next), (0x80.., 0x80..=0xbf))
        })
    }
}

/// Whether a piece of a line shows and does nothing else. C1 controls are U+0080 to U+009F; what is not UTF-8 may be taken for
/// them as well.
fn is_text(piece: &[u8]) -> bool {
    match piece {
        b"\t" => true,
        [..=0x1f | 0x7f, ..] | [0xc2, ..=0x9f] => false,
        _ => str::from_utf8(piece).is_ok(),
    }
}

/// Whether a terminal answers this piece of a line, or may: ENQ, DECID, what sets something or asks for it as its parameters say
/// (device status and attributes, modes, reports), strings.
fn is_request(piece: &[u8]) -> bool {
    matches!(
        piece,
        [0x05]
            | [0x1b, b'Z']
            | [0x1b, b'[', .., b'c' | b'n'..=b'z']
            | [0x1b, b'P' | b']' | b'_', .., 0x07 | b'\\']
    )
}

/// Position within a control sequence (ECMA-48 5.4).
#[derive(PartialEq)]
enum Escape {
    No,
    /// After ESC.
    Start,
    /// After ESC `[`: parameters until a final byte.
    Control,
    /// After ESC and `]`, `P` or `_`: a string until BEL or the ESC of a string terminator.
    String,
}

impl Escape {
    fn advance(&mut self, byte: u8) {
        *self = match (&self, byte) {
            (_, 0x1b) => Self::Start,
            (Self::Start, b'[') => Self::Control,
            (Self::Start, b']' | b'P' | b'_') => Self::String,
            (Self::Start, 0x20..=0x2f) => Self::Start,
            (Self::Control, 0x20..=0x3f) => Self::Control,
            (Self::String, _) if byte != 0x07 => Self::String,
            _ => Self::No,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    fn line(input: impl AsRef<[u8]>) -> Line {
        let mut line = Line::new();
        input.as_ref().iter().for_each(|b| line.push(*b));
        line
    }

    fn text(input: impl AsRef<[u8]>) -> String {
        String::from_utf8(line(input).text().flatten().copied().collect()).unwrap()
    }

    fn replay(input: &str) -> String {
        String::from_utf8(line(input).replay().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn a_carriage_return_starts_the_text_over() {
        assert_eq!(text("10%\r20%"), "20%");
        assert_eq!(text("100%\r"), "100%");
        assert_eq!(text("\r"), "");
        assert_eq!(replay("abc\r"), "abc\r");
        assert_eq!(replay("abc\rx"), "x");
    }

    #[test]
    fn nothing_is_asked_of_the_terminal_twice() {
        for (input, expected) in [
            ("~ # \x1b[6n", "~ # "),
            ("\x1b[c\x1b[>0q\x1b[?u\x1b[?2026$p\x1b[14t", ""),
            ("\x1bP+q544e\x1b\\\x1b]10;?\x07\x1bZ\x05", ""),
            (
                "\x1b]0;title\x07\x1b[1;32m# \x1b[0m\x1b[K",
                "\x1b[1;32m# \x1b[0m\x1b[K",
            ),
            (
                "abc\x08\x08\x1b[2C\x1b[?2004h",
                "abc\x08\x08\x1b[2C\x1b[?2004h",
            ),
            ("\x1b[6", "\x1b[6"),
            ("\x1b]0;ti", "\x1b]0;ti"),
        ] {
            assert_eq!(replay(input), expected, "{input:?}");
        }
    }

    #[test]
    fn terminal_controls_are_no_text() {
        for (input, expected) in [
            ("\x1b[0;32mok\x1b[0m", "ok"),
            ("\x1b[2J\x1b[Hhome", "home"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]0;title\x1b\\text", "text"),
            ("\x1b(Bx\x1bcy", "xy"),
            ("a\x08b\x7fc\x00d\te", "abcd\te"),
            ("\x1b[31", ""),
            ("grüß \u{10ffff}", "grüß \u{10ffff}"),
            ("\u{9b}2J\u{9d}0;title\u{9c}", "2J0;title"),
        ] {
            assert_eq!(text(input), expected, "{input:?}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_no_text() {
        for (input, expected) in [
            (&b"a\x9b2J"[..], "a2J"),
            (b"\xe2\x9b2J", "2J"),
            (b"\xc2\x1b[m\x9b2J", "2J"),
            (b"\xe0\x82\x9b2J", "2J"),
            ("\u{e9}\x1b[m".as_bytes(), "\u{e9}"),
            (b"\xc3\xa9\x9b2J", "2J"),
            (b"\xe9t\xe9", "t"),
        ] {
            assert_eq!(text(input), expected, "{input:x?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_no_control_is_text(
            input in proptest::collection::vec(any::<u8>(), 0..=LINE_BYTES)
        ) {
            prop_assert!(text(input).chars().all(|c| c == '\t' || !c.is_control()));
        }

        #[test]
        fn text_stays_whole(input in "\\PC{0,60}") {
            prop_assert_eq!(text(&input), input);
        }
    }

    #[test]
    fn a_full_line_starts_over() {
        let mut full = line("x".repeat(LINE_BYTES));
        assert!(full.is_full());
        full.push(b'y');
        assert!(full.text().eq([b"y"]));
    }
}
