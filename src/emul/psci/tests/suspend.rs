//! What sleeps, and what is told of it. Expected values are typed from the standard.

use super::*;
use crate::emul::psci::suspend::microseconds;

const DENIED: i64 = -3;
const SINCE_1_0: [PsciVersion; 4] = [V1_0, V1_1, V1_2, V1_3];

const CPU_SUSPEND: u64 = 0xc400_0001;
const CPU_ON: u64 = 0xc400_0003;
const CPU_FREEZE: u64 = 0x8400_000b;
const DEFAULT_SUSPEND: [u64; 2] = [0x8400_000c, 0xc400_000c];
const NODE_HW_STATE: [u64; 2] = [0x8400_000d, 0xc400_000d];
const SYSTEM_SUSPEND: [u64; 2] = [0x8400_000e, 0xc400_000e];
const SET_SUSPEND_MODE: u64 = 0x8400_000f;
const STAT_RESIDENCY: [u64; 2] = [0x8400_0010, 0xc400_0010];
const STAT_COUNT: [u64; 2] = [0x8400_0011, 0xc400_0011];

const STANDBY_STATE: u64 = 0;
const POWER_DOWN_STATE: u64 = 0x1_0000;
const CLUSTER_STANDBY: u64 = 0x100_0000;
const CLUSTER_DOWN: u64 = 0x101_0000;

const A: VcpuId = VcpuId::new(0);
const B: VcpuId = VcpuId::new(1);

/// A VM whose vCPUs 0 to `on` - 1 run.
fn running(version: PsciVersion, vcpus: usize, on: u8) -> Firmware {
    let vm = vm(version, vcpus);
    for who in 1..on {
        let who = VcpuId::new(who);
        assert_eq!(vm.power.cpu_on(who, first()), Ok(()));
        assert!(vm.power.take_entry(who).is_some());
    }
    vm
}

fn suspends(vm: &Firmware, who: u8, state: u64) -> Answer {
    call_from(vm, who, [CPU_SUSPEND, state, RAM, 0])
}

#[test]
fn default_suspend_powers_down() {
    for version in SINCE_1_0 {
        for id in DEFAULT_SUSPEND {
            let vm = vm(version, 1);
            assert_eq!(call(&vm, id, RAM + 4, 9, 0), POWER_DOWN);
            let entry = vm.power.wake(A, 0).unwrap();
            assert_eq!((entry.pc, entry.context), (RAM + 4, 9));
            assert_eq!(call(&vm, id, RAM + 2, 9, 0), returns(INVALID_ADDRESS));
        }
    }
}

#[test]
fn the_system_sleeps_when_all_others_are_off() {
    for version in SINCE_1_0 {
        for id in SYSTEM_SUSPEND {
            let vm = vm(version, 3);
            let asleep = Answer::Suspend(Depth::System);
            assert_eq!(call(&vm, id, RAM + 4, 9, 0), asleep);
            let entry = vm.power.wake(A, 0).unwrap();
            assert_eq!((entry.pc, entry.context), (RAM + 4, 9));
        }
    }
}

/// Others that sleep are not off; that is told before a bad entry point is.
#[test]
fn the_system_does_not_sleep_before_all_others_are_off() {
    for id in SYSTEM_SUSPEND {
        let vm = running(V1_0, 2, 2);
        assert_eq!(call(&vm, id, RAM, 0, 0), returns(DENIED));
        assert_eq!(call(&vm, id, 1, 0, 0), returns(DENIED));
        assert_eq!(suspends(&vm, 1, POWER_DOWN_STATE), POWER_DOWN);
        assert_eq!(call(&vm, id, RAM, 0, 0), returns(DENIED));
        assert!(vm.power.wake(B, 0).is_some());
        assert_eq!(call_from(&vm, 1, [0x8400_0002, 0, 0, 0]), Answer::Off);
        assert_eq!(call(&vm, id, RAM, 0, 0), returns(DENIED), "1 still leaves");
        assert!(!vm.power.cpu_off(B));
        assert_eq!(call(&vm, id, 1, 0, 0), returns(INVALID_ADDRESS));
        assert_eq!(call(&vm, id, RAM_END, 0, 0), returns(INVALID_ADDRESS));
    }
}

