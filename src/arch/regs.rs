//! System registers. What the crate `aarch64-cpu` has is used from there, the rest by its Arm name.
//!
//! A read is safe. A write is safe too unless it can change what memory this CPU sees; those are the
//! business of [`super::mmu`], [`super::guest`] and [`super::boot`]. The crate tells the compiler that its
//! accesses do not touch memory (`nomem`): they keep their order among themselves, and where loads and stores
//! must keep theirs, a barrier stands, or a call of assembly, which the compiler moves nothing across.

/// Reads a system register into a `u64`.
macro_rules! read_reg {
    ($($reg:tt)+) => {{
        let value: u64;
        // SAFETY: reading a system register that exists on this CPU has no side effect on memory.
        unsafe {
            core::arch::asm!(
                concat!("mrs {}, ", $($reg)+),
                out(reg) value,
                options(nostack, preserves_flags)
            )
        };
        value
    }};
}

/// Writes a `u64` to a system register that does not affect EL2's own view of memory. It is not
/// `nomem`: accesses to memory keep their place in program order around it.
macro_rules! write_reg {
    ($reg:literal, 0) => {
        $crate::arch::regs::write_reg!(concat!($reg), 0)
    };
    (concat!($($part:tt)+), 0) => {
        // SAFETY: as below.
        unsafe {
            core::arch::asm!(
                concat!("msr ", $($part)+, ", xzr"),
                options(nostack, preserves_flags)
            )
        }
    };
    ($reg:literal, $value:expr) => {
        $crate::arch::regs::write_reg!(concat!($reg), $value)
    };
    (concat!($($part:tt)+), $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the register is none of those that rule what EL2 itself sees and executes (SCTLR, TCR, TTBR0, MAIR, VBAR, SPSel
        // and SP of EL2): it is the guest's, a control over the guest, the interrupt controller's or a timer's.
        unsafe {
            core::arch::asm!(
                concat!("msr ", $($part)+, ", {}"),
                in(reg) value,
                options(nostack, preserves_flags)
            )
        }
    }};
}

pub(crate) use {read_reg, write_reg};

use aarch64_cpu::{
    asm::barrier,
    registers::{CurrentEL, MPIDR_EL1, Readable},
};

/// Instruction synchronization barrier: what was written to system registers counts from here on (B2.7.4).
pub fn isb() {
    barrier::isb(barrier::SY);
}

/// Which exception level this is, 1 to 3.
pub fn current_el() -> u64 {
    CurrentEL.read(CurrentEL::EL)
}

/// This pCPU's affinity.
pub fn mpidr() -> crate::types::Mpidr {
    crate::types::Mpidr::from_register(MPIDR_EL1.get())
}

/// MIDR_EL1: which CPU this is.
pub fn midr() -> u64 {
    aarch64_cpu::registers::MIDR_EL1.get()
}

/// x29 of the function that this is inlined into; the crate's `FP` may be a call, with a frame of its own.
#[inline(always)]
pub fn read_frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!("mov {}, x29", out(reg) value, options(nomem, nostack, preserves_flags))
    };
    value
}
