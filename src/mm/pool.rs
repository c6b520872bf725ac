//! The hypervisor's own memory: what follows the image, announced in its header.
//!
//! Translation tables, CPU stacks and VMs come from here and are never given back: what a board runs is
//! settled when its bundle is read. Everything else in RAM belongs to guests.

#![allow(
    unsafe_code,
    reason = "the one place for it here; each use says why it is sound"
)]

use crate::{
    arch::boot,
    spec::translation::{PAGE, TableMemory},
    sync::Mutex,
    types::Pa,
};
use core::alloc::Layout;

/// Values begin on cache lines of their own, of the size that is common: CPUs do not take lines from each other for what each of
/// them has for itself, and what is cleaned for a CPU with its caches off is that CPU's alone.
const LINE: u64 = 64;

/// Hands out what lies between the image's data and its announced end: whole pages from its start, values from its end, so
/// that neither leaves gaps in the other.
pub struct Pool {
    /// Start and end of what is left, once something was taken.
    left: Option<(Pa, Pa)>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { left: None });

/// Nothing is left of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl core::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str("the hypervisor's own memory is used up")
    }
}

impl Pool {
    fn left(&self) -> (Pa, Pa) {
        self.left
            .unwrap_or_else(|| (boot::pool_start(), boot::image_end()))
    }

    /// `count` pages, which may hold anything.
    fn pages(&mut self, count: u64) -> Option<Pa> {
        let (start, end) = self.left();
        let next = start.checked_add(count.checked_mul(PAGE)?)?;
        (next <= end).then(|| {
            self.left = Some((next, end));
            start
        })
    }

    /// Memory for a value, which may hold anything.
    fn value(&mut self, layout: Layout) -> Option<Pa> {
        let (start, end) = self.left();
        let lowest = end.get().checked_sub(layout.size() as u64)?;
        let at = Pa::new(lowest).align_down(LINE.max(layout.align() as u64));
        (at >= start).then(|| {
            self.left = Some((start, at));
            at
        })
    }
}

/// `count` pages of 4 KiB, which may hold anything.
pub fn pages(count: u64) -> Result<Pa, Exhausted> {
    POOL.lock().pages(count).ok_or(Exhausted)
}

/// `count` bytes, whatever they are.
pub fn bytes(count: u64) -> Result<&'static mut [u8], Exhausted> {
    let start = pages(count.div_ceil(PAGE))?.get() as *mut u8;
    // SAFETY: (1) the pages are large enough and ours alone. (2) Every byte of memory is a u8.
    Ok(unsafe { core::slice::from_raw_parts_mut(start, count as usize) })
}

/// Memory for a value, which may hold anything; pages for what is made of pages.
#[inline(never)]
fn room(layout: Layout) -> Result<Pa, Exhausted> {
    let whole = layout.size() as u64 / PAGE;
    match layout.align() as u64 {
        PAGE => pages(whole),
        _ => POOL.lock().value(layout).ok_or(Exhausted),
    }
}

/// Moves a value into memory of its own, for good.
pub fn place<T>(value: T) -> Result<&'static mut T, Exhausted> {
    const { assert!(align_of::<T>() <= PAGE as usize) };
    let memory = room(Layout::new::<T>())?.get() as *mut T;
    // SAFETY: (1) the memory is large enough, aligned and ours alone. (2) It is written before the reference exists.
    unsafe {
        memory.write(value);
        Ok(&mut *memory)
    }
}

/// Tables from the pool.
pub struct PoolTables;

impl TableMemory for PoolTables {
    fn allocate(&mut self) -> Option<Pa> {
        let page = POOL.lock().pages(1)?;
        // SAFETY: (1) the page lies between the linker's symbols for the pool, which is mapped writable. (2) It was handed
        // out just now, once and for good.
        unsafe { core::ptr::write_bytes(page.get() as *mut u8, 0, PAGE as usize) };
        Some(page)
    }

    fn get(&self, table: Pa, index: usize) -> u64 {
        // SAFETY: (1) `table` came from `allocate`, so it is a page of the pool that only tables use. (2) The index is
        // cut to the page.
        unsafe { ((table.get() as *const u64).add(index & 511)).read_volatile() }
    }

    fn set(&mut self, table: Pa, index: usize, descriptor: u64) {
        // SAFETY: as for `get`. A walker sees either the old or the new descriptor: 64-bit stores are single-copy
        // atomic (B2.2.1).
        unsafe { ((table.get() as *mut u64).add(index & 511)).write_volatile(descriptor) };
    }
}
