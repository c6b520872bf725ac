//! Translation table descriptors of the 4 KiB granule, and how a range is mapped with them (Arm ARM D8.3).
//!
//! One algorithm serves EL2's own stage 1 and every guest's stage 2; they differ in attributes, start
//! level and address size only. Tables are reached through [`TableMemory`], so this is plain code.

use crate::types::Pa;
use core::fmt;

/// log2 of a page.
const PAGE_SHIFT: u32 = 12;
/// Address bits that one level resolves.
const LEVEL_BITS: u32 = 9;
/// Bytes of a page and of a table.
pub const PAGE: u64 = 1 << PAGE_SHIFT;
/// Entries of a table.
const ENTRIES: usize = 1 << LEVEL_BITS;
/// Level of blocks of 2 MiB; the one above has blocks of 1 GiB.
pub const BLOCK_LEVEL: u32 = 2;
/// Level of pages, the last.
pub const PAGE_LEVEL: u32 = 3;
const LAST_LEVEL: u32 = PAGE_LEVEL;
/// The first level that may hold blocks with this granule.
const FIRST_BLOCK_LEVEL: u32 = 1;

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12, where the output address or the next table is.
const ADDRESS: u64 = 0xffff_ffff_f000;
/// AF: without it the first access would fault.
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;

/// Attributes of a leaf: everything but address, type and validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// Stage 1, code: Normal write-back, read-only, executable.
    pub const CODE: Self = Self::stage1(0, READ_ONLY);
    /// Stage 1, constants: Normal write-back, read-only, never executable.
    pub const CONSTANTS: Self = Self::stage1(0, READ_ONLY | EXECUTE_NEVER);
    /// Stage 1, data: Normal write-back, writable, never executable.
    pub const DATA: Self = Self::stage1(0, EXECUTE_NEVER);
    /// Stage 1, device registers: Device-nGnRE, writable, never executable.
    pub const DEVICE: Self = Self::stage1(1, EXECUTE_NEVER);
    /// Stage 2, guest RAM: Normal write-back, all rights; the guest's stage 1 may only restrict (D8.6).
    pub const GUEST_RAM: Self = Self(0b1111 << 2 | 0b11 << 6 | INNER_SHAREABLE | ACCESSED);
    /// Stage 2, memory that the guest may read (S2AP = 01) and not execute: Normal write-back.
    pub const GUEST_CONSTANTS: Self =
        Self(0b1111 << 2 | 0b01 << 6 | INNER_SHAREABLE | 1 << 54 | ACCESSED);
    /// Stage 2, a device that the guest drives itself (a GICv2's virtual CPU interface): Device-nGnRE.
    pub const GUEST_DEVICE: Self = Self(0b0001 << 2 | 0b11 << 6 | 1 << 54 | ACCESSED);

    /// MAIR index and permission bits. Bit 6 is RES1 at EL2 and EL3; see [`Attributes::at_el1`].
    const fn stage1(index: u64, bits: u64) -> Self {
        Self(index << 2 | bits | 1 << 6 | INNER_SHAREABLE | ACCESSED)
    }

    /// The same when the tables are EL1's: bit 6 would open the page to EL0 there, and a page that EL0
    /// may write is never executable at EL1. Bit 54 is EL0's there, and PXN, bit 53, is EL1's.
    pub const fn at_el1(self) -> Self {
        Self(self.0 & !(1 << 6) | (self.0 & EXECUTE_NEVER) >> 1)
    }
}

const READ_ONLY: u64 = 1 << 7;
/// XN at EL2 and EL3, whose bit 53 is RES0 (D8.3.1).
const EXECUTE_NEVER: u64 = 1 << 54;

/// Where tables are.
pub trait TableMemory {
    /// A further table, all zero; `None` when there is no memory for it.
    fn allocate(&mut self) -> Option<Pa>;
    /// Entry `index` (below 512) of a table that `allocate` returned.
    fn get(&self, table: Pa, index: usize) -> u64;
    /// Sets that entry.
    fn set(&mut self, table: Pa, index: usize, descriptor: u64);
}

