//! The power states, one step at a time; their races are in `races.rs`.

use super::*;

const A: VcpuId = VcpuId::new(0);
const B: VcpuId = VcpuId::new(1);
const C: VcpuId = VcpuId::new(2);

fn entry(pc: u64) -> Entry {
    Entry {
        pc,
        context: 0,
        big_endian: false,
    }
}

/// Three vCPUs, the first of which runs.
fn running() -> Power {
    let power = Power::new(3);
    assert!(power.start(entry(0)));
    assert_eq!(power.take_entry(A), Some(entry(0)));
    power
}

#[test]
fn a_new_vm_is_at_rest() {
    let power = Power::new(3);
    assert!(power.on().is_empty());
    assert_eq!(power.stopping(), Some(StopEvent::Off));
    assert_eq!(power.parked(A), None, "it had not begun");
    let refused = Err(Refused::Stopping(StopEvent::Off));
    assert_eq!(power.cpu_on(B, entry(4)), refused);
}

#[test]
fn a_vm_begins_on_its_first_vcpu_alone() {
    let power = running();
    assert!(power.on().into_iter().eq([A]));
    assert_eq!(power.stopping(), None);
    assert_eq!(power.take_entry(A), None);
    assert_eq!(power.take_entry(B), None);
}

#[test]
fn a_vm_that_runs_does_not_start_again() {
    let power = running();
    assert!(!power.start(entry(8)));
    let _ = power.stop(StopEvent::Off);
    assert_eq!(power.parked(A), None);
    assert_eq!(power.parked(C), None);
    assert!(!power.start(entry(8)), "B has not parked");
    assert_eq!(power.parked(B), Some(StopEvent::Off));
    assert!(power.start(entry(8)));
    assert_eq!(power.take_entry(A), Some(entry(8)));
}

#[test]
fn nobody_outside_the_vm_is_turned_on() {
    let power = running();
    for index in [3, 31, 32, 33, 255] {
        let who = VcpuId::new(index);
        assert_eq!(power.cpu_on(who, entry(4)), Err(Refused::NoSuchVcpu));
        assert_eq!(power.take_entry(who), None);
    }
}

#[test]
fn a_vcpu_goes_on_and_off_and_on_again() {
    let power = running();
    for pc in [4, 8, 12] {
        assert_eq!(power.cpu_on(B, entry(pc)), Ok(()));
        assert!(power.on().into_iter().eq([A, B]));
        assert_eq!(power.take_entry(B), Some(entry(pc)));
        assert!(!power.cpu_off(B));
        assert!(power.on().into_iter().eq([A]));
        assert_eq!(power.take_entry(B), None);
    }
}

#[test]
fn nobody_begins_in_a_vm_that_stops() {
    let power = running();
    assert_eq!(power.cpu_on(B, entry(4)), Ok(()));
    assert_eq!(power.stop(StopEvent::Reset), StopEvent::Reset);
    assert_eq!(power.take_entry(B), None);
    let refused = Err(Refused::Stopping(StopEvent::Reset));
    assert_eq!(power.cpu_on(C, entry(4)), refused);
}

#[test]
fn a_restarted_vm_knows_nothing_of_its_former_life() {
    let power = running();
    assert_eq!(power.cpu_on(B, entry(4)), Ok(()));
    let _ = power.stop(StopEvent::Reset);
    assert_eq!(
        [A, B, C].map(|who| power.parked(who)),
        [None, None, Some(StopEvent::Reset)]
    );
    assert!(power.start(entry(0)));
    assert!(power.on().into_iter().eq([A]));
    assert_eq!(power.take_entry(B), None);
    assert_eq!(power.cpu_on(B, entry(8)), Ok(()));
    assert_eq!(power.take_entry(B), Some(entry(8)));
}

#[test]
fn the_event_is_carried_out_once() {
    let power = running();
    assert_eq!(power.stop(StopEvent::Crash), StopEvent::Crash);
    assert_eq!(power.stop(StopEvent::Off), StopEvent::Crash);
    assert_eq!(power.parked(C), None);
    assert_eq!(power.parked(C), None, "again");
    assert_eq!(power.parked(A), None);
    assert_eq!(power.parked(B), Some(StopEvent::Crash));
    assert_eq!([A, B, C].map(|who| power.parked(who)), [None; 3]);
}

#[test]
fn parking_without_an_event_is_nothing() {
    let power = running();
    assert_eq!([A, B, C].map(|who| power.parked(who)), [None; 3]);
    assert_eq!(power.stopping(), None);
    let _ = power.stop(StopEvent::Off);
    assert_eq!(
        [A, B, C].map(|who| power.parked(who)),
        [None, None, Some(StopEvent::Off)]
    );
}

#[test]
fn the_last_vcpu_to_go_off_ends_the_vm() {
    let power = running();
    assert_eq!(power.cpu_on(B, entry(4)), Ok(()));
    assert!(!power.cpu_off(A), "B is yet to begin");
    assert_eq!(power.take_entry(B), Some(entry(4)));
    assert!(power.cpu_off(B));
    assert_eq!(power.stopping(), Some(StopEvent::AllOff));
}

/// Nobody could be turned on again, so nobody is to be seen off.
#[test]
fn who_leaves_because_the_vm_stops_is_not_seen_off() {
    let power = running();
    assert_eq!(power.cpu_on(B, entry(4)), Ok(()));
    let _ = power.stop(StopEvent::Reset);
    assert!(!power.cpu_off(B));
    assert!(!power.cpu_off(A));
    assert!(power.on().into_iter().eq([A, B]));
    assert_eq!(power.stopping(), Some(StopEvent::Reset));
}

#[test]
fn there_are_never_more_vcpus_than_slots() {
    let power = Power::new(1000);
    assert_eq!(power.vcpus(), 32);
    assert!(power.start(entry(0)));
    assert_eq!(power.cpu_on(VcpuId::new(31), entry(4)), Ok(()));
    assert_eq!(
        power.cpu_on(VcpuId::new(32), entry(4)),
        Err(Refused::NoSuchVcpu)
    );
}
