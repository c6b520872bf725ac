//! What things cost, in ticks of the virtual counter. `scripts/bench` runs it where one tick is one instruction (QEMU's `-icount shift=0`
//! and a counter of 1 GHz), so that the differences are numbers of instructions, those of the hypervisor included.
//!
//! Each line `# cost NAME LEAST MOST` tells of several equal attempts; two readings of the counter with nothing in between are taken off.
//! The last operation is a reset, which the guest tells from its first start by how long its machine exists.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use core::{
        arch::{asm, global_asm},
        sync::atomic::{AtomicU64, Ordering},
    };

    use guests::{
        bare::{Guest, Tap, boot, cpu, gic, mmio},
        guest_main, mrs, msr,
    };

    guest_main!(run);

    global_asm!(include_str!("bench.S"));

    unsafe extern "C" {
        fn bench_vectors();
        fn bench_started();
    }

    /// Attempts, where the boot arguments (`attempts=`) say nothing else.
    const ATTEMPTS: usize = 8;
    /// First attempts that are not counted: what they find is in its state after reset.
    const WARM_UP: usize = 2;
    /// Ticks until a timer fires: more than it takes to be ready for it.
    const SOON: u64 = 20_000;

    const CPU_OFF: u64 = 0x8400_0002;
    const SYSTEM_RESET: u64 = 0x8400_0009;
    const CPU_ON: u64 = 0xc400_0003;
    const AFFINITY_INFO: u64 = 0xc400_0004;
    const OFF: u64 = 1;

    /// Firmware calls with x0 to x2, and what x0 is to be afterwards.
    const CALLS: [(&str, [u64; 3], u64); 7] = [
        ("psci-version", [0x8400_0000, 0, 0], 0x1_0003),
        ("smccc-version", [0x8000_0000, 0, 0], 0x1_0002),
        ("psci-features", [0x8400_000a, CPU_ON, 0], 0),
        ("affinity-info", [AFFINITY_INFO, 0, 0], 0),
        ("unknown-psci", [0x8400_001f, 0, 0], !0),
        ("unknown-service", [0x8200_ffff, 0, 0], !0),
        ("cpu-on-self", [CPU_ON, 0, 0x4000_0000], -4i64 as u64),
    ];

    const PHYSICAL_TIMER: u32 = 30;
    const UART_DATA: u64 = 0x0900_0000;
    const UART_FLAGS: u64 = 0x0900_0018;
    const UART_MASK: u64 = 0x0900_0038;
    const UART_INTERRUPT: u64 = 33;

    /// What the counter advances by between two readings of it.
    static OVERHEAD: AtomicU64 = AtomicU64::new(0);

    /// Runs one instruction between two readings of the counter, with these x0 to x2: the ticks, and x0 afterwards.
    macro_rules! ticks {
        ($instruction:literal, $x0:expr, $x1:expr, $x2:expr) => {{
            let arguments: [u64; 3] = [$x0, $x1, $x2];
            let (before, after, x0): (u64, u64, u64);
            // SAFETY: firmware calls, device accesses and system registers that change no memory of ours.
            unsafe {
                asm!(
                    "isb",
                    "mrs x20, cntvct_el0",
                    $instruction,
                    "mrs x21, cntvct_el0",
                    out("x20") before,
                    out("x21") after,
                    inout("x0") arguments[0] => x0,
                    inout("x1") arguments[1] => _,
                    inout("x2") arguments[2] => _,
                    inout("x3") 0u64 => _,
                    clobber_abi("C"),
                )
            };
            (after - before - OVERHEAD.load(Ordering::Relaxed), x0)
        }};
    }

    /// Has a timer fire soon; when, by the timer's own counter.
    macro_rules! set_timer {
        ($counter:literal, $compare:literal, $control:literal) => {{
            let at = mrs!($counter) + SOON;
            msr!($compare, at);
            msr!($control, 1);
            cpu::isb();
            at
        }};
    }

    /// From an instruction (operands x0 and x1) to the first one of the interrupt handler that it leads to.
    macro_rules! ticks_to_handler {
        ($instruction:literal, $x0:expr, $x1:expr) => {{
            let (before, handler): (u64, u64);
            // SAFETY: an SGI, which the handler takes.
            unsafe {
                asm!(
                    "mov x9, #0",
                    "msr daifclr, #2",
                    "isb",
                    "mrs {before}, cntvct_el0",
                    $instruction,
                    "2: cbz x9, 2b",
                    "msr daifset, #2",
                    before = out(reg) before,
                    out("x9") handler,
                    inout("x10") cpu_interface() => _,
                    out("x11") _,
                    in("x0") $x0,
                    in("x1") $x1,
                )
            };
            handler - before - OVERHEAD.load(Ordering::Relaxed)
        }};
    }

    /// Waits for the interrupt that is to come, by repeating one instruction; when the handler began.
    macro_rules! wait_for_handler {
        ($instruction:literal) => {{
            let handler: u64;
            // SAFETY: the handler takes the interrupt.
            unsafe {
                asm!(
                    "mov x9, #0",
                    "msr daifclr, #2",
                    concat!("2: ", $instruction),
                    "cbz x9, 2b",
                    "msr daifset, #2",
                    out("x9") handler,
                    inout("x10") cpu_interface() => _,
                    out("x11") _,
                )
            };
            handler
        }};
    }

    /// The CPU interface of a GICv2; 0 with a GICv3.
    fn cpu_interface() -> u64 {
        match gic::is_v2() {
            true => gic::GICC,
            false => 0,
        }
    }

    fn run(guest: Guest) {
        if mrs!("cntvct_el0") > mrs!("cntfrq_el0") {
            restarted(guest);
            return;
        }
        let only = guest.fdt.bootarg("only=");
        let mut bench = Bench {
            tap: Tap::new(guest.name),
            guest,
            only,
            attempts: number(guest.fdt.bootarg("attempts=")).unwrap_or(ATTEMPTS),
        };
        bench.tap.note(format_args!("started {}", guest.started));
        gic::enable();
        mmio::write32(gic::private_frame() + 0x100, 1 << PHYSICAL_TIMER); // ISENABLER0
        set_vectors();
        OVERHEAD.store(ticks!("", 0, 0, 0).0, Ordering::Relaxed);
        bench.calls();
        bench.registers();
        bench.interrupts();
        if bench.guest.cpus > OTHER {
            bench.other_cpu();
        }
        bench.console();
        if only.is_none_or(|only| only == "reset") {
            bench.reset();
        }
    }

    fn number(text: Option<&str>) -> Option<usize> {
        text?.parse().ok()
    }

    /// The second start: what the reset took is counted from when it was called.
    fn restarted(guest: Guest) {
        let mut tap = Tap::new(guest.name);
        tap.note(format_args!("started {}", guest.started));
        tap.check(true, "all was measured");
        tap.finish();
    }

    fn set_vectors() {
        msr!("vbar_el1", bench_vectors as *const () as u64);
        cpu::isb();
    }

    struct Bench {
        tap: Tap,
        guest: Guest,
        /// Nothing but the operation of that name is attempted (`only=`).
        only: Option<&'static str>,
        attempts: usize,
    }

    impl Bench {
        fn cost(&mut self, name: &str, attempt: impl FnMut() -> u64) {
            self.cost_by("", name, attempt);
        }

        /// The same for an operation whose name begins with that of a conduit.
        fn cost_by(&mut self, conduit: &str, name: &str, mut attempt: impl FnMut() -> u64) {
            let is_wanted = |only: &str| only.strip_prefix(conduit) == Some(name);
            if !self.only.is_none_or(is_wanted) {
                return;
            }
            for _ in 0..WARM_UP {
                attempt();
            }
            let (mut least, mut most) = (u64::MAX, 0);
            for _ in 0..self.attempts {
                let ticks = attempt();
                least = least.min(ticks);
                most = most.max(ticks);
            }
            self.tap
                .note(format_args!("cost {conduit}{name} {least} {most}"));
        }

        fn calls(&mut self) {
            for (name, [x0, x1, x2], answer) in CALLS {
                let (_, by_hvc) = ticks!("hvc #0", x0, x1, x2);
                let (_, by_smc) = ticks!("smc #0", x0, x1, x2);
                assert_eq!((by_hvc, by_smc), (answer, answer), "{name}");
                self.cost_by("hvc-", name, || ticks!("hvc #0", x0, x1, x2).0);
                self.cost_by("smc-", name, || ticks!("smc #0", x0, x1, x2).0);
            }
        }

        fn registers(&mut self) {
            self.cost("gicd-typer-read", || {
                ticks!("ldr w0, [x1]", 0, gic::GICD + 0x4, 0).0
            });
            // GICD_ISENABLER1: an interrupt that never comes.
            self.cost("gicd-isenabler-write", || {
                ticks!("str w0, [x1]", 1 << 31, gic::GICD + 0x104, 0).0
            });
            if !gic::is_v2() {
                self.cost("gicr-typer-read", || {
                    ticks!("ldr x0, [x1]", 0, gic::redistributor() + 0x8, 0).0
                });
            }
            self.cost("uart-register-read", || {
                ticks!("ldr w0, [x1]", 0, UART_FLAGS, 0).0
            });
            self.cost("physical-timer-read", || {
                ticks!("mrs x0, cntp_ctl_el0", 0, 0, 0).0
            });
            self.cost("physical-timer-write", || {
                ticks!("msr cntp_cval_el0, x0", u64::MAX, 0, 0).0
            });
        }

        fn interrupts(&mut self) {
            match gic::is_v2() {
                true => {
                    let sgir = gic::GICD + 0xf00;
                    self.cost("sgi-to-nobody", || ticks!("str w0, [x1]", 0, sgir, 0).0);
                    // To the requester alone.
                    self.cost("sgi-to-self", || {
                        ticks_to_handler!("str w0, [x1]", 2u64 << 24, sgir)
                    });
                }
                false => {
                    self.cost("sgi-to-nobody", || {
                        ticks!("msr s3_0_c12_c11_5, x0", 0, 0, 0).0
                    });
                    self.cost("sgi-to-self", || {
                        ticks_to_handler!("msr s3_0_c12_c11_5, x0", 1u64, 0u64)
                    });
                }
            }
            self.cost("virtual-timer", || {
                let at = set_timer!("cntvct_el0", "cntv_cval_el0", "cntv_ctl_el0");
                wait_for_handler!("nop") - at
            });
            self.cost("virtual-timer-in-wfi", || {
                let at = set_timer!("cntvct_el0", "cntv_cval_el0", "cntv_ctl_el0");
                wait_for_handler!("wfi") - at
            });
            self.cost("physical-timer", || {
                let at = set_timer!("cntpct_el0", "cntp_cval_el0", "cntp_ctl_el0");
                wait_for_handler!("nop") - (at - physical_count_is_ahead())
            });
        }

        /// Operations that two CPUs share: what both of them execute counts.
        fn other_cpu(&mut self) {
            self.cost("cpu-on", || start_and_stop().0);
            self.cost("cpu-off", || start_and_stop().1);
            self.guest.psci.on(OTHER as u64, boot::entry_point(), 0);
            while boot::starts(OTHER) == 0 {
                cpu::wfe();
            }
            self.cost("sgi-to-other", || send_to_other(wait_awake));
            self.cost("sgi-to-other-in-wfi", || send_to_other(wait_asleep));
            boot::give_work(OTHER, stop_this_cpu);
            while state_of(OTHER) != OFF {
                cpu::wfe();
            }
        }

        fn console(&mut self) {
            self.cost("uart-character-write", || {
                ticks!("str w0, [x1]", u64::from(b'.'), UART_DATA, 0).0
            });
            // The transmitter has room, which it says as soon as it is asked to.
            enable_uart_interrupt();
            self.cost("uart-interrupt", || {
                ticks_to_handler!("str w0, [x1]", 1u64 << 5, UART_MASK)
            });
            self.tap.note("that is all but the reset");
        }

        /// The guest's own account of when it calls for the reset, and the call.
        fn reset(&mut self) {
            // Late enough to be a second start.
            let now = cpu::now();
            msr!("cntv_cval_el0", now + 2 * mrs!("cntfrq_el0"));
            msr!("cntv_ctl_el0", 1);
            wait_for_handler!("wfi");
            let at = mrs!("cntpct_el0") + 50 * SOON;
            self.tap.note(format_args!("resets {at}"));
            while mrs!("cntpct_el0") < at {}
            ticks!("hvc #0", SYSTEM_RESET, 0, 0);
        }
    }

    /// The serial port's interrupt goes to this CPU.
    fn enable_uart_interrupt() {
        let bit = 1 << (UART_INTERRUPT - 32);
        match gic::is_v2() {
            true => mmio::write8(gic::GICD + 0x800 + UART_INTERRUPT, 1), // GICD_ITARGETSR
            false => mmio::write32(gic::GICD + 0x84, bit),               // GICD_IGROUPR1
        }
        mmio::write32(gic::GICD + 0x104, bit); // GICD_ISENABLER1
    }

    /// How far the physical count is ahead of the virtual one.
    fn physical_count_is_ahead() -> u64 {
        let (physical, virtual_one): (u64, u64);
        // SAFETY: only reads.
        unsafe {
            asm!("isb", "mrs {}, cntpct_el0", "mrs {}, cntvct_el0", out(reg) physical, out(reg) virtual_one)
        };
        physical + OVERHEAD.load(Ordering::Relaxed) - virtual_one
    }

    /// The CPU that others are measured with.
    const OTHER: usize = 1;

    fn state_of(cpu: usize) -> u64 {
        ticks!("hvc #0", AFFINITY_INFO, cpu as u64, 0).1
    }

    /// When the other CPU ran its first instruction, and when it called CPU_OFF.
    static STARTED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

    /// From CPU_ON to the first instruction of the CPU, and from its CPU_OFF until AFFINITY_INFO says so. The WFE lets QEMU go on with the
    /// other CPU, which it does in turn.
    fn start_and_stop() -> (u64, u64) {
        let [started, stops] = &STARTED;
        let (before, after): (u64, u64);
        // SAFETY: the other CPU writes to `STARTED` only, and is off before it is read.
        unsafe {
            asm!(
                "isb",
                "mrs x20, cntvct_el0",
                "hvc #0",
                "2: wfe",
                "mov x0, x22",
                "mov x1, {other}",
                "mov x2, #0",
                "hvc #0",
                "cmp x0, #1",
                "b.ne 2b",
                "mrs x21, cntvct_el0",
                out("x20") before,
                out("x21") after,
                in("x22") AFFINITY_INFO,
                other = const OTHER,
                inout("x0") CPU_ON => _,
                inout("x1") OTHER as u64 => _,
                inout("x2") bench_started as *const () as u64 => _,
                inout("x3") STARTED.as_ptr() => _,
                clobber_abi("C"),
            )
        };
        // It wrote with its caches off.
        cpu::drop_cached(&STARTED);
        let at = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let overhead = OVERHEAD.load(Ordering::Relaxed);
        (
            at(started) - before - overhead,
            after - at(stops) - overhead,
        )
    }

    /// The other CPU waits for an SGI (1), or has had it: when its handler began.
    static HANDLED: AtomicU64 = AtomicU64::new(0);

    extern "C" fn wait_awake() {
        set_vectors();
        HANDLED.store(1, Ordering::Release);
        HANDLED.store(wait_for_handler!("wfe"), Ordering::Release);
    }

    extern "C" fn wait_asleep() {
        set_vectors();
        HANDLED.store(1, Ordering::Release);
        HANDLED.store(wait_for_handler!("wfi"), Ordering::Release);
    }

    extern "C" fn stop_this_cpu() {
        ticks!("hvc #0", CPU_OFF, 0, 0);
    }

    /// From an SGI to the handler on the other CPU, which waits in some way.
    fn send_to_other(wait: extern "C" fn()) -> u64 {
        HANDLED.store(0, Ordering::Release);
        boot::give_work(OTHER, wait);
        while HANDLED.load(Ordering::Acquire) == 0 {
            cpu::wfe();
        }
        cpu::wfe();
        let before = cpu::now();
        gic::send_number(OTHER, 0);
        while HANDLED.load(Ordering::Acquire) == 1 {
            cpu::wfe();
        }
        HANDLED.load(Ordering::Acquire) - before - OVERHEAD.load(Ordering::Relaxed)
    }
}
