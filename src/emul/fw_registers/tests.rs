//! Ids, values and rules are typed from KVM's ABI.

use super::*;
use std::string::ToString;

fn offer(mitigation: Mitigation, trng: bool) -> Offer {
    Offer {
        workarounds: Workarounds {
            branch_predictor: mitigation,
            store_bypass: mitigation == Mitigation::NotRequired,
            branch_history: mitigation,
        },
        trng,
    }
}

fn fresh() -> Registers {
    Registers::new(offer(Mitigation::Callable, true))
}

fn register(id: u64) -> Register {
    Register::from_id(id).unwrap()
}

const VERSION: u64 = 0x6030_0000_0014_0000;
const WORKAROUNDS: [u64; 3] = [VERSION + 1, VERSION + 2, VERSION + 3];
const BITMAPS: [u64; 3] = [
    0x6030_0000_0016_0000,
    0x6030_0000_0016_0001,
    0x6030_0000_0016_0002,
];

#[test]
fn the_list_is_kvms() {
    let ids = Register::ALL.map(Register::id);
    let [a, b, c] = WORKAROUNDS;
    let [d, e, f] = BITMAPS;
    assert_eq!(ids, [VERSION, a, b, c, d, e, f]);
}

/// Another size, another coprocessor, the second vendor bitmap, and no register at all.
#[test]
fn an_id_that_is_not_in_the_list_is_no_register() {
    for id in [
        0,
        0x14_0000,
        0x6020_0000_0014_0000,
        0x6030_0000_0014_0004,
        0x6030_0000_0015_0000,
        0x6030_0000_0016_0003,
        u64::MAX,
    ] {
        assert_eq!(Register::from_id(id), None, "{id:#x}");
    }
}

#[test]
fn a_fresh_vm_has_the_newest_psci_and_all_services() {
    let vm = fresh();
    assert_eq!(vm.get(register(VERSION)), 0x1_0003);
    for id in BITMAPS {
        assert_eq!(vm.get(register(id)), 1, "{id:#x}");
    }
    for service in [Service::Trng, Service::PvTime, Service::Vendor] {
        assert!(vm.has(service));
    }
}

#[test]
fn every_revision_can_be_set_and_is_read_back() {
    let mut vm = fresh();
    for word in [1, 2, 0x1_0000, 0x1_0001, 0x1_0002, 0x1_0003] {
        assert_eq!(vm.set(register(VERSION), word), Ok(()));
        assert_eq!(vm.get(register(VERSION)), word);
        assert_eq!(u64::from(vm.version().word()), word);
    }
}

#[test]
fn what_is_no_revision_is_refused_and_changes_nothing() {
    let mut vm = fresh();
    for word in [
        0,
        3,
        0x1_0004,
        0x2_0000,
        0x1_0001 | 1 << 32,
        1 << 63 | 2,
        u64::MAX,
    ] {
        let error = vm.set(register(VERSION), word).unwrap_err();
        assert_eq!(error.allowed, Allowed::Versions, "{word:#x}");
        assert_eq!(vm.get(register(VERSION)), 0x1_0003);
    }
}

#[test]
fn a_vm_that_has_run_keeps_its_revision() {
    let mut vm = fresh();
    vm.set(register(VERSION), 2).unwrap();
    vm.seal();
    assert_eq!(vm.set(register(VERSION), 2), Ok(()));
    let error = vm.set(register(VERSION), 0x1_0000).unwrap_err();
    assert_eq!(error.allowed, Allowed::Only(2));
    assert_eq!(
        error.to_string(),
        "PSCI_VERSION = 0x10000, allowed: 0x2, as the VM has run"
    );
    let error = vm.set(register(VERSION), 3).unwrap_err();
    assert_eq!(error.allowed, Allowed::Versions);
    assert_eq!(vm.get(register(VERSION)), 2);
}

#[test]
fn a_bitmap_takes_away_its_service_alone() {
    let services = [Service::Trng, Service::PvTime, Service::Vendor];
    for (id, taken) in BITMAPS.into_iter().zip(services) {
        let mut vm = fresh();
        assert_eq!(vm.set(register(id), 0), Ok(()));
        assert_eq!(vm.get(register(id)), 0);
        for service in services {
            assert_eq!(vm.has(service), service != taken, "{id:#x}");
        }
        assert_eq!(vm.set(register(id), 1), Ok(()));
        assert!(vm.has(taken));
    }
}

