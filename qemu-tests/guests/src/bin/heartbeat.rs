//! A guest that shows that it lives: a line at every tick of its virtual timer, until `q` is typed; `r` resets it, `c` leaves by CPU_OFF.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicU32, Ordering};

    use guests::{
        bare::{Guest, Tap, cpu, exception, gic, mmio, uart},
        guest_main,
    };

    guest_main!(run);

    /// In the image's data: 7 whenever the machine starts from pristine images.
    static PRISTINE: AtomicU32 = AtomicU32::new(7);

    fn run(guest: Guest) {
        let mut tap = Tap::new(guest.name);
        tap.equal(
            PRISTINE.swap(8, Ordering::Relaxed).into(),
            7,
            "the image is as it was built",
        );
        tap.check(memory_is_clear(&guest), "memory at its end is clear");
        // GICD_ISPENDR1: a reset lowers the lines of devices.
        tap.equal(
            mmio::read32(gic::GICD + 0x204).into(),
            0,
            "no shared interrupt is pending",
        );
        gic::enable();
        let mut beats = 0;
        loop {
            gic::set_virtual_timer(cpu::ms(50));
            exception::wait_for_interrupt();
            beats += 1;
            tap.note(format_args!("beat {beats}"));
            match uart::poll() {
                Some(b'q') => break,
                Some(b'r') => {
                    // UARTIMSC: the transmitter's interrupt, whose line this raises.
                    mmio::write32(0x0900_0038, 1 << 5);
                    guest.psci.conduit.call3(0x8400_0009, 0, 0, 0);
                }
                Some(b'c') => guest.psci.cpu_off(),
                _ => {}
            }
        }
        tap.check(beats > 0, "timer interrupts come");
        tap.finish();
    }

    /// Reads the last page of memory, which neither image nor device tree reach, and leaves a mark for the next start.
    fn memory_is_clear(guest: &Guest) -> bool {
        let Some((base, size)) = guest.fdt.memory() else {
            return false;
        };
        let last = (base + size - 4096) as *mut u64;
        // SAFETY: memory of ours that nothing else uses.
        unsafe {
            let clear = (0..512).all(|i| last.add(i).read_volatile() == 0);
            last.write_volatile(0x6465_7375);
            clear
        }
    }
}
