//! What a guest gets, revision by revision. Expected values are typed from the standard.

use super::*;
use crate::{
    emul::{
        firmware::{Depth, Mitigation, PsciChoice, Workarounds},
        fw_registers::{Offer, Register, Registers},
        smccc,
    },
    spec::psci::{FunctionSet, LegacyIds},
    types::{IpaRange, PsciVersion},
};
use PsciVersion::{V0_1, V0_2, V1_0, V1_1, V1_2, V1_3};
use std::vec::Vec;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const INVALID_ADDRESS: i64 = -9;

/// RAM of the test VM: 0x40000000 to 0x4fffffff.
const RAM: u64 = 0x4000_0000;
const RAM_END: u64 = 0x5000_0000;

const STANDBY: Answer = Answer::Suspend(Depth::Standby);
const POWER_DOWN: Answer = Answer::Suspend(Depth::PowerDown);

const JUNK: u64 = 0xdead_beef_0000_0000;

/// A VM that has just begun: vCPU 0 runs.
fn vm(version: PsciVersion, vcpus: usize) -> Firmware {
    let ram = IpaRange::between(Ipa::new(RAM), Ipa::new(RAM_END)).unwrap();
    let vm = Firmware::new(
        registers(version),
        PsciChoice::default(),
        vcpus,
        ram,
        1_000_000,
    );
    assert!(vm.power.start(first()));
    assert_eq!(vm.power.take_entry(VcpuId::new(0)), Some(first()));
    vm
}

fn registers(version: PsciVersion) -> Registers {
    let mut registers = Registers::new(Offer {
        workarounds: Workarounds {
            branch_predictor: Mitigation::Unknown,
            store_bypass: false,
            branch_history: Mitigation::Unknown,
        },
        trng: false,
    });
    registers
        .set(Register::PsciVersion, version.word().into())
        .unwrap();
    registers
}

fn first() -> Entry {
    Entry {
        pc: RAM,
        context: 0,
        big_endian: false,
    }
}

fn call_from(vm: &Firmware, vcpu: u8, x: [u64; 4]) -> Answer {
    let caller = Caller {
        vcpu: VcpuId::new(vcpu),
        big_endian: false,
    };
    smccc::call(vm, caller, 0, &x)
}

fn call(vm: &Firmware, x0: u64, x1: u64, x2: u64, x3: u64) -> Answer {
    call_from(vm, 0, [x0, x1, x2, x3])
}

/// vCPU `who` makes the call `id`, which turns it off; whether it was the last.
fn goes_off(vm: &Firmware, who: u8, id: u64) -> bool {
    let left = call_from(vm, who, [id, 0x1_0000, 0, 0]);
    assert!(matches!(left, Answer::Off | Answer::Freeze), "{left:?}");
    vm.power.cpu_off(VcpuId::new(who))
}

/// Just x0 changes, to `value` as a signed 64-bit number.
fn returns(value: i64) -> Answer {
    Answer::Return(value as u64)
}

const NEWER: [PsciVersion; 5] = [V0_2, V1_0, V1_1, V1_2, V1_3];

/// What this firmware is to answer in each revision, by function number; MIGRATE and
/// MIGRATE_INFO_UP_CPU are not there without a trusted OS.
fn callable(version: PsciVersion) -> (Vec<u32>, Vec<u32>) {
    let mut smc32 = std::vec![0x00, 0x01, 0x02, 0x03, 0x04, 0x06, 0x08, 0x09];
    let mut smc64 = std::vec![0x01, 0x03, 0x04];
    if version == V0_1 {
        return (Vec::new(), Vec::new());
    }
    if version >= V1_0 {
        smc32.extend([0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11]);
        smc64.extend([0x0c, 0x0d, 0x0e, 0x10, 0x11]);
    }
    if version >= V1_1 {
        smc32.extend([0x12, 0x13, 0x14]);
        smc64.extend([0x12, 0x14]);
    }
    if version >= V1_3 {
        smc32.push(0x15);
        smc64.push(0x15);
    }
    (smc32, smc64)
}

