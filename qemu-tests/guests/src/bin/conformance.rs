//! PSCI (DEN0022) and SMCCC (DEN0028) by their rules, one check each, for the version that `psci=V` in the boot arguments names. The
//! expected values are those of the specification; the table below is typed from it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

    use guests::{
        bare::{
            Guest, Tap, boot, cpu, gic, mmio,
            smccc::{self, Conduit, Psci},
        },
        guest_main, mrs, msr,
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

    /// Whether a function must be there from its first version on.
    #[derive(Clone, Copy, PartialEq)]
    enum Need {
        Mandatory,
        Optional,
    }
    use Need::{Mandatory, Optional};

    /// Name, number, whether it has a 64-bit form too, first version (minor of 0.2 to 1.3 as in the version word), need.
    struct Function(&'static str, u64, bool, u32, Need);

    const V0_2: u32 = 0x2;
    const V1_0: u32 = 0x1_0000;
    const V1_1: u32 = 0x1_0001;
    const V1_3: u32 = 0x1_0003;

    const FUNCTIONS: [Function; 22] = [
        Function("PSCI_VERSION", 0x00, false, V0_2, Mandatory),
        Function("CPU_SUSPEND", 0x01, true, V0_2, Mandatory),
        Function("CPU_OFF", 0x02, false, V0_2, Mandatory),
        Function("CPU_ON", 0x03, true, V0_2, Mandatory),
        Function("AFFINITY_INFO", 0x04, true, V0_2, Mandatory),
        Function("MIGRATE", 0x05, true, V0_2, Optional),
        Function("MIGRATE_INFO_TYPE", 0x06, false, V0_2, Optional),
        Function("MIGRATE_INFO_UP_CPU", 0x07, true, V0_2, Optional),
        Function("SYSTEM_OFF", 0x08, false, V0_2, Mandatory),
        Function("SYSTEM_RESET", 0x09, false, V0_2, Mandatory),
        Function("PSCI_FEATURES", 0x0a, false, V1_0, Mandatory),
        Function("CPU_FREEZE", 0x0b, false, V1_0, Optional),
        Function("CPU_DEFAULT_SUSPEND", 0x0c, true, V1_0, Optional),
        Function("NODE_HW_STATE", 0x0d, true, V1_0, Optional),
        Function("SYSTEM_SUSPEND", 0x0e, true, V1_0, Optional),
        Function("PSCI_SET_SUSPEND_MODE", 0x0f, false, V1_0, Optional),
        Function("PSCI_STAT_RESIDENCY", 0x10, true, V1_0, Optional),
        Function("PSCI_STAT_COUNT", 0x11, true, V1_0, Optional),
        Function("SYSTEM_RESET2", 0x12, true, V1_1, Optional),
        Function("MEM_PROTECT", 0x13, false, V1_1, Optional),
        Function("MEM_PROTECT_CHECK_RANGE", 0x14, true, V1_1, Optional),
        Function("SYSTEM_OFF2", 0x15, true, V1_3, Optional),
    ];

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

    static CONDUIT_IS_SMC: AtomicU32 = AtomicU32::new(0);

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
        test.device_tree();
        // Both conduits reach the firmware, whatever the device tree names.
        let conduits = match guest.fdt.bootarg("conduit=") {
            Some("hvc") => &[Conduit::Hvc][..],
            Some("smc") => &[Conduit::Smc][..],
            _ => &[Conduit::Hvc, Conduit::Smc][..],
        };
        gic::enable();
        for conduit in conduits {
            test.conduit = *conduit;
            test.psci.conduit = *conduit;
            CPU_OFF.store(guest.psci.cpu_off, Ordering::SeqCst);
            CONDUIT_IS_SMC.store((*conduit == Conduit::Smc).into(), Ordering::SeqCst);
            test.all();
        }
        test.tap.finish();
    }

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

    impl Test {
        fn call(&self, function: u64, x1: u64, x2: u64, x3: u64) -> i64 {
            self.conduit.call3(function, x1, x2, x3) as i64
        }

        fn features(&self, function: u64) -> i64 {
            self.call(FEATURES, function, 0, 0)
        }

        fn all(&mut self) {
            self.unknown_functions();
            if self.version == 1 {
                self.version_0_1();
            } else {
                self.psci_version();
                self.function_table();
                self.affinity_info();
                self.migrate();
                self.suspend_standby();
                self.power_down_abandoned();
                self.optional_functions();
                self.smccc();
            }
            self.cpu_on_errors();
            if self.guest.cpus > 1 {
                self.cpu_on_state();
                self.on_and_off();
                if self.version != 1 && !self.on_qemu {
                    self.interrupts_of_a_new_life();
                    self.power_down();
                }
            }
            if self.guest.cpus > 2 {
                self.race();
            }
        }

        /// The `/psci` node of each version (Linux, Documentation/devicetree/bindings/arm/psci.yaml).
        fn device_tree(&mut self) {
            let fdt = self.guest.fdt;
            let compatible = fdt.property("/psci", "compatible").unwrap_or_default();
            let wanted: &[&[u8]] = match self.version {
                1 => &[b"arm,psci\0"],
                V0_2 => &[b"arm,psci-0.2\0", b"arm,psci-0.2\0arm,psci\0"],
                _ => &[
                    b"arm,psci-1.0\0arm,psci-0.2\0",
                    b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0",
                ],
            };
            check!(
                self,
                wanted.contains(&compatible),
                "DT: compatible strings of /psci"
            );
            let method = fdt.property("/psci", "method");
            let wanted: &[u8] = match fdt.bootarg("method=") {
                Some("smc") => b"smc\0",
                _ => b"hvc\0",
            };
            check!(
                self,
                method == Some(wanted),
                "DT: method is the configured one"
            );
            check!(
                self,
                fdt.all_have("/cpus/cpu", "enable-method", b"psci\0"),
                "DT: every CPU has the enable-method psci"
            );
            let cpus = fdt
                .bootarg("cpus=")
                .and_then(|n| n.parse().ok())
                .unwrap_or(1);
            check!(
                self,
                self.guest.cpus == cpus,
                "DT: as many CPUs as configured"
            );
            if self.version == 1 {
                let id = |name| fdt.property_u32("/psci", name);
                check!(
                    self,
                    id("cpu_on").is_some() && id("cpu_off").is_some(),
                    "DT: cpu_on and cpu_off of 0.1 have ids"
                );
            }
        }

        /// Ids that no version has, and 64-bit forms that do not exist: NOT_SUPPORTED in all 64 bits, and nothing but x0 changes.
        fn unknown_functions(&mut self) {
            for id in (0x16..0x20).flat_map(|n| [BASE32 + n, BASE64 + n]) {
                self.is_unknown(id, "reserved PSCI function");
            }
            for Function(name, number, wide, ..) in FUNCTIONS {
                if !wide {
                    self.is_unknown(BASE64 + number, name);
                }
            }
            if self.version == 1 {
                for number in 0..0x20 {
                    self.is_unknown(BASE32 + number, "standard id in 0.1");
                    self.is_unknown(BASE64 + number, "standard id in 0.1");
                }
            } else if !self.on_qemu {
                // The ids that KVM and QEMU give to 0.1; QEMU serves them always.
                for id in 0x95c1_ba5e..=0x95c1_ba61 {
                    self.is_unknown(id, "id of 0.1");
                }
            }
        }

        fn is_unknown(&mut self, id: u64, name: &str) {
            let before = smccc::pattern(id);
            let after = self.conduit.call(before);
            let unchanged = after[1..] == before[1..];
            check!(
                self,
                after[0] as i64 == NOT_SUPPORTED && unchanged,
                "{name} {id:#x} is NOT_SUPPORTED and changes only x0"
            );
        }

        fn psci_version(&mut self) {
            let before = smccc::pattern(BASE32);
            let after = self.conduit.call(before);
            returns!(
                self,
                after[0] as i64,
                self.version.into(),
                "PSCI_VERSION: the configured version"
            );
            check!(
                self,
                after[1..] == before[1..],
                "PSCI_VERSION: only x0 changes"
            );
            let junk = self.call(0xdead_beef_0000_0000 | BASE32, 0, 0, 0);
            returns!(
                self,
                junk,
                self.version.into(),
                "PSCI_VERSION: x0[63:32] is ignored"
            );
        }

        /// Presence by version: absent functions are NOT_SUPPORTED by FEATURES and by the call; mandatory ones are there; optional ones
        /// are told alike by FEATURES and by the call.
        fn function_table(&mut self) {
            for Function(name, number, wide, since, need) in FUNCTIONS {
                for id in [Some(BASE32 + number), wide.then_some(BASE64 + number)]
                    .into_iter()
                    .flatten()
                {
                    let absent = self.version < since;
                    if absent {
                        self.is_unknown(id, name);
                    }
                    if self.version < V1_0 {
                        continue; // no PSCI_FEATURES: it is one of the absent
                    }
                    let feature = self.features(id);
                    let word = match number {
                        0x01 => feature & !3, // extended StateID, OS-initiated
                        0x15 => feature & !1, // HIBERNATE_OFF
                        _ => feature,
                    };
                    if absent {
                        returns!(
                            self,
                            feature,
                            NOT_SUPPORTED,
                            "FEATURES({name} {id:#x}): absent in this version"
                        );
                    } else if need == Mandatory {
                        returns!(self, word, 0, "FEATURES({name} {id:#x}): mandatory");
                    } else {
                        check!(
                            self,
                            word == 0 || feature == NOT_SUPPORTED,
                            "FEATURES({name} {id:#x}): 0 or NOT_SUPPORTED, got {feature}"
                        );
                        if feature == NOT_SUPPORTED {
                            let result = self.call(id, 0, 0, 0);
                            check!(
                                self,
                                result == NOT_SUPPORTED
                                    || number == 7 && result == INVALID_PARAMETERS,
                                "{name} {id:#x}: not in FEATURES, so NOT_SUPPORTED; got {result}"
                            );
                        }
                    }
                }
            }
            if self.version >= V1_0 {
                for id in [
                    BASE64,
                    BASE64 + 2,
                    BASE64 + 0xa,
                    BASE32 + 0x16,
                    BASE64 + 0x1f,
                    0x8600_beef,
                    0,
                    0x95c1_ba60,
                ] {
                    returns!(
                        self,
                        self.features(id),
                        NOT_SUPPORTED,
                        "FEATURES({id:#x}): unknown"
                    );
                }
                returns!(
                    self,
                    self.features(SMCCC_VERSION),
                    0,
                    "FEATURES(SMCCC_VERSION): present"
                );
                returns!(
                    self,
                    self.features(0xffff_ffff_8400_0000),
                    0,
                    "FEATURES: x1[63:32] is ignored"
                );
            }
        }

        /// The affinity of the CPU with that index.
        fn target(&self, index: usize) -> u64 {
            cpu::affinity() & !0xff | index as u64
        }

        fn absent_cpu(&self) -> u64 {
            self.target(self.guest.cpus)
        }

        fn affinity_info(&mut self) {
            let me = cpu::affinity();
            for (base, form) in [(BASE32, "32"), (BASE64, "64")] {
                let id = base + 4;
                returns!(
                    self,
                    self.call(id, me, 0, 0),
                    ON,
                    "AFFINITY_INFO{form}: the caller is ON"
                );
                for index in 1..self.guest.cpus {
                    returns!(
                        self,
                        self.call(id, self.target(index), 0, 0),
                        OFF,
                        "AFFINITY_INFO{form}: CPU {index} is OFF before CPU_ON"
                    );
                }
                returns!(
                    self,
                    self.call(id, self.absent_cpu(), 0, 0),
                    INVALID_PARAMETERS,
                    "AFFINITY_INFO{form}: a CPU that is not there"
                );
                for bit in [24, 31] {
                    returns!(
                        self,
                        self.call(id, me | 1 << bit, 0, 0),
                        INVALID_PARAMETERS,
                        "AFFINITY_INFO{form}: reserved bit {bit}"
                    );
                }
                for level in [3, 4, 0xff, 0x8000_0000, 0xffff_ffff] {
                    returns!(
                        self,
                        self.call(id, me, level, 0),
                        INVALID_PARAMETERS,
                        "AFFINITY_INFO{form}: level {level:#x} is too high"
                    );
                }
                for level in [1, 2] {
                    // Fields below the level are ignored; from 1.0 on levels above 0 may be refused (DEN0022 5.7).
                    let result = self.call(id, me | 0xe1, level, 0);
                    check!(
                        self,
                        result == ON || self.version >= V1_0 && result == INVALID_PARAMETERS,
                        "AFFINITY_INFO{form}: level {level} with junk below it, got {result}"
                    );
                }
            }
            for bit in [32, 40, 63] {
                returns!(
                    self,
                    self.call(BASE64 + 4, me | 1 << bit, 0, 0),
                    INVALID_PARAMETERS,
                    "AFFINITY_INFO64: bit {bit}"
                );
            }
            let junk = 0xffff_ffff_0000_0000;
            returns!(
                self,
                self.call(BASE32 + 4, me | junk, junk, 0),
                ON,
                "AFFINITY_INFO32: upper halves are ignored"
            );
            let before = {
                let mut registers = smccc::pattern(BASE64 + 4);
                registers[1] = self.absent_cpu();
                registers
            };
            check!(
                self,
                self.conduit.call(before)[1..] == before[1..],
                "AFFINITY_INFO64: an error changes only x0"
            );
        }

        fn migrate(&mut self) {
            let kind = self.call(BASE32 + 6, 0, 0, 0);
            check!(
                self,
                kind == 2 || kind == NOT_SUPPORTED,
                "MIGRATE_INFO_TYPE: 2 or NOT_SUPPORTED, got {kind}"
            );
            for base in [BASE32, BASE64] {
                returns!(
                    self,
                    self.call(base + 5, cpu::affinity(), 0, 0),
                    NOT_SUPPORTED,
                    "MIGRATE {:#x}: no trusted OS",
                    base + 5
                );
                let up = self.call(base + 7, 0, 0, 0);
                check!(
                    self,
                    up == NOT_SUPPORTED || up == INVALID_PARAMETERS,
                    "MIGRATE_INFO_UP_CPU {:#x}: fails, got {up}",
                    base + 7
                );
            }
        }

        /// Standby: returns 0 with every register kept when an interrupt is pending, masked or not; reserved bits are refused.
        fn suspend_standby(&mut self) {
            for base in [BASE32, BASE64] {
                let id = base + 1;
                gic::set_virtual_timer(cpu::ms(5));
                let mut before = smccc::pattern(id);
                before[1] = 0;
                let after = self.conduit.call(before);
                let fired = gic::pending() == gic::VIRTUAL_TIMER;
                msr!("cntv_ctl_el0", 0);
                cpu::isb();
                returns!(
                    self,
                    after[0] as i64,
                    SUCCESS,
                    "CPU_SUSPEND {id:#x}: standby ends with an interrupt"
                );
                check!(
                    self,
                    after[1..] == before[1..],
                    "CPU_SUSPEND {id:#x}: standby keeps registers"
                );
                check!(
                    self,
                    fired,
                    "CPU_SUSPEND {id:#x}: the interrupt is pending when standby ends"
                );
                // Must-be-zero bits of the format that FEATURES tells (original below 1.0).
                let extended = self.version >= V1_0 && self.features(id) & 2 != 0;
                let reserved: &[u64] = if extended {
                    &[28, 29, 31]
                } else {
                    &[17, 23, 26, 31]
                };
                for bit in reserved {
                    returns!(
                        self,
                        self.call(id, 1 << bit, 0, 0),
                        INVALID_PARAMETERS,
                        "CPU_SUSPEND {id:#x}: power_state bit {bit} is reserved"
                    );
                }
            }
        }

        /// A power-down when an interrupt is there already: returns 0 with every register kept. A bad entry point is told.
        fn power_down_abandoned(&mut self) {
            let bad_entry = match self.version {
                V0_2 => INVALID_PARAMETERS,
                _ => INVALID_ADDRESS,
            };
            for base in [BASE32, BASE64] {
                let id = base + 1;
                gic::set_virtual_timer(0);
                let mut before = smccc::pattern(id);
                (before[1], before[2]) = (1 << 16, boot::entry_point());
                let after = self.conduit.call(before);
                returns!(
                    self,
                    after[0] as i64,
                    SUCCESS,
                    "CPU_SUSPEND {id:#x}: a power-down is abandoned when an interrupt is pending"
                );
                check!(
                    self,
                    after[1..] == before[1..],
                    "CPU_SUSPEND {id:#x}: an abandoned power-down keeps registers"
                );
                for entry in [0, boot::entry_point() | 1] {
                    if !self.on_qemu {
                        returns!(
                            self,
                            self.call(id, 1 << 16, entry, 0),
                            bad_entry,
                            "CPU_SUSPEND {id:#x}: power-down to {entry:#x}"
                        );
                    }
                }
                msr!("cntv_ctl_el0", 0);
                cpu::isb();
            }
        }

        /// CPU 1 powers down and its virtual timer wakes it: it arrives like one that was turned on, and was ON all the time.
        fn power_down(&mut self) {
            let starts = boot::starts(1);
            self.turn_on(BASE64 + 3, 1, 0);
            cpu::wait_until(5000, || boot::starts(1) > starts);
            boot::clear_entry_record(1);
            let starts = boot::starts(1);
            WAKE_AT.store(u64::MAX, Ordering::Release);
            ANNOUNCED.store(false, Ordering::Release);
            boot::give_work(1, power_down);
            ANNOUNCED.store(true, Ordering::Release);
            cpu::wait_until(50, || false);
            // Whoever looks later than the timer, on a busy host, cannot tell.
            let early = boot::starts(1) > starts && cpu::now() < WAKE_AT.load(Ordering::Acquire);
            check!(
                self,
                !early,
                "CPU_SUSPEND: power-down lasts until an interrupt"
            );
            self.while_powered_down();
            check!(
                self,
                cpu::wait_until(25_000, || boot::starts(1) > starts),
                "CPU_SUSPEND: the virtual timer ends a power-down"
            );
            let record = boot::entry_record(1);
            returns!(
                self,
                record.x[0] as i64,
                POWER_DOWN_CONTEXT as i64,
                "CPU_SUSPEND: x0 is the context id after power-down"
            );
            check!(
                self,
                record.x[1..].iter().all(|x| *x == 0),
                "CPU_SUSPEND: x1 to x30 are zero after power-down"
            );
            check!(
                self,
                record.daif == 0x3c0 && record.current_el == 4 && record.sp_sel == 1,
                "CPU_SUSPEND: at EL1h with all masked after power-down"
            );
            returns!(
                self,
                (record.sctlr & (1 | 1 << 2 | 1 << 12 | 1 << 25)) as i64,
                0,
                "CPU_SUSPEND: MMU and caches are off after power-down"
            );
            if self.version >= V1_0 && self.features(BASE64 + 0x11) == 0 {
                let used = self.call(BASE64 + 0x11, self.target(1), 1 << 16, 0);
                check!(
                    self,
                    used >= 1,
                    "PSCI_STAT_COUNT: power-down has been used, got {used}"
                );
                let spent = self.call(BASE64 + 0x10, self.target(1), 1 << 16, 0);
                check!(
                    self,
                    spent >= 50_000,
                    "PSCI_STAT_RESIDENCY: 50 ms of power-down and more, got {spent} us"
                );
            }
            check!(self, self.turn_off(1), "CPU_OFF: after power-down");
        }

        /// What others are told of CPU 1 meanwhile.
        fn while_powered_down(&mut self) {
            let (target, entry) = (self.target(1), boot::entry_point());
            if self.version >= V1_0 && self.features(BASE64 + 0xd) == 0 {
                check!(
                    self,
                    cpu::wait_until(5000, || self.call(BASE64 + 0xd, target, 0, 0) == 1
                        || cpu::now() >= WAKE_AT.load(Ordering::Acquire)),
                    "NODE_HW_STATE: a CPU in power-down is HW_OFF"
                );
            }
            returns!(
                self,
                self.call(BASE64 + 4, target, 0, 0),
                ON,
                "AFFINITY_INFO: a CPU in power-down is ON"
            );
            returns!(
                self,
                self.call(BASE64 + 3, target, entry, 1),
                ALREADY_ON,
                "CPU_ON: a CPU in power-down is ALREADY_ON"
            );
            if self.version < V1_0 {
                return;
            }
            if self.features(BASE64 + 0xe) == 0 {
                returns!(
                    self,
                    self.call(BASE64 + 0xe, entry, 0, 0),
                    DENIED,
                    "SYSTEM_SUSPEND: DENIED while another CPU is in power-down"
                );
            }
        }

        /// Optional functions that this firmware has: their argument errors.
        fn optional_functions(&mut self) {
            if self.version < V1_0 {
                return;
            }
            let me = cpu::affinity();
            for base in [BASE32, BASE64] {
                if self.features(base + 0xd) == 0 {
                    returns!(
                        self,
                        self.call(base + 0xd, me, 0, 0),
                        0,
                        "NODE_HW_STATE {base:#x}: the caller is HW_ON"
                    );
                    returns!(
                        self,
                        self.call(base + 0xd, self.absent_cpu(), 0, 0),
                        INVALID_PARAMETERS,
                        "NODE_HW_STATE {base:#x}: no such CPU"
                    );
                    returns!(
                        self,
                        self.call(base + 0xd, me, 9, 0),
                        INVALID_PARAMETERS,
                        "NODE_HW_STATE {base:#x}: level too high"
                    );
                }
                if self.version >= V1_1 && self.features(base + 0x12) == 0 {
                    for kind in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
                        returns!(
                            self,
                            self.call(base + 0x12, kind, 0, 0),
                            INVALID_PARAMETERS,
                            "SYSTEM_RESET2 {base:#x}: type {kind:#x}"
                        );
                    }
                }
                if self.version >= V1_3 && self.features(base + 0x15) >= 0 {
                    for (kind, cookie) in [(2, 0), (0x8000_0000, 0), (1, 1)] {
                        returns!(
                            self,
                            self.call(base + 0x15, kind, cookie, 0),
                            INVALID_PARAMETERS,
                            "SYSTEM_OFF2 {base:#x}: type {kind:#x}, cookie {cookie}"
                        );
                    }
                }
            }
            if self.version >= V1_1 && self.features(BASE64 + 0x14) == 0 {
                let (ram, size) = self.guest.fdt.memory().unwrap_or_default();
                for (base, length, wanted, text) in [
                    (ram, size, SUCCESS, "all memory"),
                    (ram + size - 1, 1, SUCCESS, "the last byte"),
                    (ram, 0, DENIED, "length 0"),
                    (ram, size + 1, DENIED, "a byte too many"),
                    (ram - 1, 2, DENIED, "a byte before memory"),
                    (ram, !0, DENIED, "wrap-around"),
                    (0x0900_0000, 8, DENIED, "a device"),
                ] {
                    returns!(
                        self,
                        self.call(BASE64 + 0x14, base, length, 0),
                        wanted,
                        "MEM_PROTECT_CHECK_RANGE64: {text}"
                    );
                }
            }
            if self.features(BASE32 + 0xf) == 0 {
                returns!(
                    self,
                    self.call(BASE32 + 0xf, 2, 0, 0),
                    INVALID_PARAMETERS,
                    "PSCI_SET_SUSPEND_MODE: mode 2"
                );
                returns!(
                    self,
                    self.call(BASE32 + 0xf, 0, 0, 0),
                    SUCCESS,
                    "PSCI_SET_SUSPEND_MODE: the mode that is set"
                );
            }
        }

        /// SMCCC_VERSION is there when PSCI_FEATURES says so; ARCH_FEATURES knows itself; TRNG refuses bad sizes.
        fn smccc(&mut self) {
            let version = self.call(SMCCC_VERSION, 0, 0, 0);
            check!(
                self,
                (0x1_0001..0x2_0000).contains(&version),
                "SMCCC_VERSION: 1.1 or later, got {version:#x}"
            );
            returns!(
                self,
                self.call(0x8000_0001, SMCCC_VERSION, 0, 0),
                0,
                "SMCCC_ARCH_FEATURES(SMCCC_VERSION)"
            );
            returns!(
                self,
                self.call(0x8000_0001, 0x8000_0001, 0, 0),
                0,
                "SMCCC_ARCH_FEATURES(SMCCC_ARCH_FEATURES)"
            );
            returns!(
                self,
                self.call(0x8000_0001, 0x8000_7777, 0, 0),
                NOT_SUPPORTED,
                "SMCCC_ARCH_FEATURES of an unknown id"
            );
            returns!(
                self,
                self.call(0x8400_ff01, 0, 0, 0),
                NOT_SUPPORTED,
                "no UID of another firmware in the standard range"
            );
            if self.call(0x8400_0050, 0, 0, 0) >= 0 {
                for (id, bits) in [
                    (0x8400_0053, 0),
                    (0x8400_0053, 97),
                    (0xc400_0053, 0),
                    (0xc400_0053, 193),
                ] {
                    returns!(
                        self,
                        self.call(id, bits, 0, 0),
                        INVALID_PARAMETERS,
                        "TRNG_RND {id:#x}: {bits} bits"
                    );
                }
            }
        }

        /// 0.1: ids by device tree, CPU_SUSPEND and MIGRATE may be refused.
        fn version_0_1(&mut self) {
            let psci = self.psci;
            check!(
                self,
                psci.cpu_on != psci.cpu_off,
                "CPU_ON and CPU_OFF have different ids"
            );
            if let Some(migrate) = psci.migrate {
                returns!(
                    self,
                    self.call(migrate.into(), 0, 0, 0),
                    NOT_SUPPORTED,
                    "MIGRATE: no trusted OS"
                );
            }
            if let Some(suspend) = psci.cpu_suspend {
                gic::set_virtual_timer(cpu::ms(5));
                let result = self.call(suspend.into(), 0, 0, 0);
                msr!("cntv_ctl_el0", 0);
                cpu::isb();
                check!(
                    self,
                    result == SUCCESS || result == NOT_SUPPORTED,
                    "CPU_SUSPEND: standby or NOT_SUPPORTED, got {result}"
                );
            }
        }

        /// The ids of CPU_ON in this version.
        fn cpu_on_ids(&self) -> [Option<u64>; 2] {
            if self.version == 1 {
                [Some(self.psci.cpu_on), None]
            } else {
                [Some(BASE32 + 3), Some(BASE64 + 3)]
            }
        }

        /// Errors in the order CPU, entry point, state.
        fn cpu_on_errors(&mut self) {
            let (entry, me) = (boot::entry_point(), cpu::affinity());
            let (bad_entry, already_on) = match self.version {
                1 => (INVALID_PARAMETERS, INVALID_PARAMETERS),
                V0_2 => (INVALID_PARAMETERS, ALREADY_ON),
                _ => (INVALID_ADDRESS, ALREADY_ON),
            };
            let (ram, size) = self.guest.fdt.memory().unwrap_or_default();
            for id in self.cpu_on_ids().into_iter().flatten() {
                returns!(
                    self,
                    self.call(id, self.absent_cpu(), entry, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON {id:#x}: a CPU that is not there"
                );
                returns!(
                    self,
                    self.call(id, me | 0x1_0000, entry, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON {id:#x}: another Aff2"
                );
                returns!(
                    self,
                    self.call(id, me | 0x100, entry, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON {id:#x}: another Aff1"
                );
                returns!(
                    self,
                    self.call(id, me ^ 0x10, entry, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON {id:#x}: Aff0 of 16 and more"
                );
                for bit in [24, 31] {
                    returns!(
                        self,
                        self.call(id, me | 1 << bit, entry, 0),
                        INVALID_PARAMETERS,
                        "CPU_ON {id:#x}: reserved bit {bit}"
                    );
                }
                returns!(
                    self,
                    self.call(id, self.absent_cpu(), entry | 1, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON {id:#x}: the CPU is checked before the entry"
                );
                returns!(
                    self,
                    self.call(id, me, entry, 0),
                    already_on,
                    "CPU_ON {id:#x}: the caller is on"
                );
                if self.guest.cpus == 1 || self.on_qemu {
                    continue;
                }
                let target = self.target(1);
                for (bad, text) in [
                    (entry | 1, "bit 0"),
                    (entry | 2, "bit 1"),
                    (0, "no memory there"),
                    (ram - 4, "before memory"),
                    (ram + size, "behind memory"),
                    (0x0900_0000, "a device"),
                ] {
                    returns!(
                        self,
                        self.call(id, target, bad, 0),
                        bad_entry,
                        "CPU_ON {id:#x}: bad entry, {text}"
                    );
                }
            }
            if self.version != 1 {
                for bit in [32, 39, 40, 63] {
                    returns!(
                        self,
                        self.call(BASE64 + 3, me | 1 << bit, entry, 0),
                        INVALID_PARAMETERS,
                        "CPU_ON64: target bit {bit}"
                    );
                }
            }
            if self.guest.cpus > 1 {
                let state = if self.version == 1 {
                    OFF
                } else {
                    self.call(BASE64 + 4, self.target(1), 0, 0)
                };
                returns!(
                    self,
                    state,
                    OFF,
                    "CPU_ON: its failures leave the target off"
                );
            }
        }

        fn is_off(&self, index: usize) -> bool {
            self.version == 1
                || cpu::wait_until(5000, || {
                    self.call(BASE64 + 4, self.target(index), 0, 0) == OFF
                })
        }

        /// Has that CPU, which is on and idle, turn itself off, and waits until CPU_ON would work.
        fn turn_off(&self, index: usize) -> bool {
            boot::give_work(index, cpu_off);
            self.is_off(index)
        }

        /// Turns a CPU on; 0.1 has no AFFINITY_INFO, so there CPU_ON is tried until the former life is over.
        fn turn_on(&self, id: u64, index: usize, context: u64) -> i64 {
            let mut result = self.call(id, self.target(index), boot::entry_point(), context);
            if self.version == 1 {
                cpu::wait_until(5000, || {
                    if result == INVALID_PARAMETERS {
                        result = self.call(id, self.target(index), boot::entry_point(), context);
                    }
                    result != INVALID_PARAMETERS
                });
            }
            result
        }

        /// DEN0022 6.4: the state in which a CPU arrives.
        fn cpu_on_state(&mut self) {
            for id in self.cpu_on_ids().into_iter().flatten() {
                let narrow = id == BASE32 + 3;
                let context = 0xfeed_f00d_dead_c0de;
                boot::clear_entry_record(1);
                let starts = boot::starts(1);
                // A 32-bit call takes the lower halves alone.
                let junk = if narrow && !self.on_qemu {
                    0xffff_ffff_0000_0000
                } else {
                    0
                };
                let result = if narrow {
                    self.call(
                        id,
                        self.target(1) | junk,
                        boot::entry_point() | junk,
                        context,
                    )
                } else {
                    self.turn_on(id, 1, context)
                };
                returns!(self, result, SUCCESS, "CPU_ON {id:#x}: SUCCESS");
                check!(
                    self,
                    cpu::wait_until(5000, || boot::starts(1) > starts),
                    "CPU_ON {id:#x}: the CPU arrives"
                );
                let record = boot::entry_record(1);
                let wanted = if narrow {
                    context & 0xffff_ffff
                } else {
                    context
                };
                returns!(
                    self,
                    record.x[0] as i64,
                    wanted as i64,
                    "CPU_ON {id:#x}: x0 is the context id"
                );
                check!(
                    self,
                    record.x[1..].iter().all(|x| *x == 0),
                    "CPU_ON {id:#x}: x1 to x30 are zero"
                );
                returns!(self, record.current_el as i64, 4, "CPU_ON {id:#x}: at EL1");
                returns!(self, record.sp_sel as i64, 1, "CPU_ON {id:#x}: with SP_EL1");
                returns!(
                    self,
                    record.daif as i64,
                    0x3c0,
                    "CPU_ON {id:#x}: D, A, I and F are masked"
                );
                // M, C, I; EE and E0E as the caller has them: little-endian.
                returns!(
                    self,
                    (record.sctlr & (1 | 1 << 2 | 1 << 12 | 1 << 25)) as i64,
                    0,
                    "CPU_ON {id:#x}: MMU and caches are off, endianness is the caller's"
                );
                returns!(
                    self,
                    (record.mpidr & 0xff_00ff_ffff) as i64,
                    self.target(1) as i64,
                    "CPU_ON {id:#x}: MPIDR is the target's"
                );
                check!(
                    self,
                    record.cntv_ctl & 1 == 0 && record.cntp_ctl & 1 == 0,
                    "CPU_ON {id:#x}: the timers are off"
                );
                check!(
                    self,
                    record.cntfrq == mrs!("cntfrq_el0"),
                    "CPU_ON {id:#x}: CNTFRQ is valid"
                );
                if self.version != 1 {
                    returns!(
                        self,
                        self.call(BASE64 + 4, self.target(1), 0, 0),
                        ON,
                        "AFFINITY_INFO: ON after CPU_ON {id:#x}"
                    );
                    returns!(
                        self,
                        self.call(id, self.target(1), boot::entry_point(), 0),
                        ALREADY_ON,
                        "CPU_ON {id:#x}: ALREADY_ON"
                    );
                    returns!(
                        self,
                        self.call(id, self.target(1), boot::entry_point() | 1, 0),
                        if self.version == V0_2 {
                            INVALID_PARAMETERS
                        } else {
                            INVALID_ADDRESS
                        },
                        "CPU_ON {id:#x}: the entry is checked before the state"
                    );
                } else {
                    returns!(
                        self,
                        self.call(id, self.target(1), boot::entry_point(), 0),
                        INVALID_PARAMETERS,
                        "CPU_ON {id:#x}: a CPU that is on"
                    );
                }
                check!(
                    self,
                    boot::starts(1) == starts + 1,
                    "CPU_ON {id:#x}: failed calls start nothing"
                );
                // What a former life leaves behind: timers on, exceptions unmasked.
                boot::give_work(1, leave_a_mess);
                check!(self, self.is_off(1), "CPU_OFF: AFFINITY_INFO becomes OFF");
            }
        }

        /// Every CPU off and on again, many times, each with its own context id.
        fn on_and_off(&mut self) {
            let id = if self.version == 1 {
                self.psci.cpu_on
            } else {
                BASE64 + 3
            };
            let mut good = true;
            for round in 0..20u64 {
                for index in 1..self.guest.cpus {
                    let (starts, context) = (boot::starts(index), round << 32 | index as u64);
                    good &= self.turn_on(id, index, context) == SUCCESS;
                    good &= cpu::wait_until(5000, || boot::starts(index) > starts);
                    good &= boot::entry_record(index).x[0] == context;
                }
                for index in 1..self.guest.cpus {
                    good &= self.turn_off(index);
                }
                if !good {
                    break;
                }
            }
            check!(self, good, "CPU_OFF, CPU_ON: 20 rounds with every CPU");
        }

        /// A CPU that comes on finds nothing of its former life pending, and what was sent to it while it was off.
        fn interrupts_of_a_new_life(&mut self) {
            let starts = boot::starts(1);
            self.turn_on(BASE64 + 3, 1, 0);
            cpu::wait_until(5000, || boot::starts(1) > starts);
            boot::give_work(1, leave_with_a_tick);
            let off = self.is_off(1);
            // The redistributor outlives its CPU: SGIs and the virtual timer are enabled, and an SGI is sent. With a GICv2 the
            // private interrupts are out of others' reach.
            cpu::wait_until(20, || false);
            if !gic::is_v2() {
                let rd = gic::GICR + gic::GICR_STRIDE;
                mmio::write32(rd + 0x1_0080, !0);
                mmio::write32(rd + 0x1_0100, 0xffff | 1 << gic::VIRTUAL_TIMER);
            }
            TAKEN[1].store(0, Ordering::Release);
            boot::give_work(1, take_two);
            self.turn_on(BASE64 + 3, 1, 0);
            check!(
                self,
                off && cpu::wait_until(5000, || TAKEN[1].load(Ordering::Acquire) != 0),
                "CPU_ON: a CPU to which an SGI was sent while it was off"
            );
            let taken = [0, 1].map(|n| TAKEN[n].load(Ordering::Acquire) as i64);
            returns!(self, taken[0], 1, "CPU_ON: ... takes the SGI");
            returns!(self, taken[1], 1023, "CPU_ON: ... and no tick of before");
            self.turn_off(1);
        }

        /// All other CPUs at once turn on the last one: one SUCCESS, the others ALREADY_ON, and one arrival.
        fn race(&mut self) {
            let last = self.guest.cpus - 1;
            let id = if self.version == 1 {
                self.psci.cpu_on
            } else {
                BASE64 + 3
            };
            let refusal = if self.version == 1 {
                INVALID_PARAMETERS
            } else {
                ALREADY_ON
            };
            for index in 1..last {
                let starts = boot::starts(index);
                self.turn_on(id, index, 0);
                cpu::wait_until(5000, || boot::starts(index) > starts);
            }
            let mut good = true;
            for _ in 0..20 {
                let starts = boot::starts(last);
                // 0.1 has no AFFINITY_INFO: as long as the target is not off yet, everybody is refused.
                good &= cpu::wait_until(5000, || {
                    RACE.prepare(id, self.target(last), last as u32);
                    for index in 1..last {
                        boot::give_work(index, race_to_turn_on);
                    }
                    race_to_turn_on();
                    let all = || RACE.finished.load(Ordering::Acquire) == last as u32;
                    cpu::wait_until(5000, all)
                        && (self.version != 1 || RACE.successes.load(Ordering::Acquire) > 0)
                });
                good &= cpu::wait_until(5000, || boot::starts(last) > starts);
                good &= boot::starts(last) == starts + 1;
                good &= RACE.successes.load(Ordering::Acquire) == 1;
                let other = RACE.other.load(Ordering::Acquire);
                if other != refusal {
                    self.tap.note(format_args!("the losers got {other}"));
                    good = false;
                }
                good &= self.turn_off(last);
            }
            check!(
                self,
                good,
                "CPU_ON: of {last} CPUs that turn on another at once one has SUCCESS, the others {refusal}"
            );
            for index in 1..last {
                self.turn_off(index);
            }
        }
    }

    /// What the CPUs of [`Test::race`] share.
    struct Race {
        function: AtomicU64,
        target: AtomicU64,
        waiting: AtomicU32,
        finished: AtomicU32,
        successes: AtomicU32,
        other: AtomicI64,
    }

    static RACE: Race = Race {
        function: AtomicU64::new(0),
        target: AtomicU64::new(0),
        waiting: AtomicU32::new(0),
        finished: AtomicU32::new(0),
        successes: AtomicU32::new(0),
        other: AtomicI64::new(0),
    };

    impl Race {
        fn prepare(&self, function: u64, target: u64, callers: u32) {
            self.function.store(function, Ordering::Relaxed);
            self.target.store(target, Ordering::Relaxed);
            self.finished.store(0, Ordering::Relaxed);
            self.successes.store(0, Ordering::Relaxed);
            self.other.store(0, Ordering::Relaxed);
            self.waiting.store(callers, Ordering::Release);
        }
    }

    fn conduit() -> Conduit {
        if CONDUIT_IS_SMC.load(Ordering::SeqCst) == 1 {
            Conduit::Smc
        } else {
            Conduit::Hvc
        }
    }

    extern "C" fn race_to_turn_on() {
        let (function, target) = (
            RACE.function.load(Ordering::Acquire),
            RACE.target.load(Ordering::Acquire),
        );
        RACE.waiting.fetch_sub(1, Ordering::AcqRel);
        while RACE.waiting.load(Ordering::Acquire) > 0 {
            core::hint::spin_loop();
        }
        let result = conduit().call3(function, target, boot::entry_point(), 0) as i64;
        if result == SUCCESS {
            RACE.successes.fetch_add(1, Ordering::AcqRel);
        } else {
            RACE.other.store(result, Ordering::Release);
        }
        RACE.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// CPU_OFF's id for CPUs that have no device tree at hand.
    static CPU_OFF: AtomicU64 = AtomicU64::new(0x8400_0002);

    extern "C" fn cpu_off() {
        conduit().call3(CPU_OFF.load(Ordering::Acquire), 0, 0, 0);
    }

    extern "C" fn leave_with_a_tick() {
        gic::set_virtual_timer(0);
        cpu::wait_until(2, || false);
        cpu_off();
    }

    /// INTIDs that a CPU takes first after it came on.
    static TAKEN: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

    extern "C" fn take_two() {
        for taken in &TAKEN {
            taken.store(gic::take(), Ordering::Release);
        }
    }

    const POWER_DOWN_CONTEXT: u64 = 0x5a5a_1234_dead_c0de;

    /// When the timer of the last power-down is due, in ticks of the counter.
    static WAKE_AT: AtomicU64 = AtomicU64::new(u64::MAX);

    /// The SGI that announces work has been sent.
    static ANNOUNCED: AtomicBool = AtomicBool::new(false);

    /// The SGI that announces this work may come after it, and would end the power-down: it is taken first. And a busy machine may
    /// come to the call only when the timer has expired: the request is abandoned then, and made once more.
    extern "C" fn power_down() {
        cpu::wait_until(5000, || ANNOUNCED.load(Ordering::Acquire));
        cpu::wait_until(10, || gic::take() == 1);
        for wait in [1000, 1000, 4000, 16000] {
            WAKE_AT.store(cpu::now() + cpu::ms(wait), Ordering::Release);
            gic::set_virtual_timer(cpu::ms(wait));
            conduit().call3(BASE64 + 1, 1 << 16, boot::entry_point(), POWER_DOWN_CONTEXT);
        }
    }

    extern "C" fn leave_a_mess() {
        msr!("cntv_cval_el0", 0);
        msr!("cntv_ctl_el0", 3);
        msr!("cntp_cval_el0", 0);
        msr!("cntp_ctl_el0", 3);
        cpu::isb();
        cpu_off();
    }
}
