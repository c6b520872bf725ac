//! Bundles with mistakes: one clear line for each, and the machines that are right start.

use std::{fs, path::PathBuf, process::Command, sync::LazyLock};

use anyhow::{Context, Result, bail, ensure};
use qemu_tests::{Bundle, Ended, Image, Machine, Vm, artifacts};
use regex::Regex;

use super::{Group, Shared, single, tells_of_failure};

/// A machine that cannot start, and what its one line says: behind the name of its node if `in_node`, where the mistake is the node's own.
struct Case {
    name: &'static str,
    vm: fn(Vm) -> Vm,
    in_node: bool,
    line: &'static str,
}

/// A mistake in the machine's node.
const fn case(name: &'static str, vm: fn(Vm) -> Vm, line: &'static str) -> Case {
    let in_node = true;
    Case {
        name,
        vm,
        in_node,
        line,
    }
}

/// One that shows only when the machine is made of its images and the board's CPUs and memory.
const fn later(name: &'static str, vm: fn(Vm) -> Vm, line: &'static str) -> Case {
    let in_node = false;
    Case {
        in_node,
        ..case(name, vm, line)
    }
}

/// Where each is a change of a machine that would be right.
const CASES: [Case; 27] = [
    case("cpus-0", |vm| vm.cpus(0), r"cpus = <0>, allowed: 1 to 32"),
    case(
        "cpus-33",
        |vm| vm.cpus(33),
        r"cpus = <33>, allowed: 1 to 32",
    ),
    case(
        "cpus-text",
        |vm| vm.property("cpus", "\"two\""),
        r#"cpus = "two", allowed: 1 to 32"#,
    ),
    later(
        "cpus-more-than-board",
        |vm| vm.cpus(32),
        r"cpus = <32>, allowed: as many as board CPUs are free for it, 3",
    ),
    case(
        "memory-0",
        |vm| vm.memory_mib(0),
        r"memory-mib = <0>, allowed: 1 to 523264",
    ),
    later(
        "memory-more-than-board",
        |vm| vm.memory_mib(100_000),
        r"memory-mib = <100000>: 100000 MiB do not fit, 1[0-9]{3} MiB are free in one piece",
    ),
    // 39 bits of addresses, less 1 GiB below RAM.
    case(
        "memory-more-than-addresses",
        |vm| vm.memory_mib(523_265),
        r"memory-mib = <0x7fc01>, allowed: 1 to 523264$",
    ),
    case(
        "psci-0.3",
        |vm| vm.psci("0.3"),
        r#"psci-version = "0\.3", allowed: 0\.1, 0\.2, 1\.0, 1\.1, 1\.2, 1\.3"#,
    ),
    case(
        "psci-number",
        |vm| vm.property("psci-version", "<1>"),
        r"psci-version = <1>, allowed: 0\.1, 0\.2, 1\.0, 1\.1, 1\.2, 1\.3",
    ),
    case(
        "psci-empty",
        |vm| vm.psci(""),
        r#"psci-version = "", allowed: 0\.1, 0\.2, 1\.0, 1\.1, 1\.2, 1\.3"#,
    ),
    case(
        "method-hvx",
        |vm| vm.conduit("hvx"),
        r#"psci-method = "hvx", allowed: hvc, smc"#,
    ),
    case(
        "hide-mandatory",
        |vm| vm.property("psci-hide", "\"SYSTEM_SUSPEND\", \"CPU_ON\""),
        r#"psci-hide = "SYSTEM_SUSPEND", "CPU_ON", allowed: MIGRATE(, [A-Z_0-9]+)+, SYSTEM_OFF2"#,
    ),
    case(
        "ids-twice",
        |vm| vm.psci("0.1").property("psci-cpu-off", "<0x95c1ba60>"),
        r"psci-cpu-off = <0x95c1ba60>, allowed: an id that no other function of PSCI 0\.1 has",
    ),
    case(
        "id-list",
        |vm| vm.property("psci-cpu-on", "<1 2>"),
        r"psci-cpu-on = <1 2>, allowed: one function id",
    ),
    case(
        "bitmap-2",
        |vm| vm.property("smccc-std-hyp-bmap", "<2>"),
        r"smccc-std-hyp-bmap = <2>, allowed: 0 to 1",
    ),
    case(
        "affinity-9",
        |vm| vm.property("cpu-affinity", "<0 9>"),
        r"cpu-affinity = <0 9>, allowed: numbers of board CPUs, 0 to 3",
    ),
    case(
        "on-crash-ignore",
        |vm| vm.property("on-crash", "\"ignore\""),
        r#"on-crash = "ignore", allowed: halt, restart"#,
    ),
    case(
        "manual-start-1",
        |vm| vm.property("manual-start", "<1>"),
        r"manual-start = <1>, allowed: no value",
    ),
    case(
        "bootargs-cells",
        |vm| vm.without("bootargs").property("bootargs", "<0xff>"),
        r"bootargs = <255>, allowed: a string of at most 16384 bytes",
    ),
    case(
        "kernel-missing",
        |vm| vm.without("kernel"),
        r"kernel is missing",
    ),
    case(
        "kernel-nowhere",
        |vm| vm.refers_to("kernel", "nowhere"),
        r#"kernel = "nowhere", allowed: the name of a node of /images"#,
    ),
    case(
        "ramdisk-nowhere",
        |vm| vm.refers_to("ramdisk", "nowhere"),
        r#"ramdisk = "nowhere", allowed: the name of a node of /images"#,
    ),
    later(
        "kernel-no-image",
        |vm| vm.kernel(Image::kernel(text_file())),
        r#"kernel is no arm64 Image: it has no "ARM\\x64" at offset 56"#,
    ),
    later(
        "kernel-no-gzip",
        |vm| vm.kernel(Image::kernel(text_file()).compression("gzip")),
        r"kernel is not gzip data",
    ),
    later(
        "kernel-gzip-late",
        |vm| vm.kernel(Image::kernel(late_file()).compression("gzip").hash(None)),
        r"kernel does not match its gzip checksum",
    ),
    later(
        "ramdisk-over-ram",
        |vm| vm.ramdisk(Image::ramdisk(artifacts::linux("6.1"))),
        r"memory-mib = <16>, allowed: at least [0-9]+ for these images",
    ),
    later(
        "fdt-broken",
        |vm| vm.fdt(Image::fdt(text_file())),
        r"fdt: no device tree: it begins with 0x54686973 instead of 0xd00dfeed",
    ),
];