/// PTP, bit 1 of the vendor bitmap, is KVM's own.
#[test]
fn a_bit_that_nobody_serves_is_refused_before_and_after_the_run() {
    for id in BITMAPS {
        let mut vm = fresh();
        for value in [2, 3, 1 << 32, 1 << 63, u64::MAX] {
            let error = vm.set(register(id), value).unwrap_err();
            assert_eq!(error.allowed, Allowed::Bits(1));
        }
        vm.seal();
        let error = vm.set(register(id), 2).unwrap_err();
        assert_eq!(error.allowed, Allowed::Bits(1));
        assert_eq!(vm.get(register(id)), 1);
    }
}

#[test]
fn a_bitmap_of_a_vm_that_has_run_takes_its_own_value_only() {
    for id in BITMAPS {
        let mut vm = fresh();
        vm.seal();
        assert_eq!(vm.set(register(id), 1), Ok(()));
        let error = vm.set(register(id), 0).unwrap_err();
        assert_eq!(error.allowed, Allowed::Only(1));
        assert_eq!(vm.get(register(id)), 1);
    }
}

#[test]
fn a_board_without_entropy_offers_no_trng() {
    let mut vm = Registers::new(offer(Mitigation::Unknown, false));
    assert!(!vm.has(Service::Trng) && vm.has(Service::PvTime));
    assert_eq!(vm.get(register(BITMAPS[0])), 0);
    let error = vm.set(register(BITMAPS[0]), 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "STD_BMAP = 0x1, allowed: 0 on this board"
    );
    assert_eq!(vm.set(register(BITMAPS[0]), 0), Ok(()));
}

/// Lower or equal is accepted and not stored: the board's own level is what is read.
#[test]
fn workarounds_1_and_3_keep_a_lower_promise() {
    for (own, mitigation) in [
        (0, Mitigation::Unknown),
        (1, Mitigation::Callable),
        (2, Mitigation::NotRequired),
    ] {
        for id in [WORKAROUNDS[0], WORKAROUNDS[2]] {
            let mut vm = Registers::new(offer(mitigation, true));
            for value in [0, 1, 2, 3, 0x10, 0x11, 1 << 32, u64::MAX] {
                let result = vm.set(register(id), value);
                assert_eq!(result.is_ok(), value <= own, "{id:#x} {own} {value:#x}");
                assert_eq!(vm.get(register(id)), own);
            }
        }
    }
}

/// Level 0 and 1 promise nothing; 2, with or without bit 4, and 3 need a board that is not vulnerable.
#[test]
fn workaround_2_knows_two_states() {
    for (own, mitigation) in [(0, Mitigation::Unknown), (3, Mitigation::NotRequired)] {
        let mut vm = Registers::new(offer(mitigation, true));
        let id = register(WORKAROUNDS[1]);
        assert_eq!(vm.get(id), own);
        for value in [0, 1] {
            assert_eq!(vm.set(id, value), Ok(()));
        }
        for value in [2, 3, 0x12] {
            assert_eq!(vm.set(id, value).is_ok(), own == 3, "{value:#x}");
        }
        for value in [4, 0xf, 0x10, 0x11, 0x13, 0x20, 1 << 32, u64::MAX] {
            assert!(vm.set(id, value).is_err(), "{value:#x}");
        }
        assert_eq!(vm.get(id), own);
    }
}

#[test]
fn a_refusal_is_one_line_with_what_is_allowed() {
    let mut vm = fresh();
    let mut line = |id, value| vm.set(register(id), value).unwrap_err().to_string();
    assert_eq!(
        line(VERSION, 5),
        "PSCI_VERSION = 0x5, allowed: 0x1, 0x2, 0x10000, 0x10001, 0x10002, 0x10003"
    );
    assert_eq!(
        line(BITMAPS[2], 2),
        "VENDOR_HYP_BMAP = 0x2, allowed: bits of 0x1 on this board"
    );
    assert_eq!(
        line(WORKAROUNDS[2], 2),
        "ARCH_WORKAROUND_3 = 0x2, allowed: levels up to 1 on this board"
    );
}
