//! Physical and intermediate physical addresses.

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $(#[$range_doc:meta])* $range:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The address `value`.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// `bytes` further on; `None` past the end of the address space.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Whether the address is a multiple of `align`, a power of two.
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }

            /// The next multiple of `align` (a power of two) at or above; `None` past the end.
            pub const fn align_up(self, align: u64) -> Option<Self> {
                match self.0.checked_add(align - 1) {
                    Some(sum) => Some(Self(sum & !(align - 1))),
                    None => None,
                }
            }

            /// The multiple of `align` (a power of two) at or below.
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        $(#[$range_doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $range {
            start: $name,
            bytes: u64,
        }

        impl $range {
            /// `bytes` bytes from `start`; `None` when empty or when the end would wrap.
            pub const fn new(start: $name, bytes: u64) -> Option<Self> {
                match start.0.checked_add(bytes) {
                    Some(_) if bytes > 0 => Some(Self { start, bytes }),
                    _ => None,
                }
            }

            /// From `start` up to but without `end`; `None` when that is empty.
            pub const fn between(start: $name, end: $name) -> Option<Self> {
                match end.0.checked_sub(start.0) {
                    Some(bytes) => Self::new(start, bytes),
                    None => None,
                }
            }

            /// First address.
            pub const fn start(self) -> $name {
                self.start
            }

            /// First address behind the range.
            pub const fn end(self) -> $name {
                $name(self.start.0 + self.bytes)
            }

            /// Length in bytes; never 0.
            pub const fn bytes(self) -> u64 {
                self.bytes
            }

            /// Whether `address` lies within.
            pub const fn contains(self, address: $name) -> bool {
                address.0 >= self.start.0 && address.0 - self.start.0 < self.bytes
            }

            /// Whether all of `other` lies within.
            pub const fn covers(self, other: Self) -> bool {
                other.start.0 >= self.start.0 && other.end().0 <= self.end().0
            }

            /// Whether the two have a byte in common.
            pub const fn overlaps(self, other: Self) -> bool {
                self.start.0 < other.end().0 && other.start.0 < self.end().0
            }
        }

        impl fmt::Debug for $range {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $range {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{:#x}-{:#x}", self.start.0, self.start.0 + self.bytes - 1)
            }
        }
    };
}

address!(
    /// A physical address: what a stage 2 translation yields, and what EL2 itself uses (its own map
    /// is the identity).
    Pa,
    /// A non-empty range of physical addresses that does not wrap.
    PaRange
);
address!(
    /// An intermediate physical address: what a guest believes to be physical.
    Ipa,
    /// A non-empty range of intermediate physical addresses that does not wrap.
    IpaRange
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_never_empty_and_never_wraps() {
        assert_eq!(PaRange::new(Pa::new(0x1000), 0), None);
        assert_eq!(PaRange::new(Pa::new(u64::MAX), 2), None);
        assert_eq!(PaRange::between(Pa::new(2), Pa::new(1)), None);
        assert_eq!(PaRange::between(Pa::new(1), Pa::new(1)), None);
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        let low = PaRange::between(Pa::new(0), Pa::new(0x1000));
        let high = PaRange::between(Pa::new(0x1000), Pa::new(0x2000));
        assert!(!low.zip(high).is_some_and(|(a, b)| a.overlaps(b)));
    }

    #[test]
    fn alignment_stops_at_the_end_of_the_address_space() {
        assert_eq!(Ipa::new(u64::MAX).align_up(0x1000), None);
        assert_eq!(Ipa::new(0x1001).align_up(0x1000), Some(Ipa::new(0x2000)));
        assert_eq!(Ipa::new(0x1fff).align_down(0x1000), Ipa::new(0x1000));
    }
}
