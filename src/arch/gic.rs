//! The CPU's side of a GICv3: its own interface (ICC) and the virtual one (ICH). IHI0069H chapter 12.

use super::regs::{isb, read_reg, write_reg};
use crate::{spec::gic::ich_vtr, types::Mpidr};
use aarch64_cpu::registers::*;

/// Turns on this CPU's system-register interface with split priority drop and deactivation (EOImode 1): the
/// virtual timer's interrupt stays active until the guest deactivates it through its list register. False when
/// the board's firmware keeps the registers from EL2.
pub fn enable_cpu_interface() -> bool {
    // Registers instead of memory, at EL2 and for EL1. The ISB is required before any other ICC register is
    // touched (12.2.23).
    ICC_SRE_EL2.write(
        ICC_SRE_EL2::SRE::SET
            + ICC_SRE_EL2::DFB::SET
            + ICC_SRE_EL2::DIB::SET
            + ICC_SRE_EL2::ENABLE::SET,
    );
    isb();
    if !ICC_SRE_EL2.is_set(ICC_SRE_EL2::SRE) {
        return false;
    }
    ICH_HCR_EL2.set(0);
    write_reg!("icc_pmr_el1", 0xff);
    write_reg!("icc_bpr1_el1", 0);
    write_reg!("icc_ctlr_el1", 1 << 1);
    clear_active_priorities();
    write_reg!("icc_igrpen1_el1", 1);
    isb();
    true
}

/// Forgets the interrupts that a loader has acknowledged and not completed: their priority would hold back all
/// that are not higher (12.2.2). As many registers as ICC_CTLR_EL1.PRIbits, minus one, has room for.
fn clear_active_priorities() {
    let bits = ICC_CTLR_EL1.get() >> 8 & 7;
    write_reg!("icc_ap1r0_el1", 0);
    if bits >= 5 {
        write_reg!("icc_ap1r1_el1", 0);
    }
    if bits >= 6 {
        write_reg!("icc_ap1r2_el1", 0);
        write_reg!("icc_ap1r3_el1", 0);
    }
}

/// Takes the GIC's system registers away from EL1, whose GIC is a GICv2: with ICC_SRE_EL2.Enable and SRE clear, all of
/// them trap or are UNDEFINED (12.2.23). A CPU without them (ID_AA64PFR0_EL1.GIC) has none to take.
pub fn disable_system_registers() {
    if read_reg!("id_aa64pfr0_el1") >> 24 & 0xf != 0 {
        write_reg!("icc_sre_el2", 0);
        isb();
    }
}

/// Clears the virtual interface; the guest's part of it (ICH_VMCR_EL2, active priorities) is as after reset.
pub fn reset_virtual_interface() {
    ICH_HCR_EL2.set(0);
    ICH_VMCR_EL2.set(0);
    let bits = ICH_VTR_EL2.read(ICH_VTR_EL2::PREbits);
    clear_list_registers(ich_vtr::list_registers(vtr()));
    ICH_AP0R0_EL2.set(0);
    ICH_AP1R0_EL2.set(0);
    // PREbits, minus one: above 5 there is a second word, at 7 four (12.4.1).
    if bits >= 5 {
        ICH_AP0R1_EL2.set(0);
        ICH_AP1R1_EL2.set(0);
    }
    if bits >= 6 {
        ICH_AP0R2_EL2.set(0);
        ICH_AP0R3_EL2.set(0);
        ICH_AP1R2_EL2.set(0);
        ICH_AP1R3_EL2.set(0);
    }
    // A guest that looks at ICC_SRE_EL1 finds the system registers on; it has no others (12.2.22).
    write_reg!("icc_sre_el1", 7);
    isb();
}

/// Empties the first `count` list registers: all that there are, which is one at least.
fn clear_list_registers(count: usize) {
    write_reg!("ich_lr0_el2", 0);
    macro_rules! table {
        ($($n:literal)*) => {
            $(if $n >= count {
                return;
            }
            write_reg!(concat!("ich_lr", $n, "_el2"), 0);)*
        };
    }
    table!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// ICH_VTR_EL2: how large the virtual interface is.
pub fn vtr() -> u64 {
    ICH_VTR_EL2.get()
}

/// Acknowledges the highest-priority pending interrupt; its INTID, 1020 and above when there is none.
pub fn acknowledge() -> u32 {
    let intid = read_reg!("icc_iar1_el1") as u32 & 0xff_ffff;
    // The acknowledge must be complete before the device is looked at (12.1.3).
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
    intid
}

/// Priority drop: other interrupts may come; this one stays active.
pub fn drop_priority(intid: u32) {
    write_reg!("icc_eoir1_el1", u64::from(intid));
    isb();
}

/// Deactivates an interrupt: it may come again.
pub fn deactivate(intid: u32) {
    write_reg!("icc_dir_el1", u64::from(intid));
    isb();
}

/// The fields of ICC_SGI1R_EL1 that name one CPU (12.2.20).
pub fn sgi_target(cpu: Mpidr) -> u64 {
    let affinity = cpu.affinity();
    let (aff0, aff1) = (affinity & 0xff, affinity >> 8 & 0xff);
    let (aff2, aff3) = (affinity >> 16 & 0xff, affinity >> 32 & 0xff);
    aff3 << 48 | (aff0 >> 4) << 44 | aff2 << 32 | aff1 << 16 | 1 << (aff0 & 0xf)
}

/// Sends software generated interrupt `intid` (0 to 15) to a [`sgi_target`]. What was stored before is visible to
/// its handler.
pub fn send_sgi(target: u64, intid: u32) {
    // SAFETY: a barrier: the stores that the target is to look at come first (B2.7.4).
    unsafe { core::arch::asm!("dsb ishst", options(nostack, preserves_flags)) };
    write_reg!("icc_sgi1r_el1", target | u64::from(intid & 0xf) << 24);
    isb();
}

/// Reads list register `n`; 0 where there is none.
pub fn list_register(n: usize) -> u64 {
    macro_rules! table {
        ($($n:literal)*) => {
            match n { $($n => read_reg!(concat!("ich_lr", $n, "_el2")),)* _ => 0 }
        };
    }
    table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
}

/// Writes list register `n`; no effect where there is none.
pub fn set_list_register(n: usize, value: u64) {
    macro_rules! table {
        ($($n:literal)*) => {
            match n { $($n => write_reg!(concat!("ich_lr", $n, "_el2"), value),)* _ => {} }
        };
    }
    table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
}

/// ICH_ELRSR_EL2: the list registers without an interrupt and without a maintenance interrupt to come, a bit each.
#[inline(always)]
pub fn empty_list_registers() -> u16 {
    read_reg!("ich_elrsr_el2") as u16
}

/// ICH_HCR_EL2.
pub fn hcr() -> u64 {
    ICH_HCR_EL2.get()
}

/// Writes ICH_HCR_EL2.
pub fn set_hcr(value: u64) {
    ICH_HCR_EL2.set(value);
}

/// ICH_VMCR_EL2: the guest's own interface controls.
pub fn vmcr() -> u64 {
    ICH_VMCR_EL2.get()
}