/// A file that is neither kernel nor device tree nor gzip. It is written once, as several tests may have it at the same time.
fn text_file() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = artifacts::build("tests/text");
        fs::write(&path, TEXT).expect("build/tests can be written to");
        path
    });
    FILE.clone()
}

/// A kernel's gzip data that are wrong in their CRC alone (RFC 1952 2.3.1): nobody knows before it is unpacked.
fn late_file() -> PathBuf {
    artifacts::build("tests/late.gz")
}

fn write_late_file() -> Result<()> {
    let (guest, late) = (artifacts::guest("heartbeat"), late_file());
    let compress = format!("gzip -n < '{}' > '{}'", guest.display(), late.display());
    artifacts::run(Command::new("sh").args(["-c", &compress]))?;
    let mut bytes = fs::read(&late)?;
    let crc = bytes.len().checked_sub(8).and_then(|at| bytes.get_mut(at));
    *crc.context("gzip wrote too little")? ^= 1;
    fs::write(late, bytes)?;
    Ok(())
}

pub fn groups() -> Vec<Group> {
    vec![
        mistakes(),
        single("bundles::damaged_hash", damaged_hash),
        single("bundles::two_of_one_name", two_of_one_name),
        single("bundles::truncated", |test| {
            refused(
                test,
                Bundle::new()
                    .vm(good())
                    .damaged(|b| b.truncate(b.len() / 2)),
                r"bundle: device tree is cut off: its header says [0-9]+ bytes, there are [0-9]+",
            )
        }),
        single("bundles::no_vm", |test| {
            refused(
                test,
                Bundle::new().damaged(|_| ()),
                r#"bundle: no node of /configurations has compatible = "bulkhead,vm", at least one must"#,
            )
        }),
        single("bundles::manual_start", manual_start),
        single("bundles::manual_start_alone", |test| {
            let bundle = Bundle::new().vm(waiting());
            let waits = "warning: vm waits: manual-start: nothing starts it yet";
            let lines =
                format!("info: .*\nbulkhead: {waits}\nbulkhead: summary: waits not started");
            refused(test, bundle, &lines)
        }),
        single("bundles::neither_fit_nor_image", |test| {
            refuses(
                test,
                Machine::new().initrd(text_file()),
                "bundle: it begins with 0x54686973, allowed are a FIT image and an arm64 Image, plain or gzip",
            )
        }),
    ]
}

const TEXT: &str = "This is no kernel, and no device tree either. DAMAGE-HERE\n";

fn good() -> Vm {
    Vm::bare("good", "heartbeat")
}

/// All cases in one bundle behind a good machine.
fn mistakes() -> Group {
    let run = Shared::new("bundles", |test| {
        write_late_file()?;
        let bundle = CASES.iter().fold(Bundle::new().vm(good()), |bundle, case| {
            bundle.vm((case.vm)(Vm::bare(case.name, "heartbeat")))
        });
        let mut session = Machine::new()
            .bundle(bundle)
            .limit(240)
            .start(&format!("{test}::mistakes"))?;
        the_good_one_lives(&mut session)?;
        session.finish()
    });
    let mut group: Group = CASES
        .iter()
        .map(|case| run.trial(case.name, |ended: &Ended| one_line(&ended.text, case)))
        .collect();
    group.push(run.trial("summary_tells_of_failure", |ended: &Ended| {
        let text = &ended.text;
        ensure!(!text.contains("panic"), "a panic");
        let others = CASES.map(|case| format!("{} not started", case.name));
        let wanted = format!("bulkhead: summary: good off, {}\n", others.join(", "));
        ensure!(text.contains(&wanted), "no line {wanted:?}");
        tells_of_failure(ended)
    }));
    group
}

