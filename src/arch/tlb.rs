//! TLB maintenance for guests.

use core::arch::asm;

/// Drops every translation of the guest whose VTTBR_EL2 is loaded, stage 1 and 2, on all CPUs (D8.17):
/// nothing may survive from an earlier use of its VMID.
pub fn invalidate_guest() {
    // SAFETY: translations are read again from the tables. The first DSB makes earlier table writes
    // visible to the walkers, the others wait for all CPUs (D8.17.5). It is done twice for a Cortex-A76 to r3p0, where the
    // first time may complete too early (erratum 1286807); it happens once in a vCPU's life.
    unsafe {
        asm!(
            "dsb ishst",
            "tlbi vmalls12e1is",
            "dsb ish",
            "tlbi vmalls12e1is",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Drops this CPU's stage 1 translations and instructions of the guest that is loaded: a vCPU starts
/// without what its former life has left.
pub fn invalidate_vcpu() {
    // SAFETY: as above, this CPU only.
    unsafe {
        asm!(
            "dsb nshst",
            "tlbi vmalle1",
            "ic iallu",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Lets this CPU's guest use entries that have just become valid: the write is observed by the walkers of all CPUs before
/// the guest goes on, which would else fault once more (D8.16). No TLB holds anything of an invalid entry.
pub fn publish() {
    // SAFETY: barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}
