//! The power states under every interleaving of three pCPUs, by the model checker: each access to an atomic and each
//! lock is a point where another one may go on.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=1 RUSTFLAGS="--cfg shuttle" cargo test --target-dir target/shuttle races`
//!
//! Single steps of three CPUs are explored over all their interleavings: they come out as if they had been taken one
//! after the other. On that `orders.rs` relies, which explores whole lives of a VM, step by step. To see these with
//! real threads as well, some thousand are drawn here. There a pCPU is a thread that does what the run loop does: it
//! waits for an entry point, runs its guest a call at a time for as long as the VM does not stop, and parks. A kick is
//! a bell that stays rung until it is heard, as a pending SGI does; a wake-up that got lost shows as a deadlock.

use super::*;
use crate::{
    emul::{
        firmware::{Answer, Caller, Depth, Firmware, Mitigation, PsciChoice, Workarounds},
        fw_registers::{Offer, Registers},
        smccc,
    },
    spec::psci::PowerState,
    types::{Ipa, IpaRange},
};
use shuttle::{
    rand::Rng,
    sync::{Arc, Condvar, Mutex as StdMutex},
    thread,
};
use std::{format, string::String, vec, vec::Vec};

const CPU_SUSPEND: u64 = 0xc400_0001;
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const NODE_HW_STATE: u64 = 0xc400_000d;
const SYSTEM_SUSPEND: u64 = 0xc400_000e;
const SET_SUSPEND_MODE: u64 = 0x8400_000f;

const RAM: u64 = 0x4000_0000;
const ALREADY_ON: Answer = Answer::Return(-4i64 as u64);
const ON: Answer = Answer::Return(0);
const OFF: Answer = Answer::Return(1);

#[derive(Default)]
struct Bell {
    rung: StdMutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// What was seen of the VM so far.
#[derive(Default)]
struct Seen {
    /// Which life of the VM this is.
    life: u64,
    /// vCPUs that execute guest instructions.
    inside: Vec<usize>,
    /// By vCPU: contexts of the accepted CPU_ONs, in no order.
    accepted: [Vec<u64>; 3],
    /// By vCPU: contexts that it began with.
    begun: [Vec<u64>; 3],
    /// Events that were carried out.
    events: Vec<StopEvent>,
    /// The VM is at rest for good.
    over: bool,
}

fn firmware(vcpus: usize) -> Firmware {
    let offer = Offer {
        workarounds: Workarounds {
            branch_predictor: Mitigation::Unknown,
            store_bypass: false,
            branch_history: Mitigation::Unknown,
        },
        trng: false,
    };
    let ram = IpaRange::new(Ipa::new(RAM), 0x1000).unwrap();
    Firmware::new(
        Registers::new(offer),
        PsciChoice::default(),
        vcpus,
        ram,
        1_000_000,
    )
}

/// What a guest does: called when a vCPU begins, with its number and context.
type Guest = fn(&Vm, u8, u64);

struct Vm {
    firmware: Firmware,
    bells: [Bell; 3],
    /// By vCPU: an interrupt is pending.
    interrupts: [StdMutex<bool>; 3],
    seen: StdMutex<Seen>,
    guest: Guest,
}

impl Vm {
    fn new(vcpus: usize, guest: Guest) -> Self {
        Self {
            firmware: firmware(vcpus),
            bells: Default::default(),
            interrupts: Default::default(),
            seen: Default::default(),
            guest,
        }
    }

    fn power(&self) -> &Power {
        &self.firmware.power
    }

    /// Begins the VM's next life; its number is the upper half of every context in it.
    fn start(&self) {
        let context = {
            let mut seen = self.seen.lock().unwrap();
            seen.life += 1;
            seen.accepted = Default::default();
            seen.begun = Default::default();
            seen.life << 32
        };
        assert!(self.power().start(entry(context)));
        self.bells[0].ring();
    }

