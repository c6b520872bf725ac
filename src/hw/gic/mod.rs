//! The board's interrupt controller, a GICv3 or a GICv2: which one, the device tree says.
//!
//! Bulkhead uses few of its interrupts: two SGIs to make another CPU look or stop, three PPIs (maintenance, virtual
//! timer, hypervisor timer) and the UART's SPI. All have one priority but the SGI that guests cause, which comes last; everything
//! else stays disabled. Priority drop
//! and deactivation are apart (EOImode 1): the virtual timer's interrupt stays active until the guest deactivates it
//! through its list register.

pub mod v2;
pub mod v3;

use crate::{
    arch,
    mm::mmio::Mmio,
    spec::gic::{GicVersion, gicd, ich_vtr},
    types::Pa,
};

/// Priority of every interrupt that is used, four times. In a GICv2 with Security Extensions this is the Non-secure
/// view of 0xd0 (IHI0048B 3.5, "Software views of interrupt priority").
const PRIORITY: u32 = 0xa0a0_a0a0;

/// The same of the SGIs 0 to 3, of which [`KICK`] comes after everything else: guests cause as many as they like, and must not
/// keep the UART's interrupt or [`HALT`] away.
const SGI_PRIORITY: u32 = 0xa0a0_a0c0;

/// SGI by which one CPU makes another look at its vCPU: interrupts, power, stop.
pub const KICK: u32 = 0;
/// SGI by which a CPU that panics stops the others.
pub const HALT: u32 = 1;

/// The board's interrupt controller.
#[derive(Debug)]
pub enum Gic {
    /// GICv2 (IHI0048B) with the virtualization extension.
    V2(v2::Gic),
    /// GICv3 or v4 (IHI0069H).
    V3(v3::Gic),
}

/// An interrupt that this CPU has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which; 1020 and above when there was none.
    pub intid: u32,
    /// What was acknowledged, as it must be given back: of a GICv2's SGI, with the CPU that sent it.
    iar: u32,
}

/// How SGIs name a CPU: the targets' fields of ICC_SGI1R_EL1 or GICD_SGIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgiTarget(u64);

/// Disables 32 interrupts, puts them into group 0 or 1, as `groups` says for each, and forgets what they were. `word` says which
/// of those that have registers at `gicd`: the distributor or, for a GICv3's private ones, the second frame of a redistributor.
fn reset_bank(gicd: Mmio, word: u64, groups: u32) {
    gicd.write32(gicd::ICENABLER + 4 * word, u32::MAX);
    gicd.write32(gicd::ICPENDR + 4 * word, u32::MAX);
    gicd.write32(gicd::ICACTIVER + 4 * word, u32::MAX);
    gicd.write32(gicd::IGROUPR + 4 * word, groups);
    for priorities in 0..8 {
        gicd.write32(gicd::IPRIORITYR + 32 * word + 4 * priorities, PRIORITY);
    }
}

/// The list registers of `lr` that are in `dirty`, with their numbers. Mostly there is one, or none.
fn changed(lr: &[u64], mut dirty: u16) -> impl Iterator<Item = (usize, u64)> {
    core::iter::from_fn(move || {
        let n = dirty.trailing_zeros() as usize;
        dirty &= dirty.wrapping_sub(1);
        Some((n, *lr.get(n)?))
    })
}

/// The choice between the two: `either!(self, gic => gic.something())`, or an expression for each.
macro_rules! either {
    ($self:ident, $gic:ident => $call:expr) => {
        either!($self, v2: $gic => $call, v3: $gic => $call)
    };
    ($self:ident, v2: $v2:pat => $on_v2:expr, v3: $v3:pat => $on_v3:expr) => {
        match $self {
            Self::V3($v3) => $on_v3,
            Self::V2($v2) => $on_v2,
        }
    };
}

/// The physical interrupts.
impl Gic {
    /// Which architecture it follows, and so the guests' too.
    pub const fn version(&self) -> GicVersion {
        either!(self, v2: _ => GicVersion::V2, v3: _ => GicVersion::V3)
    }

    /// Resets the distributor: every SPI disabled and idle.
    pub fn init_distributor(&self) {
        either!(self, gic => gic.init_distributor());
    }

