//! Registers of the distributor and of a redistributor as a whole, and the routing of SPIs.

use super::bank::Groups;
use super::registers::{Site, Written, value};
use super::{At, BANKS, Reply, Vgic};
use crate::spec::gic::{GicVersion, gicd, gicr};
use crate::types::{Mpidr, VcpuId, VcpuSet};

/// What a controller says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fixed {
    /// GICD_TYPER.
    Typer,
    /// GICD_IIDR and GICR_IIDR.
    Iidr,
    /// GICD_PIDR2 and GICR_PIDR2.
    Pidr2,
}

/// The values of its fixed registers, which nobody has to lock it for.
#[derive(Clone, Copy, Debug)]
pub struct Identity([u32; 3]);

impl Identity {
    /// That of a controller of `version` for `vcpus` vCPUs.
    pub const fn new(version: GicVersion, vcpus: usize) -> Self {
        /// There is no JEP106 code for this implementation; guests know Arm's, and none of its products has number
        /// 0x42.
        const IIDR: u32 = 0x4200_043b;
        /// GICD_TYPER.ITLinesNumber: INTIDs up to 32 (N + 1) - 1.
        const IT_LINES: u32 = BANKS as u32 - 1;
        // GICD_TYPER of GICv3 (IHI0069H 12.9): INTIDs have ten bits (IDbits = 9), affinity level 3 may be other than 0
        // (A3V). Of GICv2, CPUNumber in [7:5] (IHI0048B 4.3.2). PIDR2: ArchRev, then JEDEC and Arm's JEP106 code as
        // IIDR has it.
        Self(match version {
            GicVersion::V2 => {
                let last = (vcpus as u32).wrapping_sub(1) << 5 & 0xe0;
                [last | IT_LINES, IIDR, 0x2b]
            }
            GicVersion::V3 => [9 << 19 | 1 << 24 | IT_LINES, IIDR, 0x3b],
        })
    }

    /// The value of a register.
    #[inline(always)]
    pub fn get(&self, which: Fixed) -> u32 {
        self.0.get(which as usize).copied().unwrap_or(0)
    }
}

/// GICD_CTLR with one Security state (IHI0069H 12.9); of GICv2, the enables alone.
pub(super) fn read_ctlr(gic: &Vgic, _: Site) -> Reply {
    let fixed = match gic.version {
        GicVersion::V2 => 0,
        GicVersion::V3 if gic.outdated.is_empty() => gicd::CTLR_ARE | gicd::CTLR_DS,
        GicVersion::V3 => gicd::CTLR_ARE | gicd::CTLR_DS | gicd::CTLR_RWP,
    };
    value((gic.ctlr | fixed).into())
}

pub(super) fn write_ctlr(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let new = written.bits() & (gicd::CTLR_ENABLE_GRP0 | gicd::CTLR_ENABLE_GRP1);
    let old = core::mem::replace(&mut gic.ctlr, new);
    if new == old {
        return VcpuSet::EMPTY;
    }
    gic.groups = Groups::new(
        new & gicd::CTLR_ENABLE_GRP0 != 0,
        new & gicd::CTLR_ENABLE_GRP1 != 0,
    );
    let mut kick = VcpuSet::EMPTY;
    for index in 0..gic.vcpus as u8 {
        let vcpu = VcpuId::new(index);
        let at = At {
            vcpu,
            word: 0,
            ..site.at
        };
        kick = kick.union(gic.owners(at, u32::MAX));
    }
    for word in 1..BANKS as u8 {
        kick = kick.union(gic.owners(At { word, ..site.at }, u32::MAX));
    }
    if old & !new != 0 {
        gic.outdated = gic.outdated.union(kick);
    }
    kick
}

/// IROUTER (IHI0069H 12.9): affinity and IRM; who that is, [`Vgic::target`] knows.
pub(super) fn read_router(gic: &Vgic, site: Site) -> Reply {
    value(gic.route(site.intid.into()))
}

pub(super) fn write_router(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let intid = site.intid.into();
    let route = written.over(gic.route(intid)) & gicd::IROUTER_MASK;
    gic.set_route(site.at, intid, route)
}

/// GICR_CTLR (IHI0069H 12.11): RWP alone; there are no LPIs to enable.
pub(super) fn read_redistributor_ctlr(gic: &Vgic, site: Site) -> Reply {
    let cpu = gic.cpus.get(site.at.vcpu.index());
    let outdated = cpu.is_some_and(|cpu| cpu.outdated);
    value(if outdated { gicr::CTLR_RWP.into() } else { 0 })
}

/// GICR_TYPER (IHI0069H 12.11): affinity in `[63:32]`, Processor_Number in `[23:8]`, Last.
pub(super) fn read_redistributor_typer(gic: &Vgic, site: Site) -> Reply {
    let number = site.at.vcpu.index();
    let mpidr = Mpidr::of_vcpu(site.at.vcpu).affinity();
    let affinity = mpidr >> 32 << 24 | mpidr & 0xff_ffff;
    let last = match number + 1 == gic.vcpus {
        true => gicr::TYPER_LAST,
        false => 0,
    };
    value(affinity << 32 | (number as u64) << 8 | last)
}

/// GICR_WAKER (IHI0069H 12.11): the interface follows ProcessorSleep at once. An interrupt for a
/// sleeping redistributor would only ask for the CPU to be woken, and this CPU is on: it is
/// delivered, as to guests that know only controllers where WAKER does nothing.
pub(super) fn read_waker(gic: &Vgic, site: Site) -> Reply {
    let cpu = gic.cpus.get(site.at.vcpu.index());
    let asleep = gicr::WAKER_PROCESSOR_SLEEP | gicr::WAKER_CHILDREN_ASLEEP;
    value(match cpu.is_some_and(|cpu| cpu.awake) {
        true => 0,
        false => asleep.into(),
    })
}

pub(super) fn write_waker(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    if let Some(cpu) = gic.cpus.get_mut(site.at.vcpu.index()) {
        cpu.awake = written.bits() & gicr::WAKER_PROCESSOR_SLEEP == 0;
    }
    gic.resolve_one_of_n()
}
