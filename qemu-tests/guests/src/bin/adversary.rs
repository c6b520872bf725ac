//! A guest that does what no kernel does. Nothing of it may stop the hypervisor or hurt another machine, and each offence gets the
//! answer that hardware would give: an UNDEFINED instruction, an external abort, NOT_SUPPORTED.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use core::arch::asm;

    use guests::{
        bare::{
            Fault, Guest, Tap, boot, catch, cpu, gic,
            instruction::{self, SystemRegister},
            mmio,
            smccc::{self, Conduit},
        },
        guest_main, mrs, msr,
    };

    guest_main!(run);

    const NOT_SUPPORTED: u64 = !0;

    /// Numbers that look random and are the same in every run (xorshift64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    fn run(guest: Guest) {
        let mut tap = Tap::new(guest.name);
        let mut random = Random(0x1234_5678_9abc_def1);
        id_registers(&mut tap);
        unknown_system_registers(&mut tap);
        unmapped_memory(&mut tap, &guest);
        device_space(&mut tap);
        accesses_without_syndrome(&mut tap);
        every_register(&mut tap);
        calls(&mut tap);
        wild_psci(&mut tap, &guest, &mut random);
        gic_registers(&mut tap, &mut random);
        software_interrupts(&mut tap, &mut random);
        timers(&mut tap);
        timer_level(&mut tap);
        byte_order(&mut tap);
        waiting(&mut tap);
        tap.check(mrs!("midr_el1") != 0, "still alive");
        tap.finish();
    }

    /// The identification space, op0 = 3 and CRn = 0: named registers have values, reserved encodings in op1 = 0 read as zero
    /// (Arm ARM D23.3.1), and nothing may be written.
    fn id_registers(tap: &mut Tap) {
        let (mut read, mut refused, mut written) = (0, 0, 0);
        for crm in 0..8 {
            for op2 in 0..8 {
                let register = SystemRegister(3, 0, 0, crm, op2);
                match register.read() {
                    Ok(_) => read += 1,
                    // With FEAT_IDST it is a trapped system register, EC 0x18.
                    Err(fault) if matches!(fault.class(), 0 | 0x18) => refused += 1,
                    Err(fault) => tap.note(format_args!("{register:?}: {fault:?}")),
                }
                written += u32::from(register.write(!0).is_ok());
            }
        }
        tap.note(format_args!("ID space: {read} read, {refused} undefined"));
        tap.equal(
            read + refused,
            64,
            "the ID space has values or is undefined",
        );
        tap.equal(written.into(), 0, "no ID register can be written");
        // ID registers of AArch64 state, CRm 4 to 7, read as zero where nothing is defined.
        let reserved =
            (4..8).flat_map(|crm| (0..8).map(move |op2| SystemRegister(3, 0, 0, crm, op2)));
        tap.equal(
            reserved.filter(|r| r.read().is_err()).count() as u64,
            0,
            "AArch64 ID registers, reserved ones too, can be read",
        );
        tap.check(
            SystemRegister(3, 0, 0, 4, 0)
                .read_to_zero_register()
                .is_ok(),
            "an ID register can be read into XZR",
        );
        let pfr0 = mrs!("id_aa64pfr0_el1");
        tap.equal(
            pfr0 >> 8 & 0xf,
            0,
            "ID_AA64PFR0_EL1.EL2 says that there is no EL2",
        );
        tap.equal(
            pfr0 & 0xf,
            if pfr0 & 0xf == 2 { 2 } else { 1 },
            "ID_AA64PFR0_EL1.EL0 says AArch64",
        );
    }

    /// Every encoding of op0 = 3 with CRn 1 to 15 that names nothing at EL1 or EL0, and those of EL2 and EL3: value or UNDEFINED. Registers
    /// that rule memory and exceptions, the interrupt controller's and debug's software lock are left out: reading them is harmless, so only
    /// reads are done here.
    fn unknown_system_registers(tap: &mut Tap) {
        let (mut read, mut refused, mut other) = (0u32, 0u32, 0u32);
        for op1 in 0..8 {
            for crn in 0..16 {
                for crm in 0..16 {
                    for op2 in 0..8 {
                        match SystemRegister(3, op1, crn, crm, op2).read() {
                            Ok(_) => read += 1,
                            Err(fault) if is_refusal(fault) => refused += 1,
                            Err(fault) => {
                                other += 1;
                                if other < 8 {
                                    tap.note(format_args!(
                                        "S3_{op1}_C{crn}_C{crm}_{op2}: {fault:x?}"
                                    ));
                                }
                            }
                        }
                    }
                }
            }
        }
        tap.note(format_args!("op0 = 3: {read} read, {refused} refused"));
        tap.equal(
            other.into(),
            0,
            "reads of op0 = 3 give values or are refused",
        );
        let (mut read, mut refused, mut other) = (0u32, 0u32, 0u32);
        for op1 in 0..8 {
            for crn in 0..16 {
                for crm in (0..16).step_by(3) {
                    for op2 in 0..8 {
                        match SystemRegister(2, op1, crn, crm, op2).read() {
                            Ok(_) => read += 1,
                            Err(fault) if is_refusal(fault) => refused += 1,
                            Err(_) => other += 1,
                        }
                    }
                }
            }
        }
        tap.note(format_args!("op0 = 2: {read} read, {refused} refused"));
        tap.equal(
            other.into(),
            0,
            "reads of debug and trace registers give values or are refused",
        );
        let el2_and_el3 = (0..16).flat_map(|crm| {
            [
                SystemRegister(3, 4, 1, crm, 0),
                SystemRegister(3, 6, 1, crm, 0),
            ]
        });
        let open = el2_and_el3
            .filter(|r| r.read().is_ok() || r.write(0).is_ok())
            .count();
        tap.equal(open as u64, 0, "no register of EL2 or EL3 can be reached");
        // IMPLEMENTATION DEFINED space: CRn 11 and 15.
        let mut wrong = 0;
        for crn in [11, 15] {
            for encoding in 0..1024 {
                let register =
                    SystemRegister(3, encoding >> 7, crn, encoding >> 3 & 0xf, encoding & 7);
                wrong += u32::from(register.write(!0).is_err_and(|f| !is_refusal(f)));
            }
        }
        tap.equal(
            wrong.into(),
            0,
            "writes to IMPLEMENTATION DEFINED registers are refused or vanish",
        );
        // Features that a kernel would first look for in the ID registers.
        for (register, name) in [
            (SystemRegister(3, 0, 1, 2, 0), "ZCR_EL1"),
            (SystemRegister(3, 0, 1, 2, 6), "SMCR_EL1"),
            (SystemRegister(3, 0, 1, 0, 5), "RGSR_EL1"),
            (SystemRegister(3, 0, 10, 4, 4), "MPAMIDR_EL1"),
        ] {
            match register.read() {
                Ok(value) => tap.note(format_args!("{name} reads {value:#x}")),
                Err(fault) => tap.check(
                    is_refusal(fault),
                    format_args!("{name} is refused as undefined or trapped"),
                ),
            }
        }
    }

    /// UNDEFINED, or a trap to EL1 that EL1's own controls cause: FP and SIMD (EC 7), SVE (0x19), SME (0x1d), a system register (0x18).
    fn is_refusal(fault: Fault) -> bool {
        matches!(fault.class(), 0 | 0x07 | 0x18 | 0x19 | 0x1d)
    }

    fn is_abort(fault: Option<Fault>, address: u64) -> bool {
        fault.is_some_and(|f| f.is_external_data_abort() && f.far == address)
    }

    /// Where no memory and no device is: external aborts with the address, also for instruction fetches and at the borders of memory.
    fn unmapped_memory(tap: &mut Tap, guest: &Guest) {
        let (base, size) = guest.fdt.memory().unwrap_or((0x4000_0000, 0x100_0000));
        let end = base + size;
        for (address, place) in [
            (0, "address 0"),
            (0x0700_0000, "an unused part of device space"),
            (base - 8, "the last bytes before memory"),
            (end, "the first bytes behind memory"),
            (0x40_0000_0000, "256 GiB"),
            (0x7f_ffff_fff8, "the last bytes of 512 GiB"),
        ] {
            tap.check(
                is_abort(
                    catch(|| {
                        mmio::read64(address);
                    }),
                    address,
                ),
                format_args!("a read at {place} aborts"),
            );
            tap.check(
                is_abort(catch(|| mmio::write64(address, 1)), address),
                format_args!("a write at {place} aborts"),
            );
        }
        for address in [end, 0x40_0000_0000] {
            let fault = fetch(address);
            tap.check(
                fault.is_some_and(Fault::is_external_instruction_abort),
                format_args!("an instruction fetch at {address:#x} aborts: {fault:x?}"),
            );
        }
        // SAFETY: two accesses to where nothing is.
        let fault = catch(|| unsafe { asm!("ldr {0}, [{1}]", out(reg) _, in(reg) end - 4) });
        tap.check(fault.is_some(), "a read across the end of memory aborts");
        // SAFETY: an atomic access to where nothing is.
        let fault = catch(|| unsafe { asm!("ldxr {0}, [{1}]", "clrex", out(reg) _, in(reg) end) });
        tap.check(fault.is_some(), "an exclusive read behind memory aborts");
        // SAFETY: cache maintenance by address of where nothing is.
        let _ = catch(|| unsafe { asm!("dc civac, {0}", "dc zva, {0}", in(reg) end) });
        // SAFETY: address translation of where nothing is.
        unsafe { asm!("at s1e1r, {0}", "isb", in(reg) end) };
        tap.check(
            true,
            "cache maintenance and address translation behind memory are survived",
        );
    }

    fn fetch(address: u64) -> Option<Fault> {
        // SAFETY: the fetch aborts, and the exception returns to the instruction behind.
        catch(|| unsafe { asm!("blr {}", in(reg) address, clobber_abi("C")) })
    }

    const UART: u64 = 0x0900_0000;
    const RTC: u64 = 0x0901_0000;

    /// Devices take any width at any place, or refuse it with an external abort. Rt = 31 is XZR.
    fn device_space(tap: &mut Tap) {
        for (base, size, name) in [
            (gic::GICD, 0x1_0000, "GICD"),
            (gic::GICR, 0x2_0000, "GICR"),
            (UART, 0x1000, "PL011"),
            (RTC, 0x1000, "PL031"),
        ] {
            let (mut fine, mut aborts, mut other) = (0u32, 0u32, 0u32);
            let mut count = |fault: Option<Fault>| match fault {
                None => fine += 1,
                Some(fault) if fault.class() == 0x25 => aborts += 1,
                Some(_) => other += 1,
            };
            for offset in (0..size).step_by(36) {
                let at = base + offset;
                count(catch(|| {
                    mmio::read8(at);
                }));
                count(catch(|| {
                    mmio::read16(at & !1);
                }));
                count(catch(|| {
                    mmio::read32(at & !3);
                }));
                count(catch(|| {
                    mmio::read64(at & !7);
                }));
                // SAFETY: reads of a device into XZR, and with sign extension.
                count(catch(|| unsafe {
                    asm!("ldr wzr, [{0}]", "ldr xzr, [{1}]", in(reg) at & !3, in(reg) at & !7)
                }));
                // SAFETY: as before.
                count(catch(|| unsafe {
                    asm!("ldrsw {0}, [{1}]", "ldrsb {0:w}, [{1}]", out(reg) _, in(reg) at & !3)
                }));
            }
            tap.note(format_args!("{name}: {fine} fine, {aborts} aborts"));
            tap.equal(
                other.into(),
                0,
                format_args!("{name}: reads of every width are served or abort"),
            );
        }
        // The last register of a page and its last byte; a write of XZR where it changes nothing: UARTECR, interrupt clear.
        // SAFETY: a store of zero to a register that only clears error flags.
        let fault = catch(|| unsafe { asm!("str wzr, [{0}]", in(reg) UART + 0x4) });
        tap.check(
            fault.is_none(),
            "a store of WZR to a PL011 register is served",
        );
        tap.equal(
            mmio::read32(UART + 0xfe0).into(),
            0x11,
            "UARTPeriphID0 is still a PL011's",
        );
        tap.equal(
            mmio::read32(UART + 0xffc).into(),
            0xb1,
            "UARTPCellID3 is the last register",
        );
        tap.equal(
            mmio::read32(RTC + 0xfe0).into(),
            0x31,
            "RTCPeriphID0 is a PL031's",
        );
        for address in [UART + 0x1001, RTC + 0xffd] {
            // Device memory takes no unaligned access: an alignment fault, DFSC 0x21, without the hypervisor's doing.
            let fault = catch(|| {
                mmio::read32(address);
            });
            tap.check(
                fault.is_some_and(|f| f.class() == 0x25),
                format_args!("an unaligned read at {address:#x} aborts"),
            );
        }
    }

    /// What x2 to x29 hold while an instruction is run by [`registers_behind`].
    const fn pattern(register: usize) -> u64 {
        register as u64 * 0x101
    }

    /// x0 to x29 behind an instruction that had `x0` and [`pattern`] in front of it.
    fn registers_behind(instruction: u32, x0: u64) -> [u64; 30] {
        let function = instruction::make(instruction);
        let mut registers = [0u64; 30];
        // SAFETY: the instruction changes one register and a device; those that the compiler counts on come back from the stack.
        unsafe {
            asm!(
                "stp x19, x20, [sp, #-112]!",
                "stp x21, x22, [sp, #16]",
                "stp x23, x24, [sp, #32]",
                "stp x25, x26, [sp, #48]",
                "stp x27, x28, [sp, #64]",
                "stp x29, x30, [sp, #80]",
                "str x2, [sp, #96]",
                ".irp n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29",
                "mov x\\n, #(\\n * 0x101)",
                ".endr",
                "blr x1",
                "ldr x30, [sp, #96]",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29",
                "str x\\n, [x30, #(8 * \\n)]",
                ".endr",
                "ldp x21, x22, [sp, #16]",
                "ldp x23, x24, [sp, #32]",
                "ldp x25, x26, [sp, #48]",
                "ldp x27, x28, [sp, #64]",
                "ldp x29, x30, [sp, #80]",
                "ldp x19, x20, [sp], #112",
                inout("x0") x0 => _,
                inout("x1") function => _,
                inout("x2") registers.as_mut_ptr() => _,
                clobber_abi("C"),
            )
        };
        registers
    }

    /// Whether an instruction has put `value` into `target`, of x2 to x29, and left the others alone.
    fn changes_only(registers: &[u64; 30], target: usize, value: u64) -> bool {
        let wanted = |n| if n == target { value } else { pattern(n) };
        (2..30).all(|n| registers[n] == wanted(n))
    }

    /// Each register may be what a trapped instruction reads or writes, and keeps what it has when another one is.
    fn every_register(tap: &mut Tap) {
        const PERIPH_ID_0: u64 = UART + 0xfe0;
        const IBRD: u64 = UART + 0x24;
        let feature = mrs!("id_aa64pfr0_el1");
        let (mut loads, mut stores, mut reads) = (true, true, true);
        for rt in 2..30 {
            let load = registers_behind(0xb940_0000 | rt as u32, PERIPH_ID_0);
            loads &= changes_only(&load, rt, 0x11);
            let store = registers_behind(0xb900_0000 | rt as u32, IBRD);
            stores &= changes_only(&store, rt, pattern(rt))
                && u64::from(mmio::read32(IBRD)) == pattern(rt) & 0xffff;
            let read = registers_behind(0xd538_0400 | rt as u32, 0);
            reads &= changes_only(&read, rt, feature);
        }
        tap.check(loads, "a device is read into each of x2 to x29 alone");
        tap.check(stores, "a device is written from each of x2 to x29");
        tap.check(
            reads,
            "a system register is read into each of x2 to x29 alone",
        );
        let call = registers_behind(instruction::hvc(0), 0x8400_0000);
        tap.check(
            changes_only(&call, 2, pattern(2)),
            "a call by HVC changes none of x2 to x29",
        );
    }

    /// Loads and stores for which hardware gives no syndrome (ESR_EL2.ISV = 0): the guest gets an abort, and nothing else happens.
    fn accesses_without_syndrome(tap: &mut Tap) {
        for base in [gic::GICD, UART, RTC, gic::GICR] {
            macro_rules! attempt {
                ($text:literal $(, $more:literal)*) => {{
                    let mut at = base;
                    // SAFETY: reads of identification registers, or writes of what was read; a writeback changes only `at`.
                    let fault = catch(|| unsafe {
                        asm!($text $(, $more)*, inout("x9") at, out("x10") _, out("x11") _, out("x12") _, options(nostack))
                    });
                    let _ = at;
                    tap.check(
                        fault.is_none_or(|f| f.class() == 0x25),
                        format_args!("{} at {base:#x} is served or aborts", $text),
                    );
                }};
            }
            attempt!("ldr w10, [x9], #4");
            attempt!("ldr x10, [x9, #8]!");
            attempt!("ldp w10, w11, [x9, #8]");
            attempt!("ldp x10, x11, [x9, #16]");
            attempt!("ldpsw x10, x11, [x9]");
            attempt!("ldxr w10, [x9]", "clrex");
            attempt!("ldaxr x10, [x9]", "clrex");
            attempt!("ldxp x10, x11, [x9]", "clrex");
            attempt!("ldar w10, [x9]");
            attempt!("prfm pldl1keep, [x9]");
            attempt!("dc civac, x9");
            attempt!("ic ivau, x9");
        }
        // SAFETY: stores to the read-only identification registers of the PL011.
        let fault = catch(|| unsafe {
            asm!("stp wzr, wzr, [{0}]", "stp xzr, xzr, [{0}]", in(reg) UART + 0xfe0)
        });
        tap.check(
            fault.is_none_or(|f| f.class() == 0x25),
            "stp to a PL011 is served or aborts",
        );
    }

    /// SMCCC (DEN0028): an id that nobody knows answers NOT_SUPPORTED and changes no other register; any owner, fast or yielding, 32 or
    /// 64 bits. HVC and SMC immediates other than 0 do no harm.
    fn calls(tap: &mut Tap) {
        for conduit in [Conduit::Hvc, Conduit::Smc] {
            for fast in [1u64 << 31, 0] {
                for wide in [1u64 << 30, 0] {
                    let (mut answered, mut changed) = (0u32, 0u32);
                    for owner in 0..64u64 {
                        // No service has the function number 0xbeef.
                        let id = fast | wide | owner << 24 | 0xbeef;
                        let before = smccc::pattern(id);
                        let after = conduit.call(before);
                        if after[0] != NOT_SUPPORTED {
                            answered += 1;
                        }
                        if after[0] != NOT_SUPPORTED && answered < 4 {
                            tap.note(format_args!("{conduit:?} {id:#x} answered {:#x}", after[0]));
                        }
                        changed += u32::from(after[1..] != before[1..]);
                    }
                    let kind = format_args!(
                        "{conduit:?} {} {}",
                        if fast != 0 { "fast" } else { "yielding" },
                        if wide != 0 { "64" } else { "32" }
                    );
                    tap.equal(
                        answered.into(),
                        0,
                        format_args!("{kind}: unknown ids of all owners are NOT_SUPPORTED"),
                    );
                    tap.equal(
                        changed.into(),
                        0,
                        format_args!("{kind}: x1 to x28 are unchanged"),
                    );
                }
            }
            for id in [
                0x80ff_0000u64,
                0x8001_0000,
                0x539,
                0x1_0000_0000,
                !0,
                0x8000_0000_0000_0000,
                0x8400_0016,
                0x8400_001f,
                0xc400_0016,
            ] {
                let before = smccc::pattern(id);
                let after = conduit.call(before);
                tap.equal(
                    after[0],
                    NOT_SUPPORTED,
                    format_args!("{conduit:?} {id:#x} is NOT_SUPPORTED"),
                );
                tap.check(
                    after[1..] == before[1..],
                    format_args!("{conduit:?} {id:#x} changes only x0"),
                );
            }
        }
        for immediate in [1u16, 2, 0x4a48, 0xea1, 0x7fff, 0x8000, 0xffff] {
            for (instruction, name) in [
                (instruction::hvc(immediate), "hvc"),
                (instruction::smc(immediate), "smc"),
            ] {
                let function = instruction::make(instruction);
                let before = smccc::pattern(0x8600_beef);
                let mut after = before;
                let fault = catch(|| after = smccc::with(function, before));
                tap.check(
                    fault.is_none_or(Fault::is_undefined) && after[1..] == before[1..],
                    format_args!(
                        "{name} #{immediate:#x} is refused or undefined, and changes only x0"
                    ),
                );
            }
        }
    }

    /// PSCI with arguments that nobody would give. Calls that do not return on success are asked only what they have to refuse.
    fn wild_psci(tap: &mut Tap, guest: &Guest, random: &mut Random) {
        let mut positive = 0;
        for _ in 0..2000 {
            let (target, entry, context) = (random.next(), random.next() | 1, random.next());
            let function = match random.next() % 8 {
                0 => 0x8400_0003,
                1 => 0xc400_0003,
                2 => 0x8400_0004,
                3 => 0xc400_0004,
                4 => 0x8400_0005,
                5 => 0xc400_0005,
                6 => 0x8400_0007,
                _ => 0x8400_000a,
            };
            let result = guest.psci.conduit.call3(function, target, entry, context) as i64;
            // AFFINITY_INFO may find a CPU, MIGRATE never succeeds, and CPU_ON has an odd entry.
            if result >= 0 && matches!(function & 0xf, 3 | 5 | 7) {
                positive += 1;
                tap.note(format_args!(
                    "{function:#x}({target:#x}, {entry:#x}) = {result}"
                ));
            }
        }
        tap.equal(
            positive,
            0,
            "CPU_ON, MIGRATE and MIGRATE_INFO_UP_CPU with wild arguments never succeed",
        );
        for target in [
            !0,
            1 << 24,
            1 << 31,
            1 << 32,
            1 << 40,
            1 << 63,
            0xff,
            0x100,
            0x1_0000,
        ] {
            let result = guest.psci.on(target, boot::entry_point(), 0);
            tap.check(
                result < 0,
                format_args!("CPU_ON of {target:#x} fails: {result}"),
            );
        }
    }

    /// Random values of every width into registers of the distributor and redistributor, and what follows is put right again.
    fn gic_registers(tap: &mut Tap, random: &mut Random) {
        let mut other = 0;
        for _ in 0..20_000 {
            let value = random.next();
            let (base, size) = if value & 1 == 0 {
                (gic::GICD, 0x1_0000)
            } else {
                (gic::GICR, 0x2_0000)
            };
            let at = base + random.next() % size;
            let fault = catch(|| match value >> 1 & 3 {
                0 => mmio::write8(at, value as u8),
                1 => mmio::write16(at & !1, value as u16),
                2 => mmio::write32(at & !3, value as u32),
                _ => mmio::write64(at & !7, value),
            });
            other += u32::from(fault.is_some_and(|f| f.class() != 0x25));
        }
        tap.equal(
            other.into(),
            0,
            "random writes to the GIC are served or abort",
        );
        for offset in [0x80u64, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380] {
            for word in 0..32 {
                let _ = catch(|| {
                    mmio::write32(
                        gic::GICD + offset + word * 4,
                        if word % 2 == 0 {
                            !0
                        } else {
                            random.next() as u32
                        },
                    )
                });
                let _ = catch(|| mmio::write32(gic::private_frame() + offset + word * 4, !0));
            }
        }
        // Everything off, not pending, not active, and the interface drained.
        for word in 0..32 {
            for offset in [0x180u64, 0x280, 0x380] {
                let _ = catch(|| mmio::write32(gic::GICD + offset + word * 4, !0));
            }
        }
        for offset in [0x180u64, 0x280, 0x380] {
            mmio::write32(gic::private_frame() + offset, !0);
        }
        mmio::write32(gic::GICD, 0);
        gic::enable();
        let mut drained = 0;
        while gic::take() < 1020 && drained < 2000 {
            drained += 1;
        }
        tap.note(format_args!("{drained} interrupts were left over"));
        mmio::write32(gic::private_frame() + 0x400, 0); // GICR_IPRIORITYR0
        tap.check(
            virtual_timer_fires(),
            "the virtual timer's interrupt comes after all that",
        );
    }

    fn virtual_timer_fires() -> bool {
        for word in 0..8 {
            mmio::write32(gic::private_frame() + 0x400 + word * 4, 0);
        }
        gic::set_virtual_timer(cpu::ms(1));
        let came = cpu::wait_for(|| gic::pending() == gic::VIRTUAL_TIMER);
        if came {
            gic::take();
        }
        msr!("cntv_ctl_el0", 0);
        came
    }

    const SGI1R: SystemRegister = SystemRegister(3, 0, 12, 11, 5);

    /// The CPU interface of a GICv2, which is the board's own: random values into all of it and the page behind, then back to what works.
    fn memory_mapped_interface(tap: &mut Tap, random: &mut Random) {
        let mut other = 0;
        for _ in 0..20_000 {
            let value = random.next();
            let at = (gic::GICC + random.next() % 0x2000) & !3;
            let fault = catch(|| match value & 1 {
                0 => mmio::write32(at, (value >> 32) as u32),
                _ => {
                    mmio::read32(at);
                }
            });
            other += u32::from(fault.is_some());
        }
        tap.equal(
            other.into(),
            0,
            "random accesses to the CPU interface are served",
        );
        for behind in [0x2000, 0x8000, 0xfffc] {
            tap.check(
                is_abort(
                    catch(|| mmio::write32(gic::GICC + behind, !0)),
                    gic::GICC + behind,
                ),
                format_args!("a write at GICC + {behind:#x} aborts"),
            );
        }
        // Nothing active, the lowest binary point, groups apart, and drained.
        for word in 0..4 {
            mmio::write32(gic::GICC + 0xd0 + word * 4, 0); // GICC_APR
            mmio::write32(gic::GICC + 0xe0 + word * 4, 0); // GICC_NSAPR
        }
        for word in 0..4 {
            mmio::write32(gic::GICD + 0x380 + word * 4, !0); // GICD_ICACTIVER
        }
        gic::enable();
        mmio::write32(gic::GICC + 0x8, 0); // GICC_BPR
        while gic::take() < 1020 {}
        tap.check(
            virtual_timer_fires(),
            "the virtual timer's interrupt comes after wild CPU interface writes",
        );
    }

    /// With a GICv2 the system registers of a GICv3 are not there, and SGIs go by GICD_SGIR.
    fn software_interrupts_v2(tap: &mut Tap, random: &mut Random) {
        for (crn, crm, op2) in [
            (4, 6, 0),
            (12, 8, 0),
            (12, 11, 1),
            (12, 11, 3),
            (12, 11, 5),
            (12, 11, 6),
            (12, 11, 7),
            (12, 12, 0),
            (12, 12, 1),
            (12, 12, 4),
            (12, 12, 5),
            (12, 12, 7),
        ] {
            let register = SystemRegister(3, 0, crn, crm, op2);
            tap.check(
                register.write_zero_register().is_err_and(is_refusal)
                    && register.read().is_err_and(is_refusal),
                format_args!("{register:?} is refused"),
            );
        }
        for bit in 0..32 {
            mmio::write32(gic::GICD + 0xf00, 1 << bit);
        }
        for _ in 0..1000 {
            mmio::write32(gic::GICD + 0xf00, random.next() as u32);
        }
        while gic::take() < 1020 {}
        gic::send_number(0, 5);
        tap.check(
            cpu::wait_for(|| gic::pending() == 5),
            "an SGI to itself comes",
        );
        while gic::take() < 1020 {}
        memory_mapped_interface(tap, random);
    }

    /// ICC_SGI1R_EL1 and its relatives with XZR and with targets that are not there.
    fn software_interrupts(tap: &mut Tap, random: &mut Random) {
        if gic::is_v2() {
            return software_interrupts_v2(tap, random);
        }
        tap.check(
            SGI1R.write_zero_register().is_ok(),
            "msr ICC_SGI1R_EL1, xzr is served",
        );
        for op2 in [6, 7] {
            let register = SystemRegister(3, 0, 12, 11, op2);
            let fault = register.write_zero_register().err();
            tap.check(
                fault.is_none_or(is_refusal),
                format_args!("S3_0_C12_C11_{op2} from XZR is served or refused"),
            );
        }
        for bit in 0..64 {
            let _ = SGI1R.write(1 << bit);
        }
        for _ in 0..1000 {
            let _ = SGI1R.write(random.next());
        }
        let _ = SGI1R.write(!0);
        tap.check(
            SGI1R.read().is_err_and(Fault::is_undefined),
            "ICC_SGI1R_EL1 is write-only",
        );
        let mut taken = 0;
        while gic::take() < 1020 && taken < 100 {
            taken += 1;
        }
        // To itself: target list bit 0, affinity 0, SGI 5.
        let _ = SGI1R.write(5 << 24 | 1);
        tap.check(
            cpu::wait_for(|| gic::pending() == 5),
            "an SGI to itself comes",
        );
        while gic::take() < 1020 {}
        // The rest of the CPU interface: reads, and writes of all ones and zeros, then back to what works.
        for (crm, op2) in [
            (8, 0),
            (8, 1),
            (8, 3),
            (11, 1),
            (11, 3),
            (12, 1),
            (12, 3),
            (12, 4),
            (12, 7),
            (9, 0),
            (9, 3),
        ] {
            let register = SystemRegister(3, 0, 12, crm, op2);
            let _ = (
                register.read(),
                register.write(!0),
                register.write_zero_register(),
            );
        }
        gic::enable();
        msr!("s3_0_c12_c12_3", 0); // ICC_BPR1_EL1
        msr!("s3_0_c12_c12_4", 0); // ICC_CTLR_EL1: EOI drops and deactivates
        while gic::take() < 1020 {}
        tap.check(
            virtual_timer_fires(),
            "the virtual timer's interrupt comes after wild CPU interface writes",
        );
    }

    /// Compare values in the past, at the ends, and timer values that wrap.
    fn timers(tap: &mut Tap) {
        for value in [0u64, 1, !0, 1 << 63, (1 << 63) - 1, 1 << 32] {
            for control in [0u64, 1, 2, 3, !0] {
                msr!("cntv_cval_el0", value);
                msr!("cntv_ctl_el0", control);
                msr!("cntv_tval_el0", value);
                let fault = catch(|| {
                    msr!("cntp_cval_el0", value);
                    msr!("cntp_ctl_el0", control);
                    msr!("cntp_tval_el0", value);
                    let _ = (
                        mrs!("cntp_ctl_el0"),
                        mrs!("cntp_tval_el0"),
                        mrs!("cntp_cval_el0"),
                    );
                });
                if fault.is_some() {
                    tap.note(format_args!(
                        "the physical timer refused {value:#x}/{control}: {fault:x?}"
                    ));
                }
            }
        }
        msr!("cntp_ctl_el0", 0);
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
        while gic::take() < 1020 {}
        // TVAL reads as CVAL less the count, in 32 bits (Arm ARM D24.10.28), at whatever time a busy host lets that happen.
        let before = cpu::now();
        let cval = before + 0x1000_0000;
        msr!("cntv_cval_el0", cval);
        let left = mrs!("cntv_tval_el0");
        tap.check(
            is_left(left, cval, before, cpu::now()),
            "CNTV_TVAL_EL0 counts down to CVAL",
        );
        let before = mrs!("cntpct_el0");
        let cval = before + 0x1000_0000;
        msr!("cntp_cval_el0", cval);
        let left = mrs!("cntp_tval_el0");
        cpu::isb();
        tap.check(
            is_left(left, cval, before, mrs!("cntpct_el0")),
            "CNTP_TVAL_EL0 counts down to CVAL",
        );
        msr!("cntp_cval_el0", 0);
        msr!("cntp_ctl_el0", 1);
        cpu::isb();
        tap.equal(
            mrs!("cntp_ctl_el0"),
            5,
            "CNTP_CTL_EL0 shows ISTATUS for a time that has passed",
        );
        msr!("cntp_ctl_el0", 0);
        for register in [
            SystemRegister(3, 0, 14, 1, 0),
            SystemRegister(3, 7, 14, 2, 1),
            SystemRegister(3, 4, 14, 0, 3),
        ] {
            let refused = register.read().is_err_and(is_refusal);
            tap.check(
                refused || register == SystemRegister(3, 0, 14, 1, 0),
                format_args!("{register:?} is refused"),
            );
        }
        tap.check(
            virtual_timer_fires(),
            "the virtual timer works after all that",
        );
    }

    /// The virtual timer's interrupt is a level: once the guest has turned the timer off it is pending no more, whether it was
    /// enabled when it came or only afterwards.
    fn timer_level(tap: &mut Tap) {
        let timer = 1u32 << gic::VIRTUAL_TIMER;
        let frame = gic::private_frame();
        let is_pending = || mmio::read32(frame + 0x200) & timer != 0; // ISPENDR0
        for enabled in [true, false] {
            mmio::write32(frame + if enabled { 0x100 } else { 0x180 }, timer); // ISENABLER0, ICENABLER0
            msr!("cntv_cval_el0", cpu::now() - 1);
            msr!("cntv_ctl_el0", 1);
            cpu::isb();
            tap.check(
                cpu::wait_for(is_pending),
                format_args!("enabled {enabled}: a timer that fires is pending"),
            );
            msr!("cntv_ctl_el0", 0);
            cpu::isb();
            mmio::write32(frame + 0x100, timer);
            tap.check(
                !is_pending(),
                format_args!("enabled {enabled}: one that is off is not"),
            );
            let pending = gic::pending();
            tap.check(
                pending != gic::VIRTUAL_TIMER,
                format_args!("enabled {enabled}: nor at the CPU interface, got {pending}"),
            );
        }
        tap.check(virtual_timer_fires(), "the virtual timer fires after that");
    }

    /// To a guest whose data are big-endian, as SCTLR_EL1.EE says, devices have their bytes in reverse order.
    fn byte_order(tap: &mut Tap) {
        const PRIORITIES: u64 = gic::GICD + 0x400 + 64; // GICD_IPRIORITYR16
        if mrs!("id_aa64mmfr0_el1") >> 8 & 0xf == 0 {
            return tap.note("the CPU is little-endian only");
        }
        let before = mmio::read32(PRIORITIES);
        let (typer, half, byte): (u64, u64, u64);
        // SAFETY: EE is set for these instructions only, which touch no memory but a device's registers. The MMU is off meanwhile:
        // EE is the byte order of translation tables, too. Memory is mapped one to one.
        unsafe {
            asm!(
                "mrs {old}, sctlr_el1",
                "orr {new}, {old}, #1 << 25",
                "bic {new}, {new}, #1",
                "msr sctlr_el1, {new}",
                "isb",
                "ldr {typer:w}, [{gicd}, #4]",
                "ldrsh {half}, [{uart}, #0xfe0]",
                "ldrb {byte:w}, [{uart}, #0xfe0]",
                "str {priorities:w}, [{at}]",
                "msr sctlr_el1, {old}",
                "isb",
                old = out(reg) _,
                new = out(reg) _,
                typer = out(reg) typer,
                half = out(reg) half,
                byte = out(reg) byte,
                gicd = in(reg) gic::GICD,
                uart = in(reg) UART,
                at = in(reg) PRIORITIES,
                priorities = in(reg) 0x2040_6080u32,
            );
        }
        tap.equal(
            typer,
            mmio::read32(gic::GICD + 4).swap_bytes().into(),
            "big-endian: a word of the interrupt controller",
        );
        // UARTPeriphID0 is 0x11.
        tap.equal(half, 0x1100, "big-endian: a half word of the UART");
        tap.equal(byte, 0x11, "big-endian: a byte");
        tap.equal(
            mmio::read32(PRIORITIES).into(),
            0x8060_4020,
            "big-endian: a word that was stored",
        );
        mmio::write32(PRIORITIES, before);
    }

    /// Whether TVAL can have been `left` from `before` to `after`.
    fn is_left(left: u64, cval: u64, before: u64, after: u64) -> bool {
        let at = cval.wrapping_sub(left).wrapping_sub(before) as u32;
        left >> 32 == 0 && u64::from(at) <= after - before
    }

    /// Many WFI and WFE, with an interrupt pending and without. PSTATE.I is set, so WFI only falls through.
    fn waiting(tap: &mut Tap) {
        for _ in 0..20_000 {
            cpu::sev();
            cpu::wfe();
        }
        for _ in 0..100 {
            gic::set_virtual_timer(1000);
            cpu::wfi();
            msr!("cntv_ctl_el0", 0);
            cpu::isb();
        }
        gic::set_virtual_timer(0);
        for _ in 0..20_000 {
            cpu::wfi();
        }
        msr!("cntv_ctl_el0", 0);
        cpu::isb();
        while gic::take() < 1020 {}
        // SAFETY: the event stream is off afterwards; these instructions only wait, or are NOPs where they do not exist.
        unsafe { asm!("sevl", "wfe", "yield", "hint #0x7f", "hint #20") };
        tap.check(true, "WFI and WFE storms are survived");
    }
}
