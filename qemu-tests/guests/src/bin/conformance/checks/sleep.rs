//! The boot CPU sleeps, wakes and goes on: CPU_SUSPEND, CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND, and what PSCI_STAT_COUNT and
//! PSCI_STAT_RESIDENCY tell of it.

use guests::{
    bare::{
        boot, cpu, gic,
        sleep::{self, Woken},
    },
    mrs, msr,
};

use super::{BASE32, BASE64, DENIED, INVALID_ADDRESS, OFF, SUCCESS, Test, V1_0};

/// Bit 16 of `power_state`.
pub const POWER_DOWN: u64 = 1 << 16;
const CONTEXT: u64 = 0xc0de_cafe_5eed_f00d;
/// Milliseconds to sleep, until one is long enough: a busy machine may come to the call only when the interrupt is there, and does not
/// sleep then.
const WAITS: [u64; 4] = [20, 200, 2000, 10_000];

/// The calls of one width, by the id of its function 0.
#[derive(Clone, Copy)]
pub struct Form(pub u64);

impl Form {
    /// The registers of a call; a 32-bit one takes the lower halves alone.
    fn registers(self, number: u64, arguments: [u64; 3]) -> [u64; 4] {
        let junk = if self.0 == BASE32 { !0 << 32 } else { 0 };
        let [x1, x2, x3] = arguments.map(|x| x | junk);
        [self.0 + number, x1, x2, x3]
    }

    fn cpu_suspend(self, state: u64) -> [u64; 4] {
        self.registers(0x1, [state, sleep::entry_point(), CONTEXT])
    }

    /// A function that chooses the state.
    fn suspend(self, number: u64) -> [u64; 4] {
        self.registers(number, [sleep::entry_point(), CONTEXT, 0])
    }

    /// What arrives of the context id.
    fn context(self) -> u64 {
        if self.0 == BASE32 {
            CONTEXT & 0xffff_ffff
        } else {
            CONTEXT
        }
    }
}

impl Test {
    /// Whole cycles, in both forms.
    pub fn sleeps(&mut self) {
        for form in [Form(BASE32), Form(BASE64)] {
            if self.features_or_absent(form.0 + 0x11) == 0 {
                self.is_counted(form, 0);
                self.is_counted(form, POWER_DOWN);
                self.uncounted(form);
            } else {
                self.power_down_and_back(form, POWER_DOWN);
            }
            if self.features_or_absent(form.0 + 0xc) == 0 {
                self.cpu_default_suspend(form);
            }
            if self.features_or_absent(form.0 + 0xe) == 0 {
                self.system_suspend(form);
            }
        }
    }

    /// PSCI_FEATURES, where there is one.
    fn features_or_absent(&self, function: u64) -> i64 {
        match self.version {
            V1_0.. => self.features(function),
            _ => super::NOT_SUPPORTED,
        }
    }

    /// Makes a call that the virtual timer's interrupt ends.
    fn sleep_for(&self, ms: u64, registers: [u64; 4]) -> Woken {
        gic::set_virtual_timer(cpu::ms(ms));
        let woken = sleep::sleep(self.conduit, registers);
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
        woken
    }

    /// The same until the state got lost, or the call failed.
    fn sleep(&self, registers: [u64; 4]) -> Woken {
        let mut woken = WAITS.iter().map(|ms| self.sleep_for(*ms, registers));
        woken
            .find(|woken| *woken != Woken::Returned(SUCCESS))
            .unwrap_or(Woken::Returned(SUCCESS))
    }

    fn comes_back(&mut self, form: Form, woken: Woken, number: u64, name: &str) {
        check!(
            self,
            woken == Woken::Resumed(form.context()),
            "{name} {:#x}: wakes at its entry point with the context id in x0, got {woken:x?}",
            form.0 + number
        );
    }

    /// CPU_SUSPEND from which the CPU comes back without its state.
    fn power_down_and_back(&mut self, form: Form, state: u64) {
        let woken = self.sleep(form.cpu_suspend(state));
        self.comes_back(form, woken, 0x1, "CPU_SUSPEND");
    }

    /// The caller's PSCI_STAT_COUNT (0x11) or PSCI_STAT_RESIDENCY (0x10).
    fn statistic(&self, number: u64, form: Form, state: u64) -> i64 {
        self.call(form.0 + number, cpu::affinity(), state, 0)
    }