#[test]
fn features_and_dispatch_agree_on_every_id() {
    for version in PsciVersion::ALL {
        let (smc32, smc64) = callable(version);
        for number in 0..=0xff {
            for (id, expected) in [
                (0x8400_0000u32 + number, smc32.contains(&number)),
                (0xc400_0000u32 + number, smc64.contains(&number)),
            ] {
                // An argument that FEATURES knows and that no other call likes.
                let called = call(&vm(version, 2), id.into(), 0x8400_0000, 0, 0);
                assert_eq!(called != returns(-1), expected, "{version} call {id:#x}");
                let asked = call(&vm(version, 2), 0x8400_000a, id.into(), 0, 0);
                let word = match number {
                    _ if !expected || version < V1_0 => -1,
                    0x01 | 0x15 => 1,
                    _ => 0,
                };
                assert_eq!(asked, returns(word), "{version} {id:#x}");
            }
        }
    }
}

#[test]
fn features_ignores_the_upper_half_of_its_argument() {
    let vm = vm(V1_1, 1);
    assert_eq!(call(&vm, 0x8400_000a, JUNK | 0x8400_0002, 0, 0), returns(0));
}

#[test]
fn features_knows_smccc_version_but_no_other_call_of_the_convention() {
    for version in [V1_0, V1_1, V1_2, V1_3] {
        let vm = vm(version, 1);
        assert_eq!(call(&vm, 0x8400_000a, 0x8000_0000, 0, 0), returns(0));
        for id in [
            0x8000_0001,
            0xc000_0000,
            0x8600_ff01,
            0x95c1_ba60,
            0,
            0xffff_ffff,
        ] {
            assert_eq!(call(&vm, 0x8400_000a, id, 0, 0), returns(-1), "{id:#x}");
        }
    }
}

#[test]
fn version_is_the_vms_own_whatever_is_in_the_upper_half_of_x0() {
    let words = [0x0002, 0x1_0000, 0x1_0001, 0x1_0002, 0x1_0003];
    for (version, word) in NEWER.into_iter().zip(words) {
        assert_eq!(
            call(&vm(version, 1), JUNK | 0x8400_0000, 1, 2, 3),
            returns(word)
        );
    }
    assert_eq!(
        call(&vm(V0_1, 1), 0x8400_0000, 0, 0, 0),
        returns(NOT_SUPPORTED)
    );
}

#[test]
fn no_trusted_os_is_there_to_migrate() {
    for version in NEWER {
        let vm = vm(version, 2);
        assert_eq!(call(&vm, 0x8400_0006, 0, 0, 0), returns(2));
        for id in [
            0x8400_0005,
            0xc400_0005,
            0x8400_0007,
            0xc400_0007,
            0xc400_0006,
        ] {
            assert_eq!(call(&vm, id, 1, 0, 0), returns(NOT_SUPPORTED), "{id:#x}");
        }
    }
}

mod cpu_on {
    use super::*;

    const SMC32: u64 = 0x8400_0003;
    const SMC64: u64 = 0xc400_0003;

    #[test]
    fn starts_the_target_at_its_entry_point_with_its_context() {
        for version in NEWER {
            let vm = vm(version, 4);
            let context = 0x0123_4567_89ab_cdef;
            assert_eq!(
                call(&vm, SMC64, 3, RAM_END - 4, context),
                Answer::TurnedOn(VcpuId::new(3))
            );
            assert_eq!(
                vm.power.take_entry(VcpuId::new(3)),
                Some(Entry {
                    pc: RAM_END - 4,
                    context,
                    big_endian: false
                })
            );
            assert_eq!(vm.power.take_entry(VcpuId::new(3)), None, "only once");
        }
    }

    #[test]
    fn the_target_begins_in_the_byte_order_of_the_caller() {
        let vm = vm(V1_1, 2);
        let caller = Caller {
            vcpu: VcpuId::new(0),
            big_endian: true,
        };
        let on = smccc::call(&vm, caller, 0, &[SMC64, 1, RAM, 0]);
        assert_eq!(on, Answer::TurnedOn(VcpuId::new(1)));
        assert!(vm.power.take_entry(VcpuId::new(1)).unwrap().big_endian);
    }

    #[test]
    fn smc32_cuts_target_entry_and_context_to_32_bits() {
        let vm = vm(V1_0, 2);
        assert_eq!(
            call(&vm, SMC32, JUNK | 1, JUNK | RAM, JUNK | 0x8000_0007),
            Answer::TurnedOn(VcpuId::new(1))
        );
        let entry = vm.power.take_entry(VcpuId::new(1)).unwrap();
        assert_eq!((entry.pc, entry.context), (RAM, 0x8000_0007));
    }

