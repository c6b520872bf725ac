//! CPU_SUSPEND where the state is lost.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guests::bare::{boot, cpu, gic};

use super::{
    ALREADY_ON, BASE64, DENIED, ON, Test, V1_0, conduit,
    life::{send_behind, take_what_was_sent},
};

impl Test {
    /// CPU 1 powers down and its virtual timer wakes it: it arrives like one that was turned on, and was ON all the time.
    pub fn power_down(&mut self) {
        self.bring_up(1);
        boot::clear_entry_record(1);
        let starts = boot::starts(1);
        WAKE_AT.store(u64::MAX, Ordering::Release);
        READY.store(false, Ordering::Release);
        boot::give_work(1, power_down);
        cpu::wait_for(|| READY.load(Ordering::Acquire));
        send_behind(1);
        cpu::wait_until(50, || false);
        // Whoever looks later than the timer, on a busy host, cannot tell.
        let early = boot::starts(1) > starts && cpu::now() < WAKE_AT.load(Ordering::Acquire);
        check!(
            self,
            !early,
            "CPU_SUSPEND: power-down lasts until an interrupt"
        );
        let seen = self.while_powered_down();
        check!(
            self,
            cpu::wait_for(|| boot::starts(1) > starts),
            "CPU_SUSPEND: the virtual timer ends a power-down"
        );
        self.after_power_down(seen);
        check!(self, self.turn_off(1), "CPU_OFF: after power-down");
    }

    /// What CPU 1 found when it came back, and what was counted, if it was `seen` powered down at that time.
    fn after_power_down(&mut self, seen: Option<u64>) {
        let record = boot::entry_record(1);
        returns!(
            self,
            record.x[0] as i64,
            POWER_DOWN_CONTEXT as i64,
            "CPU_SUSPEND: x0 is the context id after power-down"
        );
        check!(
            self,
            record.x[1..].iter().all(|x| *x == 0),
            "CPU_SUSPEND: x1 to x30 are zero after power-down"
        );
        check!(
            self,
            record.daif == 0x3c0 && record.current_el == 4 && record.sp_sel == 1,
            "CPU_SUSPEND: at EL1h with all masked after power-down"
        );
        returns!(
            self,
            (record.sctlr & (1 | 1 << 2 | 1 << 12 | 1 << 25)) as i64,
            0,
            "CPU_SUSPEND: MMU and caches are off after power-down"
        );
        if self.version >= V1_0 && self.features(BASE64 + 0x11) == 0 {
            let used = self.call(BASE64 + 0x11, self.target(1), 1 << 16, 0);
            check!(
                self,
                used >= 1,
                "PSCI_STAT_COUNT: power-down has been used, got {used}"
            );
            // It may have come late to the call, when its timer had run down nearly.
            let wake_at = WAKE_AT.load(Ordering::Acquire);
            let early = seen.is_some_and(|seen| seen + cpu::ms(100) < wake_at);
            let least = if early { 50_000 } else { 0 };
            let spent = self.call(BASE64 + 0x10, self.target(1), 1 << 16, 0);
            check!(
                self,
                spent >= least,
                "PSCI_STAT_RESIDENCY: {least} us of power-down and more, got {spent}"
            );
        }
    }

    /// What others are told of CPU 1 meanwhile, and when that was HW_OFF.
    fn while_powered_down(&mut self) -> Option<u64> {
        let (target, entry) = (self.target(1), boot::entry_point());
        let mut seen = None;
        if self.version >= V1_0 && self.features(BASE64 + 0xd) == 0 {
            check!(
                self,
                cpu::wait_for(|| {
                    let off = self.call(BASE64 + 0xd, target, 0, 0) == 1;
                    seen = off.then(cpu::now);
                    off || cpu::now() >= WAKE_AT.load(Ordering::Acquire)
                }),
                "NODE_HW_STATE: a CPU in power-down is HW_OFF"
            );
        }
        returns!(
            self,
            self.call(BASE64 + 4, target, 0, 0),
            ON,
            "AFFINITY_INFO: a CPU in power-down is ON"
        );
        returns!(
            self,
            self.call(BASE64 + 3, target, entry, 1),
            ALREADY_ON,
            "CPU_ON: a CPU in power-down is ALREADY_ON"
        );
        if self.version >= V1_0 && self.features(BASE64 + 0xe) == 0 {
            returns!(
                self,
                self.call(BASE64 + 0xe, entry, 0, 0),
                DENIED,
                "SYSTEM_SUSPEND: DENIED while another CPU is in power-down"
            );
        }
        seen
    }
}

const POWER_DOWN_CONTEXT: u64 = 0x5a5a_1234_dead_c0de;

/// When the timer of the last power-down is due, in ticks of the counter.
static WAKE_AT: AtomicU64 = AtomicU64::new(u64::MAX);

/// CPU 1 has begun.
static READY: AtomicBool = AtomicBool::new(false);

/// A busy machine may come to the call only when the timer has expired: the request is abandoned then, and made once more.
extern "C" fn power_down() {
    READY.store(true, Ordering::Release);
    take_what_was_sent();
    for wait in [1000, 1000, 4000, 16000] {
        WAKE_AT.store(cpu::now() + cpu::ms(wait), Ordering::Release);
        gic::set_virtual_timer(cpu::ms(wait));
        conduit().call3(BASE64 + 1, 1 << 16, boot::entry_point(), POWER_DOWN_CONTEXT);
    }
}
