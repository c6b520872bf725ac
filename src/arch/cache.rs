//! Cache maintenance by address.
//!
//! A guest starts with its MMU off: it reads and fetches from memory, past the caches (D8.2.12). What
//! EL2 wrote through its own cacheable mapping must therefore reach the point of coherency first, and no
//! line may stay behind that could be written back over what the guest stores later.

use super::regs::read_reg;
use crate::types::PaRange;
use core::arch::asm;

/// Bytes of the smallest data cache line (CTR_EL0.DminLine).
fn line() -> u64 {
    4 << (read_reg!("ctr_el0") >> 16 & 0xf)
}

/// Applies one operation to four addresses, a step apart.
macro_rules! four {
    ($operation:literal, $address:expr, $step:expr) => {
        asm!(
            concat!("dc ", $operation, ", {address}"),
            "add {address}, {address}, {step}",
            concat!("dc ", $operation, ", {address}"),
            "add {address}, {address}, {step}",
            concat!("dc ", $operation, ", {address}"),
            "add {address}, {address}, {step}",
            concat!("dc ", $operation, ", {address}"),
            address = inout(reg) $address => _,
            step = in(reg) $step,
            options(nostack, preserves_flags)
        )
    };
}

/// Writes dirty lines of `range` to the point of coherency and drops them. There is no clean alone: on a
/// Cortex-A53 with errata 819472, 824069, 826319 or 827319 DC CVAC may corrupt or deadlock, and to use DC CIVAC in its
/// place is the vendor's workaround.
pub fn clean_and_invalidate(range: PaRange) {
    let step = line();
    let (mut address, end) = (range.start().align_down(step).get(), range.end().get());
    // SAFETY: a clean never changes what memory holds for an observer of the cache; a clean and invalidate
    // writes dirty data back first. The addresses are mapped: EL2's map is the identity over all RAM.
    unsafe {
        while end.saturating_sub(address) >= 4 * step {
            four!("civac", address, step);
            address += 4 * step;
        }
        while address < end {
            asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags));
            address += step;
        }
        // Completes the maintenance for all observers (B2.7.4).
        asm!("dsb sy", options(nostack, preserves_flags));
    }
}

/// Forgets all instructions that any CPU has cached: new code was written (B2.4.4).
pub fn invalidate_instructions() {
    // SAFETY: instructions are fetched again from memory, which holds the same or what is newer.
    unsafe {
        asm!(
            "ic ialluis",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Sets `range` to zero by blocks (DC ZVA) where that is permitted.
pub fn zero(memory: &mut [u8]) {
    let dczid = read_reg!("dczid_el0");
    let block = 4usize << (dczid & 0xf);
    if dczid & 0x10 != 0 {
        memory.fill(0);
        return;
    }
    let head = memory.as_ptr().align_offset(block).min(memory.len());
    let (head, rest) = memory.split_at_mut(head);
    head.fill(0);
    let mut chunks = rest.chunks_exact_mut(4 * block);
    for chunk in &mut chunks {
        // SAFETY: (1) the chunk is exactly four blocks, aligned to one, and exclusively borrowed. (2) It is
        // Normal memory in EL2's map, where DC ZVA is permitted (D8.2.11).
        unsafe { four!("zva", chunk.as_mut_ptr(), block) };
    }
    chunks.into_remainder().fill(0);
}
