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

/// Hands out what lies between the image's data and its announced end.
pub struct Pool {
    next: Option<Pa>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { next: None });

/// Nothing is left of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl core::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str("the hypervisor's own memory is used up")
    }
}

impl Pool {
    /// `count` pages, which may hold anything.
    fn pages(&mut self, count: u64) -> Option<Pa> {
        let start = self.next.unwrap_or_else(boot::pool_start);
        let bytes = count.checked_mul(PAGE)?;
        let end = start.checked_add(bytes)?;
        if end > boot::image_end() {
            return None;
        }
        self.next = Some(end);
        Some(start)
    }
}

/// Bytes of the pool that are in use.
pub fn used() -> u64 {
    POOL.lock()
        .next
        .map_or(0, |next| next.get() - boot::pool_start().get())
}

/// `count` pages of 4 KiB, which may hold anything.
pub fn pages(count: u64) -> Result<Pa, Exhausted> {
    POOL.lock().pages(count).ok_or(Exhausted)
}

/// Moves a value into memory of its own, for good.
pub fn place<T>(value: T) -> Result<&'static mut T, Exhausted> {
    const { assert!(align_of::<T>() <= PAGE as usize) };
    let memory = pages((size_of::<T>() as u64).div_ceil(PAGE))?.get() as *mut T;
    // SAFETY: (1) the pages are large enough, aligned and ours alone. (2) They are written before the reference exists.
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
