//! The hypervisor's own end: report where and why, stop the other CPUs, end an emulator with a failure.

use super::{machine, serial};
use crate::arch::{
    self,
    backtrace::{self, Backtrace},
    boot,
    guest::FaultFrame,
    regs, semihosting,
};
use crate::hw::gic;
use core::panic::PanicInfo;

/// A broken invariant of our own.
pub fn on_panic(info: &PanicInfo) -> ! {
    stop_others();
    serial::emergency(format_args!("panic on CPU {}: {info}", regs::mpidr()));
    report_trap();
    end(backtrace::here())
}

/// An exception that EL2 has taken itself: a bug of ours, or the probe for semihosting, which goes on.
pub fn on_fault(frame: &mut FaultFrame) {
    if semihosting::is_probe(frame.elr) {
        frame.elr += 4;
        return;
    }
    stop_others();
    serial::emergency(format_args!(
        "fault on CPU {}: ESR_EL2 {:#x} ELR_EL2 {:#x} (image+{:#x}) FAR_EL2 {:#x} SP {:#x}",
        regs::mpidr(),
        frame.esr,
        frame.elr,
        offset(frame.elr),
        frame.far,
        frame.sp
    ));
    let (rows, _) = frame.x.as_chunks::<3>();
    for (row, [a, b, c]) in rows.iter().enumerate() {
        let n = 3 * row;
        serial::emergency(format_args!(
            "  x{n:<2} {a:016x}  x{:<2} {b:016x}  x{:<2} {c:016x}",
            n + 1,
            n + 2
        ));
    }
    let [.., frame_pointer] = frame.x;
    end(backtrace::from(frame_pointer))
}

/// The registers that describe the last trap from a guest.
fn report_trap() {
    use arch::guest;
    serial::emergency(format_args!(
        "  last trap: ESR_EL2 {:#x} ELR_EL2 {:#x} FAR_EL2 {:#x}",
        guest::syndrome(),
        guest::pc(),
        guest::fault_address()
    ));
}

fn stop_others() {
    let me = regs::mpidr();
    if let Some(board) = machine::try_get() {
        for (_, cpu) in board.online().filter(|(_, cpu)| cpu.mpidr != me) {
            if let Some(target) = cpu.sgi_target.get() {
                board.gic.send_sgi(*target, gic::HALT);
            }
        }
    }
}

fn end(frames: Backtrace) -> ! {
    serial::emergency(format_args!(
        "backtrace: image base {:#x}",
        boot::image_start().get()
    ));
    for (n, address) in frames.enumerate() {
        serial::emergency(format_args!(
            "  #{n} {address:#x} (image+{:#x})",
            offset(address)
        ));
    }
    semihosting::exit(1);
    arch::halt()
}

fn offset(address: u64) -> u64 {
    address.wrapping_sub(boot::image_start().get())
}
