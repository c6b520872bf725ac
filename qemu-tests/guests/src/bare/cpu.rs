//! Instructions.

use core::arch::asm;

use super::boot::MAX_CPUS;

/// Reads a system register by name.
#[macro_export]
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a register changes nothing that Rust knows of.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value) };
        value
    }};
}

/// Writes a system register by name.
#[macro_export]
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the caller writes no register that changes how memory is seen.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value) }
    }};
}

/// This CPU.
pub fn index() -> usize {
    mrs!("mpidr_el1") as usize % MAX_CPUS
}

/// MPIDR_EL1's affinity fields of this CPU.
pub fn affinity() -> u64 {
    mrs!("mpidr_el1") & 0xff_00ff_ffff
}

/// Waits for an interrupt.
pub fn wfi() {
    // SAFETY: it only waits.
    unsafe { asm!("dsb sy", "wfi") }
}

/// Waits for an event.
pub fn wfe() {
    // SAFETY: it only waits.
    unsafe { asm!("wfe") }
}

/// Sends an event.
pub fn sev() {
    // SAFETY: it only wakes.
    unsafe { asm!("dsb sy", "sev") }
}

/// Instruction synchronization barrier.
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { asm!("isb") }
}

/// The virtual count.
pub fn now() -> u64 {
    isb();
    mrs!("cntvct_el0")
}

/// Ticks in so many milliseconds.
pub fn ms(count: u64) -> u64 {
    mrs!("cntfrq_el0") / 1000 * count
}

/// Waits until the condition holds; false when that took so long that no busy host can be the reason.
pub fn wait_for(condition: impl FnMut() -> bool) -> bool {
    wait_until(30_000, condition)
}

/// Waits until the condition holds; false when that took longer than `limit_ms`.
pub fn wait_until(limit_ms: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = now() + ms(limit_ms);
    while now() < end {
        if condition() {
            return true;
        }
        core::hint::spin_loop();
    }
    condition()
}

/// Writes back and drops the cache lines of a value, for CPUs that see it with their caches off.
pub fn drop_cached<T>(value: *const T) {
    let line = 4 << (mrs!("ctr_el0") >> 16 & 0xf);
    for offset in (0..size_of::<T>()).step_by(line) {
        // SAFETY: the address is that of a value of ours.
        unsafe { asm!("dc civac, {}", in(reg) value.cast::<u8>().wrapping_add(offset)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy") };
}

/// Makes an instruction that was just written visible to the fetch of this CPU.
pub fn sync_instruction(at: *const u32) {
    // SAFETY: cache maintenance of memory that is ours.
    unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) at) };
}
