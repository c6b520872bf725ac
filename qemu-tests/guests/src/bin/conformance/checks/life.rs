//! CPUs that go off and come on again.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guests::bare::{boot, cpu, gic, mmio};

use super::{BASE64, INVALID_PARAMETERS, OFF, SUCCESS, Test, conduit};

impl Test {
    pub fn is_off(&self, index: usize) -> bool {
        self.version == 1
            || cpu::wait_for(|| self.call(BASE64 + 4, self.target(index), 0, 0) == OFF)
    }

    /// Has that CPU, which is on and idle, turn itself off, and waits until CPU_ON would work.
    pub fn turn_off(&self, index: usize) -> bool {
        boot::give_work(index, cpu_off);
        self.is_off(index)
    }

    /// Turns a CPU on; 0.1 has no AFFINITY_INFO, so there CPU_ON is tried until the former life is over.
    pub fn turn_on(&self, id: u64, index: usize, context: u64) -> i64 {
        let mut result = self.call(id, self.target(index), boot::entry_point(), context);
        if self.version == 1 {
            cpu::wait_for(|| {
                if result == INVALID_PARAMETERS {
                    result = self.call(id, self.target(index), boot::entry_point(), context);
                }
                result != INVALID_PARAMETERS
            });
        }
        result
    }

    /// Turns a CPU on, on 0.2 and later, and waits until it has come.
    pub fn bring_up(&self, index: usize) {
        let starts = boot::starts(index);
        self.turn_on(BASE64 + 3, index, 0);
        cpu::wait_for(|| boot::starts(index) > starts);
    }

    /// Every CPU off and on again, many times, each with its own context id.
    pub fn on_and_off(&mut self) {
        let id = if self.version == 1 {
            self.psci.cpu_on
        } else {
            BASE64 + 3
        };
        let mut good = true;
        for round in 0..20u64 {
            for index in 1..self.guest.cpus {
                let (starts, context) = (boot::starts(index), round << 32 | index as u64);
                good &= self.turn_on(id, index, context) == SUCCESS;
                good &= cpu::wait_for(|| boot::starts(index) > starts);
                good &= boot::entry_record(index).x[0] == context;
            }
            for index in 1..self.guest.cpus {
                good &= self.turn_off(index);
            }
            if !good {
                break;
            }
        }
        check!(self, good, "CPU_OFF, CPU_ON: 20 rounds with every CPU");
    }

    /// To the statistics CPU_OFF is a power-down, once it is over.
    pub fn time_off_is_counted(&mut self) {
        const POWER_DOWN: u64 = 1 << 16;
        self.bring_up(1);
        let statistics = |test: &Self| {
            [0x11, 0x10].map(|n| test.call(BASE64 + n, test.target(1), POWER_DOWN, 0))
        };
        let before = statistics(self);
        let off = self.turn_off(1);
        let while_off = statistics(self);
        cpu::wait_until(2, || false);
        self.bring_up(1);
        let [count, spent] = statistics(self);
        check!(
            self,
            off && while_off == before,
            "PSCI_STAT_COUNT, RESIDENCY: time off is not counted before it is over"
        );
        returns!(
            self,
            count - before[0],
            1,
            "PSCI_STAT_COUNT: CPU_OFF has been used once more"
        );
        check!(
            self,
            spent - before[1] >= 2000,
            "PSCI_STAT_RESIDENCY: off for 2 ms and more, got {} us",
            spent - before[1]
        );
        self.turn_off(1);
    }

    /// A CPU that comes on finds nothing of its former life pending, and what was sent to it while it was off.
    pub fn interrupts_of_a_new_life(&mut self) {
        self.bring_up(1);
        boot::give_work(1, leave_with_a_tick);
        let off = self.is_off(1);
        // The redistributor outlives its CPU: SGIs and the virtual timer are enabled, and an SGI is sent. With a GICv2 the
        // private interrupts are out of others' reach.
        cpu::wait_until(20, || false);
        if !gic::is_v2() {
            let rd = gic::GICR + gic::GICR_STRIDE;
            mmio::write32(rd + 0x1_0080, !0);
            mmio::write32(rd + 0x1_0100, 0xffff | 1 << gic::VIRTUAL_TIMER);
        }
        TAKEN[1].store(0, Ordering::Release);
        boot::give_work(1, take_two);
        self.turn_on(BASE64 + 3, 1, 0);
        check!(
            self,
            off && cpu::wait_for(|| TAKEN[1].load(Ordering::Acquire) != 0),
            "CPU_ON: a CPU to which an SGI was sent while it was off"
        );
        let taken = [0, 1].map(|n| TAKEN[n].load(Ordering::Acquire) as i64);
        returns!(self, taken[0], 1, "CPU_ON: ... takes the SGI");
        returns!(self, taken[1], 1023, "CPU_ON: ... and no tick of before");
        self.turn_off(1);
    }
}

/// An SGI that comes behind the one that announced the work, which could still be on its way and would end a sleep.
const BEHIND: u32 = 2;

/// Lets a CPU whose work has begun have done with [`take_what_was_sent`].
pub fn send_behind(cpu: usize) {
    gic::send_number(cpu, BEHIND);
}

/// Takes all SGIs that were sent until [`send_behind`].
pub fn take_what_was_sent() {
    while gic::take() != BEHIND {}
    while gic::take() < 1020 {}
}

/// CPU_OFF's id for CPUs that have no device tree at hand.
pub static CPU_OFF: AtomicU64 = AtomicU64::new(0x8400_0002);

pub extern "C" fn cpu_off() {
    conduit().call3(CPU_OFF.load(Ordering::Acquire), 0, 0, 0);
}

extern "C" fn leave_with_a_tick() {
    gic::set_virtual_timer(0);
    cpu::wait_until(2, || false);
    cpu_off();
}

/// INTIDs that a CPU takes first after it came on.
static TAKEN: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

extern "C" fn take_two() {
    for taken in &TAKEN {
        taken.store(gic::take(), Ordering::Release);
    }
}