#[test]
fn a_frozen_cpu_is_off_until_it_is_turned_on() {
    let vm = running(V1_0, 2, 2);
    assert_eq!(call_from(&vm, 1, [CPU_FREEZE, 0, 0, 0]), Answer::Freeze);
    assert!(!vm.power.cpu_off(B));
    assert_eq!(call(&vm, 0xc400_0004, 1, 0, 0), returns(1));
    assert_eq!(call(&vm, 0xc400_0003, 1, RAM, 0), Answer::TurnedOn(B));
    assert!(!goes_off(&vm, 0, CPU_FREEZE));
    assert!(goes_off(&vm, 1, CPU_FREEZE));
    assert_eq!(vm.power.stopping(), Some(StopEvent::AllOff));
}

mod mode {
    use super::*;

    fn set(vm: &Firmware, mode: u64) -> Answer {
        call(vm, SET_SUSPEND_MODE, mode, 0, 0)
    }

    #[test]
    fn is_0_or_1_and_may_be_set_again() {
        let vm = vm(V1_0, 2);
        assert_eq!(set(&vm, 0), returns(0));
        for mode in [2, 0xffff_ffff] {
            assert_eq!(set(&vm, mode), returns(INVALID_PARAMETERS));
        }
        assert_eq!(set(&vm, JUNK | 1), returns(0));
        assert_eq!(set(&vm, 1), returns(0));
    }

    /// To OS-initiated with all CPUs on or only the caller; back only with the caller alone.
    #[test]
    fn changes_only_while_the_cpus_are_as_they_must_be() {
        for (vcpus, on, to_os, back) in [(3, 1, 0, 0), (3, 2, DENIED, 0), (3, 3, 0, DENIED)] {
            let vm = running(V1_1, vcpus, on);
            assert_eq!(set(&vm, 0), returns(0), "{on} on: as it is");
            assert_eq!(set(&vm, 1), returns(to_os), "{on} on: to OS-initiated");
            assert_eq!(set(&vm, 0), returns(back), "{on} on: back");
        }
    }

    #[test]
    fn is_the_first_again_in_the_next_life() {
        let vm = running(V1_0, 1, 1);
        assert_eq!(set(&vm, 1), returns(0));
        let _ = vm.power.stop(StopEvent::Reset);
        assert_eq!(vm.power.parked(A), Some(StopEvent::Reset));
        assert!(vm.start(first()));
        assert_eq!(suspends(&vm, 0, CLUSTER_DOWN), POWER_DOWN);
    }

    #[test]
    fn os_initiated_takes_a_domain_down_with_its_last_cpu() {
        let vm = running(V1_0, 2, 2);
        assert_eq!(set(&vm, 1), returns(0));
        assert_eq!(suspends(&vm, 0, CLUSTER_DOWN), returns(DENIED));
        assert_eq!(suspends(&vm, 1, POWER_DOWN_STATE), POWER_DOWN, "level 0");
        assert_eq!(suspends(&vm, 0, CLUSTER_DOWN), POWER_DOWN);
        assert!(vm.power.wake(A, 0).is_some() && vm.power.wake(B, 0).is_some());
        assert_eq!(suspends(&vm, 1, STANDBY_STATE), STANDBY);
        assert_eq!(suspends(&vm, 0, CLUSTER_DOWN), returns(INVALID_PARAMETERS));
        assert_eq!(suspends(&vm, 0, CLUSTER_STANDBY), STANDBY);
    }

    #[test]
    fn cpus_that_are_off_or_elsewhere_do_not_count() {
        let vm = running(V1_0, 17, 17);
        assert_eq!(set(&vm, 1), returns(0));
        assert_eq!(suspends(&vm, 16, CLUSTER_DOWN), POWER_DOWN);
        assert_eq!(suspends(&vm, 0, 0x201_0000), returns(DENIED));
        for who in 1..16 {
            assert!(!goes_off(&vm, who, 0x8400_0002));
        }
        assert_eq!(suspends(&vm, 0, 0x201_0000), POWER_DOWN);
    }

