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
        arch::guest::{FaultFrame, GuestRegs, with_state},
        run::{self, outcome::Exit},
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

    /// A handler's answer in x0, for vectors.S.
    macro_rules! trap {
        ($(#[$doc:meta])* $name:ident, $handler:path) => {
            $(#[$doc])*
            #[unsafe(no_mangle)]
            extern "C" fn $name(regs: &mut GuestRegs) -> u64 {
                // SAFETY: (1) `run::vcpu` enters guests with a `Vcpu` and nothing else. (2) vectors.S calls this
                // once per exit, and exits do not nest.
                let exit = unsafe { with_state(|vcpu: &mut Vcpu| $handler(vcpu, regs)) };
                exit.unwrap_or(Exit::Park) as u64
            }
        };
    }

    /// HVC or SMC from the guest, with ESR_EL2: false when it has been answered, true when it is to be handled like
    /// any other exception.
    #[unsafe(no_mangle)]
    extern "C" fn bulkhead_on_call(regs: &mut GuestRegs, syndrome: u64) -> bool {
        // SAFETY: as for the others.
        let answered =
            unsafe { with_state(|vcpu: &mut Vcpu| run::exit::answers(vcpu, regs, syndrome)) };
        answered != Some(true)
    }

    trap!(/// A synchronous exception from the guest.
        bulkhead_on_sync, run::exit::on_sync);
    trap!(/// An interrupt while the guest ran.
        bulkhead_on_irq, run::irq::on_irq);
    trap!(/// An SError while the guest ran.
        bulkhead_on_serror, run::exit::on_serror);

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
