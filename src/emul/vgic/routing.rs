//! Which vCPU takes an SPI.

use super::{At, Vgic, place};
use crate::spec::gic::{GicVersion, gicd};
use crate::spec::machine::{INTIDS, SPI_BASE};
use crate::types::{Mpidr, VcpuId, VcpuSet};

impl Vgic {
    /// Who takes an SPI with this route. 1 of N goes to the first vCPU whose redistributor is awake
    /// (IHI0069H 2.3.2 leaves the choice open), a GICv2's to the first of its targets (IHI0048B 3.2.3).
    fn target(&self, route: u64) -> Option<VcpuId> {
        match self.version {
            _ if self.vcpus == 1 && self.version == GicVersion::V2 => Some(VcpuId::new(0)),
            GicVersion::V2 => {
                let first = (route as u8).trailing_zeros() as u8;
                (usize::from(first) < self.vcpus).then_some(VcpuId::new(first))
            }
            GicVersion::V3 if route & gicd::IROUTER_IRM != 0 => {
                let awake = self.cpus.iter().take(self.vcpus).position(|c| c.awake);
                Some(VcpuId::new(awake.unwrap_or(0) as u8))
            }
            GicVersion::V3 => Mpidr::from_affinity(route).and_then(|m| m.vcpu(self.vcpus)),
        }
    }

    /// Routes the SPI `intid`; whom to kick.
    pub(super) fn set_route(&mut self, at: At, intid: u32, route: u64) -> VcpuSet {
        let Some(slot) = self.routes.get_mut(intid.wrapping_sub(SPI_BASE) as usize) else {
            return VcpuSet::EMPTY;
        };
        *slot = route;
        let bit = 1 << (intid % INTIDS);
        self.one_of_n &= !bit;
        if self.version == GicVersion::V3 && route & gicd::IROUTER_IRM != 0 {
            self.one_of_n |= bit;
        }
        self.resolve(at, intid, route)
    }

    fn resolve(&mut self, at: At, intid: u32, route: u64) -> VcpuSet {
        let (word, bit) = place(intid);
        let target = self.target(route).map(VcpuId::index);
        let mut changed = 0;
        for (index, cpu) in self.cpus.iter_mut().enumerate() {
            if let Some(routed) = cpu.routed.get_mut(usize::from(word)) {
                let was = *routed;
                *routed = if Some(index) == target {
                    was | bit
                } else {
                    was & !bit
                };
                changed |= was ^ *routed;
            }
        }
        self.owners(At { word, ..at }, changed)
    }

    /// A redistributor woke or fell asleep: 1 of N may mean another one now.
    pub(super) fn resolve_one_of_n(&mut self) -> VcpuSet {
        let at = At {
            who: VcpuId::new(0),
            vcpu: VcpuId::new(0),
            word: 0,
        };
        let mut kick = VcpuSet::EMPTY;
        let mut left = self.one_of_n;
        while left != 0 {
            let intid = left.trailing_zeros();
            left &= left - 1;
            kick = kick.union(self.resolve(at, intid, self.route(intid)));
        }
        kick
    }

    pub(super) fn route(&self, intid: u32) -> u64 {
        self.routes
            .get(intid.wrapping_sub(SPI_BASE) as usize)
            .copied()
            .unwrap_or(0)
    }
}