    /// One call of vCPU `who`, and what the run loop does about it; `None` when the vCPU executes no
    /// further instruction in this life.
    fn call(&self, who: u8, id: u64, x1: u64, x3: u64) -> Option<Answer> {
        if self.power().stopping().is_some() {
            return None;
        }
        let caller = Caller {
            vcpu: VcpuId::new(who),
            big_endian: false,
        };
        let x2 = if id == CPU_ON { RAM } else { 0 };
        let outcome = smccc::call(&self.firmware, caller, 0, &[id, x1, x2, x3]);
        match outcome {
            Answer::TurnedOn(target) => {
                self.seen.lock().unwrap().accepted[target.index()].push(x3);
                self.bells[target.index()].ring();
            }
            Answer::Stop(_) => self.bells.iter().for_each(Bell::ring),
            _ => {}
        }
        Some(outcome)
    }

    /// Makes an interrupt pending for `who`, and its pCPU look.
    fn interrupt(&self, who: usize) {
        *self.interrupts[who].lock().unwrap() = true;
        self.bells[who].ring();
    }

    /// Powers vCPU `who` down and does what the run layer does; where it goes on, or `None` when the VM
    /// stops meanwhile.
    fn power_down(&self, who: u8, context: u64) -> Option<Entry> {
        let down = Answer::Suspend(Depth::PowerDown);
        let caller = Caller {
            vcpu: VcpuId::new(who),
            big_endian: false,
        };
        let x = [CPU_SUSPEND, 0x1_0000, RAM, context];
        assert_eq!(smccc::call(&self.firmware, caller, 0, &x), down);
        let index = usize::from(who);
        loop {
            if self.power().stopping().is_some() {
                return None;
            }
            if core::mem::take(&mut *self.interrupts[index].lock().unwrap()) {
                let entry = self.power().wake(caller.vcpu, 1);
                assert!(entry.is_some(), "vCPU {who} lost where it goes on");
                return entry;
            }
            self.bells[index].wait();
        }
    }

    /// The context of a CPU_ON in the life that `context` belongs to.
    fn context(context: u64, number: u64) -> u64 {
        context >> 32 << 32 | number
    }

    /// The pCPU of vCPU `who`.
    fn pcpu(&self, who: u8) {
        let vcpu = VcpuId::new(who);
        loop {
            if let Some(entry) = self.power().take_entry(vcpu) {
                self.enter(who, entry);
                (self.guest)(self, who, entry.context);
                self.leave(who);
                continue;
            }
            if let Some(event) = self.power().parked(vcpu) {
                self.carry_out(event);
            }
            if self.seen.lock().unwrap().over {
                return;
            }
            self.bells[vcpu.index()].wait();
        }
    }

    fn enter(&self, who: u8, entry: Entry) {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(
            entry.context >> 32,
            seen.life,
            "vCPU {who} begins in a later life"
        );
        let who = usize::from(who);
        assert!(!seen.inside.contains(&who), "vCPU {who} runs twice");
        seen.inside.push(who);
        seen.begun[who].push(entry.context);
    }

    /// Takes back what the vCPU holds: what interrupts it is thrown away, and only then it is off.
    fn leave(&self, who: u8) {
        let index = usize::from(who);
        let mut seen = self.seen.lock().unwrap();
        seen.inside.retain(|&inside| inside != index);
        drop(seen);
        *self.interrupts[index].lock().unwrap() = false;
        if self.power().cpu_off(VcpuId::new(who)) {
            self.bells.iter().for_each(Bell::ring);
        }
    }

