//! The boot order: device tree, map, serial line, interrupt controller, CPUs, bundle, VMs.

use super::{
    bundle, irq,
    machine::{self, Machine, Pcpu},
    serial::{self, Port},
    vcpu::{self, Enter},
};
use crate::{
    arch::{self, boot, regs},
    config::{
        board::{self, Board, EnableMethod, Interrupt, MAX_RANGES, Ranges, Trigger},
        options::Options,
        text::Plain,
    },
    emul::mitigation::CpuFacts,
    hw::{
        bcm2835_pm::PowerManager,
        gic::{self, Gic},
        pl031::Pl031,
        psci::Psci,
        smccc::Smccc,
    },
    mm::{
        el2_map::{self, MAX_DEVICES, Memory, Plan},
        pool,
    },
    spec::{
        fdt::{self, Tree},
        translation::PAGE,
    },
    types::{MAX_PCPUS, Mpidr, Pa, PaRange},
};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use spin::Once;

/// Pages of a CPU's stack; one more below stays unmapped.
const STACK_PAGES: u64 = 16;
/// Bytes from one redistributor of a GICv3 to the next (IHI0069H 12.10).
const REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;
/// How long the board's CPUs may take to come up, in seconds: those of an emulator on a busy machine take their time.
const CPU_TIMEOUT: u64 = 5;

/// The boot CPU, with `device_tree` as x0 was.
pub fn primary(device_tree: u64, el: u64, enter: Enter) -> ! {
    if el == 2 {
        boot::install_vectors();
    }
    let device_tree = Pa::new(device_tree);
    // Without a device tree nothing says where a UART is; an emulator may listen.
    let Some(blob) = boot::device_tree(device_tree) else {
        give_up(format_args!(
            "x0 = {:#x} at entry, allowed: the address of a device tree (QEMU's raspi4b: -dtb FILE)",
            device_tree.get()
        ))
    };
    let range = PaRange::new(device_tree, blob.len() as u64);
    let (Some(range), Some(image)) = (range, boot::image()) else {
        give_up(format_args!("the image or the device tree has no size"))
    };
    let tree = match fdt::open(blob) {
        Ok(tree) => tree,
        Err(error) => give_up(format_args!("{error}")),
    };
    let given = Given { tree: &tree, range };
    if el != 2 {
        given.refuse(format_args!(
            "entered at EL{el}, needs EL2 (QEMU: -M virt,virtualization=on)"
        ));
    }
    match &mut Board::discover(&tree) {
        // Its UART is not touched: who knows what is there on this board.
        Ok(board) if !board.has_memory(image) => give_up(format_args!(
            "the device tree has no free memory at {:#x}, where Bulkhead is: is it another board's?",
            image.start().get()
        )),
        Ok(board) => run(board, &given, image, enter),
        Err(error) => given.refuse(format_args!("{error}")),
    }
}

/// The device tree that the board's firmware has given to us.
struct Given<'t, 'a> {
    tree: &'t Tree<'a>,
    /// Where it is.
    range: PaRange,
}

impl Given<'_, '_> {
    /// Says on the board's UART, if there is one, why nothing comes of it. The reason may quote the tree.
    fn refuse(&self, reason: fmt::Arguments) -> ! {
        if let Some(uart) = board::uart(self.tree) {
            let guards = [boot::stack_guard()];
            let loaded = whole_pages(self.range);
            let plan = Plan {
                free: &[],
                loaded: loaded.as_slice(),
                devices: &[uart.regs],
                mailboxes: &[],
                guards: &guards,
            };
            if let Ok(memory) = el2_map::install(&plan) {
                serial::open(Port::of(Some(&uart), &memory));
            }
        }
        give_up(reason)
    }
}

/// The end of a boot that cannot go on.
fn give_up(reason: fmt::Arguments) -> ! {
    serial::emergency(format_args!("stopped: {reason}"));
    // Semihosting is an EL2 matter here: elsewhere a HLT that nobody takes would fault for ever.
    if regs::current_el() == 2 {
        if serial::is_silent() {
            let _ =
                arch::semihosting::Output.write_fmt(format_args!("bulkhead: stopped: {reason}\n"));
        }
        arch::semihosting::exit(1);
    }
    arch::halt()
}

