//! Cache maintenance by address.
//!
//! A guest starts with its MMU off: it reads and fetches from memory, past the caches (D8.2.12). What
//! EL2 wrote through its own cacheable mapping must therefore reach the point of coherency first, and no
//! line may stay behind that could be written back over what the guest stores later.

use super::{el1, regs::read_reg};
use crate::types::{Pa, PaRange};
use core::arch::asm;

/// Bytes of the smallest data cache line (CTR_EL0.DminLine).
fn line() -> u64 {
    4 << (read_reg!("ctr_el0") >> 16 & 0xf)
}

/// Applies operations to `count` lines of `step` bytes from `address` on. No operation takes an offset, so that is one instruction
/// each and one more for the line.
macro_rules! lines {
    ($address:expr, $count:expr, $step:expr, $($operation:literal)+) => {{
        let (mut address, count, step): (u64, u64, u64) = ($address, $count, $step);
        for _ in 0..count / 8 {
            asm!(
                ".rept 8",
                $(concat!("dc ", $operation, ", {address}"),)+
                "add {address}, {address}, {step}",
                ".endr",
                address = inout(reg) address,
                step = in(reg) step,
                options(nostack, preserves_flags)
            );
        }
        for _ in 0..count % 8 {
            $(asm!(
                concat!("dc ", $operation, ", {address}"),
                address = in(reg) address,
                options(nostack, preserves_flags)
            );)+
            address += step;
        }
    }};
}

/// Writes dirty lines of `range` to the point of coherency and drops them. There is no clean alone: on a
/// Cortex-A53 with errata 819472, 824069, 826319 or 827319 DC CVAC may corrupt or deadlock, and to use DC CIVAC in its
/// place is the vendor's workaround.
pub fn clean_and_invalidate(range: PaRange) {
    let step = line();
    let first = range.start().align_down(step).get();
    let count = (range.end().get() - first).div_ceil(step);
    // SAFETY: a clean never changes what memory holds for an observer of the cache; a clean and invalidate
    // writes dirty data back first. The addresses are mapped: EL2's map is the identity over all RAM.
    unsafe { lines!(first, count, step, "civac") };
    complete();
}

/// Waits until maintenance is complete for all observers (B2.7.4).
fn complete() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
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

/// Zeroes `memory` in the caches and behind them, as filling and [cleaning](clean_and_invalidate) it would: by DC ZVA where that is
/// permitted and takes one line. To one line, maintenance comes in program order after stores (Arm ARM, "Ordering and completion of data
/// and instruction cache instructions").
pub fn zero(memory: &mut [u8]) {
    let step = line();
    let head = memory.as_ptr().align_offset(step as usize);
    let (head, rest) = memory.split_at_mut(head.min(memory.len()));
    let (lines, tail) = rest.split_at_mut(rest.len() & (step as usize).wrapping_neg());
    // DZP, which prohibits it, makes this more than any line has.
    let by_lines = 4 << (read_reg!("dczid_el0") & 0x1f) == step;
    if by_lines {
        let (first, count) = (lines.as_mut_ptr() as u64, lines.len() as u64 / step);
        // SAFETY: (1) whole lines, exclusively borrowed. (2) They are Normal memory in EL2's map, where DC ZVA is
        // permitted (D8.2.11).
        unsafe { lines!(first, count, step, "zva" "civac") };
    } else {
        fill(lines);
    }
    fill(head);
    fill(tail);
    complete();
}

/// Brings to memory, as [`clean_and_invalidate`] does: the first `written` bytes of `memory` as they are, then `more`, then zeros.
///
/// It changes FP and SIMD registers, which EL2 uses nowhere else and never while a guest has values in them: to be called
/// when the vCPU of this CPU does not run, and [begins anew](super::el1::reset) if ever it does.
pub fn settle(memory: &mut [u8], written: usize, more: &[u8]) {
    let (written, rest) = memory.split_at_mut(written.min(memory.len()));
    clean(written);
    let bytes = more.len().min(rest.len());
    let (copied, rest) = rest.split_at_mut(bytes);
    copy(copied, more.split_at(bytes).0);
    zero(rest);
}

/// Fills `memory` from `from`, which is as long. Whole lines are cleaned while they are at hand.
fn copy(memory: &mut [u8], from: &[u8]) {
    unsafe extern "C" {
        fn copy_to_memory(to: *mut u8, from: *const u8, bytes: usize);
    }
    let in_lines = line() == 64 && memory.as_ptr().align_offset(64) == 0 && el1::has_fp();
    let bytes = if in_lines { memory.len() & !511 } else { 0 };
    let (lines, tail) = memory.split_at_mut(bytes);
    let (from, rest) = from.split_at(bytes);
    // SAFETY: (1) Both are `bytes` bytes of Normal memory, in whole lines of the CPU's, and what is written is exclusively
    // borrowed. (2) Compiled code is soft-float and keeps nothing in the registers that are lost.
    unsafe { copy_to_memory(lines.as_mut_ptr(), from.as_ptr(), bytes) };
    tail.copy_from_slice(rest);
    clean(tail);
}

fn fill(memory: &mut [u8]) {
    memory.fill(0);
    clean(memory);
}

fn clean(memory: &[u8]) {
    let start = Pa::new(memory.as_ptr() as u64);
    if let Some(range) = PaRange::new(start, memory.len() as u64) {
        clean_and_invalidate(range);
    }
}
