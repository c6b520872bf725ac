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
        arch::guest::{Exit, FaultFrame, GuestRegs, with_state},
        run,
        vm::Vcpu,
    };

    /// The boot CPU, from boot.S: MMU on, image relocated, interrupts masked.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_main(device_tree: u64, el: u64) -> ! {
        run::boot::primary(device_tree, el)
    }

    /// Every other CPU, from boot.S.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_secondary(pcpu: u64) -> ! {
        run::boot::secondary(pcpu)
    }

    /// Has a handler look after the vCPU that this CPU runs; its answer, for vectors.S.
    #[inline(always)]
    fn with_vcpu(handler: impl FnOnce(&mut Vcpu) -> Exit) -> u64 {
        // SAFETY: (1) `run::vcpu` enters guests with a `Vcpu` and nothing else. (2) vectors.S calls handlers one
        // after the other, and exits do not nest.
        unsafe { with_state(handler) }.unwrap_or(Exit::Park) as u64
    }

    /// A synchronous exception from the guest. x20 to x28 are not in the frame; the answer may be that they are needed.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_sync(regs: &mut GuestRegs) -> u64 {
        with_vcpu(|vcpu| run::exit::on_sync(vcpu, regs))
    }

    /// The same exception again, with the whole frame.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_sync_whole(regs: &mut GuestRegs) -> u64 {
        with_vcpu(|vcpu| run::exit::on_sync_whole(vcpu, regs))
    }

    /// An interrupt while the guest ran.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_irq() -> u64 {
        with_vcpu(run::irq::on_irq)
    }

    /// An SError while the guest ran.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_serror() -> u64 {
        with_vcpu(run::exit::on_serror)
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
