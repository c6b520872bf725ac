//! Debian's kernels on every PSCI version: boot, checks from inside, reboot, poweroff, typing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Bundle, Image, Machine, Report, Session, Vm, artifacts, report_of};

use super::{Group, Shared, single};

/// What a machine of the matrix is. Two versions at a time, each with one vCPU and with four, keep a board of ten CPUs busy.
#[derive(Clone, Copy)]
pub struct Guest {
    pub psci: &'static str,
    pub cpus: u32,
}

impl Guest {
    fn name(self) -> String {
        format!("psci-{}-cpus-{}", self.psci, self.cpus)
    }

    fn vm(self, line: &str) -> Vm {
        let Self { psci, cpus } = self;
        Vm::linux(&self.name(), line, "tasks")
            .cpus(cpus)
            .psci(psci)
            .bootargs(&format!("cpus={cpus} psci={psci}"))
    }
}

const LINES: [&str; 3] = ["6.1", "6.12", "7"];
const PAIRS: [[&str; 2]; 3] = [["0.1", "1.1"], ["0.2", "1.2"], ["1.0", "1.3"]];

pub fn groups() -> Vec<Group> {
    let mut groups = vec![
        single("linux::typing", |test| typing(test, Machine::new(), 2)),
        single("linux::plain_image", plain_image),
        single("linux::warm_reboot", warm_reboot),
    ];
    groups.push(forms());
    for line in LINES {
        for pair in PAIRS {
            groups.push(matrix(line, pair));
        }
    }
    groups
}

fn guests_of(pair: [&'static str; 2]) -> Vec<Guest> {
    pair.into_iter()
        .flat_map(|psci| [4, 1].map(|cpus| Guest { psci, cpus }))
        .collect()
}

/// The verdicts of one run by machine.
pub type Reports = BTreeMap<String, Result<Report, String>>;

fn matrix(line: &'static str, pair: [&'static str; 2]) -> Group {
    let name = format!("linux::{line}_psci_{}_and_{}", pair[0], pair[1]);
    // A plain function pointer carries no captured values, so the run reads them from its name again.
    let run = Shared::new(&name, |name| {
        let (line, pair) = parse(name).context("the name of a run")?;
        let machine = Machine::new().cpus(10).memory("4G");
        run_matrix(name, machine, line, &guests_of(pair))
    });
    guests_of(pair)
        .into_iter()
        .map(|guest| {
            run.trial(&guest.name(), move |reports: &Reports| {
                match reports.get(&guest.name()) {
                    Some(Ok(report)) => report.verdict(),
                    Some(Err(error)) => Err(anyhow::anyhow!("{error}")),
                    None => Err(anyhow::anyhow!("it was not run")),
                }
            })
        })
        .collect()
}

fn parse(name: &str) -> Option<(&'static str, [&'static str; 2])> {
    let (line, pair) = name.strip_prefix("linux::")?.split_once("_psci_")?;
    let line = LINES.into_iter().find(|l| *l == line)?;
    let pair = PAIRS
        .into_iter()
        .find(|[a, b]| pair == format!("{a}_and_{b}"))?;
    Some((line, pair))
}

pub fn run_matrix(
    name: &str,
    machine: Machine,
    line: &'static str,
    guests: &[Guest],
) -> Result<Reports> {
    let bundle = guests
        .iter()
        .fold(Bundle::new(), |bundle, guest| bundle.vm(guest.vm(line)));
    let mut session = machine.bundle(bundle).start(name)?;
    for (index, guest) in guests.iter().enumerate() {
        asked(&mut session, &guest.name(), 1)?;
        tell(&mut session, index, "check")?;
    }
    for guest in guests {
        asked(&mut session, &guest.name(), 2)?;
    }
    let mut reports = Reports::new();
    for (index, guest) in guests.iter().enumerate() {
        let vm = guest.name();
        let report = report_of(&vm, session.text())?;
        let left = leave(&mut session, index, *guest);
        let verdict = left.map(|()| report).map_err(|error| format!("{error:#}"));
        let lost = verdict.is_err();
        reports.insert(vm, verdict);
        if lost {
            break;
        }
    }
    // Machines on 0.1 have no way to end, so neither has the run.
    if guests.iter().all(|guest| guest.psci != "0.1") && reports.values().all(|r| r.is_ok()) {
        session.finish_well()?;
    }
    Ok(reports)
}

/// Waits until the script `tasks` of a machine asks for the `nth` time since the machine started. The line is to be
/// complete: the console writes an unfinished one again behind the answer to a key.
pub fn asked(session: &mut Session, vm: &str, nth: u32) -> Result<()> {
    session.expect_of(vm, &format!("@{vm}@ task {nth}\\?\n"))?;
    Ok(())
}

/// Types a task for the machine of that index.
pub fn tell(session: &mut Session, index: usize, task: &str) -> Result<()> {
    session.focus(index)?;
    session.send(&format!("{task}\n"))
}

/// `reboot` boots it again, `poweroff` ends it; a kernel on 0.1 says that it can do neither.
fn leave(session: &mut Session, index: usize, guest: Guest) -> Result<()> {
    let vm = guest.name();
    if guest.psci == "0.1" {
        if guest.cpus == 1 {
            tell(session, index, "poweroff")?;
            session.expect_of(
                &vm,
                r"reboot: (Power down|System halted|Power off not available)",
            )?;
        } else {
            tell(session, index, "reboot")?;
            session.expect_of(&vm, "Reboot failed -- System halted")?;
        }
        return Ok(());
    }
    tell(session, index, "reboot")?;
    session.expect_of(&vm, &event(&vm, "reset"))?;
    asked(session, &vm, 1)?;
    tell(session, index, "poweroff")?;
    session.expect_of(&vm, &event(&vm, "off"))?;
    Ok(())
}

