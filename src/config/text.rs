//! Text that others have written, as it may stand in a line of ours.

use core::fmt::{self, Write};

/// Bytes that are printed.
const SHOWN_BYTES: usize = 64;

/// Prints as the start of the text, with a '?' for each byte that is no graphic character of ASCII or blank: a line of ours has
/// one row, and what scripts look for at the start of a line is ours.
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.bytes().take(SHOWN_BYTES).try_for_each(|byte| {
            let is_plain = byte == b' ' || byte.is_ascii_graphic();
            f.write_char(if is_plain { byte.into() } else { '?' })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn nothing_moves_the_cursor_or_begins_a_line() {
        for (text, printed) in [
            ("Raspberry Pi 4 Model B", "Raspberry Pi 4 Model B"),
            ("x\r\nbulkhead: vm a: off", "x??bulkhead: vm a: off"),
            ("\x1b[2J\x07\0\x7f~", "?[2J???~"),
            ("Gr\u{fc}n\u{85}", "Gr??n??"),
            ("", ""),
        ] {
            assert_eq!(Plain(text).to_string(), printed);
        }
        assert_eq!(Plain(&"x".repeat(100)).to_string(), "x".repeat(64));
    }
}
