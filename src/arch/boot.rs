//! The start of every CPU, and where the image lies.

use super::{
    cache,
    guest::{self, Exit, FRAME_BYTES, FaultFrame, GuestRegs},
};
use crate::types::{Mpidr, Pa, PaRange};
use aarch64_cpu::registers::*;
use core::{
    arch::global_asm,
    mem::offset_of,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

unsafe extern "C" {
    fn bulkhead_main(device_tree: u64, el: u64) -> !;
    fn bulkhead_secondary(pcpu: u64) -> !;
    // The state is the one given to `guest::enter`.
    fn bulkhead_on_sync(regs: &mut GuestRegs, state: *mut (), syndrome: u64) -> Exit;
    fn bulkhead_on_sync_whole(regs: &mut GuestRegs, state: *mut (), syndrome: u64) -> Exit;
    fn bulkhead_on_abort(regs: &mut GuestRegs, state: *mut (), syndrome: u64);
    fn bulkhead_on_irq(state: *mut ()) -> Exit;
    fn bulkhead_on_serror(state: *mut ()) -> Exit;
    fn bulkhead_on_fault(frame: &mut FaultFrame);
    fn secondary_entry();
    fn spin_table_entry();
}

global_asm!(
    include_str!("boot.S"),
    main = sym bulkhead_main,
    secondary_main = sym bulkhead_secondary,
    MAIR = const offset_of!(Secondary, mair),
    TTBR = const offset_of!(Secondary, ttbr),
    STACK = const offset_of!(Secondary, stack),
    AFFINITY = const offset_of!(Secondary, affinity),
    published = sym PUBLISHED,
);

global_asm!(
    include_str!("vectors.S"),
    on_sync = sym bulkhead_on_sync,
    on_sync_whole = sym bulkhead_on_sync_whole,
    on_abort = sym bulkhead_on_abort,
    on_irq = sym bulkhead_on_irq,
    on_serror = sym bulkhead_on_serror,
    on_fault = sym bulkhead_on_fault,
    FRAME = const FRAME_BYTES,
    PARK = const Exit::Park as u64,
    WHOLE = const Exit::Whole as u64,
    CALL = const guest::CALL_OFFSET,
    LOOPS = const guest::LOOPS_OFFSET,
    FAULT_FRAME = const size_of::<FaultFrame>(),
);

/// What a CPU needs between its reset and Rust, for [`publish`].
#[repr(C)]
pub struct Secondary {
    mair: u64,
    tcr: u64,
    ttbr: u64,
    sctlr: u64,
    stack: u64,
    pcpu: u64,
    affinity: u64,
    next: u64,
}

impl Secondary {
    /// A record for pCPU number `pcpu`, which has affinity `mpidr`, with the translation regime of the CPU that
    /// calls this and the stack that ends at `stack_top`.
    pub fn new(pcpu: u64, mpidr: Mpidr, stack_top: Pa) -> Self {
        Self {
            mair: MAIR_EL2.get(),
            tcr: TCR_EL2.get(),
            ttbr: TTBR0_EL2.get(),
            sctlr: SCTLR_EL2.get(),
            stack: stack_top.get(),
            pcpu,
            affinity: mpidr.affinity(),
            next: 0,
        }
    }
}

/// The record that was published last; each has the address of the one before, 0 at the end.
static PUBLISHED: AtomicU64 = AtomicU64::new(0);

/// Makes `record` known to its CPU, which will read it with its caches off; returns where it is. To be called by the
/// boot CPU only.
pub fn publish(record: &'static mut Secondary) -> Pa {
    record.next = PUBLISHED.load(Ordering::Relaxed);
    let at = (&raw const *record) as u64;
    clean(at, size_of::<Secondary>());
    PUBLISHED.store(at, Ordering::Relaxed);
    clean((&raw const PUBLISHED) as u64, size_of::<AtomicU64>());
    Pa::new(at)
}

fn clean(address: u64, bytes: usize) {
    if let Some(range) = PaRange::new(Pa::new(address), bytes as u64) {
        cache::clean_and_invalidate(range);
    }
}

/// Where a CPU begins that is started with the address of its record in x0.
pub fn secondary_entry_point() -> Pa {
    Pa::new(secondary_entry as *const () as u64)
}

/// Where a CPU begins that is started with nothing: it finds its record by its affinity.
pub fn spin_table_entry_point() -> Pa {
    Pa::new(spin_table_entry as *const () as u64)
}

macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        $($(#[$doc])*
        pub fn $name() -> Pa {
            unsafe extern "C" {
                static $symbol: u8;
            }
            // No dereference: the linker's symbol is only an address.
            Pa::new((&raw const $symbol) as u64)
        })*
    };
}

symbols! {
    /// First byte of the image; the load address.
    image_start = __image_start;
    /// End of the code.
    rodata_start = __rodata_start;
    /// End of what is never written.
    data_start = __data_start;
    /// The page below the boot CPU's stack.
    stack_guard = __stack_guard;
    /// Start of the pool.
    pool_start = __pool_start;
    /// End of the pool and of all that is ours.
    image_end = __image_end;
}

/// All memory that the hypervisor occupies.
pub fn image() -> Option<PaRange> {
    PaRange::between(image_start(), image_end())
}

/// The most that a device tree may have (Documentation/arch/arm64/booting.rst).
const MAX_TREE: u64 = 2 << 20;
/// First word of a device tree, big-endian.
const TREE_MAGIC: u32 = 0xd00d_feed;

/// The device tree at `pa`, which was x0 at entry; `None` when none is there, or when it was asked for before.
/// boot.S has mapped what it says that it has, up to 2 MiB.
pub fn device_tree(pa: Pa) -> Option<&'static mut [u8]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if pa.get() == 0
        || !pa.is_aligned(8)
        || pa.get() >> 47 != 0
        || TAKEN.swap(true, Ordering::Relaxed)
    {
        return None;
    }
    let header = pa.get() as *const u32;
    // SAFETY: two aligned words that boot.S has mapped.
    let (magic, size) = unsafe {
        (
            u32::from_be(header.read()),
            u32::from_be(header.add(1).read()),
        )
    };
    let plausible = magic == TREE_MAGIC && u64::from(size) <= MAX_TREE;
    // SAFETY: (1) mapped by boot.S and again by the final map. (2) The boot protocol gives the blob to us. (3) It is
    // handed out once.
    plausible
        .then(|| unsafe { core::slice::from_raw_parts_mut(pa.get() as *mut u8, size as usize) })
}

/// Installs EL2's exception vectors on this CPU.
pub fn install_vectors() {
    unsafe extern "C" {
        static vectors: u8;
    }
    VBAR_EL2.set((&raw const vectors) as u64);
    super::regs::isb();
}

/// Replaces them by those that do what [`guest::Hardening`] says at each exit of a guest.
pub fn install_hardened_vectors() {
    unsafe extern "C" {
        static hardened_vectors: u8;
    }
    VBAR_EL2.set((&raw const hardened_vectors) as u64);
    super::regs::isb();
}
