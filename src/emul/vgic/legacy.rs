//! What only a GICv2 has: targets by CPU number, and SGIs by register with a request per source.

use super::bank::{bit, each};
use super::registers::{Site, Written, value};
use super::{At, Reply, Vgic};
use crate::spec::gic::GicVersion;
use crate::spec::machine::{INTIDS, SPI_BASE};
use crate::types::{VcpuId, VcpuSet};

/// The GICv2 state of one vCPU's SGIs.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// The vCPUs whose request is pending, a bit each; an SGI's `latch` says whether any is.
    pub pending: [u8; 16],
    /// The vCPU whose request is active.
    pub active: [u8; 16],
}

impl Requests {
    pub const NONE: Self = Self {
        pending: [0; 16],
        active: [0; 16],
    };

    /// Takes the next request of an SGI: its source, and whether there are more.
    pub fn take(&mut self, sgi: usize) -> (u8, bool) {
        match self.pending.get_mut(sgi) {
            Some(sources) => {
                let source = sources.trailing_zeros() as u8 & 7;
                *sources &= !(1 << source);
                (source, *sources != 0)
            }
            None => (0, false),
        }
    }

    /// Puts a request back that was not delivered.
    pub fn give_back(&mut self, sgi: usize, source: u8) {
        if let Some(sources) = self.pending.get_mut(sgi) {
            *sources |= 1 << (source & 7);
        }
    }

    pub fn set_active(&mut self, sgi: usize, source: u8) {
        if let Some(at) = self.active.get_mut(sgi) {
            *at = source;
        }
    }

    pub fn active(&self, sgi: usize) -> u8 {
        self.active.get(sgi).copied().unwrap_or(0)
    }
}

/// The vCPUs that exist, a bit each.
fn existing(gic: &Vgic) -> u32 {
    (1u32 << gic.vcpus.min(GicVersion::V2.max_vcpus())) - 1
}

/// ITARGETSR (IHI0048B 4.3.12): a private interrupt's target is who reads; RAZ/WI with one CPU.
pub(super) fn read_targets(gic: &Vgic, site: Site) -> Reply {
    let intid = u32::from(site.intid);
    let byte = |i: u32| match intid {
        _ if gic.vcpus == 1 => 0,
        0..SPI_BASE => bit(site.at.who.index()).into(),
        _ => gic.route(intid + i) & 0xff,
    };
    value((0..4).map(|i| byte(i) << (8 * i)).sum())
}

pub(super) fn write_targets(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let intid = u32::from(site.intid);
    if gic.vcpus == 1 || !(SPI_BASE..INTIDS).contains(&intid) {
        return VcpuSet::EMPTY;
    }
    let existing = existing(gic);
    let mut kick = VcpuSet::EMPTY;
    for (i, targets) in written.bytes() {
        let route = u32::from(targets) & existing;
        kick = kick.union(gic.set_route(site.at, intid + i as u32, route.into()));
    }
    kick
}

/// SGIR (IHI0048B 4.3.15): filter in `[25:24]`, targets in `[23:16]`, SGI in `[3:0]`.
pub(super) fn write_sgir(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let who = site.at.who;
    let request = written.bits();
    let own = bit(who.index());
    let targets = match request >> 24 & 3 {
        0 => request >> 16 & existing(gic),
        1 => existing(gic) & !own,
        2 => own,
        _ => 0,
    };
    let sgi = (request & 0xf) as usize;
    let mut kick = VcpuSet::EMPTY;
    for target in each(targets) {
        let vcpu = VcpuId::new(target as u8);
        kick = kick.union(gic.request(who, vcpu, sgi, own as u8));
    }
    kick
}

/// CPENDSGIR and SPENDSGIR (IHI0048B 4.3.16, 4.3.17): a byte of sources per SGI.
pub(super) fn read_sources(gic: &Vgic, site: Site) -> Reply {
    let requests = gic.cpus.get(site.at.who.index()).map(|cpu| &cpu.requests);
    let byte = |i| {
        let sources = requests.and_then(|r| r.pending.get(site.first() + i));
        sources.copied().unwrap_or(0)
    };
    value(u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]).into())
}

pub(super) fn set_sources(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let who = site.at.who;
    written.bytes().fold(VcpuSet::EMPTY, |kick, (i, sources)| {
        kick.union(gic.request(who, who, site.first() + i, sources))
    })
}

pub(super) fn clear_sources(gic: &mut Vgic, site: Site, written: Written) -> VcpuSet {
    let Some(cpu) = gic.cpus.get_mut(site.at.who.index()) else {
        return VcpuSet::EMPTY;
    };
    let mut gone = 0;
    for (i, cleared) in written.bytes() {
        let sgi = site.first() + i;
        if let Some(sources) = cpu.requests.pending.get_mut(sgi) {
            *sources &= !cleared;
            gone |= if *sources == 0 { bit(sgi) } else { 0 };
        }
    }
    gic.change(site.at, |bank| bank.clear_pending(gone))
}

impl Vgic {
    /// `sources`, a bit each, request SGI `sgi` of `vcpu`.
    fn request(&mut self, who: VcpuId, vcpu: VcpuId, sgi: usize, sources: u8) -> VcpuSet {
        let cpu = self.cpus.get_mut(vcpu.index());
        match cpu.and_then(|cpu| cpu.requests.pending.get_mut(sgi)) {
            // A source whose request waits in a list register may be among the new ones: fold makes one of both.
            Some(pending) if sources & !*pending != 0 => {
                *pending |= sources;
                let at = At { who, vcpu, word: 0 };
                self.change(at, |bank| bank.set_pending(bit(sgi)) | bit(sgi))
            }
            _ => VcpuSet::EMPTY,
        }
    }
}
