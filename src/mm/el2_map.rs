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
use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

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
    /// The registers at `range`; `None` when they were not part of the plan, or do not begin at a multiple of 4 bytes, as all
    /// that are driven do.
    pub fn device(&self, range: PaRange) -> Option<Mmio> {
        let mut devices = self.devices.iter();
        let is_known = devices.any(|device| device.covers(range));
        (is_known && range.start().is_aligned(4)).then(|| Mmio::new(range))
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

/// What cannot be mapped, and why.
#[derive(Debug)]
pub struct Unmapped {
    what: &'static str,
    start: Pa,
    end: Pa,
    error: MapError,
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} from {} to {}: {}",
            self.what, self.start, self.end, self.error
        )
    }
}

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Builds the map of `plan` and switches this CPU over, which happens once; after an error another plan may be tried.
pub fn install(plan: &Plan) -> Result<Memory, Unmapped> {
    let mut tried = Unmapped {
        what: "Bulkhead",
        start: boot::image_start(),
        end: boot::image_end(),
        error: MapError::OutOfTables,
    };
    build(plan, &mut tried).map_err(|error| Unmapped { error, ..tried })
}

fn build(plan: &Plan, tried: &mut Unmapped) -> Result<Memory, MapError> {
    let mut memory = PoolTables;
    let mut map = Identity {
        tables: Tables::new(&mut memory, 48).ok_or(MapError::OutOfTables)?,
        memory,
        tried,
    };
    let data = map.image(plan.guards)?;
    let mut pieces: ArrayVec<PaRange, { MAX_PIECES + MAX_DEVICES }> = ArrayVec::new();
    for some in [plan.free, plan.loaded, data.as_slice()] {
        pieces.try_extend_from_slice(some).map_err(too_many)?;
    }
    map.tried.what = "memory";
    map.data(&pieces)?;
    map.tried.what = "device";
    for device in plan.devices {
        map.device(*device, plan)?;
    }
    map.tried.what = "cpu-release-addr";
    for word in plan.mailboxes {
        // One page may have the words of several CPUs.
        map.page(*word, Attributes::DATA)?;
    }
    let memory = Memory {
        ram: Ram::new(plan.free),
        loaded: plan.loaded.try_into().map_err(too_many)?,
        devices: plan.devices.try_into().map_err(too_many)?,
        mailboxes: plan.mailboxes.try_into().map_err(too_many)?,
    };
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return Err(MapError::Overlap);
    }
    // SAFETY: the image's parts are mapped as their sections want, the stack in use lies in its data, and the
    // tables are dropped here without having been given to anybody.
    unsafe { mmu::switch_to(map.tables.root()) };
    Ok(memory)
}

/// More than is kept track of.
fn too_many(_: CapacityError) -> MapError {
    MapError::OutOfTables
}

/// An end that no map reaches, for what ends with the address space.
const NOWHERE: Pa = Pa::new(u64::MAX);

struct Identity<'u, M> {
    tables: Tables,
    memory: M,
    /// What is being mapped.
    tried: &'u mut Unmapped,
}

impl<M: TableMemory> Identity<'_, M> {
    fn range(&mut self, start: Pa, end: Pa, attributes: Attributes) -> Result<(), MapError> {
        let tried = &mut *self.tried;
        (tried.start, tried.end) = (start, end);
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

    /// The page around `at`, which may be mapped already.
    fn page(&mut self, at: Pa, attributes: Attributes) -> Result<(), MapError> {
        let start = at.align_down(PAGE);
        let end = start.checked_add(PAGE).unwrap_or(NOWHERE);
        match self.range(start, end, attributes) {
            Err(MapError::Overlap) => Ok(()),
            result => result,
        }
    }

    /// The image, but for the end of its data, which is left to [`Identity::data`].
    fn image(&mut self, guards: &[Pa]) -> Result<Option<PaRange>, MapError> {
        let (constants, data) = (boot::rodata_start(), boot::data_start());
        self.range(boot::image_start(), constants, Attributes::CODE)?;
        self.range(constants, data, Attributes::CONSTANTS)?;
        let mut at = data;
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

    /// Two devices may share pages, which are mapped once; none may lie where there is memory.
    fn device(&mut self, device: PaRange, plan: &Plan) -> Result<(), MapError> {
        let start = device.start().align_down(PAGE);
        let end = device.end().align_up(PAGE).unwrap_or(NOWHERE);
        let whole = self.range(start, end, Attributes::DEVICE);
        let image = boot::image();
        let mut memory = plan.free.iter().chain(plan.loaded).chain(&image);
        if memory.any(|piece| piece.start() < end && start < piece.end()) {
            return Err(MapError::Overlap);
        }
        if whole != Err(MapError::Overlap) {
            return whole;
        }
        let mut at = start;
        while at < end {
            self.page(at, Attributes::DEVICE)?;
            at = at.checked_add(PAGE).unwrap_or(end);
        }
        Ok(())
    }
}