    #[test]
    fn smc64_takes_the_whole_registers() {
        let vm = vm(V1_0, 2);
        assert_eq!(
            call(&vm, SMC64, JUNK | 1, RAM, 0),
            returns(INVALID_PARAMETERS)
        );
        assert_eq!(call(&vm, SMC64, 1, JUNK | RAM, 0), returns(INVALID_ADDRESS));
    }

    /// Bits that belong to no affinity field, and fields that no vCPU of a small VM has.
    #[test]
    fn a_target_that_is_no_cpu_is_an_invalid_parameter() {
        for version in NEWER {
            let vm = vm(version, 4);
            for bit in (2..8).chain(8..64) {
                let target = 1 << bit;
                assert_eq!(
                    call(&vm, SMC64, target, RAM, 0),
                    returns(INVALID_PARAMETERS),
                    "{version} {target:#x}"
                );
            }
            for target in [4, 0x10, 0x8000_0001, u64::from(u32::MAX)] {
                assert_eq!(
                    call(&vm, SMC32, target, RAM, 0),
                    returns(INVALID_PARAMETERS)
                );
            }
        }
    }

    /// The seventeenth vCPU is Aff1 = 1, Aff0 = 0; 0x10 is nobody.
    #[test]
    fn sixteen_vcpus_share_an_aff1() {
        let vm = vm(V1_0, 17);
        assert_eq!(call(&vm, SMC64, 0x10, RAM, 0), returns(INVALID_PARAMETERS));
        assert_eq!(call(&vm, SMC64, 0x101, RAM, 0), returns(INVALID_PARAMETERS));
        assert_eq!(
            call(&vm, SMC64, 0x100, RAM, 0),
            Answer::TurnedOn(VcpuId::new(16))
        );
    }

    #[test]
    fn an_entry_point_is_an_aligned_address_in_ram() {
        let bad = [
            0,
            RAM - 4,
            RAM_END,
            RAM + 1,
            RAM + 2,
            RAM_END - 1,
            !3,
            u64::MAX,
        ];
        for version in NEWER {
            let vm = vm(version, 2);
            let code = if version == V0_2 {
                INVALID_PARAMETERS
            } else {
                INVALID_ADDRESS
            };
            for entry in bad {
                assert_eq!(
                    call(&vm, SMC64, 1, entry, 0),
                    returns(code),
                    "{version} {entry:#x}"
                );
            }
        }
    }

    /// The CPU, then the entry point, then the state.
    #[test]
    fn a_wrong_cpu_is_told_before_a_wrong_entry_and_that_before_the_state() {
        let vm = vm(V1_0, 2);
        assert_eq!(call(&vm, SMC64, 9, 1, 0), returns(INVALID_PARAMETERS));
        assert_eq!(call(&vm, SMC64, 0, 1, 0), returns(INVALID_ADDRESS));
        assert_eq!(call(&vm, SMC64, 0, RAM, 0), returns(ALREADY_ON));
    }

    #[test]
    fn one_that_is_about_to_begin_is_on_and_keeps_its_entry_point() {
        let vm = vm(V1_0, 2);
        assert_eq!(
            call(&vm, SMC64, 1, RAM, 1),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert_eq!(call(&vm, SMC64, 1, RAM + 4, 2), returns(ALREADY_ON));
        let entry = vm.power.take_entry(VcpuId::new(1)).unwrap();
        assert_eq!((entry.pc, entry.context), (RAM, 1));
        assert_eq!(call(&vm, SMC64, 1, RAM + 4, 2), returns(ALREADY_ON));
    }
}

mod affinity_info {
    use super::*;

    const SMC32: u64 = 0x8400_0004;
    const SMC64: u64 = 0xc400_0004;
    const ON: i64 = 0;
    const OFF: i64 = 1;

    #[test]
    fn level_0_is_one_cpu() {
        for version in NEWER {
            let vm = vm(version, 3);
            for id in [SMC32, SMC64] {
                assert_eq!(call(&vm, id, 0, 0, 0), returns(ON));
                assert_eq!(call(&vm, id, 2, 0, 0), returns(OFF));
                assert_eq!(call(&vm, id, 3, 0, 0), returns(INVALID_PARAMETERS));
            }
        }
    }