    /// Brings up the part of the CPU that calls this with the SGIs and PPIs in `enabled` (a mask by INTID). `None`
    /// when the controller does not know this CPU.
    pub fn init_cpu(&self, enabled: u32) -> Option<SgiTarget> {
        either!(self, gic => gic.init_cpu(enabled))
    }

    /// Enables SPI `intid` (32 or more) and routes it to the CPU that calls this.
    pub fn enable_spi(&self, intid: u32, edge: bool) {
        either!(self, gic => gic.enable_spi(intid, edge));
    }

    /// Disables an interrupt that nobody expected, so that it cannot come for ever; an SGI or PPI on this CPU only.
    pub fn disable(&self, intid: u32) {
        either!(self, gic => gic.disable(intid));
    }

    /// Acknowledges the highest-priority pending interrupt.
    #[inline(always)]
    pub fn acknowledge(&self) -> Taken {
        either!(self, gic => gic.acknowledge())
    }

    /// Priority drop: other interrupts may come; this one stays active.
    #[inline(always)]
    pub fn drop_priority(&self, taken: Taken) {
        either!(self,
            v2: gic => gic.drop_priority(taken),
            v3: _ => arch::gic::drop_priority(taken.iar));
    }

    /// Deactivates an interrupt after its priority was dropped: it may come again.
    pub fn deactivate(&self, taken: Taken) {
        either!(self,
            v2: gic => gic.deactivate(taken.iar),
            v3: _ => arch::gic::deactivate(taken.iar));
    }

    /// Deactivates a PPI or SPI that a list register had.
    pub fn release(&self, intid: u32) {
        either!(self,
            v2: gic => gic.deactivate(intid),
            v3: _ => arch::gic::deactivate(intid));
    }

    /// Sends SGI `intid` (0 to 15) to one CPU. What was stored before is visible to its handler.
    #[inline(always)]
    pub fn send_sgi(&self, target: SgiTarget, intid: u32) {
        either!(self,
            v2: gic => gic.send_sgi(target, intid),
            v3: _ => arch::gic::send_sgi(target.0, intid));
    }
}

/// The virtual CPU interface of the CPU that calls. Its registers have ICH's layout, whichever they are.
impl Gic {
    /// The page of registers that stands for a guest's CPU interface, if that is memory; the same on all CPUs.
    pub const fn guest_page(&self) -> Option<Pa> {
        either!(self, v2: gic => Some(gic.guest_page()), v3: _ => None)
    }

    /// How many list registers there are, 1 to 16.
    pub fn list_registers(&self) -> usize {
        ich_vtr::list_registers(self.vtr())
    }

    /// Implemented virtual priority bits, 5 to 8.
    pub fn priority_bits(&self) -> u32 {
        ich_vtr::priority_bits(self.vtr())
    }

    fn vtr(&self) -> u64 {
        either!(self, v2: gic => gic.vtr(), v3: _ => arch::gic::vtr())
    }

    /// Clears it; the guest's part of it (VMCR, active priorities) is as after reset.
    pub fn reset_virtual_interface(&self) {
        either!(self,
            v2: gic => gic.reset_virtual_interface(),
            v3: _ => arch::gic::reset_virtual_interface());
    }

    /// Reads the list registers below `lr.len()`; returns VMCR and HCR.
    pub fn read_virtual(&self, lr: &mut [u64]) -> (u64, u64) {
        either!(self, gic => gic.read_virtual(lr))
    }

    /// Writes those list registers of `lr` that are in `dirty`, a bit each, and HCR.
    pub fn write_virtual(&self, lr: &[u64], dirty: u16, hcr: u64) {
        either!(self, gic => gic.write_virtual(lr, dirty, hcr));
    }

    /// The list registers that hold no interrupt and ask for nothing, a bit each. What EL2 has written to them since its last
    /// context synchronization may be missing: there is one between any two writes, by ERET or in [`Gic::drop_priority`].
    #[inline(always)]
    pub fn empty_lists(&self) -> u16 {
        either!(self,
            v2: gic => gic.empty_lists(),
            v3: _ => arch::gic::empty_list_registers())
    }

    /// Writes one list register.
    #[inline(always)]
    pub fn write_list(&self, slot: usize, lr: u64) {
        either!(self,
            v2: gic => gic.write_list(slot, lr),
            v3: _ => arch::gic::set_list_register(slot, lr));
    }
}