/// Why a range is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No memory for a table.
    OutOfTables,
    /// Something is mapped there already.
    Overlap,
    /// Not page-aligned, empty, or beyond the address size.
    BadRange,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfTables => "no memory left for translation tables",
            Self::Overlap => "the addresses are in use already",
            Self::BadRange => "the range is empty, not page-aligned or beyond the address size",
        })
    }
}

/// A tree of tables.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    root: Pa,
    start_level: u32,
    input_bits: u32,
}

impl Tables {
    /// An empty tree for input addresses of `input_bits` bits (25 to 48); the root is one table.
    pub fn new(memory: &mut impl TableMemory, input_bits: u32) -> Option<Self> {
        let start_level = match input_bits {
            40..=48 => 0,
            31..=39 => 1,
            25..=30 => 2,
            _ => return None,
        };
        Some(Self {
            root: memory.allocate()?,
            start_level,
            input_bits,
        })
    }

    /// The first table, for TTBR0_EL2 or VTTBR_EL2.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Maps `bytes` bytes from `input` to `output`, with the largest blocks that fit. Nothing that is mapped
    /// is ever changed, so no entry goes from valid to other than itself and no break-before-make is needed.
    pub fn map(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        output: Pa,
        bytes: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let (mut input, mut output) = (input, output.get());
        let end = self.end(input, bytes)?;
        let output_end = output.checked_add(bytes).ok_or(MapError::BadRange)?;
        if output & (PAGE - 1) != 0 || output_end > ADDRESS + PAGE {
            return Err(MapError::BadRange);
        }
        let first = self.start_level.max(FIRST_BLOCK_LEVEL);
        while input < end {
            // The first level whose entries are aligned at both ends and not larger than what is left.
            let level = (first..LAST_LEVEL)
                .find(|&level| {
                    (input | output) & (size(level) - 1) == 0 && end - input >= size(level)
                })
                .unwrap_or(LAST_LEVEL);
            let table = self.table_of(memory, input, level)?;
            let kind = if level == LAST_LEVEL {
                TABLE_OR_PAGE
            } else {
                0
            };
            // As many entries of the table as can be.
            let (at, left) = (index(input, level), (end - input) / size(level));
            let run = left.min((ENTRIES - at) as u64);
            for at in at..at + run as usize {
                if memory.get(table, at) & VALID != 0 {
                    return Err(MapError::Overlap);
                }
                memory.set(table, at, output | attributes.0 | kind | VALID);
                output += size(level);
            }
            input += run * size(level);
        }
        Ok(())
    }

    /// Adds the tables of `level` that mapping this range by their entries needs, so that this cannot fail for want of one
    /// later.
    pub fn prepare(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        bytes: u64,
        level: u32,
    ) -> Result<(), MapError> {
        let end = self.end(input, bytes)?;
        let mut at = input;
        while at < end {
            self.table_of(memory, at, level)?;
            at = (at | (size(level - 1) - 1)) + 1;
        }
        Ok(())
    }

    /// Takes back everything that is mapped in a range, which begins and ends where its blocks do; the tables stay. Until the caller
    /// has invalidated the TLBs, CPUs may go on with what they remember.
    pub fn unmap(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        bytes: u64,
    ) -> Result<(), MapError> {
        let end = self.end(input, bytes)?;
        clear(memory, self.root, self.start_level, input, end);
        Ok(())
    }

    /// Whether something is mapped at `input`.
    pub fn maps(&self, memory: &impl TableMemory, input: u64) -> bool {
        let mut table = self.root;
        for level in self.start_level..=LAST_LEVEL {
            let entry = memory.get(table, index(input, level));
            match entry & (VALID | TABLE_OR_PAGE) {
                0b11 if level < LAST_LEVEL => table = Pa::new(entry & ADDRESS),
                kind => return kind & VALID != 0,
            }
        }
        false
    }

    /// The end of a range of input addresses, which must be whole pages.
    fn end(&self, input: u64, bytes: u64) -> Result<u64, MapError> {
        match input.checked_add(bytes) {
            Some(end)
                if bytes > 0
                    && (input | bytes) & (PAGE - 1) == 0
                    && end <= 1 << self.input_bits =>
            {
                Ok(end)
            }
            _ => Err(MapError::BadRange),
        }
    }

