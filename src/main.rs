//! The firmware: names for the assembly to call, and hand-over to the library.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bulkhead is firmware: build it with scripts/build and boot it with scripts/run");
    std::process::exit(2);
}

/// Makes a change of the linker script a reason to build again.
#[cfg(target_os = "none")]
const _: &str = include_str!("../linker.ld");

#[cfg(target_os = "none")]
#[allow(
    unsafe_code,
    reason = "symbols for boot.S and vectors.S, and the state that they lend"
)]
mod entry {
    use bulkhead::{
        arch::guest::{self, Exit, FaultFrame, GuestRegs},
        run,
        vm::Vcpu,
    };

    /// The boot CPU, from boot.S: MMU on, image relocated, interrupts masked.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_main(device_tree: u64, el: u64) -> ! {
        run::boot::primary(device_tree, el, enter)
    }

    /// Every other CPU, from boot.S.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_secondary(pcpu: u64) -> ! {
        run::boot::secondary(pcpu, enter)
    }

    /// Runs the guest of `vcpu` until it leaves.
    fn enter(vcpu: &mut Vcpu, x0: u64) {
        // SAFETY: the handlers below take a `Vcpu`.
        unsafe { guest::enter(x0, vcpu.hardening, vcpu) }
    }

    // What vectors.S calls meanwhile. The answer says how to go on.

    /// A synchronous exception from the guest that is no abort. x20 to x28 are not in the frame; the answer may be that they
    /// are needed.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_sync(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) -> Exit {
        run::exit::on_sync(regs, vcpu, syndrome)
    }

    /// The same exception again, with the whole frame.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_sync_whole(
        regs: &mut GuestRegs,
        vcpu: &mut Vcpu,
        syndrome: u64,
    ) -> Exit {
        run::exit::on_sync_whole(regs, vcpu, syndrome)
    }

    /// An abort of the guest's, which goes on. The register that it may name is in the frame.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_abort(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) {
        run::exit::on_abort(regs, vcpu, syndrome);
    }

    /// An interrupt while the guest ran.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_irq(vcpu: &mut Vcpu) -> Exit {
        run::irq::on_irq(vcpu)
    }

    /// An SError while the guest ran.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_serror(vcpu: &mut Vcpu) -> Exit {
        run::exit::on_serror(vcpu)
    }

    /// An exception that EL2 itself has taken.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_fault(frame: &mut FaultFrame) {
        run::panic::on_fault(frame);
    }

    #[panic_handler]
    fn on_panic(info: &core::panic::PanicInfo) -> ! {
        run::panic::on_panic(info)
    }
}
