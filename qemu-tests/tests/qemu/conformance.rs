//! The conformance guest on every version, by both conduits, with one, two and four vCPUs.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use qemu_tests::{Bundle, Machine, Report, Session, Vm, report_of};

use super::{Group, Shared};

const VERSIONS: [&str; 6] = ["0.1", "0.2", "1.0", "1.1", "1.2", "1.3"];

pub fn groups() -> Vec<Group> {
    // One run for each number of vCPUs and each conduit that the device trees name: six machines.
    [
        group("conformance::hvc_1", |name| run(name, "hvc", 1)),
        group("conformance::hvc_2", |name| run(name, "hvc", 2)),
        group("conformance::hvc_4", |name| run(name, "hvc", 4)),
        group("conformance::smc_1", |name| run(name, "smc", 1)),
        group("conformance::smc_2", |name| run(name, "smc", 2)),
        group("conformance::smc_4", |name| run(name, "smc", 4)),
    ]
    .into()
}

/// The verdicts by version.
pub type Reports = BTreeMap<&'static str, Result<Report, String>>;

pub fn group(name: &str, run: fn(&str) -> Result<Reports>) -> Group {
    let run = Shared::new(name, run);
    VERSIONS
        .map(|version| {
            run.trial(&format!("psci_{version}"), move |reports| {
                match reports.get(version) {
                    Some(Ok(report)) => report.verdict(),
                    Some(Err(error)) => Err(anyhow!("{error}")),
                    None => Err(anyhow!("it was not run")),
                }
            })
        })
        .into()
}

fn run(test: &str, conduit: &str, cpus: u32) -> Result<Reports> {
    run_on(&Machine::new(), 8, test, conduit, cpus)
}

/// `board` has `board_cpus` CPUs, and as many machines run at a time as have room.
pub fn run_on(
    board: &Machine,
    board_cpus: u32,
    test: &str,
    conduit: &str,
    cpus: u32,
) -> Result<Reports> {
    let mut reports = Reports::new();
    for versions in VERSIONS.chunks(((board_cpus / cpus) as usize).min(6)) {
        let name = |version: &&str| format!("psci-{version}");
        let bundle = versions.iter().fold(Bundle::new(), |bundle, version| {
            bundle.vm(Vm::bare(&name(version), "conformance")
                .cpus(cpus)
                .psci(version)
                .conduit(conduit)
                .bootargs(&format!("psci={version} method={conduit} cpus={cpus}")))
        });
        let run = format!("{test}-{}", versions.join("-"));
        let mut session = board.clone().cpus(board_cpus).bundle(bundle).start(&run)?;
        let names: Vec<String> = versions.iter().map(name).collect();
        remember(&mut session, &names)?;
        let ended = session.finish_well()?;
        if let Some((_, why)) = ended.text.split_once("Bail out!") {
            // Where is in the first line, what in the second.
            let why: Vec<&str> = why.lines().take(2).collect();
            bail!("a guest gave up: {}", why.join(" "));
        }
        for version in versions {
            let vm = name(version);
            reports.insert(
                version,
                report_of(&vm, &ended.text).map_err(|e| format!("{e:#}")),
            );
            if !ended.text.contains(&format!("bulkhead: vm {vm}: off")) {
                bail!("{vm} did not go off");
            }
        }
    }
    Ok(reports)
}

/// Keeps for each machine, whose resets are to clear its memory, how far it has come, and tells it in its next life; until QEMU ends.
///
/// A line of the machine in focus may come twice, as the console writes it again behind another's: it is answered once.
pub fn remember(session: &mut Session, vms: &[String]) -> Result<()> {
    let mut known = vec![(String::from("0 0"), false); vms.len()];
    while let Some(line) = session.next_line()? {
        for (index, vm) in vms.iter().enumerate() {
            let Some((_, said)) = line.split_once(&format!("@{vm}@ ")) else {
                continue;
            };
            let (progress, is_told) = &mut known[index];
            if let Some(new) = said.strip_prefix("remember ") {
                (*progress, *is_told) = (new.to_owned(), false);
            } else if said == "recall" && !*is_told {
                *is_told = true;
                session.focus(index)?;
                session.send(&format!("{progress}\n"))?;
            }
        }
    }
    Ok(())
}
