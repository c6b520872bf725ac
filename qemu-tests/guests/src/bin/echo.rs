//! A guest that tells each key that is typed, until `q`. It takes no interrupts and never waits for one, unless by `w`, and then for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use guests::{
        bare::{Guest, Tap, cpu, uart},
        guest_main,
    };

    guest_main!(run);

    fn run(guest: Guest) {
        let tap = Tap::new(guest.name);
        tap.note("listening");
        loop {
            match uart::poll() {
                Some(b'q') => break,
                Some(b'w') => loop {
                    cpu::wfi();
                },
                Some(key) => tap.note(format_args!("key {key:#x}")),
                None => core::hint::spin_loop(),
            }
        }
        tap.finish();
    }
}
