//! The RAM of one VM, as EL2 reaches it, and as it comes to the guest: block by block.
//!
//! A block is zeroed and mapped when the guest first touches it. A VM thus starts at once, however much RAM it
//! has, and a reset has to clear only what was used.

#![allow(
    unsafe_code,
    reason = "the one place where guest RAM becomes memory of ours"
)]

use super::{pool::PoolTables, ram::Piece};
use crate::{
    arch::{cache, tlb},
    spec::{
        machine::RAM_BASE,
        translation::{Attributes, MapError, Tables},
    },
    sync::Mutex,
    types::{Ipa, IpaRange, PaRange},
};

/// Bytes that come to the guest at once: what one descriptor of level 2 maps.
pub const BLOCK: u64 = 2 << 20;

/// RAM of a VM: one piece of the board's, which the guest sees from [`RAM_BASE`] on.
pub struct GuestRam {
    pa: PaRange,
    /// The guest's stage 2. Who holds the lock may touch the blocks that it does not map.
    tables: Mutex<Tables>,
}

impl GuestRam {
    /// The RAM in `piece`, for good, which the guest will reach through `tables`. Tables that it will take are made now.
    pub fn new(piece: Piece, tables: Tables) -> Result<Self, MapError> {
        let ram = Self {
            pa: piece.range(),
            tables: Mutex::new(tables),
        };
        for block in ram.blocks() {
            let (at, pa) = (ram.ipa_of(block), block.start());
            tables.prepare(&mut PoolTables, at, pa, block.bytes())?;
        }
        Ok(ram)
    }

    /// Where it is on the board.
    pub const fn pa(&self) -> PaRange {
        self.pa
    }

    /// Where the guest sees it; `None` for more than the address space holds, which no board has.
    pub const fn ipa(&self) -> Option<IpaRange> {
        IpaRange::new(RAM_BASE, self.pa.bytes())
    }

    /// Where a part of it is on the board; `None` where the guest has no RAM.
    pub fn pa_of(&self, range: IpaRange) -> Option<PaRange> {
        let offset = range.start().get().checked_sub(RAM_BASE.get())?;
        let pa = PaRange::new(self.pa.start().checked_add(offset)?, range.bytes())?;
        self.pa.covers(pa).then_some(pa)
    }

    /// Gives the guest the block around `ipa`, all zeros, unless it has it already. False where it has no RAM, which may
    /// end within a block.
    pub fn provide(&self, ipa: Ipa) -> bool {
        let offset = ipa.get().wrapping_sub(RAM_BASE.get());
        let block = self.block(offset / BLOCK * BLOCK);
        let Some(block) = block.filter(|_| offset < self.pa.bytes()) else {
            return false;
        };
        let tables = self.tables.lock();
        let at = self.ipa_of(block);
        // The fault of another vCPU may have come first.
        if !tables.maps(&PoolTables, at) {
            self.zero(block);
            // It cannot fail: the tables are there, and the entry is free.
            let ram = Attributes::GUEST_RAM;
            let _ = tables.map(&mut PoolTables, at, block.start(), block.bytes(), ram);
            tlb::publish();
        }
        true
    }

    /// Gives the guest all blocks that `range` touches.
    pub fn provide_all(&self, range: IpaRange) {
        let first = range.start().align_down(BLOCK);
        for offset in (0..range.end().get() - first.get()).step_by(BLOCK as usize) {
            self.provide(Ipa::new(first.get() + offset));
        }
    }

    /// Takes every block back, so that the guest finds zeros wherever it looks next. To be called when all of its vCPUs
    /// are parked, by a CPU that has its VTTBR_EL2 loaded.
    pub fn withdraw(&self) {
        let tables = self.tables.lock();
        for block in self.blocks() {
            // It cannot fail: the tables are there.
            let (at, pa) = (self.ipa_of(block), block.start());
            let _ = tables.unmap(&mut PoolTables, at, pa, block.bytes());
        }
        tlb::invalidate_guest();
    }

    /// Lends all of it as bytes while none of the VM's vCPUs runs. What is in blocks that the guest has not got does not
    /// stay.
    pub fn while_stopped<R>(&self, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let _alone = self.tables.lock();
        // SAFETY: (1) the range is mapped RAM of this VM alone: it was a `Piece`. (2) The lock makes the slice the only one.
        // (3) The caller is the VM's start or reset, which runs when every vCPU is parked; should a guest
        // write all the same, it spoils bytes of its own and nothing that we trust.
        fill(unsafe { bytes(self.pa) })
    }

    /// Zeroes a block that the guest has not got, in the caches and behind them, where a guest with its MMU off reads.
    fn zero(&self, block: PaRange) {
        // SAFETY: (1) as above. (2) The caller holds the lock and the guest does not have the block: nobody else
        // reaches it.
        cache::zero(unsafe { bytes(block) });
    }

    /// The block that begins `offset` bytes into the RAM; the last one may be shorter.
    fn block(&self, offset: u64) -> Option<PaRange> {
        let left = self.pa.bytes().checked_sub(offset)?;
        PaRange::new(self.pa.start().checked_add(offset)?, left.min(BLOCK))
    }

    fn blocks(&self) -> impl Iterator<Item = PaRange> + '_ {
        let offsets = (0..self.pa.bytes()).step_by(BLOCK as usize);
        offsets.filter_map(|offset| self.block(offset))
    }

    /// Where the guest sees one of its blocks.
    const fn ipa_of(&self, block: PaRange) -> u64 {
        RAM_BASE.get() + (block.start().get() - self.pa.start().get())
    }
}

/// The bytes of `range`.
///
/// # Safety
///
/// It must be mapped RAM that nobody else touches while the slice lives.
unsafe fn bytes<'a>(range: PaRange) -> &'a mut [u8] {
    let (start, count) = (range.start().get() as *mut u8, range.bytes() as usize);
    // SAFETY: the caller's promise; EL2's map is the identity.
    unsafe { core::slice::from_raw_parts_mut(start, count) }
}