/// Everything from the map to the idle loop. Steps with much on the stack are not inlined: it is to be used by one after the
/// other.
fn run(board: &mut Board, given: &Given, image: PaRange, enter: Enter) -> ! {
    // The CPU that runs this is the first.
    let me = regs::mpidr();
    if let Some(at) = board.cpus.iter().position(|cpu| cpu.mpidr == me) {
        board.cpus.swap(0, at);
    }
    let board = &*board;
    let stacks = match stacks(board.cpus.len()) {
        Ok(stacks) => stacks,
        Err(error) => given.refuse(format_args!("{error}")),
    };
    let mut memory = map(board, given, image, &stacks);
    let port = Port::of(board.uart.as_ref(), &memory);
    serial::open(port);
    greet(board);
    options(board);
    timer("virtual", board.timer.virt, irq::VIRTUAL_TIMER);
    timer(
        "hypervisor",
        board.timer.hyp_physical,
        irq::HYPERVISOR_TIMER,
    );
    let Some(machine) = machine(board, &memory, port) else {
        give_up(format_args!(
            "the interrupt controller's registers cannot be mapped, or a GICv2 has no GICH, or less than 8 KiB of GICC"
        ))
    };
    start_cpus(board, &memory, machine, &stacks);
    let initrd = board.initrd.and_then(|range| memory.take_loaded(range));
    bundle::start(initrd, &mut memory.ram, machine);
    serve(machine, 0, enter)
}

/// Stacks for all CPUs but the first, each with a page below that will not be mapped.
fn stacks(cpus: usize) -> Result<ArrayVec<Pa, MAX_PCPUS>, pool::Exhausted> {
    let mut stacks = ArrayVec::new();
    for _ in 1..cpus {
        let _ = stacks.try_push(pool::pages(STACK_PAGES + 1)?);
    }
    Ok(stacks)
}

/// The final map.
#[inline(never)]
fn map(board: &Board, given: &Given, image: PaRange, stacks: &[Pa]) -> Memory {
    let tree = given.range;
    if let Some(initrd) = board.initrd.filter(|initrd| initrd.overlaps(tree)) {
        given.refuse(format_args!(
            "the initrd at {} is over the device tree at {}",
            initrd.start(),
            tree.start()
        ));
    }
    let mut loaded = Ranges::new();
    for blob in [Some(tree), board.initrd] {
        if let Some(blob) = blob.and_then(whole_pages) {
            // The two may share a page.
            let _ = board::cut(&mut loaded, blob);
            let _ = loaded.try_push(blob);
        }
    }
    let ours = loaded.iter().copied().chain([image]);
    let mailboxes = board::mailboxes(&board.cpus, ours.clone());
    let polled = mailboxes
        .iter()
        .filter_map(|word| board::mailbox_page(*word));
    let holes = ours.chain(polled);
    let mut free = board.memory.clone();
    if board::subtract(&mut free, holes).is_err() {
        given.refuse(format_args!("RAM is in more pieces than {MAX_RANGES}"));
    }
    free.retain(|piece| {
        let pages = pages_within(*piece);
        pages.map(|pages| *piece = pages).is_some()
    });
    let mut guards: ArrayVec<Pa, MAX_PCPUS> = ArrayVec::new();
    guards.push(boot::stack_guard());
    // One CPU of them all has the boot stack.
    let _ = guards.try_extend_from_slice(stacks);
    let plan = Plan {
        free: &free,
        loaded: &loaded,
        devices: &devices(board),
        mailboxes: &mailboxes,
        guards: &guards,
    };
    match el2_map::install(&plan) {
        Ok(memory) => memory,
        Err(unmapped) => given.refuse(format_args!("{unmapped}")),
    }
}

/// The whole pages that `range` touches.
fn whole_pages(range: PaRange) -> Option<PaRange> {
    PaRange::between(range.start().align_down(PAGE), range.end().align_up(PAGE)?)
}

/// The whole pages that lie within `range`.
fn pages_within(range: PaRange) -> Option<PaRange> {
    PaRange::between(range.start().align_up(PAGE)?, range.end().align_down(PAGE))
}

/// The registers of everything that is driven.
fn devices(board: &Board) -> ArrayVec<PaRange, MAX_DEVICES> {
    let uart = board.uart.as_ref().map(|uart| uart.regs);
    let (gic, redists) = match &board.gic {
        board::Gic::V3 { dist, redists, .. } => ([Some(*dist), None, None], redists.as_slice()),
        board::Gic::V2 { dist, cpu, hyp, .. } => {
            ([Some(*dist), Some(*cpu), Some(*hyp)], [].as_slice())
        }
    };
    let others = [uart, board.rtc, board.bcm2835_pm];
    let single = gic.into_iter().chain(others).flatten();
    // MAX_DEVICES counts these.
    single
        .chain(redists.iter().copied())
        .take(MAX_DEVICES)
        .collect()
}

/// What the board's command line asks for; words of ours that mean nothing are named once the log is there.
fn options(board: &Board) {
    let options = Options::parse(board.bootargs, |_, _| {});
    serial::init_log(options.log);
    let _ = Options::parse(board.bootargs, |word, allowed| {
        let word = Plain(word);
        serial::warn(format_args!("{word}: ignored, allowed: {allowed}"));
    });
}

