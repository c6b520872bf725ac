//! Calls from which a CPU comes back without its state, to the instruction behind them all the same.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{gic, smccc::Conduit};

/// What boot.S keeps of the CPU that sleeps: x19 to x30 and SP; and the context id that it found when it woke.
#[repr(C)]
pub struct Sleeper(UnsafeCell<[u64; 14]>);
// SAFETY: `sleep` lets one CPU at a time have it.
unsafe impl Sync for Sleeper {}
/// The CPU that sleeps.
pub static SLEEPER: Sleeper = Sleeper(UnsafeCell::new([0; 14]));
static IN_USE: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn call_to_sleep(instruction: unsafe extern "C" fn(), registers: *mut u64) -> u64;
    fn resume_entry();
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// It returned that.
    Returned(i64),
    /// The CPU began at the entry point, with that in x0.
    Resumed(u64),
}

/// The entry point of these calls.
pub fn entry_point() -> u64 {
    resume_entry as *const () as u64
}

/// Makes a call with these registers, one of them [`entry_point`]. One CPU at a time can do so.
pub fn sleep(conduit: Conduit, mut registers: [u64; 4]) -> Woken {
    assert!(!IN_USE.swap(true, Ordering::Acquire), "two CPUs sleep");
    // SAFETY: boot.S keeps what the caller's ABI wants kept, in the sleeper, which is ours.
    let resumed = unsafe { call_to_sleep(conduit.instruction(), registers.as_mut_ptr()) } == 1;
    // SAFETY: in bounds, and nobody writes it now.
    let context = unsafe { (*SLEEPER.0.get())[13] };
    IN_USE.store(false, Ordering::Release);
    if resumed {
        gic::enable();
        Woken::Resumed(context)
    } else {
        Woken::Returned(registers[0] as i64)
    }
}
