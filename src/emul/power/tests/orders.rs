//! The power states of a VM with three vCPUs in every order of events, whatever its guest does and for as long as it
//! likes: a walk to every state that can be reached.
//!
//! What a pCPU does falls into steps: a call of the firmware, which takes the lock of [`Power`] once (`races.rs` shows that
//! calls at the same time come out as one after the other), or a thing that the run loop does with the GIC. Any of the
//! three may take its next step at any time, and a vCPU in its guest any call of the repertoire. A kick is an SGI: pending
//! until its pCPU acknowledges it, however often it was sent. Contexts of CPU_ON name the caller and the VM's life,
//! and of lives only the last two are told apart, so there are finitely many states.
//!
//! What must not be is asserted where it would happen. A wake-up that got lost shows when nobody has a step left.

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
use core::hash::{BuildHasherDefault, Hasher};
use std::{
    collections::{HashMap, VecDeque},
    eprintln, panic, vec,
    vec::Vec,
};

const VCPUS: usize = 3;
const RAM: u64 = 0x4000_0000;

/// What a guest does.
#[derive(Clone, Copy, Debug)]
enum Call {
    CpuOn(usize),
    CpuOff,
    CpuFreeze,
    SystemOff,
    SystemReset,
    SystemReset2,
    /// CPU_SUSPEND to standby.
    Standby,
    /// CPU_SUSPEND to power-down.
    PowerDown,
    SystemSuspend,
    /// It sends an SGI.
    Interrupt(usize),
    /// It takes its interrupt.
    Acknowledge,
    /// It does what cannot be answered.
    Crash,
}

use Call::*;

/// The next step of a pCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Run loop: acknowledge what is pending.
    Drain,
    /// Run loop: park if the VM stops.
    Park,
    /// Run loop: begin if there is an entry point.
    Begin,
    /// Run loop: sleep until something is pending.
    Wait,
    /// Run loop: as the last to park, carry the event out.
    CarryOut,
    /// The guest runs.
    Guest,
    /// Back to the guest unless the VM stops.
    Interrupted,
    /// Kick these, one at a time.
    Kick(Set, Then),
    /// The guest was left for good: take back what it holds; of a frozen vCPU the interrupts stay.
    Leave { frozen: bool },
    /// Nothing is held any more.
    Off,
    /// In a call that sleeps.
    Asleep {
        depth: Deep,
        slept: bool,
        stage: Stage,
    },
}

/// Steps of a call that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Acknowledge what is pending.
    Drain,
    /// Leave if the VM stops.
    Check,
    /// Look for an interrupt.
    Look,
    /// Sleep until something is pending.
    Wait,
    /// There was an interrupt.
    Wake,
}

/// [`Depth`], as a state is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deep {
    Standby,
    PowerDown,
    System,
}

/// What comes after kicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Guest,
    Leave,
    Drain,
}

/// vCPUs, by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Set(u8);

impl Set {
    fn one(vcpu: usize) -> Self {
        Self(1 << vcpu)
    }

    fn others(vcpu: usize) -> Self {
        Self(0b111 & !(1 << vcpu))
    }

    fn has(self, vcpu: usize) -> bool {
        self.0 & 1 << vcpu != 0
    }

    fn with(self, vcpu: usize) -> Self {
        Self(self.0 | 1 << vcpu)
    }

    fn without(self, vcpu: usize) -> Self {
        Self(self.0 & !(1 << vcpu))
    }
}

/// All of a [`Power`] but the statistics, which decide nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    on: Set,
    event: u8,
    parked: Set,
    /// Contexts of the entry points.
    entries: [Option<u8>; VCPUS],
    asleep: [Option<Deep>; VCPUS],
}

impl Snapshot {
    fn of(power: &Power) -> Self {
        let guarded = power.guarded.lock();
        Self {
            on: Set(power.on().bits() as u8),
            event: power.event.load(Ordering::Relaxed),
            parked: Set(guarded.parked.bits() as u8),
            entries: core::array::from_fn(|who| {
                let entry = guarded.entries[who]?;
                assert_eq!((entry.pc, entry.big_endian), (RAM, false));
                Some(entry.context as u8)
            }),
            asleep: core::array::from_fn(|who| {
                let asleep = guarded.sleepers.asleep[who]?;
                let deep = [Deep::Standby, Deep::PowerDown, Deep::System];
                deep.into_iter().find(|deep| deep.sleep(who) == asleep)
            }),
        }
    }

