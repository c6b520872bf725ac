//! GICv2 (IHI0048B): everything is memory, banked by the CPU that accesses it.
//!
//! Without Security Extensions (QEMU), all interrupts in use are in Group 0. With them (GIC-400 on a board), EL2 is
//! Non-secure: it sees the Group 1 interrupts alone, IGROUPR is RAZ/WI, and what enables Group 1 stands where
//! otherwise Group 0's enable is (4.3.1, 4.4.1). So the same writes are right for both. Priorities are seen shifted
//! (3.5), with the same order.

use super::{SGI_PRIORITY, SgiTarget, Taken, changed, reset_bank};
use crate::{
    arch,
    mm::mmio::Mmio,
    spec::gic::{ListRegister, gicc, gicd, gich, ich_hcr, ich_vtr},
    types::Pa,
};

/// Where GICC begins in 128 KiB of it: on boards made for 64 KiB pages each of its two 4 KiB pages is repeated
/// sixteen times, and only here are they next to each other.
const LAST_ALIAS: u64 = 0xf000;
/// Bytes of such a GICC.
const ALIASED_SIZE: u64 = 0x2_0000;

/// A GICv2.
#[derive(Debug)]
pub struct Gic {
    distributor: Mmio,
    cpu: Mmio,
    hyp: Mmio,
    guest: Pa,
}

impl Gic {
    /// The GIC with these registers: GICD, GICC and GICH, and GICV at `guest`. `None` when GICC has no GICC_DIR, or when
    /// nothing is where GICH should be: GICH_VTR is never 0 (5.3.2: at least five priority bits).
    pub fn new(distributor: Mmio, cpu: Mmio, hyp: Mmio, guest: Pa) -> Option<Self> {
        if hyp.read32(gich::VTR) == 0 {
            return None;
        }
        let aliased = cpu.range().bytes() >= ALIASED_SIZE
            && cpu.read32(gicc::IIDR) == cpu.read32(LAST_ALIAS + gicc::IIDR);
        let start = if aliased { LAST_ALIAS } else { 0 };
        Some(Self {
            distributor,
            cpu: cpu.at(start, gicc::SIZE)?,
            hyp,
            guest,
        })
    }

    /// The page of GICV that guests work on: all of it but GICV_DIR, which lies behind.
    pub const fn guest_page(&self) -> Pa {
        self.guest
    }

    /// Resets the distributor: every SPI disabled and idle, then forwarding on.
    pub fn init_distributor(&self) {
        let gicd = self.distributor;
        gicd.write32(gicd::CTLR, 0);
        let words = u64::from(gicd.read32(gicd::TYPER) & gicd::TYPER_IT_LINES) + 1;
        for word in 1..words {
            reset_bank(gicd, word, 0);
        }
        gicd.write32(gicd::CTLR, gicd::CTLR_ENABLE_GRP0);
    }

    /// Resets the SGIs and PPIs of the CPU that calls this, enables those in `enabled` and the CPU's interface.
    pub fn init_cpu(&self, enabled: u32) -> Option<SgiTarget> {
        let gicd = self.distributor;
        reset_bank(gicd, 0, 0);
        gicd.write32(gicd::IPRIORITYR, SGI_PRIORITY);
        for sgis in 0..4 {
            gicd.write32(gicd::CPENDSGIR + 4 * sgis, u32::MAX);
        }
        gicd.write32(gicd::ISENABLER, enabled);
        // A loader's guest must not interrupt ours.
        self.hyp.write32(gich::HCR, 0);
        arch::gic::disable_system_registers();
        let gicc = self.cpu;
        for n in 0..4 {
            gicc.write32(gicc::APR + 4 * n, 0);
        }
        gicc.write32(gicc::PMR, 0xff);
        gicc.write32(gicc::BPR, 0);
        let bypass = gicc.read32(gicc::CTLR) & gicc::CTLR_BYPASS;
        gicc.write32(gicc::CTLR, bypass | gicc::CTLR_EOIMODE | gicc::CTLR_ENABLE);
        Some(SgiTarget(u64::from(self.own_mask()) << 16))
    }

    /// The number of the CPU that calls this, as a bit. ITARGETSR of a private interrupt says it (4.3.12), though some
    /// implementations have it for some of them only; with one CPU it is RAZ.
    fn own_mask(&self) -> u32 {
        let targets = (0..8).fold(0, |all, n| {
            all | self.distributor.read32(gicd::ITARGETSR + 4 * n)
        });
        match targets.to_le_bytes().into_iter().find(|mask| *mask != 0) {
            Some(mask) => u32::from(mask),
            None => 1,
        }
    }