    /// Nobody runs any more; a reset begins the next life.
    fn carry_out(&self, event: StopEvent) {
        let mut seen = self.seen.lock().unwrap();
        assert!(
            seen.inside.is_empty(),
            "{event:?} while {:?} run",
            seen.inside
        );
        seen.events.push(event);
        if event == StopEvent::Reset {
            drop(seen);
            return self.start();
        }
        seen.over = true;
        drop(seen);
        self.bells.iter().for_each(Bell::ring);
    }
}

/// Runs the VM until it is at rest and answers what was seen.
fn run(vcpus: u8, guest: Guest) -> Seen {
    let vm = Arc::new(Vm::new(vcpus.into(), guest));
    vm.start();
    let pcpus: Vec<_> = (0..vcpus)
        .map(|who| {
            let vm = Arc::clone(&vm);
            thread::spawn(move || vm.pcpu(who))
        })
        .collect();
    pcpus.into_iter().for_each(|pcpu| pcpu.join().unwrap());
    let seen = core::mem::take(&mut *vm.seen.lock().unwrap());
    assert_eq!(
        seen.events
            .iter()
            .filter(|&&event| event != StopEvent::Reset)
            .count(),
        1
    );
    seen
}

/// A VM in which vCPUs 0 to `vcpus` - 2 run and the last is off.
fn all_but_one_on(vcpus: u8) -> Arc<Power> {
    let power = Power::new(vcpus.into());
    assert!(power.start(entry(0)));
    for who in 0..vcpus - 1 {
        assert!(who == 0 || power.cpu_on(VcpuId::new(who), entry(0)).is_ok());
        assert!(power.take_entry(VcpuId::new(who)).is_some());
    }
    Arc::new(power)
}

fn entry(context: u64) -> Entry {
    Entry {
        pc: RAM,
        context,
        big_endian: false,
    }
}

/// Runs the three at once, in every order there is, and hands their results to `check`.
fn in_every_order<T: Send + 'static>(
    vcpus: u8,
    three: [fn(&Power) -> T; 3],
    check: fn(&Power, [T; 3]),
) {
    let explore = move || {
        let power = all_but_one_on(vcpus);
        let running = three.map(|one| {
            let power = Arc::clone(&power);
            thread::spawn(move || one(&power))
        });
        check(&power, running.map(|one| one.join().unwrap()));
    };
    shuttle::check_dfs(explore, None);
}

#[test]
fn of_all_callers_of_cpu_on_one_succeeds() {
    const TARGET: VcpuId = VcpuId::new(3);
    in_every_order(
        4,
        [
            |power| power.cpu_on(TARGET, entry(0)),
            |power| power.cpu_on(TARGET, entry(1)),
            |power| power.cpu_on(TARGET, entry(2)),
        ],
        |power, answers| {
            let winners: Vec<_> = (0..3).filter(|&who| answers[who].is_ok()).collect();
            let refused = |answer| answer == Err(Refused::AlreadyOn);
            assert_eq!(
                answers
                    .into_iter()
                    .filter(|&answer| refused(answer))
                    .count(),
                2
            );
            assert_eq!(power.take_entry(TARGET), Some(entry(winners[0] as u64)));
            assert_eq!(power.take_entry(TARGET), None);
        },
    );
}

/// Two watch the third turn itself off; one that sees it turns it on again.
#[test]
fn who_is_seen_off_can_be_turned_on() {
    const TARGET: VcpuId = VcpuId::new(1);
    fn watch(power: &Power) -> Option<Result<(), Refused>> {
        let off = !power.on().contains(TARGET);
        off.then(|| power.cpu_on(TARGET, entry(1)))
    }
    in_every_order(
        3,
        [watch, watch, |power| {
            assert!(!power.cpu_off(TARGET));
            None
        }],
        |power, [one, two, _]| {
            let accepted = [one, two].iter().filter(|&&on| on == Some(Ok(()))).count();
            assert_eq!(accepted, usize::from(one.or(two).is_some()));
            assert_eq!(power.take_entry(TARGET).is_some(), accepted == 1);
        },
    );
}