    fn restore(&self, power: &Power) {
        let mut guarded = power.guarded.lock();
        power.on.store(self.on.0.into(), Ordering::Relaxed);
        power.event.store(self.event, Ordering::Relaxed);
        guarded.parked = VcpuSet::from_bits(self.parked.0.into());
        for who in 0..VCPUS {
            guarded.entries[who] = self.entries[who].map(entry);
            guarded.sleepers.asleep[who] = self.asleep[who].map(|deep| deep.sleep(who));
        }
    }

    fn stopping(&self) -> bool {
        self.event != StopEvent::NONE
    }
}

impl Deep {
    fn of(depth: Depth) -> Self {
        match depth {
            Depth::Standby => Self::Standby,
            Depth::PowerDown => Self::PowerDown,
            Depth::System => Self::System,
        }
    }

    /// What [`Power`] notes of vCPU `who` that sleeps so.
    fn sleep(self, who: usize) -> Sleep {
        let entry = Some(entry(wake_context(who)));
        match self {
            Self::Standby => Sleep {
                state: PowerState::STANDBY,
                entry: None,
            },
            Self::PowerDown => Sleep {
                state: PowerState::POWER_DOWN,
                entry,
            },
            Self::System => Sleep {
                state: PowerState::SYSTEM,
                entry,
            },
        }
    }
}

fn entry(context: u8) -> Entry {
    Entry {
        pc: RAM,
        context: context.into(),
        big_endian: false,
    }
}

/// The context of a CPU_ON by `caller`; of the VM's first vCPU, by nobody.
fn context(life: bool, caller: usize) -> u8 {
    u8::from(life) << 4 | caller as u8
}

const NOBODY: usize = VCPUS;

fn wake_context(who: usize) -> u8 {
    0x80 | who as u8
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    power: Snapshot,
    at: [At; VCPUS],
    /// At whose pCPU a kick is pending.
    kicked: Set,
    /// For whom the VM's interrupt controller has an interrupt.
    interrupted: Set,
    /// Which life of the VM this is, modulo 2.
    life: bool,
    /// The VM is at rest for good.
    over: bool,
}

impl State {
    /// Whether `who` has left the guest and holds nothing.
    fn has_left(&self, who: usize) -> bool {
        matches!(
            self.at[who],
            At::Drain | At::Park | At::Begin | At::Wait | At::CarryOut | At::Kick(_, Then::Drain)
        )
    }

    /// Nobody has a step left but guests, whom nothing interrupts.
    fn is_quiet(&self) -> bool {
        self.kicked == Set::default()
            && self.at.iter().all(|at| {
                let asleep = matches!(at, At::Asleep { stage, .. } if *stage == Stage::Wait);
                asleep || matches!(at, At::Guest | At::Wait)
            })
    }

    /// What holds in every state.
    fn check(&self) {
        let power = self.power;
        for who in 0..VCPUS {
            let entry = power.entries[who];
            assert!(
                entry.is_none() || self.has_left(who),
                "{who} is to begin and has not left"
            );
            if power.stopping() {
                continue;
            }
            // What AFFINITY_INFO says.
            assert_eq!(
                power.on.has(who),
                !self.has_left(who) || entry.is_some(),
                "{who} is on when it runs or will"
            );
            let life = entry.is_none_or(|context| context >> 4 == self.life.into());
            assert!(life, "{who} is to begin in another life");
            if let At::Asleep {
                depth: Deep::System,
                ..
            } = self.at[who]
            {
                assert_eq!(power.on, Set::one(who), "the system sleeps");
            }
        }
        assert!(power.stopping() || power.on != Set::default());
        let last = |at: &&At| **at == At::CarryOut;
        assert!(self.at.iter().filter(last).count() <= 1);
        if self.is_quiet() {
            self.check_quiet();
        }
    }

    /// Nobody waits in vain.
    fn check_quiet(&self) {
        assert_eq!(self.power.stopping(), self.over, "the VM does not stop");
        if self.over {
            return;
        }
        assert_eq!(
            self.power.entries, [None; VCPUS],
            "who is on does not begin"
        );
        for who in 0..VCPUS {
            let asleep = matches!(self.at[who], At::Asleep { .. });
            assert!(
                !(asleep && self.interrupted.has(who)),
                "{who} sleeps on with an interrupt"
            );
        }
    }
}

