//! Results (Test Anything Protocol), each line with the guest's name: see `qemu-tests/src/tap.rs`.

use core::fmt::Display;

use super::uart::print;

/// Counts and prints results.
pub struct Tap {
    name: &'static str,
    count: u32,
}

impl Tap {
    /// For the guest of that name.
    pub fn new(name: &'static str) -> Self {
        Self::behind(name, 0)
    }

    /// For the guest of that name, after so many results in its former lives.
    pub fn behind(name: &'static str, count: u32) -> Self {
        Self { name, count }
    }

    /// Results so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// One result.
    pub fn check(&mut self, holds: bool, description: impl Display) {
        self.count += 1;
        let word = if holds { "ok" } else { "not ok" };
        print(format_args!(
            "@{}@ {word} {} - {description}\n",
            self.name, self.count
        ));
    }

    /// A result by comparison; both values are printed when they differ.
    pub fn equal(&mut self, found: u64, wanted: u64, description: impl Display) {
        if found == wanted {
            self.check(true, description);
        } else {
            self.check(
                false,
                format_args!("{description}: got {found:#x}, not {wanted:#x}"),
            );
        }
    }

    /// A remark.
    pub fn note(&self, text: impl Display) {
        print(format_args!("@{}@ # {text}\n", self.name));
    }

    /// The plan, at the end.
    pub fn finish(self) {
        print(format_args!("@{}@ 1..{}\n", self.name, self.count));
    }
}
