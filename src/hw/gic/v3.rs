//! GICv3: distributor and redistributors (IHI0069H 12.9, 12.10), and a CPU interface in system registers.
//!
//! All interrupts in use are in group 1.

use super::{SGI_PRIORITY, SgiTarget, Taken, changed, reset_bank};
use crate::{
    arch,
    mm::mmio::Mmio,
    spec::gic::{MAX_REDIST_REGIONS, gicd, gicr},
    types::Mpidr,
};
use arrayvec::ArrayVec;

/// Bytes of a redistributor: two frames of 64 KiB, and two more with GICv4's virtual LPIs (12.10).
const REDISTRIBUTOR: u64 = 0x2_0000;
const REDISTRIBUTOR_V4: u64 = 0x4_0000;
/// How often a register that must change is looked at before the device is given up.
const POLLS: u32 = 1_000_000;

/// A GICv3.
#[derive(Debug)]
pub struct Gic {
    distributor: Mmio,
    redistributors: ArrayVec<Mmio, MAX_REDIST_REGIONS>,
    stride: u64,
}

impl Gic {
    /// The GIC with these registers; `stride` is from one redistributor to the next, in bytes.
    pub fn new(
        distributor: Mmio,
        redistributors: ArrayVec<Mmio, MAX_REDIST_REGIONS>,
        stride: u64,
    ) -> Self {
        Self {
            distributor,
            redistributors,
            stride,
        }
    }

    /// Resets the distributor: every SPI disabled, idle and in group 1, then affinity routing and group 1 on.
    /// Affinity routing that is on already stays on: to turn it off again is UNPREDICTABLE (12.9.4).
    pub fn init_distributor(&self) {
        let gicd = self.distributor;
        gicd.write32(gicd::CTLR, gicd.read32(gicd::CTLR) & gicd::CTLR_ARE);
        wait(|| gicd.read32(gicd::CTLR) & gicd::CTLR_RWP == 0);
        let typer = gicd.read32(gicd::TYPER);
        let words = u64::from(typer & gicd::TYPER_IT_LINES) + 1;
        for word in 1..words {
            reset_bank(gicd, word, u32::MAX);
        }
        if typer & gicd::TYPER_ESPI != 0 {
            for word in 0..=u64::from(typer >> 27) {
                gicd.write32(gicd::ICENABLER_E + 4 * word, u32::MAX);
            }
        }
        gicd.write32(gicd::CTLR, gicd::CTLR_ARE);
        wait(|| gicd.read32(gicd::CTLR) & gicd::CTLR_RWP == 0);
        gicd.write32(gicd::CTLR, gicd::CTLR_ARE | gicd::CTLR_ENABLE_GRP1);
        wait(|| gicd.read32(gicd::CTLR) & gicd::CTLR_RWP == 0);
    }

    /// Wakes the redistributor of the CPU that calls this, enables the SGIs and PPIs in `enabled` (a mask by
    /// INTID) and the CPU's own interface. `None` when no redistributor has the CPU's affinity, or when the CPU
    /// may not use its interface.
    pub fn init_cpu(&self, enabled: u32) -> Option<SgiTarget> {
        let cpu = arch::regs::mpidr();
        let gicr = self.redistributor(cpu)?;
        let waker = gicr.read32(gicr::WAKER);
        gicr.write32(gicr::WAKER, waker & !gicr::WAKER_PROCESSOR_SLEEP);
        wait(|| gicr.read32(gicr::WAKER) & gicr::WAKER_CHILDREN_ASLEEP == 0);
        // LPIs that a loader has turned on have no owner here. Not every GIC can turn them off again.
        let control = gicr.read32(gicr::CTLR);
        gicr.write32(gicr::CTLR, control & !gicr::CTLR_ENABLE_LPIS);
        let private = gicr.at(gicr::SGI_BASE, REDISTRIBUTOR - gicr::SGI_BASE)?;
        private.write32(gicd::ICENABLER, u32::MAX);
        wait(|| gicr.read32(gicr::CTLR) & gicr::CTLR_RWP == 0);
        reset_bank(private, 0, u32::MAX);
        private.write32(gicd::IPRIORITYR, SGI_PRIORITY);
        private.write32(gicd::ISENABLER, enabled);
        arch::gic::enable_cpu_interface().then(|| SgiTarget(arch::gic::sgi_target(cpu)))
    }

