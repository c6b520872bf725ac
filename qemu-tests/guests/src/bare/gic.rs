//! As much of a GICv3 (IHI0069) or GICv2 (IHI0048) as a guest needs for its timers and SGIs.
//!
//! A CPU with the system registers of a GICv3 says so in ID_AA64PFR0_EL1; one without has a GICv2.

use super::{cpu, mmio};
use crate::{mrs, msr};

/// Distributor.
pub const GICD: u64 = 0x0800_0000;
/// CPU interface of a GICv2.
pub const GICC: u64 = 0x0801_0000;
/// The first redistributor of a GICv3.
pub const GICR: u64 = 0x080a_0000;
/// Bytes from one redistributor to the next.
pub const GICR_STRIDE: u64 = 0x2_0000;

/// The virtual timer's INTID.
pub const VIRTUAL_TIMER: u32 = 27;

/// Whether the machine has a GICv2.
pub fn is_v2() -> bool {
    mrs!("id_aa64pfr0_el1") >> 24 & 0xf == 0
}

/// RD_base of this CPU.
pub fn redistributor() -> u64 {
    GICR + cpu::index() as u64 * GICR_STRIDE
}

/// Where the registers of this CPU's SGIs and PPIs are, at the offsets that they have in the distributor.
pub fn private_frame() -> u64 {
    if is_v2() {
        GICD
    } else {
        redistributor() + 0x1_0000
    }
}

/// Brings up the distributor and this CPU's interface, with the SGIs and the virtual timer enabled. PSTATE.I stays as it is.
pub fn enable() {
    if is_v2() {
        mmio::write32(GICD, 1); // EnableGrp0
        mmio::write32(GICD + 0x80, 0); // GICD_IGROUPR0: all group 0
        mmio::write32(GICD + 0x100, 0xffff | 1 << VIRTUAL_TIMER); // GICD_ISENABLER0
        mmio::write32(GICC + 0x4, 0xf0); // GICC_PMR
        mmio::write32(GICC, 1); // GICC_CTLR: EnableGrp0, EOI drops and deactivates
        return;
    }
    mmio::write32(GICD, 0x12); // ARE_NS, EnableGrp1
    let rd = redistributor();
    mmio::write32(rd + 0x14, 0); // GICR_WAKER: no sleep
    while mmio::read32(rd + 0x14) & 4 != 0 {} // ChildrenAsleep
    mmio::write32(rd + 0x1_0080, !0); // GICR_IGROUPR0: all group 1
    mmio::write32(rd + 0x1_0100, 0xffff | 1 << VIRTUAL_TIMER); // GICR_ISENABLER0
    msr!("s3_0_c12_c12_5", 7); // ICC_SRE_EL1
    cpu::isb();
    msr!("s3_0_c4_c6_0", 0xf0); // ICC_PMR_EL1
    msr!("s3_0_c12_c12_7", 1); // ICC_IGRPEN1_EL1
    cpu::isb();
}

/// The interrupt of highest priority that is pending, without taking it; 1023 when there is none.
pub fn pending() -> u32 {
    if is_v2() {
        return mmio::read32(GICC + 0x18) & 0x3ff; // GICC_HPPIR
    }
    (mrs!("s3_0_c12_c12_2") & 0xff_ffff) as u32 // ICC_HPPIR1_EL1
}

/// Takes and ends one interrupt. The virtual timer, a level that would come again, is turned off.
pub fn take() -> u32 {
    let v2 = is_v2();
    // ICC_IAR1_EL1, or GICC_IAR, which names the sender of an SGI too.
    let taken = match v2 {
        true => mmio::read32(GICC + 0xc),
        false => mrs!("s3_0_c12_c12_0") as u32,
    };
    let intid = if v2 { taken & 0x3ff } else { taken };
    if intid == VIRTUAL_TIMER {
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
    }
    if intid < 1020 {
        match v2 {
            true => mmio::write32(GICC + 0x10, taken), // GICC_EOIR
            false => msr!("s3_0_c12_c12_1", u64::from(taken)), // ICC_EOIR1_EL1
        }
        cpu::isb();
    }
    intid
}

/// Has the virtual timer fire in so many ticks.
pub fn set_virtual_timer(ticks: u64) {
    msr!("cntv_cval_el0", cpu::now() + ticks);
    msr!("cntv_ctl_el0", 1);
    cpu::isb();
}

/// Has the virtual timer fire now, and waits until that has arrived here.
pub fn make_virtual_timer_pending() {
    set_virtual_timer(0);
    let came = cpu::wait_for(|| pending() == VIRTUAL_TIMER);
    assert!(came, "the virtual timer's interrupt does not come");
}

/// Sends SGI 1 to the CPU of that index.
pub fn send(cpu: usize) {
    // The store that it announces comes first.
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb ish") };
    send_number(cpu, 1);
}

/// Sends an SGI of that number to the CPU of that index.
pub fn send_number(cpu: usize, sgi: u32) {
    if is_v2() {
        mmio::write32(GICD + 0xf00, 1 << (16 + cpu) | sgi); // GICD_SGIR
        return;
    }
    msr!("s3_0_c12_c11_5", u64::from(sgi) << 24 | 1 << cpu); // ICC_SGI1R_EL1
    cpu::isb();
}
