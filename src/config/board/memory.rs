//! RAM: what there is, less what is spoken for.

use super::{
    error::{BoardError, Fault},
    reg::Regs,
};
use crate::{
    spec::fdt::Node,
    types::{Pa, PaRange},
};
use arrayvec::ArrayVec;

/// The most ranges of memory.
pub const MAX_RANGES: usize = 64;

/// Ranges of memory, rising and apart from each other.
pub type Ranges = ArrayVec<PaRange, MAX_RANGES>;

/// Holes would cut memory into more than [`MAX_RANGES`] pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRanges;

/// Takes all of `holes` out of `memory`.
pub fn subtract(
    memory: &mut Ranges,
    mut holes: impl Iterator<Item = PaRange>,
) -> Result<(), TooManyRanges> {
    holes.try_for_each(|hole| cut(memory, hole))
}

/// Takes `hole` out of `memory`.
#[inline(never)]
pub fn cut(memory: &mut Ranges, hole: PaRange) -> Result<(), TooManyRanges> {
    for range in memory.take() {
        for piece in without(range, hole).into_iter().flatten() {
            memory.try_push(piece).map_err(|_| TooManyRanges)?;
        }
    }
    Ok(())
}

/// The pieces of `range` below and above `hole`.
fn without(range: PaRange, hole: PaRange) -> [Option<PaRange>; 2] {
    if !range.overlaps(hole) {
        return [Some(range), None];
    }
    [
        PaRange::between(range.start(), hole.start()),
        PaRange::between(hole.end(), range.end()),
    ]
}

/// Adds `new` to `memory` in its place, merged with what it touches or overlaps.
fn insert(memory: &mut Ranges, new: PaRange) -> Result<(), TooManyRanges> {
    let mut merged = new;
    memory.retain(|range| {
        let apart = range.end() < merged.start() || merged.end() < range.start();
        if !apart {
            let start = range.start().min(merged.start());
            let end = range.end().max(merged.end());
            merged = PaRange::between(start, end).unwrap_or(merged);
        }
        apart
    });
    let place = memory.partition_point(|range| range.start() < merged.start());
    memory.try_insert(place, merged).map_err(|_| TooManyRanges)
}

/// Adds to `memory` what `node` describes, a child of `root`.
#[inline(never)]
pub(super) fn add<'t, 'a>(
    memory: &mut Ranges,
    root: Node<'t, 'a>,
    node: Node<'t, 'a>,
) -> Result<(), BoardError<'t, 'a>> {
    for range in Regs::new(&[root], node)? {
        if let Some(range) = range? {
            insert(memory, range).map_err(|_| too_many(root))?;
        }
    }
    Ok(())
}

/// Takes out of `memory` the memory reservation block and the static regions of `/reserved-memory`
/// (Linux, Documentation/devicetree/bindings/reserved-memory).
#[inline(never)]
pub(super) fn reserve<'t, 'a>(
    memory: &mut Ranges,
    root: Node<'t, 'a>,
    regions: Option<Node<'t, 'a>>,
) -> Result<(), BoardError<'t, 'a>> {
    for (start, bytes) in root.tree().reservations() {
        let (start, top) = (Pa::new(start), Pa::new(u64::MAX));
        // One that wraps reserves all that is above its start.
        let end = start.checked_add(bytes).unwrap_or(top);
        if let Some(hole) = PaRange::between(start, end) {
            cut(memory, hole).map_err(|_| too_many(root))?;
        }
    }
    if let Some(regions) = regions {
        for region in regions.children().filter(|region| region.is_okay()) {
            for hole in Regs::new(&[root, regions], region)? {
                if let Some(hole) = hole? {
                    cut(memory, hole).map_err(|_| too_many(root))?;
                }
            }
        }
    }
    let nothing = Fault::NoNode("memory node with any memory");
    match memory.is_empty() {
        true => Err(BoardError::new(root, nothing)),
        false => Ok(()),
    }
}

fn too_many<'t, 'a>(root: Node<'t, 'a>) -> BoardError<'t, 'a> {
    let fault = Fault::TooMany {
        what: "ranges of memory",
        limit: MAX_RANGES,
    };
    BoardError::new(root, fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn left(
        memory: &Ranges,
        holes: impl IntoIterator<Item = PaRange>,
    ) -> Result<Ranges, TooManyRanges> {
        let mut left = memory.clone();
        subtract(&mut left, holes.into_iter()).map(|()| left)
    }

    fn ranges(list: &[(u64, u64)]) -> Ranges {
        let range =
            |(start, end): &(u64, u64)| PaRange::between(Pa::new(*start), Pa::new(*end)).unwrap();
        list.iter().map(range).collect()
    }

    #[test]
    fn a_hole_takes_away_what_it_covers() {
        let memory = ranges(&[(0x1000, 0x2000), (0x3000, 0x5000)]);
        for (hole, rest) in [
            ((0, 0x1000), &[(0x1000, 0x2000), (0x3000, 0x5000)][..]),
            ((0, 0x1800), &[(0x1800, 0x2000), (0x3000, 0x5000)]),
            ((0x1800, 0x3800), &[(0x1000, 0x1800), (0x3800, 0x5000)]),
            (
                (0x4000, 0x4001),
                &[(0x1000, 0x2000), (0x3000, 0x4000), (0x4001, 0x5000)],
            ),
            ((0x1000, 0x2000), &[(0x3000, 0x5000)]),
            ((0, u64::MAX), &[]),
        ] {
            assert_eq!(left(&memory, ranges(&[hole])), Ok(ranges(rest)));
        }
    }

    #[test]
    fn pieces_that_do_not_fit_are_an_error_and_not_lost() {
        let memory = ranges(&[(0, 0x10_0000)]);
        let holes = |count| (0..count).map(|n| (0x1000 * n + 0x800, 0x1000 * (n + 1)));
        let holes = |count| ranges(&holes(count).collect::<Vec<_>>());
        assert_eq!(left(&memory, holes(63)).map(|left| left.len()), Ok(64));
        let one_more = PaRange::new(Pa::new(0x9_0000), 1);
        assert_eq!(
            left(&memory, holes(63).into_iter().chain(one_more)),
            Err(TooManyRanges)
        );
    }

    proptest! {
        #[test]
        fn exactly_the_addresses_outside_of_holes_are_left(
            memory in prop::collection::vec((0u64..100, 1u64..30), 0..6),
            holes in prop::collection::vec((0u64..100, 1u64..30), 0..6),
        ) {
            let range = |(start, bytes): &(u64, u64)| {
                PaRange::new(Pa::new(*start), *bytes).unwrap()
            };
            let mut merged = Ranges::new();
            for new in memory.iter().map(range) {
                insert(&mut merged, new).unwrap();
            }
            let left = left(&merged, holes.iter().map(range)).unwrap();
            let within = |list: &[(u64, u64)], address| {
                list.iter().any(|entry| range(entry).contains(address))
            };
            for address in (0..140).map(Pa::new) {
                let wanted = within(&memory, address) && !within(&holes, address);
                prop_assert_eq!(left.iter().any(|range| range.contains(address)), wanted);
            }
            for pair in merged.windows(2).chain(left.windows(2)) {
                prop_assert!(pair[0].end() <= pair[1].start());
            }
        }
    }
}