fn greet(board: &Board) {
    let memory: u64 = board.memory.iter().map(|piece| piece.bytes()).sum();
    serial::print(format_args!(
        "bulkhead: version {} on {}: {} CPUs, {} MiB RAM, image at {:#x}",
        env!("CARGO_PKG_VERSION"),
        Plain(board.model.unwrap_or("an unnamed board")),
        board.cpus.len() + board.cpus_left_out,
        memory >> 20,
        boot::image_start().get(),
    ));
    if board.cpus_left_out > 0 {
        serial::warn(format_args!(
            "{} CPUs beyond the first {MAX_PCPUS} are left alone",
            board.cpus_left_out
        ));
    }
}

/// The timers' interrupts are those that the architecture recommends, so a tree need not name them.
#[inline(never)]
fn timer(name: &str, named: Option<Interrupt>, used: u32) {
    match named.map(|interrupt| interrupt.intid) {
        None => serial::warn(format_args!(
            "board: the {name} timer is missing, interrupt {used} is taken for it"
        )),
        Some(intid) if intid == used => {}
        Some(intid) => give_up(format_args!(
            "board: the {name} timer has interrupt {intid}, allowed: {used}"
        )),
    }
}

/// Brings up the interrupt controller and this CPU's part of it, and settles what the board is.
#[inline(never)]
fn machine(board: &Board, memory: &Memory, port: Port) -> Option<&'static Machine> {
    let (gic, maintenance) = gic(&board.gic, memory)?;
    gic.init_distributor();
    let uart_interrupt = board.uart.as_ref().and_then(|uart| uart.interrupt);
    let mut cpus = ArrayVec::new();
    for cpu in &board.cpus {
        let _ = cpus.try_push(&*pool::place(Pcpu::new(cpu.mpidr)).ok()?);
    }
    let machine = machine::set(Machine {
        gic,
        maintenance: maintenance.intid,
        uart_intid: uart_interrupt.map(|interrupt| interrupt.intid),
        emergency_uart: port,
        rtc: board
            .rtc
            .and_then(|regs| memory.device(regs))
            .map(Pl031::new),
        psci: board.psci.and_then(|psci| match psci.v0_1 {
            None => Some(Psci::standard()),
            Some(ids) => ids.cpu_on.map(Psci::v0_1),
        }),
        power_manager: board
            .bcm2835_pm
            .and_then(|registers| memory.device(registers))
            .map(PowerManager::new),
        smccc: smccc(board),
        cpus,
        vms: Once::new(),
    });
    join(machine, 0);
    match (uart_interrupt, &board.uart) {
        (Some(interrupt), _) => {
            machine
                .gic
                .enable_spi(interrupt.intid, interrupt.trigger == Trigger::Edge);
            serial::enable_input();
        }
        (None, Some(uart)) => serial::warn(format_args!(
            "board: {}: it has no SPI of the interrupt controller, input does not work",
            uart.name
        )),
        (None, None) => {}
    }
    Some(machine)
}

/// The driver of the interrupt controller that the board has, and its maintenance interrupt.
fn gic(found: &board::Gic, memory: &Memory) -> Option<(Gic, Interrupt)> {
    match found {
        board::Gic::V3 {
            dist,
            redists,
            stride,
            maintenance,
        } => {
            let mut regions = ArrayVec::new();
            for region in redists {
                let _ = memory
                    .device(*region)
                    .map(|region| regions.try_push(region));
            }
            let stride = stride.unwrap_or(REDISTRIBUTOR_STRIDE);
            let gic = gic::v3::Gic::new(memory.device(*dist)?, regions, stride);
            Some((Gic::V3(gic), *maintenance))
        }
        board::Gic::V2 {
            dist,
            cpu,
            hyp,
            vcpu,
            maintenance,
        } => {
            let [dist, cpu, hyp] = [dist, cpu, hyp].map(|range| memory.device(*range));
            let gic = gic::v2::Gic::new(dist?, cpu?, hyp?, vcpu.start())?;
            Some((Gic::V2(gic), *maintenance))
        }
    }
}

/// The board's firmware by the calling convention; the ids of PSCI 0.1 promise no such thing.
fn smccc(board: &Board) -> Option<Smccc> {
    board.psci.filter(|psci| psci.v0_1.is_none())?;
    Smccc::discover()
}

/// Starts the other CPUs and waits until they are there, but not for ever.
fn start_cpus(board: &Board, memory: &Memory, machine: &'static Machine, stacks: &[Pa]) {
    for (index, (cpu, stack)) in (1..).zip(board.cpus.iter().skip(1).zip(stacks)) {
        let result = record(index, cpu.mpidr, *stack)
            .and_then(|record| start_cpu(cpu, memory, machine.psci, record));
        if let Err(reason) = result {
            serial::warn(format_args!("CPU {}: {reason}", cpu.mpidr));
        }
    }
    let deadline = arch::el1::counter() + CPU_TIMEOUT * arch::el1::counter_frequency();
    while machine.online().count() < machine.cpus.len() && arch::el1::counter() < deadline {
        core::hint::spin_loop();
    }
    for cpu in machine
        .cpus
        .iter()
        .filter(|cpu| !cpu.sgi_target.is_completed())
    {
        serial::warn(format_args!(
            "CPU {}: it has not come up within {CPU_TIMEOUT} s and is not used",
            cpu.mpidr
        ));
    }
}

