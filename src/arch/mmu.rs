//! Switching EL2's own translation to its final tables.

use super::regs::{current_el, isb};
use crate::types::Pa;
use aarch64_cpu::registers::*;
use core::arch::global_asm;

// The early map has blocks where the final one has pages; two sizes for one address may not be live at
// once (D8.16.1, break-before-make), and EL2 has no ASID to tell them apart. So the MMU goes off for the switch.
// Nothing is loaded or stored meanwhile, and the code was cleaned to the point of coherency by whoever loaded it.
macro_rules! switch {
    ($name:literal, $el:literal, $tlbi:literal) => {
        global_asm!(
            concat!(".global ", $name),
            concat!($name, ":"),
            "dsb ish",
            concat!("mrs x2, sctlr_", $el),
            "bic x3, x2, #1",
            "bic x3, x3, #4",
            concat!("msr sctlr_", $el, ", x3"),
            "isb",
            concat!("msr ttbr0_", $el, ", x0"),
            "isb",
            concat!("tlbi ", $tlbi),
            "dsb nsh",
            "isb",
            "orr x2, x2, x1",
            concat!("msr sctlr_", $el, ", x2"),
            "isb",
            "ret",
        );
    };
}

switch!("switch_tables_el1", "el1", "vmalle1");
switch!("switch_tables_el2", "el2", "alle2");
switch!("switch_tables_el3", "el3", "alle3");

/// Makes the tables at `root` this CPU's translation.
///
/// # Safety
///
/// The tables must map the image, this stack and all memory in use onto themselves, code executable and
/// read-only, data writable, and must never be changed afterwards.
pub unsafe fn switch_to(root: Pa) {
    unsafe extern "C" {
        fn switch_tables_el1(root: u64, sctlr: u64);
        fn switch_tables_el2(root: u64, sctlr: u64);
        fn switch_tables_el3(root: u64, sctlr: u64);
    }
    // What is writable is never executable; the bit is the same at all levels.
    let wxn = SCTLR_EL2::WXN::SET.value;
    // SAFETY: the caller's promise; the sequence is the one explained above.
    unsafe {
        match current_el() {
            1 => switch_tables_el1(root.get(), wxn),
            3 => switch_tables_el3(root.get(), wxn),
            _ => switch_tables_el2(root.get(), wxn),
        }
    }
}

/// Bits of a physical address that this CPU implements (ID_AA64MMFR0_EL1.PARange); at most 48, which is
/// what descriptors of 4 KiB granules hold without FEAT_LPA2.
pub fn physical_address_bits() -> u8 {
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Loads a guest's stage 2: VTCR_EL2 and VTTBR_EL2. It counts when the guest is entered.
pub fn load_stage2(vtcr: u64, vttbr: u64) {
    VTCR_EL2.set(vtcr);
    VTTBR_EL2.set(vttbr);
    isb();
}
