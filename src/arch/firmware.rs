//! Calls to the board's own firmware, which are SMCs: an HVC from EL2 is taken to EL2. Never executed unless the board's
//! device tree says that there is firmware: on a Raspberry Pi 4 without PSCI an SMC is UNDEFINED.

use core::arch::asm;

/// An SMCCC call with up to three arguments; returns x0.
pub fn call(function: u32, arguments: [u64; 3]) -> u64 {
    let [x0, ..] = call_four(function, arguments);
    x0
}

/// The same for calls that return more; returns x0 to x3.
pub fn call_four(function: u32, arguments: [u64; 3]) -> [u64; 4] {
    let [mut x1, mut x2, mut x3] = arguments;
    let mut x0 = u64::from(function);
    // SAFETY: (1) the device tree promises SMCCC firmware. (2) x0-x17 are declared lost (DEN0028 2.6), the rest the
    // callee preserves; memory is as after any foreign call.
    unsafe {
        asm!(
            "smc #0",
            inlateout("x0") x0,
            inlateout("x1") x1,
            inlateout("x2") x2,
            inlateout("x3") x3,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            out("x16") _, out("x17") _,
            options(nostack)
        )
    }
    [x0, x1, x2, x3]
}
