//! A GIC without list registers, written interrupt by interrupt as the manual describes it, beside the
//! machine: whatever the guest does, both must deliver the same.

use proptest::prelude::*;

use super::pair::{Pair, op};
use crate::spec::gic::{GicVersion, SgiRegister, SgiRequest};
use crate::types::{Op as Direction, VcpuId, Width};

use super::super::{Found, ListRegs, Place, Vgic};

fn shape() -> impl Strategy<Value = (GicVersion, usize, usize, bool)> {
    (
        prop_oneof![Just(GicVersion::V2), Just(GicVersion::V3)],
        1..4usize,
        proptest::sample::select(&[1usize, 2, 4, 16][..]),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_is_delivered_as_without_list_registers(
        shape in shape(),
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut pair = Pair::new(shape);
        for op in &ops {
            pair.apply_if_on(op);
        }
        (0..pair.vcpus()).for_each(|cpu| pair.on(cpu));
        pair.compare();
        pair.finish();
    }

    #[test]
    fn nothing_is_lost_or_repeated_when_kicks_arrive_late(
        shape in shape(),
        ops in proptest::collection::vec((op(), 0..6u8), 1..120),
    ) {
        let mut pair = Pair::new(shape);
        pair.machine.lazy = true;
        for (op, settle) in &ops {
            pair.apply_if_it_adds(op);
            if *settle == 0 {
                pair.machine.settle();
            }
        }
        pair.finish();
    }

    #[test]
    fn no_access_panics(
        version in prop_oneof![Just(GicVersion::V2), Just(GicVersion::V3)],
        vcpus in 0..40usize,
        accesses in proptest::collection::vec((any::<u8>(), prop_oneof![any::<u64>(), 0..0x1_0000u64, 0..0x100_0000u64], 0..4u64, any::<Option<u64>>(), 0..7u8), 1..60),
    ) {
        let mut gic = Vgic::new(version, vcpus, 5);
        let _ = gic.link(27, 27);
        let mut lrs = ListRegs::new(4);
        for (who, offset, width, write, what) in accesses {
            let who = VcpuId::new(who);
            let op = write.map_or(Direction::Read, Direction::Write);
            match what {
                0 | 1 => {
                    let place = match what {
                        0 => Some(Place::in_distributor(version, who, offset)),
                        _ => Place::in_redistributors(vcpus, offset),
                    };
                    let width = Width::from_sas(width);
                    if let Some(place) = place
                        && let Some(hit) = place.hit()
                        && let Ok(Found::State(state)) = hit.found(place, who, width)
                    {
                        let _ = gic.access(&state, op);
                    }
                }
                2 => drop(gic.request_sgi(SgiRegister::Sgi1r, SgiRequest::decode(offset, who, vcpus))),
                3 => drop(gic.set_line(offset as u32, who, write.is_some())),
                4 => {
                    // List registers that say anything.
                    lrs.lr = [offset; 16];
                    lrs.eoi_count = width as u8;
                    let _ = gic.fold(who, &mut lrs);
                }
                5 => {
                    let empty = offset as u16;
                    let _ = gic.set_own_line(who, offset as u32, write.is_some(), &mut lrs, empty);
                    let _ = gic.request_own_sgi(who, width as u32, &mut lrs, empty);
                }
                _ => {
                    let _ = gic.fill(who, &mut lrs);
                    let _ = gic.deactivate(who, offset as u32);
                    let _ = gic.reset_vcpu(who);
                }
            }
        }
        gic.reset();
    }
}