/// The line that tells of an event.
fn event(vm: &str, event: &str) -> String {
    format!(r"bulkhead: vm {vm}: {event}\b")
}

/// Two machines with an interactive shell each, as the demo has them: what is typed goes to the one in focus only.
pub fn typing(test: &str, machine: Machine, cpus: u32) -> Result<()> {
    let shell = |name, psci| {
        Vm::linux(name, "6.1", "none")
            .cpus(cpus)
            .psci(psci)
            .bootargs("quiet")
    };
    let mut session = machine
        .bundle(
            Bundle::new()
                .vm(shell("alpha", "0.2"))
                .vm(shell("beta", "1.3")),
        )
        .start(test)?;
    for vm in ["alpha", "beta"] {
        session.expect_of(vm, &format!("{vm}: leave with poweroff"))?;
    }
    for (index, vm) in [(0, "alpha"), (1, "beta"), (0, "alpha")] {
        session.focus(index)?;
        // The answer is nowhere in what is typed.
        session.send("echo $(hostname)-$((6 * 7))-$((1000 + 1))\n")?;
        session.expect_of(vm, &format!("{vm}-42-1001\n"))?;
    }
    // Pasted at once: more than any FIFO holds.
    session.send(&format!("echo {} | wc -c\n", "x".repeat(900)))?;
    session.expect_of("alpha", "\n901\n")?;
    session.console_key(b'n')?;
    session.send("poweroff\n")?;
    session.expect(&event("beta", "off"))?;
    ensure!(
        !session.text().contains("vm alpha: off"),
        "alpha went off too"
    );
    session.focus(0)?;
    session.send("poweroff\n")?;
    session.expect(&event("alpha", "off"))?;
    session.finish_well()?;
    Ok(())
}

/// A kernel told `reboot=warm` calls SYSTEM_RESET2, which keeps its memory; it boots again, and once more.
fn warm_reboot(test: &str) -> Result<()> {
    let vm = Vm::linux("warm", "6.12", "tasks")
        .cpus(2)
        .psci("1.1")
        .bootargs("cpus=2 psci=1.1 reboot=warm");
    let mut session = Machine::new().bundle(Bundle::new().vm(vm)).start(test)?;
    for _ in 0..2 {
        asked(&mut session, "warm", 1)?;
        tell(&mut session, 0, "reboot")?;
        session.expect("bulkhead: vm warm: reset, its memory is kept")?;
    }
    asked(&mut session, "warm", 1)?;
    tell(&mut session, 0, "poweroff")?;
    session.expect(&event("warm", "off"))?;
    session.finish_well()?;
    Ok(())
}

/// An initrd that is an arm64 Image is one machine with all CPUs and most memory. The kernel has no root file system, and says so.
fn plain_image(test: &str) -> Result<()> {
    let mut session = Machine::new().initrd(artifacts::linux("6.1")).start(test)?;
    session.expect(r"bulkhead: vm \S+: on\b")?;
    let memory = session.expect(r"Memory: [0-9]+K/([0-9]+)K available")?;
    let mib = memory[1].parse::<u32>()? >> 10;
    ensure!(mib > 1536, "{mib} MiB of the board's 2048");
    let cpus = session.expect("smp: Brought up 1 node, ([0-9]+) CPU")?;
    ensure!(&cpus[1] == "4", "{} of the board's 4 CPUs", &cpus[1]);
    session.expect("Unable to mount root fs")?;
    Ok(())
}

/// Ways to hand over images, one machine each: gzip, data behind the tree, a device tree of the guest's own, sha256, the SMC conduit.
fn forms() -> Group {
    let run = Shared::new("linux::forms", run_forms);
    ["gzip", "own-fdt", "smc"]
        .map(|vm| {
            run.trial(vm, move |reports: &Reports| match reports.get(vm) {
                Some(Ok(report)) => report.verdict(),
                other => Err(anyhow::anyhow!("{other:?}")),
            })
        })
        .into()
}

fn run_forms(test: &str) -> Result<Reports> {
    let gzipped = artifacts::build("tests/Image.gz");
    let compress = format!(
        "gzip --no-name -1 < '{}' > '{}'",
        artifacts::linux("6.1").display(),
        gzipped.display()
    );
    artifacts::run(std::process::Command::new("sh").args(["-c", &compress]))?;
    let base = |name| {
        Vm::linux(name, "6.12", "tasks")
            .psci("1.1")
            .bootargs("cpus=1 psci=1.1")
    };
    let bundle = Bundle::new()
        .external()
        .vm(base("gzip").kernel(
            Image::kernel(&gzipped)
                .compression("gzip")
                .hash(Some("sha256")),
        ))
        .vm(base("own-fdt")
            .fdt(Image::fdt(artifacts::own_dtb("own")?))
            .bootargs("model=own"))
        .vm(base("smc").conduit("smc").bootargs("method=smc"));
    let mut session = Machine::new().memory("3G").bundle(bundle).start(test)?;
    let vms = ["gzip", "own-fdt", "smc"];
    for (index, vm) in vms.into_iter().enumerate() {
        asked(&mut session, vm, 1)?;
        tell(&mut session, index, "check")?;
    }
    let mut reports = Reports::new();
    for (index, vm) in vms.into_iter().enumerate() {
        asked(&mut session, vm, 2)?;
        reports.insert(
            vm.to_owned(),
            report_of(vm, session.text()).map_err(|e| format!("{e:#}")),
        );
        tell(&mut session, index, "poweroff")?;
        session.expect_of(vm, &event(vm, "off"))?;
    }
    session.finish_well()?;
    Ok(reports)
}