/// What a CPU needs to come up, where it finds it.
fn record(index: u64, cpu: Mpidr, stack: Pa) -> Result<Pa, &'static str> {
    let top = stack.checked_add((STACK_PAGES + 1) * PAGE);
    let top = top.ok_or("its stack has no end")?;
    let record = pool::place(boot::Secondary::new(index, cpu, top));
    record
        .map(boot::publish)
        .map_err(|_| "no memory is left for it")
}

/// Starts one CPU by the method that its node names. Nothing is asked of firmware that is not there.
fn start_cpu(
    cpu: &board::Cpu,
    memory: &Memory,
    psci: Option<Psci>,
    record: Pa,
) -> Result<(), &'static str> {
    match (cpu.enable, psci) {
        (EnableMethod::Psci, Some(psci)) => psci
            .cpu_on(cpu.mpidr, boot::secondary_entry_point(), record.get())
            .map_err(|_| "the firmware refuses to start it"),
        (EnableMethod::SpinTable { release }, _) => {
            let mailbox = memory.mailbox(release);
            let mailbox = mailbox.ok_or("its cpu-release-addr cannot be mapped")?;
            mailbox.write(boot::spin_table_entry_point().get());
            arch::send_event();
            Ok(())
        }
        (EnableMethod::Psci, None) => Err("enable-method = \"psci\", but there is no /psci"),
        (EnableMethod::Unknown, _) => Err(
            "there is no way to start it that is known, allowed: enable-method = \"psci\" or \"spin-table\"",
        ),
    }
}

/// Any other CPU, from boot.S.
pub fn secondary(pcpu: u64, enter: Enter) -> ! {
    boot::install_vectors();
    let machine = machine::get();
    join(machine, pcpu as usize);
    serve(machine, pcpu as usize, enter)
}

/// Brings up this CPU's part of the interrupt controller and reports for work.
fn join(machine: &Machine, index: usize) {
    let ppis = 1 << irq::VIRTUAL_TIMER
        | 1 << irq::HYPERVISOR_TIMER
        | 1u32.wrapping_shl(machine.maintenance);
    let sgis = 1 << gic::HALT | 1 << gic::KICK;
    arch::el1::stop_timers();
    let Some(target) = machine.gic.init_cpu(ppis | sgis) else {
        serial::warn(format_args!(
            "CPU {}: it has no redistributor and is not used",
            regs::mpidr()
        ));
        return;
    };
    if let Some(cpu) = machine.cpus.get(index) {
        // What it says of itself comes first: a target for SGIs means that it waits for work.
        let facts = cpu.facts.call_once(|| facts(machine.smccc));
        harden(cpu.mpidr, facts);
        cpu.sgi_target.call_once(|| target);
    }
}

/// What this CPU says of itself. Where only its firmware can prevent store bypass, it shall, for good.
fn facts(smccc: Option<Smccc>) -> CpuFacts {
    let facts = CpuFacts {
        midr: regs::midr(),
        pfr0: arch::el1::id_register(4, 0),
        pfr1: arch::el1::id_register(4, 1),
        mmfr1: arch::el1::id_register(7, 1),
        isar0: arch::el1::id_register(6, 0),
        isar2: arch::el1::id_register(6, 2),
        firmware: smccc.map(Smccc::workarounds),
    };
    if let Some(smccc) = smccc.filter(|_| facts.needs_store_bypass_prevented()) {
        smccc.prevent_store_bypass();
    }
    facts
}

/// Has EL2 do on this CPU, at each exit of a guest, what keeps the guest from leading its branches.
fn harden(cpu: Mpidr, facts: &CpuFacts) {
    let hardening = facts.hardening();
    if hardening.is_needed() {
        boot::install_hardened_vectors();
    }
    log::debug!(
        "CPU {cpu}: MIDR {:#x}, at exits of guests: branch predictors: {}, branch history: {}",
        facts.midr,
        hardening.predictors,
        hardening.history
    );
}

/// Waits for a vCPU to run, and runs it. The look for work comes after the interrupt that announces it.
fn serve(machine: &'static Machine, index: usize, enter: Enter) -> ! {
    loop {
        irq::drain_alone();
        let cpu = machine.cpus.get(index);
        if let Some(vcpu) = cpu.and_then(|cpu| cpu.work.lock().take()) {
            vcpu::run(vcpu, enter);
        }
        arch::wait_for_interrupt();
    }
}
