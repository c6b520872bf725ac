//! The convention's own calls, and everything that is nobody's. Expected values are typed from the
//! standards.

use super::*;
use crate::{
    emul::{
        firmware::{PsciChoice, Workarounds},
        fw_registers::{Offer, Register, Registers},
        power::Entry,
    },
    types::{Ipa, IpaRange, PsciVersion, VcpuId},
};
use proptest::prelude::*;

const NOT_SUPPORTED: Answer = Answer::Return(0xffff_ffff_ffff_ffff);

fn vm(version: PsciVersion, mitigation: Mitigation) -> Firmware {
    let ram = IpaRange::new(Ipa::new(0x4000_0000), 0x1000_0000).unwrap();
    let mut registers = registers(mitigation);
    registers
        .set(Register::PsciVersion, version.word().into())
        .unwrap();
    Firmware::new(registers, PsciChoice::default(), 2, ram, 1_000_000)
}

fn registers(mitigation: Mitigation) -> Registers {
    Registers::new(Offer {
        workarounds: Workarounds {
            branch_predictor: mitigation,
            store_bypass: mitigation == Mitigation::NotRequired,
            branch_history: mitigation,
        },
        trng: true,
    })
}

/// A VM without the services of one bitmap.
fn without(bitmap: Register) -> Firmware {
    let ram = IpaRange::new(Ipa::new(0x4000_0000), 0x1000_0000).unwrap();
    let mut registers = registers(Mitigation::Unknown);
    registers.set(bitmap, 0).unwrap();
    Firmware::new(registers, PsciChoice::default(), 2, ram, 1_000_000)
}

fn plain() -> Firmware {
    vm(PsciVersion::V1_3, Mitigation::Unknown)
}

fn call(vm: &Firmware, imm: u16, x0: u64, x1: u64) -> Answer {
    let caller = Caller {
        vcpu: VcpuId::new(0),
        big_endian: false,
    };
    super::call(vm, caller, imm, &[x0, x1, 0, 0])
}

/// Not to be discovered before 1.0, but answered: as KVM does.
#[test]
fn the_convention_is_1_2_in_every_revision_of_psci() {
    for version in PsciVersion::ALL {
        let vm = vm(version, Mitigation::Unknown);
        assert_eq!(call(&vm, 0, 0x8000_0000, 0), Answer::Return(0x1_0002));
    }
}

#[test]
fn features_of_the_convention_itself() {
    let vm = plain();
    assert_eq!(call(&vm, 0, 0x8000_0001, 0x8000_0000), Answer::Return(0));
    assert_eq!(call(&vm, 0, 0x8000_0001, 0x8000_0001), Answer::Return(0));
    let junk = 0xdead_beef_0000_0000;
    assert_eq!(
        call(&vm, 0, junk | 0x8000_0001, junk | 0x8000_0001),
        Answer::Return(0)
    );
}

/// SOC_ID, workaround 4, FEATURE_AVAILABILITY, a PSCI id, the UID, PV_TIME_ST, TRNG_VERSION, and no call at all.
#[test]
fn features_of_what_is_not_there() {
    let vm = plain();
    for id in [
        0x8000_0002,
        0xc000_0002,
        0x8000_0004,
        0xc000_0003,
        0x8400_0000,
        0x8600_ff01,
        0xc500_0021,
        0x8400_0050,
        0xffff_ffff,
    ] {
        assert_eq!(call(&vm, 0, 0x8000_0001, id), NOT_SUPPORTED, "{id:#x}");
    }
}

const WORKAROUND_1: u64 = 0x8000_8000;
const WORKAROUND_2: u64 = 0x8000_7fff;
const WORKAROUND_3: u64 = 0x8000_3fff;

#[test]
fn workarounds_of_a_cpu_that_nothing_is_known_of() {
    let vm = plain();
    for id in [WORKAROUND_1, WORKAROUND_2, WORKAROUND_3] {
        assert_eq!(call(&vm, 0, 0x8000_0001, id), NOT_SUPPORTED);
        assert_eq!(call(&vm, 0, id, 1), NOT_SUPPORTED);
    }
}

/// 1 = the call may be left out; for workaround 2, -2 = NOT_REQUIRED.
#[test]
fn workarounds_of_a_cpu_that_is_not_vulnerable() {
    let vm = vm(PsciVersion::V1_1, Mitigation::NotRequired);
    assert_eq!(call(&vm, 0, 0x8000_0001, WORKAROUND_1), Answer::Return(1));
    assert_eq!(
        call(&vm, 0, 0x8000_0001, WORKAROUND_2),
        Answer::Return(-2i64 as u64)
    );
    assert_eq!(call(&vm, 0, 0x8000_0001, WORKAROUND_3), Answer::Return(1));
    for id in [WORKAROUND_1, WORKAROUND_2, WORKAROUND_3] {
        assert_eq!(call(&vm, 0, id, 1), Answer::Return(0));
    }
}