    /// Never ON_PENDING: callers do not wait for it.
    #[test]
    fn a_cpu_is_on_as_soon_as_it_was_turned_on() {
        let vm = vm(V1_1, 2);
        assert_eq!(
            call(&vm, 0xc400_0003, 1, RAM, 0),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert_eq!(call(&vm, SMC64, 1, 0, 0), returns(ON));
    }

    /// Not before: what is sent to it when it is seen off must not get lost with what it held.
    #[test]
    fn a_cpu_is_off_as_soon_as_it_has_left() {
        let vm = vm(V1_1, 2);
        assert_eq!(
            call(&vm, 0xc400_0003, 1, RAM, 0),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert!(vm.power.take_entry(VcpuId::new(1)).is_some());
        assert_eq!(
            call_from(&vm, 1, [0x8400_0002, 0x1_0000, 0, 0]),
            Answer::Off
        );
        assert_eq!(call(&vm, SMC64, 1, 0, 0), returns(ON));
        assert_eq!(call(&vm, 0xc400_0003, 1, RAM, 0), returns(ALREADY_ON));
        assert!(!vm.power.cpu_off(VcpuId::new(1)));
        assert_eq!(call(&vm, SMC64, 1, 0, 0), returns(OFF));
        assert_eq!(
            call(&vm, 0xc400_0003, 1, RAM, 0),
            Answer::TurnedOn(VcpuId::new(1))
        );
    }

    #[test]
    fn level_1_is_a_cluster_of_sixteen_and_ignores_aff0() {
        let vm = vm(V0_2, 20);
        assert_eq!(call(&vm, SMC64, 0x0e1, 1, 0), returns(ON));
        assert_eq!(call(&vm, SMC64, 0x1e1, 1, 0), returns(OFF));
        assert_eq!(call(&vm, SMC64, 0x2e1, 1, 0), returns(INVALID_PARAMETERS));
        assert_eq!(
            call(&vm, 0xc400_0003, 0x103, RAM, 0),
            Answer::TurnedOn(VcpuId::new(19))
        );
        assert_eq!(call(&vm, SMC64, 0x100, 1, 0), returns(ON));
    }

    #[test]
    fn level_2_is_the_whole_vm_and_ignores_aff0_and_aff1() {
        let vm = vm(V0_2, 2);
        assert_eq!(call(&vm, SMC64, 0xabe1, 2, 0), returns(ON));
        assert_eq!(
            call(&vm, SMC64, 0xd2_abe1, 2, 0),
            returns(INVALID_PARAMETERS)
        );
        assert_eq!(
            call(&vm, SMC64, 0x1_0000_0000, 2, 0),
            returns(INVALID_PARAMETERS)
        );
    }

    #[test]
    fn no_instance_has_level_3_or_more() {
        for version in NEWER {
            let vm = vm(version, 2);
            for level in [3, 4, 8, 0x8000_0000, 0xffff_ffff] {
                for id in [SMC32, SMC64] {
                    assert_eq!(call(&vm, id, 0, level, 0), returns(INVALID_PARAMETERS));
                }
            }
        }
    }

    #[test]
    fn reserved_bits_name_no_instance_at_any_level() {
        let vm = vm(V1_3, 2);
        for bit in (24..32).chain(40..64) {
            for level in 0..=2 {
                assert_eq!(
                    call(&vm, SMC64, 1 << bit, level, 0),
                    returns(INVALID_PARAMETERS)
                );
            }
        }
    }

    /// The level has 32 bits in either width.
    #[test]
    fn upper_halves_that_do_not_count() {
        let vm = vm(V1_1, 2);
        assert_eq!(call(&vm, SMC32, JUNK | 1, JUNK, JUNK), returns(OFF));
        assert_eq!(call(&vm, SMC64, 1, JUNK, JUNK), returns(OFF));
        assert_eq!(
            call(&vm, SMC64, JUNK | 1, 0, 0),
            returns(INVALID_PARAMETERS)
        );
    }
}

mod cpu_suspend {
    use super::*;

    const SMC32: u64 = 0x8400_0001;
    const SMC64: u64 = 0xc400_0001;

    #[test]
    fn standby_waits_and_does_not_look_at_the_entry_point() {
        for version in NEWER {
            for state in [0, 1, 0x100_0011, 0x200_ffff, JUNK] {
                for id in [SMC32, SMC64] {
                    assert_eq!(call(&vm(version, 1), id, state, 1, 0), STANDBY);
                }
            }
        }
    }

    #[test]
    fn power_down_goes_on_at_its_entry_point_with_its_context() {
        for version in NEWER {
            let vm = vm(version, 1);
            for (id, context) in [(SMC32, 7), (SMC64, JUNK | 7)] {
                let junk = if id == SMC32 { JUNK } else { 0 };
                assert_eq!(
                    call(&vm, id, 0x101_0000, junk | (RAM + 8), JUNK | 7),
                    POWER_DOWN
                );
                let entry = vm.power.wake(VcpuId::new(0), 5).unwrap();
                assert_eq!((entry.pc, entry.context), (RAM + 8, context));
            }
            assert_eq!(vm.power.take_entry(VcpuId::new(0)), None);
        }
    }

    #[test]
    fn who_wakes_from_standby_or_has_not_slept_returns() {
        let vm = vm(V1_1, 1);
        let me = VcpuId::new(0);
        assert_eq!(call(&vm, SMC64, 0, RAM, 0), STANDBY);
        assert_eq!(vm.power.wake(me, 5), None);
        assert_eq!(call(&vm, SMC64, 0x1_0000, RAM, 0), POWER_DOWN);
        vm.power.abandon(me);
        assert_eq!(vm.power.wake(me, 5), None);
    }

    #[test]
    fn power_down_wants_an_entry_point() {
        for version in NEWER {
            let code = if version == V0_2 {
                INVALID_PARAMETERS
            } else {
                INVALID_ADDRESS
            };
            for entry in [0, RAM + 2, RAM_END] {
                assert_eq!(
                    call(&vm(version, 1), SMC64, 0x1_0000, entry, 0),
                    returns(code)
                );
            }
        }
    }

    /// Bit 30 is the state type of the extended format, which is not the one announced.
    #[test]
    fn reserved_bits_of_the_original_format_are_refused() {
        for version in NEWER {
            for bit in (17..=23).chain(26..=31) {
                assert_eq!(
                    call(&vm(version, 1), SMC64, 1 << bit, RAM, 0),
                    returns(INVALID_PARAMETERS),
                    "{version} bit {bit}"
                );
            }
        }
    }

    /// Whether the entry point would do or not.
    #[test]
    fn a_level_above_the_highest_is_refused() {
        for version in NEWER {
            for (state, entry) in [(0x300_0000, RAM), (0x301_0000, RAM), (0x301_0000, 0)] {
                assert_eq!(
                    call(&vm(version, 1), SMC64, state, entry, 0),
                    returns(INVALID_PARAMETERS),
                    "{version} {state:#x}"
                );
            }
        }
    }

    #[test]
    fn one_that_is_suspended_is_on() {
        let vm = vm(V1_1, 2);
        assert_eq!(call(&vm, SMC64, 0x1_0000, RAM, 0), POWER_DOWN);
        assert_eq!(call_from(&vm, 1, [0xc400_0004, 0, 0, 0]), returns(0));
        assert_eq!(
            call_from(&vm, 1, [0xc400_0003, 0, RAM + 4, 9]),
            returns(ALREADY_ON)
        );
        let goes_on = vm.power.wake(VcpuId::new(0), 5);
        assert_eq!(goes_on, Some(first()), "where it asked to go on");
    }
}

mod suspend;

mod stopping {
    use super::*;

    #[test]
    fn off_and_reset_stop_the_vm_from_any_cpu() {
        for version in NEWER {
            for (id, event) in [
                (0x8400_0008, StopEvent::Off),
                (0x8400_0009, StopEvent::Reset),
            ] {
                let vm = vm(version, 2);
                assert_eq!(call_from(&vm, 1, [id, 0, 0, 0]), Answer::Stop(event));
                assert_eq!(vm.power.stopping(), Some(event));
            }
        }
    }

    #[test]
    fn the_first_of_two_events_is_the_one() {
        let vm = vm(V1_0, 2);
        assert_eq!(
            call(&vm, 0x8400_0009, 0, 0, 0),
            Answer::Stop(StopEvent::Reset)
        );
        assert_eq!(
            call_from(&vm, 1, [0x8400_0008, 0, 0, 0]),
            Answer::Stop(StopEvent::Reset)
        );
        assert!(!goes_off(&vm, 1, 0x8400_0002));
        assert_eq!(vm.power.stopping(), Some(StopEvent::Reset));
    }

    /// Nobody is left to turn one on again, so this is an end of the VM.
    #[test]
    fn the_last_cpu_that_turns_itself_off_stops_the_vm() {
        for version in NEWER {
            let vm = vm(version, 2);
            assert!(goes_off(&vm, 0, 0x8400_0002));
            assert_eq!(vm.power.stopping(), Some(StopEvent::AllOff));
        }
    }

    #[test]
    fn smc64_forms_do_not_exist() {
        for id in [
            0xc400_0008,
            0xc400_0009,
            0xc400_0002,
            0xc400_0000,
            0xc400_000a,
        ] {
            let vm = vm(V1_3, 2);
            assert_eq!(call(&vm, id, 0, 0, 0), returns(NOT_SUPPORTED));
            assert_eq!(vm.power.stopping(), None);
            assert!(vm.power.on().contains(VcpuId::new(0)));
        }
    }
}

mod system_reset2 {
    use super::*;

    #[test]
    fn a_warm_reset_stops_the_vm_whatever_the_cookie() {
        for version in [V1_1, V1_2, V1_3] {
            for id in [0x8400_0012, 0xc400_0012] {
                let vm = vm(version, 2);
                assert_eq!(
                    call(&vm, id, JUNK, 0x1234, 0),
                    Answer::Stop(StopEvent::WarmReset)
                );
            }
        }
    }

    #[test]
    fn other_types_are_refused_and_reset_nothing() {
        let vm = vm(V1_1, 1);
        for kind in [1, 2, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff] {
            for id in [0x8400_0012, 0xc400_0012] {
                assert_eq!(call(&vm, id, kind, 0, 0), returns(INVALID_PARAMETERS));
            }
        }
        assert_eq!(vm.power.stopping(), None);
    }
}

mod system_off2 {
    use super::*;

    #[test]
    fn hibernate_off_is_type_1_or_0() {
        for id in [0x8400_0015, 0xc400_0015] {
            for kind in [0, 1, JUNK | 1] {
                let vm = vm(V1_3, 2);
                assert_eq!(call(&vm, id, kind, 0, 0), Answer::Stop(StopEvent::Off));
            }
        }
    }

    #[test]
    fn other_types_and_any_cookie_are_refused() {
        let vm = vm(V1_3, 1);
        for (kind, cookie) in [(2, 0), (3, 0), (0x8000_0000, 0), (1, 1), (0, 1 << 31)] {
            for id in [0x8400_0015, 0xc400_0015] {
                assert_eq!(call(&vm, id, kind, cookie, 0), returns(INVALID_PARAMETERS));
            }
        }
        assert_eq!(
            call(&vm, 0xc400_0015, 1, JUNK, 0),
            returns(INVALID_PARAMETERS)
        );
        assert_eq!(vm.power.stopping(), None);
    }

    #[test]
    fn smc32_has_a_cookie_of_32_bits() {
        let vm = vm(V1_3, 1);
        assert_eq!(
            call(&vm, 0x8400_0015, 1, JUNK, 0),
            Answer::Stop(StopEvent::Off)
        );
    }
}

mod mem_protect {
    use super::*;

    const MEM_PROTECT: u64 = 0x8400_0013;
    const CHECK32: u64 = 0x8400_0014;
    const CHECK64: u64 = 0xc400_0014;

    #[test]
    fn answers_what_it_was_before() {
        let vm = vm(V1_1, 1);
        for (enable, before) in [(0, 0), (1, 0), (1, 1), (JUNK, 1), (2, 0), (0, 1), (0, 0)] {
            assert_eq!(call(&vm, MEM_PROTECT, enable, 0, 0), returns(before));
        }
    }

    #[test]
    fn is_off_in_the_next_life() {
        let vm = vm(V1_1, 1);
        assert_eq!(call(&vm, MEM_PROTECT, 1, 0, 0), returns(0));
        let _ = call(&vm, 0x8400_0009, 0, 0, 0);
        assert_eq!(vm.power.parked(VcpuId::new(0)), Some(StopEvent::Reset));
        assert!(vm.start(first()));
        assert_eq!(call(&vm, MEM_PROTECT, 1, 0, 0), returns(0));
    }

    #[test]
    fn all_ram_can_be_protected() {
        let vm = vm(V1_1, 1);
        for (base, bytes) in [
            (RAM, RAM_END - RAM),
            (RAM, 1),
            (RAM_END - 1, 1),
            (RAM + 3, 5),
        ] {
            assert_eq!(call(&vm, CHECK64, base, bytes, 0), returns(0));
            assert_eq!(call(&vm, CHECK32, JUNK | base, JUNK | bytes, 0), returns(0));
        }
    }

    #[test]
    fn nothing_and_what_is_not_ram_cannot() {
        const DENIED: i64 = -3;
        let vm = vm(V1_1, 1);
        for (base, bytes) in [
            (RAM, 0),
            (RAM_END, 0),
            (RAM, RAM_END - RAM + 1),
            (RAM - 1, 2),
            (RAM_END, 1),
            (0x900_0000, 4),
            (RAM, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
            (JUNK | RAM, 1),
        ] {
            assert_eq!(
                call(&vm, CHECK64, base, bytes, 0),
                returns(DENIED),
                "{base:#x} {bytes:#x}"
            );
        }
    }
}

mod version_0_1 {
    use super::*;

    const CPU_SUSPEND: u64 = 0x95c1_ba5e;
    const CPU_OFF: u64 = 0x95c1_ba5f;
    const CPU_ON: u64 = 0x95c1_ba60;
    const MIGRATE: u64 = 0x95c1_ba61;

    #[test]
    fn its_four_functions() {
        let vm = vm(V0_1, 2);
        assert_eq!(
            call(&vm, CPU_ON, 1, RAM, 7),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert_eq!(vm.power.take_entry(VcpuId::new(1)).unwrap().context, 7);
        assert_eq!(call(&vm, CPU_SUSPEND, 0, 0, 0), STANDBY);
        assert_eq!(call(&vm, CPU_SUSPEND, 0x1_0000, RAM, 0), POWER_DOWN);
        assert_eq!(call(&vm, MIGRATE, 1, 0, 0), returns(NOT_SUPPORTED));
        assert_eq!(call(&vm, CPU_OFF, 0x1_0000, 0, 0), Answer::Off);
    }

    #[test]
    fn errors_are_those_of_0_1() {
        let vm = vm(V0_1, 2);
        assert_eq!(call(&vm, CPU_ON, 0, RAM, 0), returns(-2), "already on");
        assert_eq!(call(&vm, CPU_ON, 1, 0, 0), returns(-2), "not in RAM");
        assert_eq!(call(&vm, CPU_ON, 2, RAM, 0), returns(-2), "no such CPU");
        assert_eq!(call(&vm, CPU_SUSPEND, 1 << 17, 0, 0), returns(-2));
        assert_eq!(call(&vm, CPU_SUSPEND, 1 << 16, 1, 0), returns(-2));
    }

    #[test]
    fn arguments_are_whole_registers() {
        let vm = vm(V0_1, 2);
        assert_eq!(call(&vm, CPU_ON, JUNK | 1, RAM, 0), returns(-2));
        assert_eq!(call(&vm, CPU_ON, 1, JUNK | RAM, 0), returns(-2));
        let context = JUNK | 5;
        assert_eq!(
            call(&vm, CPU_ON, 1, RAM, context),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert_eq!(
            vm.power.take_entry(VcpuId::new(1)).unwrap().context,
            context
        );
    }

    #[test]
    fn only_w0_selects() {
        let vm = vm(V0_1, 2);
        assert_eq!(
            call(&vm, JUNK | CPU_ON, 1, RAM, 0),
            Answer::TurnedOn(VcpuId::new(1))
        );
    }

    #[test]
    fn later_versions_do_not_know_its_ids() {
        for version in NEWER {
            let vm = vm(version, 2);
            for id in [CPU_SUSPEND, CPU_OFF, CPU_ON, MIGRATE] {
                assert_eq!(call(&vm, id, 1, RAM, 0), returns(NOT_SUPPORTED));
            }
        }
    }

    /// Ids are the device tree's, and may be any number: even one of a later revision.
    #[test]
    fn other_ids_may_be_given() {
        let mut vm = vm(V0_1, 2);
        vm.legacy.cpu_on = 0x8400_0002;
        vm.legacy.cpu_off = 0x8000_0000;
        assert_eq!(
            call(&vm, 0x8400_0002, 1, RAM, 0),
            Answer::TurnedOn(VcpuId::new(1))
        );
        assert_eq!(call(&vm, 0x8000_0000, 0, 0, 0), Answer::Off);
        assert_eq!(call(&vm, CPU_ON, 1, RAM, 0), returns(NOT_SUPPORTED));
    }
}

#[test]
fn a_hidden_function_is_not_supported_by_call_and_features() {
    let ram = IpaRange::between(Ipa::new(RAM), Ipa::new(RAM_END)).unwrap();
    let psci = PsciChoice {
        hidden: FunctionSet::default().with("MIGRATE_INFO_TYPE").unwrap(),
        ..PsciChoice::default()
    };
    let hiding = Firmware::new(registers(V1_1), psci, 2, ram, 1_000_000);
    assert_eq!(
        call(&hiding, 0x8400_0006, 0, 0, 0),
        Answer::Return(-1i64 as u64)
    );
    assert_eq!(
        call(&hiding, 0x8400_000a, 0x8400_0006, 0, 0),
        Answer::Return(-1i64 as u64)
    );
    assert_eq!(
        smccc::answer(&hiding, &[0x8400_0006, 0, 0, 0]),
        Some(-1i64 as u64)
    );
    assert_eq!(
        call(&vm(V1_1, 2), 0x8400_000a, 0x8400_0006, 0, 0),
        Answer::Return(0)
    );
}

/// What FEATURES tells of CPU_SUSPEND is that the mode can be chosen, so without its switch it is not there.
#[test]
fn os_initiated_mode_is_hidden_with_its_switch() {
    const FEATURES: u64 = 0x8400_000a;
    let ram = IpaRange::between(Ipa::new(RAM), Ipa::new(RAM_END)).unwrap();
    let psci = PsciChoice {
        hidden: FunctionSet::default()
            .with("PSCI_SET_SUSPEND_MODE")
            .unwrap(),
        ..PsciChoice::default()
    };
    for version in [V1_0, V1_1, V1_2, V1_3] {
        let hiding = Firmware::new(registers(version), psci, 2, ram, 1_000_000);
        assert_eq!(call(&hiding, 0x8400_000f, 1, 0, 0), returns(NOT_SUPPORTED));
        for (id, with, without) in [(0x8400_0001, 1, 0), (0xc400_0001, 1, 0)] {
            assert_eq!(call(&vm(version, 2), FEATURES, id, 0, 0), returns(with));
            assert_eq!(call(&hiding, FEATURES, id, 0, 0), returns(without));
        }
    }
}

/// A VM stops while one of its vCPUs turns another on: that vCPU stops, too.
#[test]
fn cpu_on_of_a_vm_that_stops_does_not_return() {
    let vm = vm(V1_0, 2);
    assert_eq!(vm.power.stop(StopEvent::Reset), StopEvent::Reset);
    let outcome = call(&vm, 0xc400_0003, 1, RAM, 0);
    assert_eq!(outcome, Answer::Stop(StopEvent::Reset));
}

/// The ids that the configuration gives are the only ones of 0.1, and of 0.1 alone.
#[test]
fn ids_of_0_1_that_were_chosen_take_the_place_of_kvms() {
    let ram = IpaRange::between(Ipa::new(RAM), Ipa::new(RAM_END)).unwrap();
    let psci = PsciChoice {
        legacy: LegacyIds {
            cpu_suspend: 0x11,
            cpu_off: 0x12,
            cpu_on: 0x8000_0000,
            migrate: 0x14,
        },
        ..PsciChoice::default()
    };
    let old = Firmware::new(registers(V0_1), psci, 2, ram, 1_000_000);
    assert_eq!(
        call(&old, 0x95c1_ba60, 1, RAM, 0),
        Answer::Return(-1i64 as u64)
    );
    assert_eq!(call(&old, 0x11, 0, 0, 0), Answer::Suspend(Depth::Standby));
    assert_eq!(call(&old, 0x14, 0, 0, 0), Answer::Return(-1i64 as u64));
    // Even where the convention has a call of its own: bad CPU, not the version.
    assert_eq!(
        call(&old, 0x8000_0000, 9, RAM, 0),
        Answer::Return(-2i64 as u64)
    );
    let new = Firmware::new(registers(V0_2), psci, 2, ram, 1_000_000);
    assert_eq!(call(&new, 0x12, 0, 0, 0), Answer::Return(-1i64 as u64));
    assert_eq!(call(&new, 0x8000_0000, 9, RAM, 0), Answer::Return(0x1_0002));
}