    #[test]
    fn platform_coordinated_grants_any_level_at_any_time() {
        let vm = running(V1_0, 2, 2);
        assert_eq!(suspends(&vm, 0, CLUSTER_DOWN), POWER_DOWN);
    }
}

mod hw_state {
    use super::*;

    const ON: i64 = 0;
    const OFF: i64 = 1;
    const IN_STANDBY: i64 = 2;

    #[test]
    fn of_a_cpu_is_what_it_does() {
        for id in NODE_HW_STATE {
            let vm = running(V1_0, 3, 2);
            let state = |target| call(&vm, id, target, 0, 0);
            assert_eq!([0, 1, 2].map(state), [ON, ON, OFF].map(returns));
            assert_eq!(suspends(&vm, 1, STANDBY_STATE), STANDBY);
            assert_eq!(state(1), returns(IN_STANDBY));
            let _ = vm.power.wake(B, 0);
            assert_eq!(suspends(&vm, 1, POWER_DOWN_STATE), POWER_DOWN);
            assert_eq!(state(1), returns(OFF));
            let _ = vm.power.wake(B, 0);
            assert_eq!(state(1), returns(ON));
        }
    }

    #[test]
    fn of_a_cluster_is_as_deep_as_its_shallowest_cpu() {
        let vm = running(V1_0, 18, 18);
        let cluster = || call(&vm, NODE_HW_STATE[1], 0x100, 1, 0);
        assert_eq!(cluster(), returns(ON));
        assert_eq!(suspends(&vm, 16, CLUSTER_DOWN), POWER_DOWN);
        assert_eq!(cluster(), returns(ON), "17 runs");
        assert_eq!(suspends(&vm, 17, POWER_DOWN_STATE), POWER_DOWN);
        assert_eq!(cluster(), returns(ON), "17 did not offer it");
        assert_eq!(suspends(&vm, 17, CLUSTER_STANDBY), STANDBY);
        assert_eq!(cluster(), returns(IN_STANDBY));
        assert_eq!(suspends(&vm, 17, CLUSTER_DOWN), POWER_DOWN);
        assert_eq!(cluster(), returns(OFF));
        assert_eq!(call(&vm, NODE_HW_STATE[1], 0, 2, 0), returns(ON));
    }

    #[test]
    fn wants_a_cpu_and_a_level_that_there_are() {
        let vm = vm(V1_0, 2);
        for id in NODE_HW_STATE {
            for (target, level) in [(2, 0), (1 << 24, 0), (0, 3), (0, 0xffff_ffff)] {
                let answer = call(&vm, id, target, level, 0);
                assert_eq!(answer, returns(INVALID_PARAMETERS));
            }
        }
        assert_eq!(call(&vm, NODE_HW_STATE[0], JUNK, JUNK, 0), returns(ON));
    }
}

mod statistics {
    use super::*;

    fn sleep(vm: &Firmware, who: u8, state: u64, ticks: u64) {
        let _ = suspends(vm, who, state);
        let _ = vm.power.wake(VcpuId::new(who), ticks);
    }

    /// PSCI_STAT_COUNT and PSCI_STAT_RESIDENCY of power-down.
    fn power_downs(vm: &Firmware, who: u64) -> [Answer; 2] {
        [STAT_COUNT[1], STAT_RESIDENCY[1]].map(|id| call(vm, id, who, POWER_DOWN_STATE, 0))
    }