#[test]
fn workarounds_that_have_to_be_called() {
    let vm = vm(PsciVersion::V1_1, Mitigation::Callable);
    for id in [WORKAROUND_1, WORKAROUND_3] {
        assert_eq!(call(&vm, 0, 0x8000_0001, id), Answer::Return(0));
    }
    let mitigate = |id, x1| match call(&vm, 0, id, x1) {
        Answer::Mitigate(workaround) => workaround,
        other => panic!("{other:?}"),
    };
    assert_eq!(mitigate(WORKAROUND_1, 0), Workaround::BranchPredictor);
    assert_eq!(mitigate(WORKAROUND_3, 0), Workaround::BranchHistory);
}

/// 0x86000000 is KVM's FEATURES call, and none of ours.
#[test]
fn without_the_vendor_service_nobody_is_there() {
    let vm = without(Register::VendorHypBmap);
    for id in [0x8600_ff00, 0x8600_ff01, 0x8600_ff03, 0x8600_0000] {
        assert_eq!(call(&vm, 0, id, 0), NOT_SUPPORTED, "{id:#x}");
    }
    assert_eq!(call(&vm, 0, 0x8000_0000, 0), Answer::Return(0x1_0002));
    assert_eq!(call(&vm, 0, 0x8400_0000, 0), Answer::Return(0x1_0003));
}

#[test]
fn who_the_hypervisor_is() {
    let vm = plain();
    assert_eq!(call(&vm, 0, 0x8600_ff00, 0), Answer::Return(3));
    assert_eq!(call(&vm, 0, 0x8600_ff03, 0), Answer::ReturnTwo([0, 1]));
    assert_eq!(
        call(&vm, 0, 0x8600_ff01, 0),
        Answer::ReturnFour(&[0x5666_1b00, 0x9c48_9eaf, 0x21da_28be, 0x7eb4_262b])
    );
}

#[test]
fn random_numbers_by_either_width() {
    let vm = plain();
    assert_eq!(call(&vm, 0, 0x8400_0050, 0), Answer::Return(0x1_0000));
    assert_eq!(call(&vm, 0, 0x8400_0051, 0xc400_0053), Answer::Return(0));
    assert_eq!(call(&vm, 0, 0x8400_0051, 0x8400_0054), NOT_SUPPORTED);
    assert_eq!(
        call(&vm, 0, 0x8400_0052, 0),
        Answer::ReturnFour(&[0x3b6c_47a0, 0x3246_a4d6, 0xc212_8db8, 0xc8c4_5331])
    );
    for (id, bits, words) in [
        (0x8400_0053, 96, 3),
        (0xc400_0053, 192, 3),
        (0x8400_0053, 1, 1),
    ] {
        match call(&vm, 0, id, bits) {
            Answer::Entropy(request) => assert_eq!(u64::from(request.words()), words),
            other => panic!("{other:?}"),
        }
    }
    for (id, bits) in [(0x8400_0053, 0), (0x8400_0053, 97), (0xc400_0053, 193)] {
        assert_eq!(call(&vm, 0, id, bits), Answer::Return(-2i64 as u64));
    }
}

#[test]
fn stolen_time_of_the_vcpu_that_asks() {
    let vm = plain();
    assert_eq!(call(&vm, 0, 0x8000_0001, 0xc500_0020), Answer::Return(0));
    assert_eq!(call(&vm, 0, 0xc500_0020, 0xc500_0021), Answer::Return(0));
    assert_eq!(call(&vm, 0, 0xc500_0020, 0x8400_0000), NOT_SUPPORTED);
    for (vcpu, record) in [(0, 0x090a_0000), (1, 0x090a_0040)] {
        let caller = Caller {
            vcpu: VcpuId::new(vcpu),
            big_endian: false,
        };
        let answer = super::call(&vm, caller, 0, &[0xc500_0021, 0, 0, 0]);
        assert_eq!(answer, Answer::Return(record));
    }
}

#[test]
fn without_the_hypervisor_service_there_is_no_stolen_time() {
    let vm = without(Register::StdHypBmap);
    assert_eq!(call(&vm, 0, 0x8000_0001, 0xc500_0020), NOT_SUPPORTED);
    assert_eq!(call(&vm, 0, 0xc500_0020, 0xc500_0021), NOT_SUPPORTED);
    assert_eq!(call(&vm, 0, 0xc500_0021, 0), NOT_SUPPORTED);
}

#[test]
fn without_the_standard_service_there_is_no_trng() {
    let vm = without(Register::StdBmap);
    for id in [
        0x8400_0050,
        0x8400_0051,
        0x8400_0052,
        0x8400_0053,
        0xc400_0053,
    ] {
        assert_eq!(call(&vm, 0, id, 64), NOT_SUPPORTED, "{id:#x}");
        assert_eq!(call(&vm, 0, 0x8400_0051, id), NOT_SUPPORTED, "{id:#x}");
    }
}

