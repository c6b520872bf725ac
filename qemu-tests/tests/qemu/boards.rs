//! Boards: CPU models, load addresses, exception levels, what is missing.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Bundle, Machine, Vm, artifacts, report_of};
use regex::Regex;

use super::{Group, linux::asked, single, tells_of_failure};

pub fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    for cpu in ["cortex-a57", "cortex-a72", "neoverse-n1", "max"] {
        groups.push(single(&format!("boards::cpu_{cpu}"), move |test| {
            linux_boots(test, Machine::new().cpu(cpu), "7").map(|_| ())
        }));
    }
    groups.push(single("boards::cpu_a64fx", long_lines));
    for offset in [0x40_0000, 0x0c60_0000] {
        groups.push(single(
            &format!("boards::load_offset_{offset:#x}"),
            move |test| {
                let text = linux_boots(test, Machine::new().firmware(loaded_at(offset)?), "6.1")?;
                is_at(&text, 0x4000_0000 + offset)
            },
        ));
    }
    groups.push(single("boards::without_bulkhead", without_bulkhead));
    groups.push(single("boards::restart", |test| {
        restart(test, Machine::new())
    }));
    groups.push(single("boards::u_boot", u_boot));
    groups.push(single("boards::initrd_beside_tree", initrd_beside_tree));
    groups.push(single("boards::no_initrd", |test| {
        let line = "bulkhead: no bundle: load one as the initrd (QEMU: -initrd FILE.itb)\n";
        ends_with(test, Machine::new(), &regex::escape(line))
    }));
    // A Cortex-A53 needs nothing, this Cortex-A72 a call that QEMU's firmware does not have; a Neoverse N1 has a loop.
    for (cpu, history, table) in [
        ("cortex-a53", "not vulnerable", 0x800),
        ("cortex-a72", "no workaround in the firmware", 0x800),
        ("neoverse-n1", "loop of 24", 0x1000),
    ] {
        groups.push(single(&format!("boards::vectors_{cpu}"), move |test| {
            vectors(test, cpu, history, table)
        }));
    }
    groups.push(single("boards::entered_at_el1", |test| {
        says(test, Machine::new().board("virt,gic-version=3"), "EL1")
    }));
    groups.push(single("boards::entered_at_el3", |test| {
        says(test, at_el3()?, "EL3")
    }));
    groups.extend(wrong_trees());
    groups
}