    #[test]
    fn count_the_time_off_once_it_is_over() {
        let vm = running(V1_0, 2, 2);
        vm.power.begins(B, 100);
        assert_eq!(power_downs(&vm, 1), [returns(0), returns(0)], "never off");
        for round in 1..=3 {
            sleep(&vm, 1, POWER_DOWN_STATE, 7);
            let before = power_downs(&vm, 1);
            let since = 1000 * round;
            vm.power.leaves(B, since);
            assert!(!vm.power.cpu_off(B));
            assert_eq!(power_downs(&vm, 1), before, "still off");
            assert_eq!(call(&vm, CPU_ON, 1, RAM, 0), Answer::TurnedOn(B));
            assert_eq!(power_downs(&vm, 1), before, "about to begin");
            assert!(vm.power.take_entry(B).is_some());
            vm.power.begins(B, since + 30);
            let round = round as i64;
            assert_eq!(
                power_downs(&vm, 1),
                [returns(2 * round), returns(37 * round)]
            );
        }
        assert_eq!(power_downs(&vm, 0), [returns(0), returns(0)], "the other");
        assert_eq!(vm.power.stop(StopEvent::Reset), StopEvent::Reset);
        let last = [A, B].map(|who| vm.power.parked(who));
        assert_eq!(last, [None, Some(StopEvent::Reset)]);
        assert!(vm.power.start(first()));
        assert_eq!(power_downs(&vm, 1), [returns(0), returns(0)], "a new start");
    }

    #[test]
    fn residency_is_in_microseconds() {
        for (ticks, frequency, spent) in [
            (54, 54_000_000, 1),
            (53, 54_000_000, 0),
            (3 * 62_500_000 + 125, 62_500_000, 3_000_002),
            (5, 0, 5_000_000),
            (u64::MAX, 1, u64::MAX),
        ] {
            assert_eq!(microseconds(ticks, frequency), spent, "{ticks} {frequency}");
        }
    }

    #[test]
    fn count_every_state_of_every_cpu() {
        let vm = running(V1_0, 2, 2);
        sleep(&vm, 0, STANDBY_STATE, 5);
        sleep(&vm, 1, POWER_DOWN_STATE, 100);
        sleep(&vm, 1, POWER_DOWN_STATE | 0x77, 11);
        sleep(&vm, 1, CLUSTER_DOWN, 1000);
        for (target, state, count, microseconds) in [
            (0, STANDBY_STATE, 1, 5),
            (0, POWER_DOWN_STATE, 0, 0),
            (1, STANDBY_STATE, 0, 0),
            (1, POWER_DOWN_STATE, 2, 111),
            (1, CLUSTER_DOWN, 1, 1000),
            (1, CLUSTER_STANDBY, 0, 0),
        ] {
            for width in [0, 1] {
                let counted = call(&vm, STAT_COUNT[width], target, state, 0);
                assert_eq!(counted, returns(count), "{target} {state:#x}");
                let spent = call(&vm, STAT_RESIDENCY[width], target, state, 0);
                assert_eq!(spent, returns(microseconds), "{target} {state:#x}");
            }
        }
    }

    #[test]
    fn who_has_not_slept_is_not_counted() {
        let vm = vm(V1_0, 1);
        assert_eq!(suspends(&vm, 0, POWER_DOWN_STATE), POWER_DOWN);
        vm.power.abandon(A);
        assert_eq!(call(&vm, STAT_COUNT[1], 0, POWER_DOWN_STATE, 0), returns(0));
    }

    #[test]
    fn a_wrong_cpu_or_state_has_never_been_used() {
        let vm = vm(V1_0, 1);
        sleep(&vm, 0, STANDBY_STATE, 5);
        for id in STAT_COUNT.into_iter().chain(STAT_RESIDENCY) {
            for (target, state) in [
                (1, 0),
                (1 << 31, 0),
                (0, 1 << 17),
                (0, 1 << 30),
                (0, 3 << 24),
            ] {
                assert_eq!(call(&vm, id, target, state, 0), returns(0));
            }
        }
    }

    #[test]
    fn smc32_results_have_32_bits() {
        let vm = vm(V1_0, 1);
        sleep(&vm, 0, STANDBY_STATE, 0x1_2345_6789);
        assert_eq!(call(&vm, STAT_RESIDENCY[0], 0, 0, 0), returns(0x2345_6789));
        assert_eq!(
            call(&vm, STAT_RESIDENCY[1], 0, 0, 0),
            returns(0x1_2345_6789)
        );
    }
}
