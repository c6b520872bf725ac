//! Ending an emulator with an exit status, and telling it why where no UART is known (Arm semihosting 2.0).
//!
//! Where nobody listens, HLT is UNDEFINED; the fault handler recognises the instruction and goes on behind it.

use core::{
    arch::{asm, global_asm},
    fmt,
};

global_asm!(
    ".global semihosting_call, semihosting_hlt",
    "semihosting_call:",
    "stp x29, x30, [sp, #-16]!",
    "semihosting_hlt:",
    "hlt #0xf000",
    "ldp x29, x30, [sp], #16",
    "ret",
);

/// Whether `pc` is the one instruction whose fault means: no semihosting here.
pub fn is_probe(pc: u64) -> bool {
    unsafe extern "C" {
        fn semihosting_hlt();
    }
    pc == semihosting_hlt as *const () as u64
}

/// SYS_EXIT with ADP_Stopped_ApplicationExit and `status`; returns where there is no semihosting.
pub fn exit(status: u64) {
    const SYS_EXIT: u64 = 0x18;
    const APPLICATION_EXIT: u64 = 0x2_0026;
    call(SYS_EXIT, &[APPLICATION_EXIT, status]);
}

/// The emulator's console, by SYS_WRITEC; nothing where there is no semihosting.
pub struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const SYS_WRITEC: u64 = 0x03;
        text.bytes().for_each(|byte| call(SYS_WRITEC, &byte));
        Ok(())
    }
}

/// One call, with the address of what it is about.
fn call<T>(operation: u64, argument: &T) {
    // SAFETY: (1) the calls above read the argument and nothing else of our memory. (2) Everything that a call or the
    // fault path may lose is declared lost.
    unsafe {
        asm!(
            "bl semihosting_call",
            inlateout("x0") operation => _,
            inlateout("x1") &raw const *argument => _,
            clobber_abi("C"),
        )
    }
}