    /// The table of `level` that has the entry of `input`; those that are missing on the way to it are added.
    fn table_of(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        level: u32,
    ) -> Result<Pa, MapError> {
        let mut table = self.root;
        for level in self.start_level..level {
            let at = index(input, level);
            let entry = memory.get(table, at);
            table = match entry & (VALID | TABLE_OR_PAGE) {
                0b11 => Pa::new(entry & ADDRESS),
                0b01 => return Err(MapError::Overlap),
                _ => {
                    let next = memory.allocate().ok_or(MapError::OutOfTables)?;
                    memory.set(table, at, next.get() | TABLE_OR_PAGE | VALID);
                    next
                }
            };
        }
        Ok(table)
    }
}

/// Makes every leaf from `input` to `end` invalid that is in `table` or below it.
fn clear(memory: &mut impl TableMemory, table: Pa, level: u32, input: u64, end: u64) {
    let bytes = size(level);
    let mut start = input & !(bytes - 1);
    for at in index(input, level)..index(end - 1, level) + 1 {
        let entry = memory.get(table, at);
        if level < LAST_LEVEL && entry & (VALID | TABLE_OR_PAGE) == 0b11 {
            let (input, end) = (input.max(start), end.min(start + bytes));
            clear(memory, Pa::new(entry & ADDRESS), level + 1, input, end);
        } else if entry & VALID != 0 {
            memory.set(table, at, 0);
        }
        start += bytes;
    }
}

/// Bytes that one entry of `level` covers.
const fn size(level: u32) -> u64 {
    1 << (PAGE_SHIFT + LEVEL_BITS * (LAST_LEVEL - level))
}

/// The entry of `input` in a table of `level`.
const fn index(input: u64, level: u32) -> usize {
    (input / size(level)) as usize & (ENTRIES - 1)
}

/// VTCR_EL2 for guests of up to [`stage2_input_bits`] bits of IPA on a CPU with `pa_bits` bits of PA: write-back walks,
/// inner shareable, 4 KiB, VMIDs of 8 bits (D24.2.190).
pub const fn vtcr(pa_bits: u8) -> u64 {
    let input_bits = stage2_input_bits(pa_bits) as u64;
    let ps = match pa_bits {
        ..36 => 0,
        36..40 => 1,
        40..42 => 2,
        42..44 => 3,
        44..48 => 4,
        _ => 5,
    };
    // RES1 bit 31; PS; TG0 = 0; SH0 = inner; ORGN0 = IRGN0 = write-back; SL0 = 1 (start at level 1); T0SZ.
    1 << 31 | ps << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | (64 - input_bits)
}

