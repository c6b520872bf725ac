//! CPU_FREEZE.

use core::sync::atomic::{AtomicBool, Ordering};

use guests::bare::{boot, cpu, gic};

use super::{BASE32, BASE64, OFF, SUCCESS, Test, conduit};

const CPU_FREEZE: u64 = BASE32 + 0xb;
const CONTEXT: u64 = 0xf20_2e00_c0de;

/// CPU_FREEZE has returned.
static RETURNED: AtomicBool = AtomicBool::new(false);

extern "C" fn freeze() {
    conduit().call3(CPU_FREEZE, 0, 0, 0);
    RETURNED.store(true, Ordering::Release);
}

impl Test {
    /// CPU 1 freezes. Interrupts may be sent to it meanwhile; what ends it is CPU_ON alone.
    pub fn freezes(&mut self) {
        if self.features(CPU_FREEZE) != SUCCESS {
            return;
        }
        self.bring_up(1);
        boot::give_work(1, freeze);
        check!(
            self,
            cpu::wait_for(|| self.call(BASE64 + 4, self.target(1), 0, 0) == OFF),
            "CPU_FREEZE: AFFINITY_INFO becomes OFF"
        );
        gic::send(1);
        let starts = boot::starts(1);
        returns!(
            self,
            self.turn_on(BASE64 + 3, 1, CONTEXT),
            SUCCESS,
            "CPU_FREEZE: CPU_ON of a CPU that is frozen, to which an SGI was sent"
        );
        check!(
            self,
            cpu::wait_for(|| boot::starts(1) > starts)
                && boot::starts(1) == starts + 1
                && boot::entry_record(1).x[0] == CONTEXT,
            "CPU_FREEZE: CPU_ON ends it, with its context id"
        );
        check!(
            self,
            !RETURNED.load(Ordering::Acquire),
            "CPU_FREEZE: does not return"
        );
        check!(self, self.turn_off(1), "CPU_OFF: after CPU_FREEZE");
    }
}
