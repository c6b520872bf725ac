//! A guest whose other CPUs make the first one look all the time: SGIs, and alarms of the clock, until the machine ends.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use guests::{
        bare::{Guest, Tap, boot, cpu, gic, mmio, uart},
        guest_main,
    };

    guest_main!(run);

    /// RTCMR, the alarm.
    const ALARM: u64 = 0x0901_0004;

    fn run(guest: Guest) {
        let mut tap = Tap::new(guest.name);
        gic::enable();
        for index in 1..guest.cpus {
            guest.psci.on(index as u64, boot::entry_point(), 0);
            let on = cpu::wait_until(20_000, || boot::starts(index) > 0);
            tap.check(on, format_args!("CPU {index} has come"));
            boot::give_work(index, flood);
        }
        tap.note("flooded");
        while uart::poll() != Some(b'q') {
            while gic::take() < 1020 {}
        }
        tap.finish();
    }

    extern "C" fn flood() {
        for round in 0.. {
            gic::send_number(0, round % 16);
            mmio::write32(ALARM, u32::MAX);
        }
    }
}