/// Bits of IPA: 39, which one root table at level 1 resolves, or what the CPU has when it is less.
pub const fn stage2_input_bits(pa_bits: u8) -> u32 {
    if pa_bits < 39 { pa_bits as u32 } else { 39 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, vec::Vec};

    /// Tables in a map, at most `limit` of them.
    struct Fake {
        tables: BTreeMap<u64, Vec<u64>>,
        limit: usize,
    }

    impl TableMemory for Fake {
        fn allocate(&mut self) -> Option<Pa> {
            let address = 0x10_0000 + 0x1000 * self.tables.len() as u64;
            (self.tables.len() < self.limit).then(|| {
                self.tables.insert(address, std::vec![0; 512]);
                Pa::new(address)
            })
        }
        fn get(&self, table: Pa, index: usize) -> u64 {
            self.tables[&table.get()][index]
        }
        fn set(&mut self, table: Pa, index: usize, descriptor: u64) {
            self.tables.get_mut(&table.get()).unwrap()[index] = descriptor;
        }
    }

    fn fake(limit: usize) -> Fake {
        Fake {
            tables: BTreeMap::new(),
            limit,
        }
    }

    /// The walk of D8.2, written apart from the code above: start at level 1 with 39 bits.
    fn walk39(memory: &Fake, root: Pa, input: u64) -> Option<(u64, u64)> {
        let mut table = root.get();
        for (level, shift) in [(1, 30), (2, 21), (3, 12)] {
            let entry = memory.tables[&table][(input >> shift) as usize & 0x1ff];
            let offset = input & ((1 << shift) - 1);
            match (entry & 3, level) {
                (3, 3) | (1, 1 | 2) => return Some(((entry & 0xffff_ffff_f000) + offset, entry)),
                (3, 1 | 2) => table = entry & 0xffff_ffff_f000,
                _ => return None,
            }
        }
        None
    }

    #[test]
    fn the_largest_blocks_that_fit_are_used() {
        let mut memory = fake(16);
        let tables = Tables::new(&mut memory, 39).unwrap();
        // 1 GiB + 2 MiB + 4 KiB, all aligned.
        let bytes = (1 << 30) + (1 << 21) + (1 << 12);
        tables
            .map(
                &mut memory,
                0x4000_0000,
                Pa::new(0x8000_0000),
                bytes,
                Attributes::GUEST_RAM,
            )
            .unwrap();
        // Root, one level 2 table, one level 3 table.
        assert_eq!(memory.tables.len(), 3);
        // Level 1 block: S2AP 11, MemAttr 1111, SH 11, AF, type 01.
        assert_eq!(memory.tables[&0x10_0000][1], 0x8000_0000 | 0x7fd);
        assert_eq!(
            walk39(&memory, tables.root(), 0x8020_0fff).unwrap().0,
            0xc020_0fff
        );
        assert_eq!(walk39(&memory, tables.root(), 0x8020_1000), None);
    }

    #[test]
    fn a_misaligned_output_gets_pages() {
        let mut memory = fake(16);
        let tables = Tables::new(&mut memory, 39).unwrap();
        tables
            .map(
                &mut memory,
                0x4000_0000,
                Pa::new(0x8000_1000),
                1 << 21,
                Attributes::GUEST_RAM,
            )
            .unwrap();
        let (output, entry) = walk39(&memory, tables.root(), 0x401f_f123).unwrap();
        assert_eq!((output, entry & 3), (0x8020_0123, 3));
    }

    #[test]
    fn what_is_mapped_stays() {
        let mut memory = fake(16);
        let tables = Tables::new(&mut memory, 39).unwrap();
        tables
            .map(
                &mut memory,
                0x4000_0000,
                Pa::new(0x8000_0000),
                1 << 21,
                Attributes::GUEST_RAM,
            )
            .unwrap();
        for (input, bytes) in [
            (0x4000_0000, 0x1000),
            (0x401f_f000, 0x1000),
            (0x4000_0000, 1 << 30),
        ] {
            let again = tables.map(&mut memory, input, Pa::new(0), bytes, Attributes::GUEST_RAM);
            assert_eq!(again, Err(MapError::Overlap), "{input:#x}");
        }
    }

    #[test]
    fn bad_ranges_are_refused() {
        let mut memory = fake(16);
        let tables = Tables::new(&mut memory, 39).unwrap();
        for (input, output, bytes) in [
            (0, 0, 0),
            (0x800, 0, 0x1000),
            (0, 0x800, 0x1000),
            (0, 0, 0x800),
            (0x80_0000_0000 - 0x1000, 0, 0x2000),
            (u64::MAX - 0xfff, 0, 0x1000),
            (0, 0xffff_ffff_f000, 0x2000),
        ] {
            let result = tables.map(&mut memory, input, Pa::new(output), bytes, Attributes::DATA);
            assert_eq!(
                result,
                Err(MapError::BadRange),
                "{input:#x} {output:#x} {bytes:#x}"
            );
        }
    }

    #[test]
    fn tables_run_out_as_an_error() {
        let mut memory = fake(2);
        let tables = Tables::new(&mut memory, 39).unwrap();
        let result = tables.map(&mut memory, 0, Pa::new(0), 0x1000, Attributes::DATA);
        assert_eq!(result, Err(MapError::OutOfTables));
    }

    #[test]
    fn what_was_prepared_is_mapped_without_a_further_table_and_taken_back() {
        let mut memory = fake(16);
        let tables = Tables::new(&mut memory, 39).unwrap();
        // A block, and half of one in pages.
        let pieces = [(0x4000_0000, 0x20_0000), (0x4020_0000, 0x10_0000)];
        for ((input, bytes), level) in pieces.into_iter().zip([BLOCK_LEVEL, PAGE_LEVEL]) {
            tables.prepare(&mut memory, input, bytes, level).unwrap();
            assert_eq!(walk39(&memory, tables.root(), input), None);
        }
        memory.limit = 0;
        for _ in 0..2 {
            for (input, bytes) in pieces {
                let (pa, last) = (Pa::new(input), input + bytes - 1);
                let ram = Attributes::GUEST_RAM;
                tables.map(&mut memory, input, pa, bytes, ram).unwrap();
                let walked = walk39(&memory, tables.root(), last).map(|walked| walked.0);
                assert_eq!(walked, Some(last));
                assert!(tables.maps(&memory, input) && tables.maps(&memory, last));
                let again = tables.map(&mut memory, input, pa, bytes, ram);
                assert_eq!(again, Err(MapError::Overlap));
            }
            let whole = 1 << 30;
            tables.unmap(&mut memory, 0x4000_0000, whole).unwrap();
            for (input, bytes) in pieces {
                assert_eq!(walk39(&memory, tables.root(), input), None);
                assert_eq!(walk39(&memory, tables.root(), input + bytes - 1), None);
                assert!(!tables.maps(&memory, input));
            }
        }
    }

    #[test]
    fn vtcr_on_a_cortex_a72() {
        // 44 bits of PA: PS = 4; 39 bits of IPA: T0SZ = 25, SL0 = 1.
        assert_eq!(vtcr(44), 0x8004_3559);
    }

    #[test]
    fn el2_code_is_read_only_and_data_is_not_executable() {
        // D8.5.1: AP[2] = bit 7 set is read-only, XN = bit 54.
        assert_eq!(Attributes::CODE.0 & (1 << 7 | 1 << 54), 1 << 7);
        assert_eq!(
            Attributes::CONSTANTS.0 & (1 << 7 | 1 << 54),
            1 << 7 | 1 << 54
        );
        assert_eq!(Attributes::DATA.0 & (1 << 7 | 1 << 54), 1 << 54);
        assert_eq!(Attributes::DEVICE.0 & (7 << 2 | 1 << 54), 1 << 2 | 1 << 54);
        // One range of addresses: AP[1], bit 6, is RES1 and bit 53 is RES0.
        assert_eq!(Attributes::DATA.0 & (1 << 53 | 1 << 6), 1 << 6);
    }

    #[test]
    fn el1_data_is_closed_to_el0_and_executable_nowhere() {
        // D8.4.1: AP[1] clear, UXN = bit 54, PXN = bit 53.
        let fields = 1 << 54 | 1 << 53 | 1 << 6;
        assert_eq!(Attributes::DATA.at_el1().0 & fields, 3 << 53);
        assert_eq!(Attributes::CODE.at_el1().0 & fields, 0);
    }

    proptest! {
        #[test]
        fn every_page_of_a_range_translates_and_its_neighbours_do_not(
            first in 1u64..0x10_0000, pages in 1u64..0x900, out in 0u64..0x100_0000
        ) {
            let mut memory = fake(64);
            let tables = Tables::new(&mut memory, 39).unwrap();
            tables.map(&mut memory, first << 12, Pa::new(out << 12), pages << 12, Attributes::GUEST_RAM).unwrap();
            for page in [0, pages / 3, pages / 2, pages - 1] {
                let walked = walk39(&memory, tables.root(), (first + page) << 12).map(|w| w.0);
                prop_assert_eq!(walked, Some((out + page) << 12));
            }
            prop_assert_eq!(walk39(&memory, tables.root(), (first - 1) << 12), None);
            prop_assert_eq!(walk39(&memory, tables.root(), (first + pages) << 12), None);
        }
    }
}