/// Device trees of which nothing can come, or not all: one line says why.
fn wrong_trees() -> Vec<Group> {
    let intc = "/intc@8000000";
    let gic = r#"allowed: GICv2 or GICv3 \(compatible = "arm,gic-v3", "arm,gic-400" ...\)"#;
    let timer = [
        "1", "d", "104", "1", "e", "104", "1", "7", "104", "1", "a", "104",
    ];
    let changed: [(_, Vec<&str>, String); 6] = [
        (
            "gic_missing",
            vec!["-r", intc],
            r"stopped: board: /: there is no GICv2 or GICv3 \(".to_owned(),
        ),
        (
            "gic_v1",
            vec!["-t", "s", intc, "compatible", "arm,pl390"],
            format!(r#"stopped: board: {intc}: compatible = "arm,pl390", {gic}\n"#),
        ),
        (
            "gic_v5",
            vec!["-t", "s", intc, "compatible", "arm,gic-v5"],
            format!(r#"stopped: board: {intc}: compatible = "arm,gic-v5", {gic}\n"#),
        ),
        (
            "uart_by_espi",
            vec!["-t", "x", "/pl011@9000000", "interrupts", "2", "0", "4"],
            "warning: board: pl011@9000000: it has no SPI of the interrupt controller, input does not work\n"
                .to_owned(),
        ),
        (
            "timer_missing",
            vec!["-r", "/timer"],
            "warning: board: the virtual timer is missing, interrupt 27 is taken for it\n"
                .to_owned(),
        ),
        (
            "timer_elsewhere",
            [&["-t", "x", "/timer", "interrupts"], &timer[..]].concat(),
            "stopped: board: the virtual timer has interrupt 23, allowed: 27\n".to_owned(),
        ),
    ];
    let changed = changed.map(|(name, change, line)| {
        single(&format!("boards::{name}"), move |test| {
            let tree = virt_tree(name)?;
            fdtput(&tree, &change)?;
            let machine = Machine::new().arguments([OsString::from("-dtb"), tree.into()]);
            ends_with(test, machine, &format!("bulkhead: {line}"))
        })
    });
    let truncated = single("boards::truncated_tree", |test| {
        let tree = virt_tree("truncated")?;
        let mut bytes = fs::read(&tree)?;
        let word = |at| {
            bytes
                .iter()
                .skip(at)
                .take(4)
                .fold(0, |word, byte| word << 8 | usize::from(*byte))
        };
        // off_dt_struct and size_dt_struct (Devicetree Specification 5.2): the loader got half of the nodes.
        let end = word(8) + word(36) / 2;
        bytes.get_mut(end..).context("the tree is short")?.fill(0);
        fs::write(&tree, bytes)?;
        ends_with(
            test,
            with_tree(&tree)?,
            "bulkhead: stopped: device tree is damaged: ",
        )
    });
    // QEMU's -dtb would put its own memory into it.
    let foreign = single("boards::foreign_tree", |test| {
        let tree = virt_tree("foreign")?;
        let memory = [
            "-t",
            "x",
            "/memory@40000000",
            "reg",
            "0",
            "80000000",
            "0",
            "20000000",
        ];
        fdtput(&tree, &memory)?;
        let line = "bulkhead: stopped: the device tree has no free memory at 0x48200000, where Bulkhead is: is it another board's?\n";
        ends_with(test, with_tree(&tree)?, &regex::escape(line))
    });
    // Nor would it leave the method as it is.
    let psci_by_hvc = single("boards::psci_by_hvc", |test| {
        let tree = virt_tree("hvc")?;
        fdtput(&tree, &["-t", "s", "/psci", "method", "hvc"])?;
        let line = r#"bulkhead: stopped: board: /psci: method = "hvc", allowed: "smc" \("#;
        ends_with(test, with_tree(&tree)?, line)
    });
    // Nobody listens to semihosting: this is on the serial line.
    let device_in_memory = single("boards::device_in_memory", |test| {
        let tree = virt_tree("device")?;
        let reg = ["/pl031@9010000", "reg", "0", "50000000", "0", "1000"];
        fdtput(&tree, &[&["-t", "x"], &reg[..]].concat())?;
        let machine = Machine::new().arguments([OsString::from("-dtb"), tree.into()]);
        let line = "bulkhead: stopped: device from 0x50000000 to 0x50001000: the addresses are in use already\n";
        let mut session = machine.without_semihosting().limit(180).start(test)?;
        session.expect(line)?;
        Ok(())
    });
    let initrd_over_tree = single("boards::initrd_over_tree", |test| {
        let (tree, _) = tree_with_initrd("over", 0x1000, |end| end - 1)?;
        let line =
            "bulkhead: stopped: the initrd at 0x[0-9a-f]+ is over the device tree at 0x44000000\n";
        ends_with(test, with_tree(&tree)?, line)
    });
    changed
        .into_iter()
        .chain([truncated, foreign, psci_by_hvc])
        .chain([device_in_memory, initrd_over_tree])
        .collect()
}

/// The tree of the default machine, to be changed.
pub fn virt_tree(name: &str) -> Result<PathBuf> {
    let tree = artifacts::build(&format!("tests/virt-{name}.dtb"));
    let board = format!(
        "virt,virtualization=on,gic-version=3,dumpdtb={}",
        tree.display()
    );
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-M", &board, "-display", "none"]);
    artifacts::run(qemu.args(["-cpu", "cortex-a72", "-smp", "4", "-m", "2G"]))?;
    Ok(tree)
}

/// That tree with an initrd of so many bytes in it, for [`with_tree`], and where the initrd begins: where `place` says by the tree's
/// end, which is not a page's.
fn tree_with_initrd(name: &str, bytes: u64, place: fn(u64) -> u64) -> Result<(PathBuf, u64)> {
    let tree = virt_tree(name)?;
    let chosen = |property, value: u64| {
        let value = format!("{value:x}");
        fdtput(&tree, &["-t", "x", "/chosen", property, "0", &value])
    };
    let mut start = 0;
    // The second time its size is known.
    for _ in 0..2 {
        start = place(TREE_AT + fs::metadata(&tree)?.len() + 0x100);
        chosen("linux,initrd-start", start)?;
        chosen("linux,initrd-end", start + bytes)?;
    }
    let mut blob = fs::read(&tree)?;
    blob.resize(blob.len() + 0x100, 0);
    let size = u32::try_from(blob.len())?.to_be_bytes();
    let field = blob.get_mut(4..8).context("the tree is short")?;
    field.copy_from_slice(&size);
    fs::write(&tree, blob)?;
    Ok((tree, start))
}

/// Loaders may put both into one page; U-Boot and the firmware of a Raspberry Pi only see to 8 bytes for the tree.
fn initrd_beside_tree(test: &str) -> Result<()> {
    let scratch = artifacts::scratch("initrd-beside-tree")?;
    let bundle = Bundle::new().vm(Vm::bare("alone", "heartbeat"));
    let bundle = bundle.write(&scratch)?;
    let bytes = fs::metadata(&bundle)?.len();
    let (tree, start) = tree_with_initrd("beside", bytes, |end| end)?;
    let mut session = with_tree(&tree)?
        .arguments(["-device".to_owned(), load(&bundle, start)])
        .start(test)?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.finish_well()?;
    Ok(())
}

/// Runs fdtput, which takes options and what is to be changed around the file's name.
pub fn fdtput(tree: &Path, change: &[&str]) -> Result<()> {
    let options = if change.first() == Some(&"-r") { 1 } else { 2 };
    let (options, change) = change.split_at(options);
    artifacts::run(Command::new("fdtput").args(options).arg(tree).args(change))
}

/// A machine with two vCPUs on that board: checks, then off. All that was printed.
fn linux_boots(test: &str, machine: Machine, line: &str) -> Result<String> {
    let vm = Vm::linux("alpha", line, "tasks")
        .cpus(2)
        .bootargs("cpus=2 psci=1.3");
    let mut session = machine.bundle(Bundle::new().vm(vm)).start(test)?;
    asked(&mut session, "alpha", 1)?;
    session.send("check\n")?;
    asked(&mut session, "alpha", 2)?;
    session.send("poweroff\n")?;
    let ended = session.finish_well()?;
    ensure!(
        ended.text.contains("bulkhead: vm alpha: off"),
        "no event line"
    );
    report_of("alpha", &ended.text)?.verdict()?;
    Ok(ended.text)
}

/// The same kernel, scripts and checks on QEMU's own machine and PSCI: what fails here is not Bulkhead's doing.
fn without_bulkhead(test: &str) -> Result<()> {
    let mut session = Machine::new()
        .board("virt,gic-version=3")
        .memory("512M")
        .firmware(artifacts::linux("6.1"))
        .initrd(artifacts::initramfs())
        .arguments([
            "-append",
            "console=ttyAMA0 vm=alpha run=tasks cpus=4 psci=1.1 suspend=no",
        ])
        .start(test)?;
    asked(&mut session, "alpha", 1)?;
    session.send("check\n")?;
    asked(&mut session, "alpha", 2)?;
    session.send("poweroff\n")?;
    report_of("alpha", &session.finish_well()?.text)?.verdict()
}

/// U-Boot at EL2 has the kernel and the initrd from QEMU (`qfw load`), and its `booti` puts them, and the device tree with the initrd in
/// it, where it likes. Its default boot command does both.
fn u_boot(test: &str) -> Result<()> {
    let bundle = Bundle::new().vm(Vm::bare("alone", "heartbeat").cpus(4));
    let mut session = Machine::new()
        .arguments(["-bios".into(), artifacts::u_boot().into_os_string()])
        .arguments(["-nic", "none"])
        .bundle(bundle.wrapped())
        .start(test)?;
    session.expect("U-Boot 20")?;
    session.expect(r"Verifying Checksum \.\.\. OK")?;
    session.expect(r"Starting kernel \.\.\.")?;
    session.expect("bulkhead: version .* 4 CPUs")?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.expect(r"bulkhead: vm alone: off\b")?;
    report_of("alone", &session.finish_well()?.text)?.verdict()
}

/// Bulkhead with another text_offset in its Image header (bytes 8 to 15): QEMU puts it there, counted from the start of RAM.
pub fn loaded_at(offset: u64) -> Result<PathBuf> {
    let mut image = fs::read(artifacts::firmware())?;
    image
        .get_mut(8..16)
        .context("the image has no header")?
        .copy_from_slice(&offset.to_le_bytes());
    let path = artifacts::build(&format!("tests/bulkhead-{offset:x}.bin"));
    fs::write(&path, image)?;
    Ok(path)
}

/// Bulkhead runs where it was put, not where the rest of the tests have it.
pub fn is_at(text: &str, address: u64) -> Result<()> {
    let line = text.lines().find(|l| l.starts_with("bulkhead: version "));
    let line = line.context("no first line")?;
    let wanted = format!(", image at {address:#x}");
    ensure!(line.ends_with(&wanted), "{wanted:?} is not in {line:?}");
    Ok(())
}

/// SYSTEM_RESET starts a machine from pristine images on clear memory, as often as it is asked for; the one beside it goes on.
pub fn restart(test: &str, machine: Machine) -> Result<()> {
    let bundle = Bundle::new()
        .vm(Vm::bare("again", "heartbeat"))
        .vm(Vm::bare("witness", "heartbeat"));
    let mut session = machine.bundle(bundle).start(test)?;
    for _ in 0..20 {
        session.expect_of("again", "@again@ ok 2 - .*\n(.*\n)*?@again@ # beat 2\n")?;
        session.focus(0)?;
        session.send("r")?;
        session.expect_of("again", r"bulkhead: vm again: reset\b")?;
    }
    for (index, vm) in ["again", "witness"].into_iter().enumerate() {
        session.expect_of(vm, &format!("@{vm}@ # beat"))?;
        session.focus(index)?;
        session.send("q")?;
        session.expect_of(vm, &format!(r"bulkhead: vm {vm}: off\b"))?;
    }
    let ended = session.finish_well()?;
    ensure!(
        !ended.text.contains("not ok"),
        "a restarted machine found what its former life left"
    );
    Ok(())
}

/// One line of Bulkhead's that has the pattern in it, and a power-off with a status that tells of failure.
pub fn ends_with(test: &str, machine: Machine, pattern: &str) -> Result<()> {
    let mut session = machine.limit(180).start(test)?;
    session.expect(pattern)?;
    tells_of_failure(&session.finish()?)
}

/// One line that names the exception level, and no more: Bulkhead stops. QEMU does not end, as nobody there can turn the board off; its
/// log of the code shows when Bulkhead has come to the WFE that is its end.
fn says(test: &str, machine: Machine, level: &str) -> Result<()> {
    let machine = machine.arguments(["-d", "in_asm"]);
    let mut session = machine.limit(180).start(test)?;
    while !session
        .next_line()?
        .context("QEMU ended")?
        .contains("  wfe")
    {}
    let text = session.stop()?;
    let is_code = |line: &&str| ["0x", "--", "IN:"].iter().any(|c| line.starts_with(c));
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| !l.is_empty() && !is_code(l))
        .collect();
    let line = format!(
        "bulkhead: stopped: entered at {level}, needs EL2 (QEMU: -M virt,virtualization=on)"
    );
    ensure!(lines == [line], "not one line but these: {lines:#?}");
    Ok(())
}

/// A CPU with cache lines of 256 bytes: images are copied and memory is cleared in another way than by 64.
fn long_lines(test: &str) -> Result<()> {
    let mut session = Machine::new()
        .cpu("a64fx")
        .bundle(Bundle::new().vm(Vm::bare("alone", "heartbeat")))
        .start(test)?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.finish_well()?;
    Ok(())
}

/// The exits of a guest go to the plain vectors, the first table in the image, or to the hardened ones behind, and the log says why.
/// QEMU's log of exceptions tells where each goes.
fn vectors(test: &str, cpu: &str, history: &str, table: u64) -> Result<()> {
    let log = artifacts::build(&format!("tests/vectors-{cpu}.log"));
    let mut session = Machine::new()
        .cpu(cpu)
        .cpus(1)
        .bundle(Bundle::new().vm(Vm::bare("alone", "heartbeat")))
        .arguments(["-append", "bulkhead.log=debug", "-d", "int", "-D"])
        .arguments([&log])
        .start(test)?;
    session.expect(&format!("CPU 0x0: .*, branch history: {history}\n"))?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    let text = session.finish_well()?.text;
    let image = Regex::new("image at 0x([0-9a-f]+)\n")?;
    let image = image.captures(&text).context("no address of the image")?;
    let image = u64::from_str_radix(&image[1], 16)?;
    let entry = Regex::new(r"from EL[01] to EL2\n(?:\.\.\..*\n)*?\.\.\.to EL2 PC 0x([0-9a-f]+)")?;
    let log = fs::read_to_string(log)?;
    let tables = entry.captures_iter(&log).map(|entry| {
        let table = u64::from_str_radix(&entry[1], 16).map(|pc| pc & !0x7ff);
        table.map(|table| table - image)
    });
    let tables: BTreeSet<u64> = tables.collect::<Result<_, _>>()?;
    ensure!(
        tables == [table].into(),
        "the tables in use are at {tables:#x?}"
    );
    Ok(())
}

/// A board that starts Bulkhead at EL3, with the tree that QEMU puts at the start of RAM.
fn at_el3() -> Result<Machine> {
    stubbed(
        Machine::new().board("virt,secure=on,gic-version=3"),
        0x4000_0000,
        "el3",
    )
}

/// Where the tree is that QEMU need not understand.
const TREE_AT: u64 = 0x4400_0000;

/// The default machine with that tree, which QEMU itself need not understand.
fn with_tree(tree: &Path) -> Result<Machine> {
    let name = tree.file_stem().context("the tree has no name")?;
    let machine = stubbed(Machine::new(), TREE_AT, &name.to_string_lossy())?;
    Ok(machine.arguments(["-device".to_owned(), load(tree, TREE_AT)]))
}

/// One CPU of that board enters Bulkhead with that value, a multiple of 64 KiB, in x0: QEMU's loader puts a stub and the image into RAM.
fn stubbed(machine: Machine, x0: u64, name: &str) -> Result<Machine> {
    let (stub_at, image_at) = (0x4800_0000u64, 0x4820_0000u64);
    let stub: [u32; 3] = [
        0xd2a0_0000 | ((x0 >> 16) as u32) << 5, // mov x0, #...
        0x1400_0000 | (((image_at - stub_at) as u32 - 4) / 4), // b image
        0,
    ];
    let path = artifacts::build(&format!("tests/{name}-stub.bin"));
    let bytes: Vec<u8> = stub.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(&path, bytes)?;
    Ok(machine
        .cpus(1)
        .without_firmware()
        .arguments(["-device".to_owned(), load(&artifacts::firmware(), image_at)])
        .arguments(["-device".to_owned(), load(&path, stub_at)])
        .arguments([
            "-device".to_owned(),
            format!("loader,addr={stub_at:#x},cpu-num=0"),
        ]))
}

/// QEMU's loader for a file at that address.
pub fn load(file: &Path, address: u64) -> String {
    format!(
        "loader,file={},addr={address:#x},force-raw=on",
        file.display()
    )
}