/// The firmware of a VM that a walk puts into one state after the other, and what its guest may do.
struct Walk {
    firmware: Firmware,
    repertoire: Vec<Call>,
}

impl Walk {
    fn new(repertoire: &[Call]) -> Self {
        let offer = Offer {
            workarounds: Workarounds {
                branch_predictor: Mitigation::Unknown,
                store_bypass: false,
                branch_history: Mitigation::Unknown,
            },
            trng: false,
        };
        let ram = IpaRange::new(Ipa::new(RAM), 0x1000).unwrap();
        let registers = Registers::new(offer);
        let targets = (0..VCPUS).map(CpuOn);
        Self {
            firmware: Firmware::new(registers, PsciChoice::default(), VCPUS, ram, 1_000_000),
            repertoire: targets.chain(repertoire.iter().copied()).collect(),
        }
    }

    fn power(&self) -> &Power {
        &self.firmware.power
    }

    /// The VM has been started, and its first vCPU is about to be kicked.
    fn first(&self) -> State {
        let mut state = State {
            power: Snapshot::of(self.power()),
            at: [At::Wait; VCPUS],
            kicked: Set::default(),
            interrupted: Set::default(),
            life: false,
            over: false,
        };
        self.start(&mut state, 0);
        state.power = Snapshot::of(self.power());
        state
    }

    fn start(&self, state: &mut State, by: usize) {
        let first = entry(context(state.life, NOBODY));
        assert!(self.firmware.start(first));
        state.at[by] = At::Kick(Set::one(0), Then::Drain);
    }

    /// All states that are one step away.
    fn next(&self, from: State) -> Vec<State> {
        let mut next = vec![];
        for who in 0..VCPUS {
            let mut to = |step: &dyn Fn(&mut State)| {
                let mut state = from;
                from.power.restore(self.power());
                step(&mut state);
                state.power = Snapshot::of(self.power());
                if from.power.stopping() && from.at[who] != At::CarryOut {
                    let (before, after) = (from.power, state.power);
                    assert_eq!((before.event, before.on), (after.event, after.on));
                }
                next.push(state);
            };
            match from.at[who] {
                At::Guest => {
                    if from.kicked.has(who) {
                        to(&|state| {
                            state.kicked = state.kicked.without(who);
                            state.at[who] = At::Interrupted;
                        });
                    }
                    for &call in &self.repertoire {
                        to(&|state| self.call(state, who, call));
                    }
                }
                At::Wait
                | At::Asleep {
                    stage: Stage::Wait, ..
                } if !from.kicked.has(who) => {}
                _ => to(&|state| self.step(state, who)),
            }
        }
        next
    }

    /// The next step of the pCPU of `who`, which is not in its guest.
    fn step(&self, state: &mut State, who: usize) {
        let vcpu = VcpuId::new(who as u8);
        state.at[who] = match state.at[who] {
            At::Guest => unreachable!(),
            At::Drain | At::Wait => {
                state.kicked = state.kicked.without(who);
                At::Park
            }
            At::Park => match self.power().parked(vcpu) {
                Some(_) => At::CarryOut,
                None => At::Begin,
            },
            At::Begin => match self.power().take_entry(vcpu) {
                Some(entry) => {
                    assert_eq!(entry.context as u8 >> 4, u8::from(state.life));
                    At::Guest
                }
                None => At::Wait,
            },
            At::CarryOut => return self.carry_out(state, who),
            At::Interrupted => match self.power().stopping() {
                Some(_) => At::Leave { frozen: false },
                None => At::Guest,
            },
            At::Kick(whom, then) => kick(state, whom, then),
            At::Leave { frozen } => {
                let seen_off = !self.power().on().contains(vcpu);
                assert!(!seen_off, "{who} is seen off and holds something");
                if !frozen {
                    state.interrupted = state.interrupted.without(who);
                }
                At::Off
            }
            At::Off => match self.power().cpu_off(vcpu) {
                true => At::Kick(Set::others(who), Then::Drain),
                false => At::Drain,
            },
            At::Asleep {
                depth,
                slept,
                stage,
            } => self.sleep(state, who, depth, slept, stage),
        };
    }