    /// Enables SPI `intid` (32 or more) and routes it to the CPU that calls this.
    pub fn enable_spi(&self, intid: u32, edge: bool) {
        let gicd = self.distributor;
        let word = u64::from(intid / 32);
        let config = gicd::ICFGR + 4 * u64::from(intid / 16);
        let shift = 2 * (intid % 16);
        let old = gicd.read32(config) & !(3 << shift);
        gicd.write32(config, old | u32::from(edge) << (shift + 1));
        gicd.write64(
            gicd::IROUTER + 8 * u64::from(intid),
            arch::regs::mpidr().affinity(),
        );
        gicd.write32(gicd::ISENABLER + 4 * word, 1 << (intid % 32));
    }

    /// Disables an interrupt that nobody expected, so that it cannot come for ever; an SGI or PPI on this CPU only.
    pub fn disable(&self, intid: u32) {
        match intid {
            0..32 => {
                if let Some(gicr) = self.redistributor(arch::regs::mpidr()) {
                    gicr.write32(gicr::SGI_BASE + gicd::ICENABLER, 1 << intid);
                }
            }
            _ => self.distributor.write32(
                gicd::ICENABLER + 4 * u64::from(intid / 32),
                1 << (intid % 32),
            ),
        }
    }

    /// Acknowledges the highest-priority pending interrupt.
    pub fn acknowledge(&self) -> Taken {
        let intid = arch::gic::acknowledge();
        Taken { intid, iar: intid }
    }

    /// Reads the list registers below `lr.len()`; returns ICH_VMCR_EL2 and ICH_HCR_EL2.
    pub fn read_virtual(&self, lr: &mut [u64]) -> (u64, u64) {
        for (n, lr) in lr.iter_mut().enumerate() {
            *lr = arch::gic::list_register(n);
        }
        (arch::gic::vmcr(), arch::gic::hcr())
    }

    /// Writes those list registers of `lr` that are in `dirty`, a bit each, and ICH_HCR_EL2.
    pub fn write_virtual(&self, lr: &[u64], dirty: u16, hcr: u64) {
        for (n, lr) in changed(lr, dirty) {
            arch::gic::set_list_register(n, lr);
        }
        arch::gic::set_hcr(hcr);
    }

    /// The registers of the redistributor of the CPU with this affinity. Each says by itself how large it is; a
    /// stride in the device tree can only keep them further apart.
    fn redistributor(&self, cpu: Mpidr) -> Option<Mmio> {
        let affinity = cpu.affinity();
        let wanted = affinity >> 32 << 24 | affinity & 0xff_ffff;
        self.redistributors.iter().find_map(|region| {
            let mut offset = 0;
            while let Some(gicr) = region.at(offset, REDISTRIBUTOR) {
                let typer = gicr.read64(gicr::TYPER);
                if typer >> 32 == wanted {
                    return Some(gicr);
                }
                if typer & gicr::TYPER_LAST != 0 {
                    return None;
                }
                let size = match typer & gicr::TYPER_VLPIS {
                    0 => REDISTRIBUTOR,
                    _ => REDISTRIBUTOR_V4,
                };
                offset = offset.checked_add(self.stride.max(size))?;
            }
            None
        })
    }
}

/// Looks until `done` or until it is hopeless; a GIC that does not answer is used as it is.
fn wait(done: impl Fn() -> bool) {
    for _ in 0..POLLS {
        if done() {
            return;
        }
        core::hint::spin_loop();
    }
    log::warn!("gic: a register write has not taken effect");
}
