//! PSCI_SET_SUSPEND_MODE: OS-initiated mode, in which the last CPU that goes to sleep takes its cluster down.

use core::sync::atomic::{AtomicU32, Ordering};

use guests::{
    bare::{boot, cpu, gic, sleep::entry_point},
    msr,
};

use super::{
    BASE32, BASE64, DENIED, INVALID_PARAMETERS, SUCCESS, Test, conduit,
    life::{send_behind, take_what_was_sent},
    sleep::{Form, POWER_DOWN},
};

const PLATFORM_COORDINATED: u64 = 0;
const OS_INITIATED: u64 = 1;
/// `power_state`: the caller and its cluster, and all of the machine.
const CLUSTER: u64 = 1 << 24;
const SYSTEM: u64 = 2 << 24;

/// NODE_HW_STATE.
const HW_ON: i64 = 0;
const HW_OFF: i64 = 1;
const HW_STANDBY: i64 = 2;

impl Test {
    /// Both modes, on machines that have them.
    pub fn suspend_modes(&mut self) {
        let modes = self.features(BASE32 + 0xf);
        returns!(
            self,
            self.features(BASE32 + 1) & 1,
            i64::from(modes == SUCCESS),
            "FEATURES(CPU_SUSPEND): bit 0 is OS-initiated mode, as PSCI_SET_SUSPEND_MODE"
        );
        if modes != SUCCESS || self.features(BASE64 + 0xd) != SUCCESS {
            return;
        }
        self.set_mode(2, INVALID_PARAMETERS, "there is no mode 2");
        self.set_mode(PLATFORM_COORDINATED, SUCCESS, "the mode that is set");
        self.set_mode(OS_INITIATED, SUCCESS, "to OS-initiated, the only CPU on");
        self.set_mode(OS_INITIATED, SUCCESS, "the mode that is set");
        self.is_counted(Form(BASE64), CLUSTER);
        self.is_counted(Form(BASE32), CLUSTER | POWER_DOWN);
        self.is_counted(Form(BASE64), SYSTEM | POWER_DOWN);
        self.set_mode(
            PLATFORM_COORDINATED,
            SUCCESS,
            "to platform-coordinated, the only CPU on",
        );
        if self.guest.cpus > 1 {
            self.modes_of_several();
        }
    }

    fn set_mode(&mut self, mode: u64, wanted: i64, text: &str) {
        returns!(
            self,
            self.call(BASE32 + 0xf, mode | 0xffff_ffff_0000_0000, 0, 0),
            wanted,
            "PSCI_SET_SUSPEND_MODE: {text}"
        );
    }

    fn modes_of_several(&mut self) {
        let cpus = self.guest.cpus;
        for index in 1..cpus {
            if index > 1 {
                self.set_mode(OS_INITIATED, DENIED, "to OS-initiated, some CPUs on");
            }
            self.bring_up(index);
        }
        self.with_running_siblings(SUCCESS, "platform-coordinated");
        self.set_mode(OS_INITIATED, SUCCESS, "to OS-initiated, all CPUs on");
        self.set_mode(
            PLATFORM_COORDINATED,
            DENIED,
            "to platform-coordinated, other CPUs on",
        );
        self.with_running_siblings(DENIED, "OS-initiated");
        self.last_man(CLUSTER);
        self.last_man(SYSTEM);
        self.incompatible();
        for index in 1..cpus {
            self.turn_off(index);
        }
        self.set_mode(
            PLATFORM_COORDINATED,
            SUCCESS,
            "to platform-coordinated, the last CPU on",
        );
    }

    /// Whoever is not the last may not take the cluster down; the firmware that coordinates itself takes it for a wish.
    fn with_running_siblings(&mut self, wanted: i64, mode: &str) {
        gic::make_virtual_timer_pending();
        for id in [BASE32 + 1, BASE64 + 1] {
            for state in [CLUSTER, CLUSTER | POWER_DOWN, SYSTEM | POWER_DOWN] {
                returns!(
                    self,
                    self.call(id, state, entry_point(), 0),
                    wanted,
                    "CPU_SUSPEND {id:#x}: {state:#x}, {mode}, while siblings run"
                );
            }
            returns!(
                self,
                self.call(id, POWER_DOWN, entry_point(), 0),
                SUCCESS,
                "CPU_SUSPEND {id:#x}: the CPU alone, {mode}, while siblings run"
            );
        }
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
    }