    /// As the run layer sleeps.
    fn sleep(&self, state: &mut State, who: usize, depth: Deep, slept: bool, stage: Stage) -> At {
        let vcpu = VcpuId::new(who as u8);
        let at = |slept, stage| At::Asleep {
            depth,
            slept,
            stage,
        };
        match stage {
            Stage::Drain | Stage::Wait => {
                state.kicked = state.kicked.without(who);
                at(slept || stage == Stage::Wait, Stage::Check)
            }
            Stage::Check => match self.power().stopping() {
                Some(_) => At::Leave { frozen: false },
                None => at(slept, Stage::Look),
            },
            Stage::Look => match state.interrupted.has(who) {
                true => at(slept, Stage::Wake),
                false => at(slept, Stage::Wait),
            },
            Stage::Wake if !slept && depth != Deep::System => {
                self.power().abandon(vcpu);
                At::Guest
            }
            Stage::Wake => {
                let goes_on = self.power().wake(vcpu, 0);
                assert_eq!(goes_on, depth.sleep(who).entry, "where {who} goes on");
                At::Guest
            }
        }
    }

    /// Nobody runs, and the VM's devices are reset; it begins again or is at rest.
    fn carry_out(&self, state: &mut State, who: usize) {
        assert!((0..VCPUS).all(|other| state.has_left(other)));
        match self.power().stopping() {
            Some(StopEvent::Reset | StopEvent::WarmReset) => {
                state.interrupted = Set::default();
                state.life = !state.life;
                self.start(state, who);
            }
            Some(_) => {
                assert!(!state.over, "it ends twice");
                state.over = true;
                state.at[who] = At::Drain;
            }
            None => panic!("for nothing"),
        }
    }

    /// vCPU `who` makes a call in its guest.
    fn call(&self, state: &mut State, who: usize, call: Call) {
        let from = *state;
        let mine = context(from.life, who).into();
        let wake = wake_context(who).into();
        let outcome = match call {
            CpuOn(target) => self.psci(who, [0xc400_0003, target as u64, RAM, mine]),
            CpuOff => self.psci(who, [0x8400_0002, 0, 0, 0]),
            CpuFreeze => self.psci(who, [0x8400_000b, 0, 0, 0]),
            SystemOff => self.psci(who, [0x8400_0008, 0, 0, 0]),
            SystemReset => self.psci(who, [0x8400_0009, 0, 0, 0]),
            SystemReset2 => self.psci(who, [0xc400_0012, 0, 0, 0]),
            Standby => self.psci(who, [0xc400_0001, 0, 0, 0]),
            PowerDown => self.psci(who, [0xc400_0001, 0x1_0000, RAM, wake]),
            SystemSuspend => self.psci(who, [0xc400_000e, RAM, wake, 0]),
            Interrupt(target) => {
                state.interrupted = state.interrupted.with(target);
                state.at[who] = At::Kick(Set::one(target), Then::Guest);
                return;
            }
            Acknowledge => {
                state.interrupted = state.interrupted.without(who);
                return;
            }
            Crash => Answer::Stop(self.power().stop(StopEvent::Crash)),
        };
        state.at[who] = match outcome {
            Answer::Return(x0) => {
                check_answer(&from, call, x0 as i64);
                At::Guest
            }
            Answer::TurnedOn(target) => {
                let target = target.index();
                assert!(
                    from.has_left(target),
                    "{target} is turned on and has not left"
                );
                assert_eq!(
                    from.power.entries[target], None,
                    "{target} is turned on twice"
                );
                At::Kick(Set::one(target), Then::Guest)
            }
            Answer::Off => At::Leave { frozen: false },
            Answer::Freeze => At::Leave { frozen: true },
            Answer::Stop(_) => At::Kick(Set::others(who), Then::Leave),
            Answer::Suspend(depth) => At::Asleep {
                depth: Deep::of(depth),
                slept: false,
                stage: Stage::Drain,
            },
            other => panic!("{call:?}: {other:?}"),
        };
    }

    fn psci(&self, who: usize, x: [u64; 4]) -> Answer {
        let caller = Caller {
            vcpu: VcpuId::new(who as u8),
            big_endian: false,
        };
        smccc::call(&self.firmware, caller, 0, &x)
    }
}