/// Test suites take any other UID than TF-A's for a failure, but none at all for "not there".
#[test]
fn the_standard_service_has_no_uid_count_or_revision() {
    let vm = plain();
    for id in [0x8400_ff00, 0x8400_ff01, 0x8400_ff03] {
        assert_eq!(call(&vm, 0, id, 0), NOT_SUPPORTED);
    }
}

#[test]
fn an_immediate_other_than_0_calls_nothing() {
    let vm = plain();
    for imm in [1, 0x100, 0xffff] {
        for id in [0x8400_0000, 0x8400_0008, 0x8000_0000, 0x8600_ff01] {
            assert_eq!(call(&vm, imm, id, 0), NOT_SUPPORTED);
        }
    }
}

/// Every id that this firmware may answer; the numbers up to 0x1f of the standard service are PSCI's
/// and have their own tests.
fn may_be_answered(id: u32) -> bool {
    matches!(
        id,
        0x8400_0000..=0x8400_001f
            | 0xc400_0000..=0xc400_001f
            | 0x8000_0000..=0x8000_0001
            | 0x8400_0050..=0x8400_0053
            | 0xc400_0053
            | 0xc500_0020..=0xc500_0021
            | 0x8600_ff00
            | 0x8600_ff01
            | 0x8600_ff03
    )
}

/// All 64 owners, fast and yielding, both widths, numbers that mean something to somebody.
#[test]
fn every_other_id_of_every_owner_is_not_supported() {
    let vm = plain();
    let numbers = [
        0, 1, 2, 3, 5, 0x1f, 0x20, 0x21, 0x50, 0x51, 0x52, 0x53, 0x60, 0x84, 0xff, 0x539, 0x3fff,
        0x7fff, 0x8000, 0xff00, 0xff01, 0xff02, 0xff03, 0xffff,
    ];
    for top in 0..=0xff_u32 {
        for reserved in [0, 1, 2, 0x80, 0xff_u32] {
            for number in numbers {
                let id = top << 24 | reserved << 16 | number;
                if !may_be_answered(id) {
                    assert_eq!(call(&vm, 0, id.into(), 0), NOT_SUPPORTED, "{id:#x}");
                }
            }
        }
    }
}

/// The short cut: for each of these a trap handler needs nothing else.
#[test]
fn questions_are_answered_at_once() {
    let vm = plain();
    for (id, x0) in [
        (0x8400_0000, 0x1_0003),
        (0x8400_0004, 1),
        (0xc400_0004, 1),
        (0x8400_0006, 2),
        (0x8400_000a, -1i64 as u64),
        (0x8000_0000, 0x1_0002),
        (0x8400_0016, -1i64 as u64),
        (0x8200_0000, -1i64 as u64),
    ] {
        assert_eq!(answer(&vm, &[id, 0, 0, 0]), Some(x0), "{id:#x}");
    }
}

/// An id near one that somebody answers.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![
        0x8400_0000..0x8400_0020u64,
        0xc400_0000..0xc400_0020u64,
        0x95c1_ba5e..0x95c1_ba62u64,
        0x8000_0000..0x8000_0002u64,
        Just(0x8000_8000),
        Just(0x8600_ff01),
        any::<u64>(),
    ]
}

proptest! {
    #[test]
    fn the_short_cut_says_what_the_call_says(
        x0 in id(), x1 in id(), x2 in 0..4u64, started: bool, version in 0..6usize,
    ) {
        let vm = vm(PsciVersion::ALL[version], Mitigation::NotRequired);
        if started {
            let entry = Entry { pc: 0x4000_0000, context: 0, big_endian: false };
            prop_assert!(vm.power.start(entry));
        }
        let x = [x0, x1, x2, 0];
        if let Some(x0) = answer(&vm, &x) {
            let caller = Caller { vcpu: VcpuId::new(0), big_endian: false };
            prop_assert_eq!(super::call(&vm, caller, 0, &x), Answer::Return(x0));
        }
    }

    #[test]
    fn no_id_but_those_few_is_answered(id: u32, x1: u64, version in 0..6usize) {
        prop_assume!(!may_be_answered(id) && !(0x95c1_ba5e..=0x95c1_ba61).contains(&id));
        let vm = vm(PsciVersion::ALL[version], Mitigation::Unknown);
        prop_assert_eq!(call(&vm, 0, id.into(), x1), NOT_SUPPORTED);
    }

    /// Whatever is asked of PSCI, the answer is a value or one of the things that PSCI does.
    #[test]
    fn no_argument_stops_the_hypervisor(
        number in 0..0x20u64, wide: bool, x1: u64, x2: u64, x3: u64, version in 0..6usize, vcpu in 0..2u8,
    ) {
        let vm = vm(PsciVersion::ALL[version], Mitigation::Unknown);
        let id = 0x8400_0000 | number | u64::from(wide) << 30;
        let caller = Caller { vcpu: VcpuId::new(vcpu), big_endian: true };
        let _ = super::super::smccc::call(&vm, caller, 0, &[id, x1, x2, x3]);
    }
}
