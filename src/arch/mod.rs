//! The CPU at EL2: start, exception vectors, system registers, caches, TLBs and calls to firmware.
//!
//! Everything here is a thin name for an instruction or a short sequence of them, with the reason why
//! it is safe. What is decided here is decided by what the CPU is. References are to the Arm ARM, DDI 0487.

#![allow(
    unsafe_code,
    reason = "instructions and registers; each use says why it is sound"
)]

pub mod backtrace;
pub mod boot;
pub mod cache;
pub mod crc32;
pub mod el1;
pub mod firmware;
pub mod gic;
pub mod guest;
pub mod mmu;
pub mod random;
pub mod regs;
pub mod semihosting;
pub mod tlb;

// Takes the place of the compiler's own.
core::arch::global_asm!(include_str!("memory.S"));

/// Waits for an interrupt or event; returns at once when one is pending (D1.6.2). Interrupts stay masked.
pub fn wait_for_interrupt() {
    // SAFETY: (1) WFI changes no memory and no register. (2) The ISB has a timer that was set just now count, which may have
    // to end the sleep (D13.2); the DSB completes what other CPUs must see before this one sleeps (B2.7.4).
    unsafe { core::arch::asm!("isb", "dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Wakes all CPUs that wait in WFE; what this CPU stored before is visible to them (D1.6.1).
pub fn send_event() {
    // SAFETY: a barrier and a hint.
    unsafe { core::arch::asm!("dsb sy", "sev", options(nostack, preserves_flags)) }
}

/// Waits until all earlier accesses of this CPU have completed, those to devices too (B2.7.4).
pub fn wait_for_accesses() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: WFE only waits.
        unsafe { core::arch::asm!("wfe", options(nomem, nostack, preserves_flags)) }
    }
}