/// Exactly one line names the machine, besides lines of its events, and it is as it should be from its beginning to its end.
fn one_line(text: &str, case: &Case) -> Result<()> {
    let vm = case.name;
    let naming: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.contains(&format!("/configurations/{vm}:")) || line.contains(&format!("vm {vm}:"))
        })
        .collect();
    ensure!(
        !text.contains(&format!("vm {vm}: on,")),
        "it started: {naming:?}"
    );
    ensure!(!text.contains(&format!("@{vm}@")), "it ran");
    let [line] = naming[..] else {
        bail!("not one line but these: {naming:#?}");
    };
    let place = match case.in_node {
        true => format!("/configurations/{vm}: "),
        false => String::new(),
    };
    let begin = format!("bulkhead: vm {vm}: not started: {place}");
    let pattern = Regex::new(&format!("^{}{}$", regex::escape(&begin), case.line))?;
    ensure!(pattern.is_match(line), "/{pattern}/ does not match: {line}");
    Ok(())
}

fn the_good_one_lives(session: &mut qemu_tests::Session) -> Result<()> {
    session.expect_of("good", "@good@ # beat")?;
    session.focus(0)?;
    session.send("q")?;
    session.expect_of("good", r"bulkhead: vm good: off\b")?;
    Ok(())
}

/// One flipped bit in the ramdisk of one machine.
fn damaged_hash(test: &str) -> Result<()> {
    let bundle = Bundle::new()
        .vm(Vm::bare("victim", "heartbeat").ramdisk(Image::ramdisk(text_file())))
        .vm(good())
        .damaged(|bytes| {
            let place = bytes.windows(11).position(|w| w == b"DAMAGE-HERE");
            if let Some(byte) = place.and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1;
            }
        });
    let mut session = Machine::new().bundle(bundle).limit(240).start(test)?;
    session.expect(
        "bulkhead: vm victim: not started: /images/image-1/hash-1: value is not that of the data: the image is damaged\n",
    )?;
    the_good_one_lives(&mut session)?;
    let ended = session.finish()?;
    ensure!(!ended.text.contains("@victim@"), "the victim ran");
    tells_of_failure(&ended)?;
    Ok(())
}

/// dtc takes no two nodes of one name, so the second is renamed in the file.
fn two_of_one_name(test: &str) -> Result<()> {
    let bundle = Bundle::new()
        .vm(Vm::bare("good", "heartbeat"))
        .vm(Vm::bare("gooe", "heartbeat").property("cpus", "<2>"))
        .damaged(|bytes| {
            let place = bytes.windows(5).position(|w| w == b"gooe\0");
            if let Some(byte) = place.and_then(|at| bytes.get_mut(at + 3)) {
                *byte = b'd';
            }
        });
    let mut session = Machine::new().bundle(bundle).limit(240).start(test)?;
    the_good_one_lives(&mut session)?;
    let ended = session.finish()?;
    tells_of_failure(&ended)?;
    let lines: Vec<&str> = ended
        .text
        .lines()
        .filter(|l| l.contains("/configurations/good:"))
        .collect();
    let wanted = "bulkhead: vm good: not started: /configurations/good: name of the VM, allowed: one that no earlier VM has";
    ensure!(lines == [wanted], "not one line but these: {lines:#?}");
    Ok(())
}

fn waiting() -> Vm {
    Vm::bare("waits", "heartbeat").property("manual-start", "")
}

/// A machine that nobody starts is there, has the first number, and does not run; nobody waits for it when the other goes off.
fn manual_start(test: &str) -> Result<()> {
    let bundle = Bundle::new().vm(waiting()).vm(good());
    let mut session = Machine::new().bundle(bundle).limit(240).start(test)?;
    session.expect("bulkhead: warning: vm waits: manual-start: nothing starts it yet\n")?;
    session.expect("bulkhead: focus good\n")?;
    session.expect("@good@ # beat 1\n")?;
    session.console_key(b'?')?;
    session.expect("bulkhead: VM 1 is waits: off\nbulkhead: VM 2 is good: on, in focus\n")?;
    session.send("q")?;
    session.expect("bulkhead: vm good: off\n")?;
    session.expect("bulkhead: summary: waits not started, good off\n")?;
    let ended = session.finish()?;
    for sign in ["vm waits: on", "@waits@"] {
        ensure!(!ended.text.contains(sign), "it ran: {sign:?}");
    }
    tells_of_failure(&ended)
}

/// Nothing can start: one line, then power-off.
fn refused(test: &str, bundle: Bundle, line: &str) -> Result<()> {
    refuses(test, Machine::new().bundle(bundle), line)
}

fn refuses(test: &str, machine: Machine, line: &str) -> Result<()> {
    let ended = machine.limit(180).start(test)?.finish()?;
    tells_of_failure(&ended)?;
    let lines = format!("^bulkhead: version .*\nbulkhead: {line}\nbulkhead: powering off\n$");
    ensure!(
        Regex::new(&lines)?.is_match(&ended.text),
        "/{lines}/ does not match: {}",
        ended.text
    );
    Ok(())
}
