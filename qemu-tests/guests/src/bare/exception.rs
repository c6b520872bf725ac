//! Exceptions: those that a test provokes are caught and counted, any other ends the guest.

use core::{
    arch::asm,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use super::{boot::MAX_CPUS, cpu, gic, uart};
use crate::{mrs, msr};

/// A synchronous exception or SError that a test provoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
}

impl Fault {
    /// ESR_EL1.EC (Arm ARM D24.2.40).
    pub fn class(self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// An UNDEFINED instruction: EC 0.
    pub fn is_undefined(self) -> bool {
        self.class() == 0
    }

    /// A synchronous external abort on a data access at EL1, not on a table walk: EC 0x25, DFSC 0x10.
    pub fn is_external_data_abort(self) -> bool {
        self.class() == 0x25 && self.esr & 0x3f == 0x10
    }

    /// The same on an instruction fetch: EC 0x21, IFSC 0x10.
    pub fn is_external_instruction_abort(self) -> bool {
        self.class() == 0x21 && self.esr & 0x3f == 0x10
    }
}

struct State {
    armed: AtomicBool,
    faults: AtomicU32,
    esr: AtomicU64,
    far: AtomicU64,
    interrupts: AtomicU32,
}

static STATE: [State; MAX_CPUS] = [const {
    State {
        armed: AtomicBool::new(false),
        faults: AtomicU32::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        interrupts: AtomicU32::new(0),
    }
}; MAX_CPUS];

/// Runs `attempt`, in which an instruction may take an exception; that instruction is then skipped. The last such exception is returned.
pub fn catch(attempt: impl FnOnce()) -> Option<Fault> {
    let state = &STATE[cpu::index()];
    state.faults.store(0, Ordering::Relaxed);
    state.armed.store(true, Ordering::SeqCst);
    attempt();
    state.armed.store(false, Ordering::SeqCst);
    (state.faults.load(Ordering::Relaxed) > 0).then(|| Fault {
        esr: state.esr.load(Ordering::Relaxed),
        far: state.far.load(Ordering::Relaxed),
    })
}

/// Interrupts that this CPU has taken.
fn interrupts() -> u32 {
    STATE[cpu::index()].interrupts.load(Ordering::Relaxed)
}

/// Sleeps until this CPU has taken an interrupt; PSTATE.I is set before and after. One that comes between looking and sleeping
/// still wakes the CPU, because it is not taken before (Arm ARM D1.6.2: masked interrupts are WFI wake-up events).
pub fn wait_for_interrupt() {
    let before = interrupts();
    while interrupts() == before {
        cpu::wfi();
        // SAFETY: the vectors take interrupts; the ISB has a pending one taken here.
        unsafe { asm!("msr daifclr, #2", "isb", "msr daifset, #2") };
    }
}

/// The registers that boot.S saves.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
}

/// Called by the vectors with the number of the slot; only those of EL1 with SP_EL1 (4 to 7) can be meant.
pub extern "C" fn exception(frame: &mut Frame, slot: u64) {
    let state = &STATE[cpu::index()];
    let (esr, far, elr) = (mrs!("esr_el1"), mrs!("far_el1"), mrs!("elr_el1"));
    match slot {
        5 => {
            gic::take();
            state.interrupts.fetch_add(1, Ordering::Relaxed);
        }
        4 if state.armed.load(Ordering::SeqCst) => {
            state.esr.store(esr, Ordering::Relaxed);
            state.far.store(far, Ordering::Relaxed);
            state.faults.fetch_add(1, Ordering::Relaxed);
            // Where nothing can be fetched there is no next instruction: go back to the caller.
            let fetch = esr >> 26 & 0x3f == 0x21;
            msr!("elr_el1", if fetch { frame.x[30] } else { elr + 4 });
        }
        _ => panic!(
            "exception slot {slot} on CPU {}: ESR {esr:#x} FAR {far:#x} ELR {elr:#x} (image at {:#x}) x30 {:#x}",
            cpu::index(),
            uart::image_base(),
            frame.x[30]
        ),
    }
}