    /// All the others power down, then the caller does so with the domain that `level` names. Its wake-up is not theirs.
    fn last_man(&mut self, level: u64) {
        let starts = self.all_starts();
        self.others_sleep(POWER_DOWN, HW_OFF);
        returns!(
            self,
            self.call(BASE64 + 0xd, cpu::affinity(), 1, 0),
            HW_ON,
            "NODE_HW_STATE: the cluster is HW_ON while one CPU runs"
        );
        self.is_counted(Form(BASE64), level | POWER_DOWN);
        self.is_counted(Form(BASE32), level);
        for index in 1..self.guest.cpus {
            returns!(
                self,
                self.hw_state(index),
                HW_OFF,
                "NODE_HW_STATE: CPU {index} is HW_OFF after the last man woke"
            );
        }
        self.wake_others();
        let others = self.guest.cpus as u64 - 1;
        check!(
            self,
            cpu::wait_for(|| self.all_starts() == starts + others),
            "CPU_SUSPEND: an SGI ends the power-down of each other CPU"
        );
    }

    /// The last CPU may not go deeper than a sibling that keeps its state.
    fn incompatible(&mut self) {
        self.others_sleep(0, HW_STANDBY);
        gic::make_virtual_timer_pending();
        for id in [BASE32 + 1, BASE64 + 1] {
            returns!(
                self,
                self.call(id, CLUSTER | POWER_DOWN, entry_point(), 0),
                INVALID_PARAMETERS,
                "CPU_SUSPEND {id:#x}: power-down of the cluster with siblings in standby"
            );
        }
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
        self.wake_others();
    }

    fn hw_state(&self, index: usize) -> i64 {
        self.call(BASE64 + 0xd, self.target(index), 0, 0)
    }

    /// How often all other CPUs have begun.
    fn all_starts(&self) -> u64 {
        (1..self.guest.cpus).map(boot::starts).sum()
    }

    /// Has all others sleep until [`Self::wake_others`], and waits until they do.
    fn others_sleep(&mut self, state: u64, wanted: i64) {
        READY.store(0, Ordering::Release);
        ORDER.store(LISTEN, Ordering::Release);
        for index in 1..self.guest.cpus {
            boot::give_work(index, obey);
        }
        let others = self.guest.cpus as u32 - 1;
        let ready = cpu::wait_for(|| READY.load(Ordering::Acquire) == others);
        (1..self.guest.cpus).for_each(send_behind);
        ORDER.store(state as u32, Ordering::Release);
        let asleep =
            (1..self.guest.cpus).all(|index| cpu::wait_for(|| self.hw_state(index) == wanted));
        check!(
            self,
            ready && asleep,
            "NODE_HW_STATE: the others sleep in {state:#x}, and are in {wanted}"
        );
    }

    fn wake_others(&mut self) {
        ORDER.store(DISMISS, Ordering::Release);
        for index in 1..self.guest.cpus {
            gic::send(index);
        }
    }
}

/// What the others are to do: sleep in a state, or one of these.
static ORDER: AtomicU32 = AtomicU32::new(LISTEN);
const LISTEN: u32 = !0;
const DISMISS: u32 = !1;
/// How many listen.
static READY: AtomicU32 = AtomicU32::new(0);
extern "C" fn obey() {
    READY.fetch_add(1, Ordering::AcqRel);
    take_what_was_sent();
    loop {
        match ORDER.load(Ordering::Acquire) {
            LISTEN => core::hint::spin_loop(),
            DISMISS => return,
            state => {
                conduit().call3(BASE64 + 1, state.into(), boot::entry_point(), 0);
            }
        }
    }
}