/// 0 resets, 1 goes off, and 2 is turned on.
#[test]
fn a_reset_has_one_last_parker_and_leaves_nothing_behind() {
    const CPUS: [VcpuId; 3] = [VcpuId::new(0), VcpuId::new(1), VcpuId::new(2)];
    in_every_order(
        3,
        [
            |power| {
                assert_eq!(power.stop(StopEvent::Reset), StopEvent::Reset);
            },
            |power| {
                let _ = power.cpu_off(CPUS[1]);
            },
            |power| {
                let _ = power.cpu_on(CPUS[2], entry(1));
            },
        ],
        |power, _| {
            assert_eq!(CPUS.map(|who| power.take_entry(who)), [None; 3]);
            let parked = CPUS.map(|who| power.parked(who));
            assert_eq!(parked, [None, None, Some(StopEvent::Reset)]);
            assert!(power.start(entry(7)));
            assert_eq!(
                CPUS.map(|who| power.take_entry(who)),
                [Some(entry(7)), None, None]
            );
            assert!(power.on().into_iter().eq([CPUS[0]]));
        },
    );
}

#[test]
fn of_all_that_park_one_is_the_last() {
    in_every_order(
        3,
        [
            |power| power.parked(VcpuId::new(0)),
            |power| power.parked(VcpuId::new(1)),
            |power| {
                let _ = power.stop(StopEvent::Off);
                None
            },
        ],
        |power, early| {
            let late = [0, 1, 2].map(|who| power.parked(VcpuId::new(who)));
            let last: Vec<_> = early.into_iter().chain(late).flatten().collect();
            assert_eq!(last, [StopEvent::Off]);
        },
    );
}

/// The guest turns its only vCPU off while the operator resets the VM and something else ends it.
#[test]
fn of_all_events_one_is_the_event() {
    in_every_order(
        2,
        [
            |power| Some(power.stop(StopEvent::Reset)),
            |power| Some(power.stop(StopEvent::Crash)),
            |power| power.cpu_off(VcpuId::new(0)).then_some(StopEvent::AllOff),
        ],
        |power, [one, two, off]| {
            let event = power.stopping();
            assert!(event.is_some());
            assert_eq!([one, two], [event; 2]);
            assert_eq!(off, event.filter(|&event| event == StopEvent::AllOff));
        },
    );
}

/// What one of three CPUs does in one step; what came of it.
type Step = fn(&Firmware, VcpuId) -> String;

fn psci(firmware: &Firmware, vcpu: VcpuId, x: [u64; 4]) -> String {
    let caller = Caller {
        vcpu,
        big_endian: false,
    };
    format!("{:?}", smccc::call(firmware, caller, 0, &x))
}

/// All that a guest or the run loop asks of the power states.
const STEPS: [Step; 17] = [
    |firmware, who| psci(firmware, who, [CPU_ON, 2, RAM, 1 + who.index() as u64]),
    |firmware, who| psci(firmware, who, [CPU_ON, 0, RAM, 1 + who.index() as u64]),
    |firmware, who| psci(firmware, who, [AFFINITY_INFO, 2, 0, 0]),
    |firmware, who| psci(firmware, who, [AFFINITY_INFO, 0, 1, 0]),
    |firmware, who| psci(firmware, who, [SYSTEM_OFF, 0, 0, 0]),
    |firmware, who| psci(firmware, who, [SYSTEM_RESET, 0, 0, 0]),
    |firmware, who| psci(firmware, who, [CPU_SUSPEND, 0x1_0000, RAM, 7]),
    |firmware, who| psci(firmware, who, [CPU_SUSPEND, 0x100_0000, RAM, 7]),
    |firmware, who| psci(firmware, who, [SYSTEM_SUSPEND, RAM, 8, 0]),
    |firmware, who| psci(firmware, who, [SET_SUSPEND_MODE, 1, 0, 0]),
    |firmware, who| psci(firmware, who, [NODE_HW_STATE, 0, 1, 0]),
    |firmware, who| format!("{:?}", firmware.power.cpu_off(who)),
    |firmware, who| format!("{:?}", firmware.power.take_entry(who)),
    |firmware, who| format!("{:?}", firmware.power.parked(who)),
    |firmware, _| format!("{:?}", firmware.power.stopping()),
    |firmware, who| format!("{:?}", firmware.power.wake(who, 5)),
    |firmware, _| format!("{:?}", firmware.start(entry(9))),
];