    fn standby_until_counted(&mut self, form: Form, state: u64) {
        let before = self.statistic(0x11, form, state);
        let mut woken = Woken::Returned(SUCCESS);
        for ms in WAITS {
            woken = self.sleep_for(ms, form.cpu_suspend(state));
            if self.statistic(0x11, form, state) != before {
                break;
            }
        }
        check!(
            self,
            woken == Woken::Returned(SUCCESS),
            "CPU_SUSPEND {:#x}: standby {state:#x} returns 0, got {woken:x?}",
            form.0 + 0x1
        );
    }

    /// One CPU_SUSPEND, and how the counters of its state grow.
    pub fn is_counted(&mut self, form: Form, state: u64) {
        let (count, spent) = (
            self.statistic(0x11, form, state),
            self.statistic(0x10, form, state),
        );
        let began = cpu::now();
        if state & POWER_DOWN == 0 {
            self.standby_until_counted(form, state);
        } else {
            self.power_down_and_back(form, state);
        }
        returns!(
            self,
            self.statistic(0x11, form, state) - count,
            1,
            "PSCI_STAT_COUNT {:#x}: state {state:#x} has been used once more",
            form.0 + 0x11
        );
        let spent = self.statistic(0x10, form, state) - spent;
        let at_most = (cpu::now() - began) / (mrs!("cntfrq_el0") / 1_000_000) + 1;
        check!(
            self,
            (1..=at_most as i64).contains(&spent),
            "PSCI_STAT_RESIDENCY {:#x}: state {state:#x}, {spent} us of {at_most}",
            form.0 + 0x10
        );
    }

    /// There are no errors: what is not there has not been used.
    fn uncounted(&mut self, form: Form) {
        let me = cpu::affinity();
        for (target, state, text) in [
            (self.absent_cpu(), 0, "no such CPU"),
            (me | 1 << 24, 0, "reserved bit of the CPU"),
            (me, 1 << 31, "reserved bit of the state"),
        ] {
            for (number, name) in [(0x10, "RESIDENCY"), (0x11, "COUNT")] {
                returns!(
                    self,
                    self.call(form.0 + number, target, state, 0),
                    0,
                    "PSCI_STAT_{name} {:#x}: {text}",
                    form.0 + number
                );
            }
        }
    }

    fn bad_entries_of(&mut self, form: Form, number: u64, name: &str) {
        for entry in [0, boot::entry_point() | 1] {
            returns!(
                self,
                self.call(form.0 + number, entry, 0, 0),
                INVALID_ADDRESS,
                "{name} {:#x}: to {entry:#x}",
                form.0 + number
            );
        }
    }

    fn cpu_default_suspend(&mut self, form: Form) {
        self.bad_entries_of(form, 0xc, "CPU_DEFAULT_SUSPEND");
        gic::make_virtual_timer_pending();
        let woken = sleep::sleep(self.conduit, form.suspend(0xc));
        check!(
            self,
            woken == Woken::Returned(SUCCESS),
            "CPU_DEFAULT_SUSPEND {:#x}: is abandoned when an interrupt is pending, got {woken:x?}",
            form.0 + 0xc
        );
        let woken = self.sleep(form.suspend(0xc));
        self.comes_back(form, woken, 0xc, "CPU_DEFAULT_SUSPEND");
    }

    fn system_suspend(&mut self, form: Form) {
        if self.guest.cpus > 1 {
            self.bring_up(1);
            returns!(
                self,
                self.call(form.0 + 0xe, 0, 0, 0),
                DENIED,
                "SYSTEM_SUSPEND {:#x}: another CPU is on, which comes before the entry",
                form.0 + 0xe
            );
            self.turn_off(1);
        }
        self.bad_entries_of(form, 0xe, "SYSTEM_SUSPEND");
        let woken = self.sleep(form.suspend(0xe));
        self.comes_back(form, woken, 0xe, "SYSTEM_SUSPEND");
        for index in 1..self.guest.cpus {
            returns!(
                self,
                self.call(BASE64 + 4, self.target(index), 0, 0),
                OFF,
                "SYSTEM_SUSPEND {:#x}: CPU {index} is OFF afterwards",
                form.0 + 0xe
            );
        }
    }
}
