//! EL2's final map: the identity over RAM and the devices in use, with nothing writable that is executable.
//!
//! Built once and never changed. Who made the map knows what is memory, so this is also where addresses from
//! the board's device tree turn into things to work with: [`Memory`].

#![allow(
    unsafe_code,
    reason = "the one place for it here; each use says why it is sound"
)]

use super::{
    mailbox::Mailbox,
    mmio::Mmio,
    pool::PoolTables,
    ram::{MAX_PIECES, Ram},
};
use crate::{
    arch::{boot, mmu, regs},
    spec::{
        gic::MAX_REDIST_REGIONS,
        translation::{Attributes, MapError, PAGE, TableMemory, Tables},
    },
    types::{MAX_PCPUS, Pa, PaRange},
};
use arrayvec::{ArrayVec, CapacityError};
use core::sync::atomic::{AtomicBool, Ordering};

/// The most device ranges that are mapped: three of a GIC and its redistributors, the UART, the clock, the power manager.
pub const MAX_DEVICES: usize = 6 + MAX_REDIST_REGIONS;

/// What the board has, as EL2 has mapped it.
pub struct Plan<'a> {
    /// RAM in nobody's use; pieces that touch neither each other nor the image.
    pub free: &'a [PaRange],
    /// RAM that the loader has filled for us, apart from `free`.
    pub loaded: &'a [PaRange],
    /// Registers of the devices that are driven.
    pub devices: &'a [PaRange],
    /// Words that CPUs poll, by which they are started; their pages are apart from `free`.
    pub mailboxes: &'a [Pa],
    /// Pages that stay unmapped, in ascending order, within the image's data.
    pub guards: &'a [Pa],
}

/// Everything that was mapped and is not the image's.
pub struct Memory {
    /// RAM for guests.
    pub ram: Ram,
    loaded: ArrayVec<PaRange, MAX_DEVICES>,
    devices: ArrayVec<PaRange, MAX_DEVICES>,
    mailboxes: ArrayVec<Pa, MAX_PCPUS>,
}

impl Memory {
    /// The registers at `range`; `None` when they were not part of the plan.
    pub fn device(&self, range: PaRange) -> Option<Mmio> {
        self.devices
            .iter()
            .any(|device| device.covers(range))
            .then(|| Mmio::new(range))
    }

    /// The word at `word`; `None` when it was not part of the plan.
    pub fn mailbox(&self, word: Pa) -> Option<Mailbox> {
        self.mailboxes.iter().find(|known| **known == word)?;
        Mailbox::new(word)
    }

    /// Takes what the loader has left at `range`; `None` when it was not part of the plan or is taken already.
    pub fn take_loaded(&mut self, range: PaRange) -> Option<&'static mut [u8]> {
        let at = self.loaded.iter().position(|loaded| loaded.covers(range))?;
        self.loaded.swap_remove(at);
        // SAFETY: (1) mapped as data for good. (2) It is in no other list, and left this one.
        Some(unsafe {
            core::slice::from_raw_parts_mut(range.start().get() as *mut u8, range.bytes() as usize)
        })
    }
}

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Builds the map of `plan` and switches this CPU over. To be called once.
pub fn install(plan: &Plan) -> Result<Memory, MapError> {
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return Err(MapError::Overlap);
    }
    let mut memory = PoolTables;
    let tables = Tables::new(&mut memory, 48).ok_or(MapError::OutOfTables)?;
    let mut map = Identity { tables, memory };
    let data = map.image(plan.guards)?;
    let mut pieces: ArrayVec<PaRange, { MAX_PIECES + MAX_DEVICES }> = ArrayVec::new();
    for some in [plan.free, plan.loaded, data.as_slice()] {
        pieces.try_extend_from_slice(some).map_err(too_many)?;
    }
    map.data(&pieces)?;
    for device in plan.devices {
        map.device(*device, plan)?;
    }
    for word in plan.mailboxes {
        map.mailbox(*word)?;
    }
    // SAFETY: the image's parts are mapped as their sections want, the stack in use lies in its data, and the
    // tables are dropped here without having been given to anybody.
    unsafe { mmu::switch_to(map.tables.root()) };
    Ok(Memory {
        ram: Ram::new(plan.free),
        loaded: plan.loaded.try_into().map_err(too_many)?,
        devices: plan.devices.try_into().map_err(too_many)?,
        mailboxes: plan.mailboxes.try_into().map_err(too_many)?,
    })
}

/// More than is kept track of.
fn too_many(_: CapacityError) -> MapError {
    MapError::OutOfTables
}

struct Identity<M> {
    tables: Tables,
    memory: M,
}

impl<M: TableMemory> Identity<M> {
    fn range(&mut self, start: Pa, end: Pa, attributes: Attributes) -> Result<(), MapError> {
        let attributes = if regs::current_el() == 1 {
            attributes.at_el1()
        } else {
            attributes
        };
        match PaRange::between(start, end) {
            Some(range) => self.tables.map(
                &mut self.memory,
                start.get(),
                start,
                range.bytes(),
                attributes,
            ),
            None => Ok(()),
        }
    }

    /// The image, but for the end of its data, which is left to [`Identity::data`].
    fn image(&mut self, guards: &[Pa]) -> Result<Option<PaRange>, MapError> {
        self.range(boot::image_start(), boot::rodata_start(), Attributes::CODE)?;
        self.range(
            boot::rodata_start(),
            boot::data_start(),
            Attributes::CONSTANTS,
        )?;
        let mut at = boot::data_start();
        for guard in guards {
            self.range(at, *guard, Attributes::DATA)?;
            at = guard.checked_add(PAGE).ok_or(MapError::BadRange)?;
        }
        Ok(PaRange::between(at, boot::image_end()))
    }

    /// Memory: pieces that touch are mapped as one, by few pages.
    fn data(&mut self, pieces: &[PaRange]) -> Result<(), MapError> {
        for first in pieces {
            if pieces.iter().any(|piece| piece.end() == first.start()) {
                continue;
            }
            let mut end = first.end();
            while let Some(next) = pieces.iter().find(|next| next.start() == end) {
                end = next.end();
            }
            self.range(first.start(), end, Attributes::DATA)?;
        }
        Ok(())
    }

    fn mailbox(&mut self, word: Pa) -> Result<(), MapError> {
        let page = word.align_down(PAGE);
        let end = page.checked_add(PAGE).ok_or(MapError::BadRange)?;
        match self.range(page, end, Attributes::DATA) {
            // One page may have the words of several CPUs.
            Err(MapError::Overlap) => Ok(()),
            result => result,
        }
    }

    /// Two devices may share pages, which are mapped once; none may lie where there is memory.
    fn device(&mut self, device: PaRange, plan: &Plan) -> Result<(), MapError> {
        let start = device.start().align_down(PAGE);
        let end = device.end().align_up(PAGE).ok_or(MapError::BadRange)?;
        let pages = PaRange::between(start, end).ok_or(MapError::BadRange)?;
        let image = boot::image();
        let mut memory = plan.free.iter().chain(plan.loaded).chain(&image);
        if memory.any(|piece| piece.overlaps(pages)) {
            return Err(MapError::Overlap);
        }
        let whole = self.range(start, end, Attributes::DEVICE);
        if whole != Err(MapError::Overlap) {
            return whole;
        }
        let mut at = start;
        while at < end {
            let next = at.checked_add(PAGE).ok_or(MapError::BadRange)?;
            match self.range(at, next, Attributes::DEVICE) {
                Ok(()) | Err(MapError::Overlap) => at = next,
                error => return error,
            }
        }
        Ok(())
    }
}