/// What a VM may have come to when three CPUs take a step at once.
const PASTS: [fn(&Power); 5] = [
    |power| turn_on(power, 1),
    |power| {
        turn_on(power, 1);
        turn_on(power, 2);
    },
    |power| {
        turn_on(power, 1);
        assert_eq!(power.cpu_on(VcpuId::new(2), entry(3)), Ok(()));
        let asleep = Sleep {
            state: PowerState::POWER_DOWN,
            entry: Some(entry(4)),
        };
        assert_eq!(power.suspend(VcpuId::new(1), asleep), Ok(()));
    },
    |power| {
        let _ = power.stop(StopEvent::Reset);
        assert_eq!(power.parked(VcpuId::new(2)), None);
    },
    |power| {
        let _ = power.stop(StopEvent::Off);
        let last = [0, 1, 2].map(|who| power.parked(VcpuId::new(who)));
        assert_eq!(last, [None, None, Some(StopEvent::Off)]);
    },
];

/// vCPU `who` is turned on and runs.
fn turn_on(power: &Power, who: u8) {
    let who = VcpuId::new(who);
    assert_eq!(power.cpu_on(who, entry(2)), Ok(()));
    assert_eq!(power.take_entry(who), Some(entry(2)));
}

/// A VM with this past: vCPU 0 ran at least.
fn with_past(past: fn(&Power)) -> Firmware {
    let firmware = firmware(3);
    assert!(firmware.start(entry(1)));
    assert_eq!(firmware.power.take_entry(VcpuId::new(0)), Some(entry(1)));
    past(&firmware.power);
    firmware
}

/// What there is to know of the power states.
fn state(power: &Power) -> String {
    let guarded = power.guarded.lock();
    let (on, event) = (power.on(), power.stopping());
    let (parked, entries) = (guarded.parked, &guarded.entries[..3]);
    let asleep = &guarded.sleepers.asleep[..3];
    format!("{on:?} {event:?} {parked:?} {entries:?} {asleep:?}")
}

/// Whether the steps of vCPUs 0 to N - 1 at once come out, in every interleaving, as they do in one of these orders.
fn is_atomic<const N: usize>(past: fn(&Power), steps: [Step; N], orders: &'static [[usize; N]]) {
    let allowed = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let one_by_one = {
        let allowed = std::sync::Arc::clone(&allowed);
        move || {
            for order in orders {
                let firmware = with_past(past);
                let mut answers = [const { String::new() }; N];
                for &who in order {
                    answers[who] = steps[who](&firmware, VcpuId::new(who as u8));
                }
                let found = (answers, state(&firmware.power));
                allowed.lock().unwrap().push(found);
            }
        }
    };
    shuttle::check_dfs(one_by_one, None);
    let at_once = move || {
        let firmware = Arc::new(with_past(past));
        let running = core::array::from_fn::<_, N, _>(|who| {
            let firmware = Arc::clone(&firmware);
            let step = steps[who];
            thread::spawn(move || step(&firmware, VcpuId::new(who as u8)))
        });
        let answers = running.map(|one| one.join().unwrap());
        let found = (answers, state(&firmware.power));
        assert!(allowed.lock().unwrap().contains(&found), "{found:?}");
    };
    shuttle::check_dfs(at_once, None);
}

#[test]
fn two_steps_at_once_come_out_as_one_after_the_other() {
    for past in PASTS {
        for one in STEPS {
            for two in STEPS {
                is_atomic(past, [one, two], &[[0, 1], [1, 0]]);
            }
        }
    }
}

