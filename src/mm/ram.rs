//! Who gets which part of the board's RAM.

use crate::types::{Pa, PaRange};
use arrayvec::ArrayVec;
use core::fmt;

/// The most separate pieces of free RAM that are kept track of.
pub const MAX_PIECES: usize = 64;

/// Free RAM of the board.
#[derive(Clone, Debug, Default)]
pub struct Ram {
    free: ArrayVec<PaRange, MAX_PIECES>,
}

/// A piece that nobody else has: only [`Ram::take`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece(PaRange);

impl Piece {
    /// Where it is.
    pub const fn range(&self) -> PaRange {
        self.0
    }
}

/// No free piece is large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What was asked for, in bytes.
    pub wanted: u64,
    /// The most that one piece holds after alignment, in bytes.
    pub largest: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} MiB do not fit, {} MiB are free in one piece",
            self.wanted >> 20,
            self.largest >> 20
        )
    }
}

impl Ram {
    /// The pieces in `free`, which must be RAM that is mapped and in nobody's use, and must not overlap. Those beyond
    /// [`MAX_PIECES`] are not used.
    #[cfg(any(test, target_os = "none"))]
    pub(super) fn new(free: &[PaRange]) -> Self {
        let free = free.get(..MAX_PIECES).unwrap_or(free);
        Self {
            free: free.try_into().unwrap_or_default(),
        }
    }

    /// Takes `bytes` bytes aligned to `align` (a power of two) from the smallest piece that holds them, so
    /// that large pieces stay whole for large VMs.
    pub fn take(&mut self, bytes: u64, align: u64) -> Result<Piece, NoRoom> {
        let mut chosen: Option<(usize, PaRange, PaRange)> = None;
        for (at, piece) in self.free.iter().enumerate() {
            let smaller = chosen.is_none_or(|(_, other, _)| piece.bytes() < other.bytes());
            if let Some(range) = fit(*piece, bytes, align).filter(|_| smaller) {
                chosen = Some((at, *piece, range));
            }
        }
        let Some((at, piece, range)) = chosen else {
            return Err(NoRoom {
                wanted: bytes,
                largest: self.largest(align),
            });
        };
        self.free.swap_remove(at);
        let below = PaRange::between(piece.start(), range.start());
        let above = PaRange::between(range.end(), piece.end());
        for rest in [below, above].into_iter().flatten() {
            // When the list is full a splinter is lost; it is never handed out twice.
            let _ = self.free.try_push(rest);
        }
        Ok(Piece(range))
    }

    /// The most bytes that one piece holds from an address aligned to `align`.
    pub fn largest(&self, align: u64) -> u64 {
        let usable = |piece: &PaRange| {
            piece
                .start()
                .align_up(align)
                .map_or(0, |s| piece.end().get().saturating_sub(s.get()))
        };
        self.free.iter().map(usable).max().unwrap_or(0)
    }

    /// All that is free, in bytes.
    #[cfg(test)]
    fn total(&self) -> u64 {
        self.free
            .iter()
            .map(|piece| piece.bytes())
            .fold(0, u64::saturating_add)
    }
}

/// The first `bytes` bytes of `piece` that are aligned to `align`.
fn fit(piece: PaRange, bytes: u64, align: u64) -> Option<PaRange> {
    let start: Pa = piece.start().align_up(align)?;
    let range = PaRange::new(start, bytes)?;
    piece.covers(range).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u64, end: u64) -> PaRange {
        PaRange::between(Pa::new(start), Pa::new(end)).unwrap()
    }

    #[test]
    fn the_smallest_piece_that_fits_is_cut() {
        let mut ram = Ram::new(&[piece(0, 0x8000_0000), piece(0x1_0000_0000, 0x1_2010_0000)]);
        let taken = ram.take(0x1000_0000, 0x20_0000).unwrap();
        assert_eq!(taken.range(), piece(0x1_0000_0000, 0x1_1000_0000));
        assert_eq!(ram.total(), 0x8000_0000 + 0x1010_0000);
    }

    #[test]
    fn alignment_is_kept_and_what_it_skips_is_not_lost() {
        let mut ram = Ram::new(&[piece(0x10_0000, 0x100_0000)]);
        assert_eq!(
            ram.take(0x20_0000, 0x20_0000).unwrap(),
            Piece(piece(0x20_0000, 0x40_0000))
        );
        assert_eq!(
            ram.take(0x10_0000, 0x10_0000).unwrap(),
            Piece(piece(0x10_0000, 0x20_0000))
        );
    }

    #[test]
    fn too_much_is_refused_with_what_there_is() {
        let mut ram = Ram::new(&[piece(0x10_0000, 0x100_0000)]);
        let refused = ram.take(0x100_0000, 0x20_0000);
        assert_eq!(
            refused,
            Err(NoRoom {
                wanted: 0x100_0000,
                largest: 0xe0_0000
            })
        );
        assert_eq!(ram.take(u64::MAX, 1).map_err(|e| e.wanted), Err(u64::MAX));
        assert_eq!(Ram::default().take(1, 1).map_err(|e| e.largest), Err(0));
    }

    #[test]
    fn nothing_is_handed_out_twice() {
        let mut ram = Ram::new(&[piece(0, 0x40_0000)]);
        let parts: std::vec::Vec<_> = (0..4)
            .map(|_| ram.take(0x10_0000, 0x10_0000).unwrap())
            .collect();
        for (i, a) in parts.iter().enumerate() {
            assert!(
                parts
                    .iter()
                    .skip(i + 1)
                    .all(|b| !a.range().overlaps(b.range()))
            );
        }
        assert_eq!(ram.total(), 0);
    }
}