/// One SGI is sent; then the next, or what comes after them.
fn kick(state: &mut State, whom: Set, then: Then) -> At {
    let one = whom.0.trailing_zeros() as usize;
    state.kicked = state.kicked.with(one);
    match (whom.without(one), then) {
        (Set(0), Then::Guest) => At::Guest,
        (Set(0), Then::Leave) => At::Leave { frozen: false },
        (Set(0), Then::Drain) => At::Drain,
        (others, then) => At::Kick(others, then),
    }
}

/// A call that returns has said the truth: ALREADY_ON is who runs or will.
fn check_answer(from: &State, call: Call, x0: i64) {
    const DENIED: i64 = -3;
    const ALREADY_ON: i64 = -4;
    const INTERNAL_FAILURE: i64 = -6;
    let stopping = from.power.stopping();
    let will_run = |who| !from.has_left(who) || from.power.entries[who].is_some();
    match (call, x0) {
        (CpuOn(_), INTERNAL_FAILURE) => assert!(stopping),
        (CpuOn(target), ALREADY_ON) => assert!(will_run(target)),
        (SystemSuspend, DENIED) => {}
        _ => panic!("{call:?} answers {x0}"),
    }
}

/// By state, how it was reached.
type Seen = HashMap<State, Option<State>, BuildHasherDefault<Mix>>;

/// A hash of states. In a test build, that of the standard library takes as long as all the rest.
#[derive(Default)]
struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.mix(byte.into()));
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.mix(discriminant as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Walks to all states of a VM whose vCPUs turn one another on, and do what is in `repertoire`, in any order;
/// by state, how it was reached.
fn walk(repertoire: &[Call]) -> Seen {
    let walk = Walk::new(repertoire);
    let first = walk.first();
    let mut seen = Seen::from_iter([(first, None)]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        let next = panic::AssertUnwindSafe(|| {
            state.check();
            walk.next(state)
        });
        let next = panic::catch_unwind(next).unwrap_or_else(|panic| {
            let way = core::iter::successors(Some(state), |state| seen[state]);
            let way: Vec<_> = way.collect();
            way.iter().rev().for_each(|state| eprintln!("{state:?}"));
            panic::resume_unwind(panic)
        });
        for to in next {
            seen.entry(to).or_insert_with(|| {
                open.push_back(to);
                Some(state)
            });
        }
    }
    seen
}

/// The events that the VM came to rest for, and whether it began again.
fn ends(seen: &Seen) -> (Vec<u8>, bool) {
    let at_rest = seen.keys().filter(|state| state.over);
    let mut events: Vec<_> = at_rest.map(|state| state.power.event).collect();
    events.sort_unstable();
    events.dedup();
    (events, seen.keys().any(|state| state.life))
}

fn is_asleep(state: &State, who: usize, wanted: Deep) -> bool {
    matches!(state.at[who], At::Asleep { depth, stage: Stage::Wait, .. } if depth == wanted)
}

#[test]
fn cpus_that_go_on_and_off_while_the_vm_is_turned_off_or_reset() {
    let seen = walk(&[CpuOff, CpuFreeze, SystemOff, SystemReset]);
    let [off, all_off] = [StopEvent::Off, StopEvent::AllOff].map(|event| event as u8);
    assert_eq!(ends(&seen), (vec![off, all_off], true));
}

#[test]
fn cpus_that_sleep_and_are_woken_while_the_vm_crashes() {
    let seen = walk(&[
        CpuOff,
        Standby,
        PowerDown,
        SystemSuspend,
        Interrupt(1),
        Acknowledge,
        Crash,
    ]);
    let [all_off, crash] = [StopEvent::AllOff, StopEvent::Crash].map(|event| event as u8);
    assert_eq!(ends(&seen), (vec![all_off, crash], false));
    let all_sleep = |state: &State| (0..VCPUS).all(|who| is_asleep(state, who, Deep::PowerDown));
    assert!(seen.keys().any(all_sleep));
    let quiet = |state: &&State| state.is_quiet();
    let system = |state: &State| is_asleep(state, 2, Deep::System);
    assert!(seen.keys().filter(quiet).any(system));
}

#[test]
fn cpus_that_power_down_while_the_vm_is_reset() {
    let seen = walk(&[CpuOff, PowerDown, SystemReset2, Interrupt(1)]);
    assert_eq!(ends(&seen), (vec![StopEvent::AllOff as u8], true));
}
