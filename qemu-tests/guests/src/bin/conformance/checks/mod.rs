//! The checks, a file for each group of functions.

/// One result, its description headed by version, conduit and function.
macro_rules! check {
    ($test:ident, $holds:expr, $($text:tt)*) => {{
        let (version, conduit) = ($test.text, $test.conduit);
        let holds = $holds;
        $test.tap.check(holds, format_args!("{version} {conduit:?} {}", format_args!($($text)*)));
    }};
}

/// A returned error or value, compared in all 64 bits.
macro_rules! returns {
    ($test:ident, $found:expr, $wanted:expr, $($text:tt)*) => {{
        let (version, conduit) = ($test.text, $test.conduit);
        let (found, wanted): (i64, i64) = ($found, $wanted);
        if found == wanted {
            $test.tap.check(true, format_args!("{version} {conduit:?} {}", format_args!($($text)*)));
        } else {
            $test.tap.check(false, format_args!("{version} {conduit:?} {}: got {found:#x} ({found}), not {wanted}", format_args!($($text)*)));
        }
    }};
}

mod affinity;
mod cpu_on;
mod device_tree;
mod freeze;
mod functions;
mod legacy;
mod life;
mod optional;
mod os_initiated;
mod power_down;
mod race;
mod reset;
mod sleep;
mod smccc;
mod standby;

use core::sync::atomic::{AtomicBool, Ordering};

use guests::{
    bare::{
        Guest, Tap, cpu, gic,
        smccc::{Conduit, Psci},
    },
    guest_main,
};

guest_main!(run);

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const INVALID_ADDRESS: i64 = -9;

const ON: i64 = 0;
const OFF: i64 = 1;

const V0_2: u32 = 0x2;
const V1_0: u32 = 0x1_0000;
const V1_1: u32 = 0x1_0001;
const V1_3: u32 = 0x1_0003;

const BASE32: u64 = 0x8400_0000;
const BASE64: u64 = 0xc400_0000;
const FEATURES: u64 = 0x8400_000a;
const SMCCC_VERSION: u64 = 0x8000_0000;

/// What all checks need.
struct Test {
    tap: Tap,
    guest: Guest,
    /// As in the boot arguments, such as "1.0".
    text: &'static str,
    /// The version word.
    version: u32,
    /// The conduit of the calls now.
    conduit: Conduit,
    /// PSCI as the device tree has it, by that conduit.
    psci: Psci,
    /// `peer=qemu`: the firmware is QEMU's own, to try the checks themselves. It starts CPUs wherever it is told, and takes ids whole.
    on_qemu: bool,
}

fn run(guest: Guest) {
    let text = guest.fdt.bootarg("psci=").unwrap_or("");
    let version = match text {
        "0.1" => 1,
        "0.2" => V0_2,
        "1.0" => V1_0,
        "1.1" => V1_1,
        "1.2" => 0x1_0002,
        "1.3" => V1_3,
        _ => panic!("boot argument psci=V is missing"),
    };
    let mut test = Test {
        tap: Tap::new(guest.name),
        guest,
        text,
        version,
        conduit: guest.psci.conduit,
        psci: guest.psci,
        on_qemu: guest.fdt.bootarg("peer=") == Some("qemu"),
    };
    gic::enable();
    let taken = test.recall();
    if taken == 0 {
        test.first_life();
    }
    test.use_conduit(guest.psci.conduit);
    test.lives(taken);
    test.finish();
}

/// The numbers, in hexadecimal, that the bundle has written behind `key` into the boot arguments.
fn chosen(guest: &Guest, key: &str) -> impl Iterator<Item = u64> + use<> {
    let words = guest.fdt.bootarg(key).into_iter();
    words
        .flat_map(|words| words.split(','))
        .map(|word| u64::from_str_radix(word, 16).expect("a number in the boot arguments"))
}

impl Test {
    fn call(&self, function: u64, x1: u64, x2: u64, x3: u64) -> i64 {
        self.conduit.call3(function, x1, x2, x3) as i64
    }

    fn features(&self, function: u64) -> i64 {
        self.call(FEATURES, function, 0, 0)
    }

    /// Everything that needs no reset.
    fn first_life(&mut self) {
        self.device_tree();
        // Both conduits reach the firmware, whatever the device tree names.
        let conduits = match self.guest.fdt.bootarg("conduit=") {
            Some("hvc") => &[Conduit::Hvc][..],
            Some("smc") => &[Conduit::Smc][..],
            _ => &[Conduit::Hvc, Conduit::Smc][..],
        };
        for conduit in conduits {
            self.use_conduit(*conduit);
            self.all();
        }
    }

    fn use_conduit(&mut self, conduit: Conduit) {
        self.conduit = conduit;
        self.psci.conduit = conduit;
        life::CPU_OFF.store(self.psci.cpu_off, Ordering::SeqCst);
        CONDUIT_IS_SMC.store(conduit == Conduit::Smc, Ordering::SeqCst);
    }

    /// The plan, and the end where SYSTEM_OFF is not the only one.
    fn finish(self) {
        let hibernate = self.hibernate();
        self.tap.finish();
        if let Some((id, kind)) = hibernate {
            let result = self.conduit.call3(id, kind, 0, 0);
            panic!("SYSTEM_OFF2 {id:#x} of type {kind} does not turn off, got {result:#x}");
        }
    }

    fn all(&mut self) {
        self.unknown_functions();
        if self.version == 1 {
            self.version_0_1();
        } else {
            self.psci_version();
            self.function_table();
            self.hidden_functions();
            self.affinity_info();
            self.migrate();
            self.suspend_standby();
            self.power_down_abandoned();
            self.optional_functions();
            self.smccc();
        }
        if self.version != 1 && !self.on_qemu {
            self.sleeps();
        }
        self.cpu_on_errors();
        if self.guest.cpus > 1 {
            self.cpu_on_state();
            self.on_and_off();
            if self.version != 1 && !self.on_qemu {
                self.interrupts_of_a_new_life();
                self.power_down();
                if self.version >= V1_0 {
                    self.freezes();
                    if self.features(BASE64 + 0x11) == 0 {
                        self.time_off_is_counted();
                    }
                }
            }
        }
        if self.guest.cpus > 2 {
            self.race();
        }
        if self.version >= V1_0 && !self.on_qemu {
            self.suspend_modes();
        }
    }

    /// The affinity of the CPU with that index.
    fn target(&self, index: usize) -> u64 {
        cpu::affinity() & !0xff | index as u64
    }

    fn absent_cpu(&self) -> u64 {
        self.target(self.guest.cpus)
    }
}

/// The conduit of the calls now, for CPUs that have no `Test` at hand.
static CONDUIT_IS_SMC: AtomicBool = AtomicBool::new(false);

fn conduit() -> Conduit {
    if CONDUIT_IS_SMC.load(Ordering::SeqCst) {
        Conduit::Smc
    } else {
        Conduit::Hvc
    }
}
