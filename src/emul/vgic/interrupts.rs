//! Registers with bits for each interrupt, of the distributor and of the redistributors alike.

use super::bank::{Bank, SGIS, bit, each};
use super::registers::{Site, Written, value};
use super::{Reply, Vgic};
use crate::spec::gic::GicVersion;
use crate::types::VcpuSet;

pub(super) fn read_group(gic: &Vgic, site: Site) -> Reply {
    gic.word(site, |bank| bank.group1)
}

pub(super) fn write_group(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    gic.change(site.at, |bank| {
        let old = core::mem::replace(&mut bank.group1, written.bits());
        old ^ bank.group1
    })
}

pub(super) fn read_enabled(gic: &Vgic, site: Site) -> Reply {
    gic.word(site, |bank| bank.enabled)
}

pub(super) fn enable(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    gic.change(site.at, |bank| {
        let new = written.bits() & !bank.enabled;
        bank.enabled |= new;
        new
    })
}

/// Whoever holds one of the interrupts may still take it: RWP (IHI0069H 12.9, 12.11).
pub(super) fn disable(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let holders = gic.change(site.at, |bank| {
        let gone = written.bits() & bank.enabled;
        bank.enabled &= !gone;
        gone
    });
    if site.at.word > 0 {
        gic.outdated = gic.outdated.union(holders);
    } else if !holders.is_empty()
        && let Some(cpu) = gic.cpus.get_mut(site.at.vcpu.index())
    {
        cpu.outdated = true;
    }
    holders
}

/// Of bits that list registers may hold, other vCPUs' are asked for the truth.
fn read_state(gic: &Vgic, site: Site, f: impl Fn(&Bank) -> u32) -> Reply {
    let listed = gic.bank(site.at).map_or(0, |bank| bank.listed);
    let kick = match listed {
        0 => VcpuSet::EMPTY,
        _ => gic.owners(site.at, listed).without(site.at.who),
    };
    Reply {
        kick,
        ..gic.word(site, f)
    }
}

pub(super) fn read_pending(gic: &Vgic, site: Site) -> Reply {
    read_state(gic, site, Bank::pending)
}

pub(super) fn read_active(gic: &Vgic, site: Site) -> Reply {
    read_state(gic, site, Bank::activated)
}

/// Not the SGIs of a GICv2: their requests have sources (IHI0048B 4.3.7).
fn pendable(gic: &Vgic, site: Site, written: Written) -> u32 {
    match gic.version {
        GicVersion::V2 if site.at.word == 0 => written.bits() & !SGIS,
        _ => written.bits(),
    }
}

pub(super) fn set_pending(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let bits = pendable(gic, site, written);
    gic.change(site.at, |bank| bank.set_pending(bits))
}

pub(super) fn clear_pending(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let bits = pendable(gic, site, written);
    gic.change(site.at, |bank| bank.clear_pending(bits))
}

pub(super) fn set_active(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    gic.set_active(site.at, written.bits())
}

pub(super) fn clear_active(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    gic.clear_active(site.at, written.bits())
}

pub(super) fn read_priority(gic: &Vgic, site: Site) -> Reply {
    let byte = |i| {
        let bank = gic.bank(site.at);
        bank.map_or(0, |bank| bank.priority(site.first() + i))
    };
    value(u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]).into())
}

pub(super) fn write_priority(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let implemented = gic.priority_mask;
    gic.change(site.at, |bank| {
        let mut changed = 0;
        for (i, priority) in written.bytes() {
            changed |= bank.set_priority(site.first() + i, priority & implemented);
        }
        changed
    })
}

/// ICFGR: bit 2i + 1 says edge-triggered, bit 2i is reserved.
pub(super) fn read_config(gic: &Vgic, site: Site) -> Reply {
    let edge = gic.bank(site.at).map_or(0, |bank| bank.edge) >> site.first();
    value(each(edge & 0xffff).map(|i| 2u64 << (2 * i)).sum())
}

pub(super) fn write_config(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    if site.intid < 16 {
        return VcpuSet::EMPTY;
    }
    let edge = (0..16)
        .filter(|&i| written.bits() & 2 << (2 * i) != 0)
        .fold(0, |edge, i| edge | bit(site.first() + i));
    gic.change(site.at, |bank| {
        let old = bank.edge;
        bank.edge = old & !(0xffff << site.first()) | edge;
        old ^ bank.edge
    })
}
