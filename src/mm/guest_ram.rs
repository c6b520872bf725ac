//! The RAM of one VM, as EL2 reaches it, and as it comes to the guest: block by block.
//!
//! A block is zeroed and mapped when the guest first touches it. A VM thus starts at once, however much RAM it
//! has, and a reset has to clear only what was used. Where an image ends within a block, that block comes in smaller
//! parts: a small guest needs no more than a few of them.

#![allow(
    unsafe_code,
    reason = "the one place where guest RAM becomes memory of ours"
)]

use super::{pool::PoolTables, ram::Piece};
use crate::{
    arch::{cache, tlb},
    spec::{
        machine::RAM_BASE,
        translation::{Attributes, BLOCK_LEVEL, MapError, PAGE, PAGE_LEVEL, Tables},
    },
    sync::Mutex,
    types::{Ipa, IpaRange, Pa, PaRange},
};
use arrayvec::ArrayVec;

/// Bytes that come to the guest at once: what one descriptor of level 2 maps.
pub const BLOCK: u64 = 2 << 20;
/// Bytes of a part of a block.
const PART: u64 = 64 << 10;
/// The most blocks that come in parts: three images have six ends, and the RAM one.
const MAX_PARTED: usize = 7;

/// RAM of a VM: one piece of the board's, which the guest sees from [`RAM_BASE`] on.
pub struct GuestRam {
    pa: PaRange,
    /// Numbers of the blocks that come in parts.
    parted: ArrayVec<u64, MAX_PARTED>,
    /// The guest's stage 2. Who holds the lock may touch what it does not map.
    tables: Mutex<Tables>,
}

impl GuestRam {
    /// The RAM in `piece`, for good, which the guest will reach through `tables` and which begins with `images`. Tables that it will
    /// take are made now.
    pub fn new(
        piece: Piece,
        tables: Tables,
        images: impl Iterator<Item = IpaRange>,
    ) -> Result<Self, MapError> {
        let pa = piece.range();
        let mut memory = PoolTables;
        tables.prepare(&mut memory, RAM_BASE.get(), pa.bytes(), BLOCK_LEVEL)?;
        let mut parted = ArrayVec::new();
        let mut part = |at: Ipa| {
            if at.is_aligned(BLOCK) {
                return Ok(());
            }
            let _ = parted.try_push((at.get() - RAM_BASE.get()) / BLOCK);
            tables.prepare(&mut memory, at.align_down(PAGE).get(), PAGE, PAGE_LEVEL)
        };
        for image in images {
            part(image.start())?;
            part(image.end())?;
        }
        // What is left behind the last whole block is mapped by pages, too.
        part(Ipa::new(RAM_BASE.get() + pa.bytes()))?;
        Ok(Self {
            pa,
            parted,
            tables: Mutex::new(tables),
        })
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

    /// Gives the guest the block or part around `ipa`, all zeros, unless it has it already. False where it has no RAM, which may
    /// end within a block.
    pub fn provide(&self, ipa: Ipa) -> bool {
        let offset = ipa.get().wrapping_sub(RAM_BASE.get());
        self.chunk(offset)
            .map(|chunk| self.give(chunk, true))
            .is_some()
    }

    /// Gives the guest everything that `image` touches: zeros, but not where it will be overwritten by all of `image`.
    pub fn provide_all(&self, image: PaRange) {
        let offset = |at: Pa| at.get().wrapping_sub(self.pa.start().get());
        let mut at = image.start();
        while at < image.end()
            && let Some(chunk) = self.chunk(offset(at))
        {
            self.give(chunk, !image.covers(chunk));
            at = chunk.end();
        }
    }

    /// Maps `chunk` where the guest has not got it, zeroed if so wished.
    fn give(&self, chunk: PaRange, zeroed: bool) {
        let tables = self.tables.lock();
        let at = RAM_BASE.get() + (chunk.start().get() - self.pa.start().get());
        // The fault of another vCPU may have come first.
        if tables.maps(&PoolTables, at) {
            return;
        }
        if zeroed {
            // SAFETY: (1) the range is mapped RAM of this VM alone: it was a `Piece`. (2) The lock is held, and the guest does not
            // have the chunk: nobody else reaches it.
            cache::zero(unsafe { bytes(chunk) });
        }
        // It cannot fail: the tables are there, and the entries are free.
        let ram = Attributes::GUEST_RAM;
        let _ = tables.map(&mut PoolTables, at, chunk.start(), chunk.bytes(), ram);
        tlb::publish();
    }

    /// Takes everything back, so that the guest finds zeros wherever it looks next. To be called when all of its vCPUs
    /// are parked, by a CPU that has its VTTBR_EL2 loaded.
    pub fn withdraw(&self) {
        let tables = self.tables.lock();
        // It cannot fail: RAM is whole pages.
        let _ = tables.unmap(&mut PoolTables, RAM_BASE.get(), self.pa.bytes());
        tlb::invalidate_guest();
    }

    /// Leaves everything to the guest's next life, which begins with caches and MMU off: what the former one has stored through
    /// the caches is written to memory, no line stays to be written over what the next one stores past them (B2.8), and no CPU
    /// keeps a translation of before. To be called as [`withdraw`](Self::withdraw).
    pub fn keep(&self) {
        let tables = self.tables.lock();
        let mut offset = 0;
        while let Some(chunk) = self.chunk(offset) {
            if tables.maps(&PoolTables, RAM_BASE.get() + offset) {
                cache::clean_and_invalidate(chunk);
            }
            offset += chunk.bytes();
        }
        tlb::invalidate_guest();
    }

    /// Lends all of it as bytes while none of the VM's vCPUs runs. What is in blocks that the guest has not got does not
    /// stay.
    pub fn while_stopped<R>(&self, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let _alone = self.tables.lock();
        // SAFETY: (1) as above. (2) The lock makes the slice the only one.
        // (3) The caller is the VM's start or reset, which runs when every vCPU is parked; should a guest
        // write all the same, it spoils bytes of its own and nothing that we trust.
        fill(unsafe { bytes(self.pa) })
    }

    /// What comes to the guest with the byte at `offset` into the RAM: a block, a part of one, or what is left at the end.
    fn chunk(&self, offset: u64) -> Option<PaRange> {
        let size = match self.parted.contains(&(offset / BLOCK)) {
            true => PART,
            false => BLOCK,
        };
        let start = offset / size * size;
        let left = self
            .pa
            .bytes()
            .checked_sub(start)
            .filter(|_| offset < self.pa.bytes())?;
        PaRange::new(self.pa.start().checked_add(start)?, size.min(left))
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