    /// Enables SPI `intid` (32 or more) and routes it to the CPU that calls this.
    pub fn enable_spi(&self, intid: u32, edge: bool) {
        let gicd = self.distributor;
        let config = gicd::ICFGR + 4 * u64::from(intid / 16);
        replace(gicd, config, 3, u32::from(edge) << 1, 2 * (intid % 16));
        let targets = gicd::ITARGETSR + u64::from(intid & !3);
        replace(gicd, targets, 0xff, self.own_mask(), 8 * (intid % 4));
        gicd.write32(
            gicd::ISENABLER + 4 * u64::from(intid / 32),
            1 << (intid % 32),
        );
    }

    /// Disables an interrupt; an SGI or PPI on this CPU only.
    pub fn disable(&self, intid: u32) {
        self.distributor.write32(
            gicd::ICENABLER + 4 * u64::from(intid / 32),
            1 << (intid % 32),
        );
    }

    /// Acknowledges the highest-priority pending interrupt.
    pub fn acknowledge(&self) -> Taken {
        let iar = self.cpu.read32(gicc::IAR);
        // The acknowledge must be complete before the device, or what the sender of an SGI stored, is looked at.
        arch::wait_for_accesses();
        Taken {
            intid: iar & gicc::IAR_INTID,
            iar,
        }
    }

    /// Priority drop; of an SGI the sender's number is needed (4.4.5).
    pub fn drop_priority(&self, taken: Taken) {
        self.cpu.write32(gicc::EOIR, taken.iar);
    }

    /// Deactivates what IAR named so.
    pub fn deactivate(&self, iar: u32) {
        self.cpu.write32(gicc::DIR, iar);
    }

    /// Sends SGI `intid` (0 to 15) to one CPU.
    pub fn send_sgi(&self, target: SgiTarget, intid: u32) {
        // The stores that the target is to look at come first (B2.7.4).
        arch::wait_for_accesses();
        self.distributor
            .write32(gicd::SGIR, target.0 as u32 | intid & 0xf);
    }

    /// GICH_VTR.
    pub fn vtr(&self) -> u64 {
        self.hyp.read32(gich::VTR).into()
    }

    /// Clears the virtual interface.
    pub fn reset_virtual_interface(&self) {
        let gich = self.hyp;
        gich.write32(gich::HCR, 0);
        gich.write32(gich::VMCR, 0);
        gich.write32(gich::APR, 0);
        for n in 0..ich_vtr::list_registers(self.vtr()) as u64 {
            gich.write32(gich::LR + 4 * n, 0);
        }
    }

    /// Reads the list registers below `lr.len()`; returns GICH_VMCR and GICH_HCR.
    pub fn read_virtual(&self, lr: &mut [u64]) -> (u64, u64) {
        let gich = self.hyp;
        for (n, lr) in (0..).zip(lr) {
            *lr = ListRegister::from_gich(gich.read32(gich::LR + 4 * n)).bits();
        }
        (
            gich.read32(gich::VMCR).into(),
            gich.read32(gich::HCR).into(),
        )
    }

    /// Writes those list registers of `lr` that are in `dirty`, a bit each, and GICH_HCR, which has nothing to trap
    /// GICC_DIR: that page always traps.
    pub fn write_virtual(&self, lr: &[u64], dirty: u16, hcr: u64) {
        let gich = self.hyp;
        for (n, lr) in changed(lr, dirty) {
            self.set_list(n, lr);
        }
        gich.write32(gich::HCR, (hcr & !ich_hcr::TDIR) as u32);
        // The guest finds the interrupt when it is entered, not later.
        arch::wait_for_accesses();
    }
}

/// List registers, one by one.
impl Gic {
    /// GICH_ELRSR.
    pub fn empty_lists(&self) -> u16 {
        self.hyp.read32(gich::ELRSR) as u16
    }

    /// Writes one, in time for the guest.
    pub fn write_list(&self, slot: usize, lr: u64) {
        self.set_list(slot, lr);
        arch::wait_for_accesses();
    }

    fn set_list(&self, slot: usize, lr: u64) {
        let lr = ListRegister::from_bits(lr).to_gich();
        self.hyp.write32(gich::LR + 4 * slot as u64, lr);
    }
}

/// Sets the field of `register` under `mask << shift`.
fn replace(gicd: Mmio, register: u64, mask: u32, value: u32, shift: u32) {
    let old = gicd.read32(register) & !(mask << shift);
    gicd.write32(register, old | value << shift);
}