/// Any three of those that say who is on and whether the VM stops.
#[test]
fn three_steps_at_once_come_out_as_one_after_the_other() {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let steps = [0, 2, 5, 11, 12, 13].map(|step: usize| STEPS[step]);
    for (number, &one) in steps.iter().enumerate() {
        for (number, &two) in steps.iter().enumerate().skip(number + 1) {
            for &three in steps.iter().skip(number + 1) {
                is_atomic(PASTS[0], [one, two, three], &ORDERS);
            }
        }
    }
}

/// 0 turns 1 on; both then want 2 on, which begins once, with the winner's context.
fn race_for_the_third(vm: &Vm, who: u8, context: u64) {
    if who == 2 {
        vm.call(2, SYSTEM_OFF, 0, 0);
        return;
    }
    if who == 0 {
        let on = vm.call(0, CPU_ON, 1, Vm::context(context, 1));
        assert!(matches!(on, Some(Answer::TurnedOn(_))));
    }
    match vm.call(who, CPU_ON, 2, Vm::context(context, who.into())) {
        Some(Answer::TurnedOn(_) | ALREADY_ON) | None => {}
        Some(Answer::Stop(_)) => return,
        other => panic!("{other:?}"),
    }
    // The guest goes on until the VM stops.
    while vm.call(who, AFFINITY_INFO, 2, 0).is_some() {
        thread::yield_now();
    }
}

#[test]
fn a_race_for_one_vcpu_starts_it_once() {
    let check = || {
        let seen = run(3, race_for_the_third);
        assert_eq!(seen.accepted[2].len(), 1);
        assert_eq!(seen.begun[2], seen.accepted[2]);
        assert_eq!(seen.events, [StopEvent::Off]);
    };
    shuttle::check_random(check, 3_000);
    shuttle::check_pct(check, 3_000, 3);
}

