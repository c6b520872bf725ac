//! Several CPUs turn on one.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use guests::bare::{boot, cpu};

use super::{ALREADY_ON, BASE64, INVALID_PARAMETERS, SUCCESS, Test, conduit};

impl Test {
    /// All other CPUs at once turn on the last one: one SUCCESS, the others ALREADY_ON, and one arrival.
    pub fn race(&mut self) {
        let last = self.guest.cpus - 1;
        let id = if self.version == 1 {
            self.psci.cpu_on
        } else {
            BASE64 + 3
        };
        let refusal = if self.version == 1 {
            INVALID_PARAMETERS
        } else {
            ALREADY_ON
        };
        for index in 1..last {
            let starts = boot::starts(index);
            self.turn_on(id, index, 0);
            cpu::wait_for(|| boot::starts(index) > starts);
        }
        let mut good = true;
        for _ in 0..20 {
            let starts = boot::starts(last);
            // 0.1 has no AFFINITY_INFO: as long as the target is not off yet, everybody is refused.
            good &= cpu::wait_for(|| {
                RACE.prepare(id, self.target(last), last as u32);
                for index in 1..last {
                    boot::give_work(index, race_to_turn_on);
                }
                race_to_turn_on();
                let all = || RACE.finished.load(Ordering::Acquire) == last as u32;
                cpu::wait_for(all)
                    && (self.version != 1 || RACE.successes.load(Ordering::Acquire) > 0)
            });
            good &= cpu::wait_for(|| boot::starts(last) > starts);
            good &= boot::starts(last) == starts + 1;
            good &= RACE.successes.load(Ordering::Acquire) == 1;
            let other = RACE.other.load(Ordering::Acquire);
            if other != refusal {
                self.tap.note(format_args!("the losers got {other}"));
                good = false;
            }
            good &= self.turn_off(last);
        }
        check!(
            self,
            good,
            "CPU_ON: of {last} CPUs that turn on another at once one has SUCCESS, the others {refusal}"
        );
        for index in 1..last {
            self.turn_off(index);
        }
    }
}

/// What the CPUs of [`Test::race`] share.
struct Race {
    function: AtomicU64,
    target: AtomicU64,
    waiting: AtomicU32,
    finished: AtomicU32,
    successes: AtomicU32,
    other: AtomicI64,
}

static RACE: Race = Race {
    function: AtomicU64::new(0),
    target: AtomicU64::new(0),
    waiting: AtomicU32::new(0),
    finished: AtomicU32::new(0),
    successes: AtomicU32::new(0),
    other: AtomicI64::new(0),
};

impl Race {
    fn prepare(&self, function: u64, target: u64, callers: u32) {
        self.function.store(function, Ordering::Relaxed);
        self.target.store(target, Ordering::Relaxed);
        self.finished.store(0, Ordering::Relaxed);
        self.successes.store(0, Ordering::Relaxed);
        self.other.store(0, Ordering::Relaxed);
        self.waiting.store(callers, Ordering::Release);
    }
}

extern "C" fn race_to_turn_on() {
    let (function, target) = (
        RACE.function.load(Ordering::Acquire),
        RACE.target.load(Ordering::Acquire),
    );
    RACE.waiting.fetch_sub(1, Ordering::AcqRel);
    while RACE.waiting.load(Ordering::Acquire) > 0 {
        core::hint::spin_loop();
    }
    let result = conduit().call3(function, target, boot::entry_point(), 0) as i64;
    if result == SUCCESS {
        RACE.successes.fetch_add(1, Ordering::AcqRel);
    } else {
        RACE.other.store(result, Ordering::Release);
    }
    RACE.finished.fetch_add(1, Ordering::AcqRel);
}