/// 0 turns 1 on, waits until it is seen OFF, and turns it on again: at once, and it comes. What 0 sends it
/// meanwhile, it finds.
fn off_and_on_again(vm: &Vm, who: u8, context: u64) {
    if who == 1 {
        let interrupted = *vm.interrupts[1].lock().unwrap();
        assert_eq!(interrupted, context as u32 > 1);
        match context as u32 {
            3 => vm.call(1, SYSTEM_OFF, 0, 0),
            _ => vm.call(1, CPU_OFF, 0, 0),
        };
        return;
    }
    for number in 1..=3 {
        let on = vm.call(0, CPU_ON, 1, Vm::context(context, number));
        assert!(matches!(on, Some(Answer::TurnedOn(_))), "{on:?}");
        loop {
            match vm.call(0, AFFINITY_INFO, 1, 0) {
                Some(ON) => thread::yield_now(),
                Some(OFF) => break vm.interrupt(1),
                None => return,
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the third time ends the VM");
}

#[test]
fn who_is_seen_off_can_be_turned_on_and_comes() {
    let check = || {
        let seen = run(2, off_and_on_again);
        assert_eq!(seen.begun[1], vec![1 << 32 | 1, 1 << 32 | 2, 1 << 32 | 3]);
        assert_eq!(seen.begun[1], seen.accepted[1]);
    };
    shuttle::check_random(check, 3_000);
    shuttle::check_pct(check, 3_000, 3);
}

/// Everybody turns the others on and then itself off; the VM ends when all are off.
fn all_go_off(vm: &Vm, who: u8, context: u64) {
    if context as u32 == 0 {
        vm.call(who, CPU_ON, 1, Vm::context(context, 1));
        vm.call(who, CPU_ON, 2, Vm::context(context, 1));
    }
    let off = vm.call(who, CPU_OFF, 0, 0);
    assert_eq!(off, Some(Answer::Off));
}

#[test]
fn the_last_of_all_that_go_off_ends_the_vm() {
    let check = || {
        let seen = run(3, all_go_off);
        assert_eq!(seen.events, [StopEvent::AllOff]);
        assert_eq!(seen.begun.map(|begun| begun.len()), [1, 1, 1]);
    };
    shuttle::check_random(check, 3_000);
    shuttle::check_pct(check, 3_000, 3);
}

/// 1 powers down; 0 tries to turn it on, interrupts it and waits until it went off after it woke.
fn sleep_and_wake(vm: &Vm, who: u8, context: u64) {
    if who == 1 {
        let entry = vm.power_down(1, context + 1).unwrap();
        assert_eq!((entry.pc, entry.context), (RAM, context + 1));
        vm.call(1, CPU_OFF, 0, 0);
        return;
    }
    let on = vm.call(0, CPU_ON, 1, Vm::context(context, 1));
    assert!(matches!(on, Some(Answer::TurnedOn(_))));
    assert_eq!(vm.call(0, CPU_ON, 1, 0), Some(ALREADY_ON));
    vm.interrupt(1);
    while vm.call(0, AFFINITY_INFO, 1, 0) != Some(OFF) {
        thread::yield_now();
    }
    vm.call(0, SYSTEM_OFF, 0, 0);
}

#[test]
fn who_sleeps_is_on_and_misses_no_interrupt() {
    let check = || {
        let seen = run(2, sleep_and_wake);
        assert_eq!(seen.events, [StopEvent::Off]);
    };
    shuttle::check_random(check, 3_000);
    shuttle::check_pct(check, 3_000, 3);
}

/// 1 and 2 power down; 0 resets the VM under them, and in its next life turns it off.
fn stop_the_sleepers(vm: &Vm, who: u8, context: u64) {
    if who != 0 {
        assert_eq!(vm.power_down(who, context), None);
        return;
    }
    for target in [1, 2] {
        vm.call(0, CPU_ON, target, Vm::context(context, target));
    }
    let end = if context >> 32 == 1 {
        SYSTEM_RESET
    } else {
        SYSTEM_OFF
    };
    vm.call(0, end, 0, 0);
}

#[test]
fn a_stop_reaches_those_who_sleep() {
    let check = || {
        let seen = run(3, stop_the_sleepers);
        assert_eq!(seen.events, [StopEvent::Reset, StopEvent::Off]);
    };
    shuttle::check_random(check, 3_000);
    shuttle::check_pct(check, 3_000, 3);
}

/// Any call at any time, for two lives; then off.
fn storm(vm: &Vm, who: u8, context: u64) {
    for number in 0..4 {
        let life = context >> 32;
        let target = shuttle::rand::thread_rng().gen_range(0..3);
        let outcome = match shuttle::rand::thread_rng().gen_range(0..8) {
            0..=3 => vm.call(who, CPU_ON, target, Vm::context(context, number)),
            4 => vm.call(who, AFFINITY_INFO, target, 0),
            5 => vm.call(who, CPU_OFF, 0, 0),
            _ if life < 3 => vm.call(who, SYSTEM_RESET, 0, 0),
            _ => vm.call(who, SYSTEM_OFF, 0, 0),
        };
        match outcome {
            Some(Answer::TurnedOn(_) | ALREADY_ON | ON | OFF) => {}
            Some(Answer::Off | Answer::Stop(_)) | None => return,
            other => panic!("{other:?}"),
        }
    }
    vm.call(who, CPU_OFF, 0, 0);
}

#[test]
fn stops_against_storms_resurrect_nobody_and_end_once() {
    let check = || {
        let seen = run(3, storm);
        for (begun, accepted) in seen.begun.iter().zip(&seen.accepted).skip(1) {
            assert!(begun.iter().all(|context| accepted.contains(context)));
            assert!(begun.len() <= accepted.len());
        }
    };
    shuttle::check_random(check, 6_000);
    shuttle::check_pct(check, 6_000, 4);
}
