//! What Bulkhead costs, in instructions.
//!
//! QEMU's `-icount shift=0,sleep=off` lets a nanosecond of the machine's time pass for each instruction, at any exception level and on
//! any of its CPUs, which take turns. With a counter of 1 GHz the guest reads the number of instructions so far, and no load of the host
//! can change it. Instructions are not cycles: caches, barriers and the exception's own latency count for nothing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::{Bundle, Machine, Vm, artifacts, report_of};

/// What a figure may exceed its budget by, in percent: room for a change elsewhere that moves code about.
const ALLOWANCE: u64 = 2;

/// Figures by name, in the order in which they were measured.
pub type Figures = Vec<(String, u64)>;

/// The board's interrupt controllers that guests are measured with.
pub const GICS: [&str; 2] = [GICV3, GICV2];
const GICV3: &str = "gicv3";
const GICV2: &str = "gicv2";

/// `machine` such that its counter counts instructions. Date and random seeds are the same every time.
pub fn counting(machine: Machine) -> Machine {
    machine
        .cpu("cortex-a57,cntfrq=1000000000")
        .arguments(["-icount", "shift=0,sleep=off"])
        .arguments(["-rtc", "base=2026-01-01,clock=vm"])
}

/// Runs the guest `bench` on a board with that interrupt controller.
pub fn measure(gic: &str) -> Result<Figures> {
    let board = match gic {
        GICV2 => Machine::virt_gicv2(),
        _ => Machine::new(),
    };
    let bundle = Bundle::new().vm(Vm::bare("bench", "bench").cpus(2));
    let machine = counting(board.cpus(2).memory("256M").bundle(bundle));
    let ended = machine.start(&format!("bench-{gic}"))?.finish_well()?;
    let report = report_of("bench", &ended.text)?;
    report.verdict()?;
    figures(&report.notes)
}

/// The figures in a guest's notes, and those that two of them make.
fn figures(notes: &[String]) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut started = Vec::new();
    let mut resets = 0;
    for note in notes {
        let words: Vec<&str> = note.split(' ').collect();
        match words[..] {
            ["cost", name, least, most] => {
                ensure!(least == most, "{name} cost {least} to {most} instructions");
                figures.push((name.to_owned(), least.parse()?));
            }
            ["started", at] => started.push(at.parse::<u64>()?),
            ["resets", at] => resets = at.parse()?,
            _ => {}
        }
    }
    let [start, restart] = started[..] else {
        bail!("{} starts instead of two", started.len());
    };
    figures.push(("reset".to_owned(), restart - resets));
    figures.push(("start".to_owned(), start));
    Ok(figures)
}

/// Figures as JSON.
pub fn to_json(figures: &Figures) -> Value {
    let pairs = figures.iter().map(|(name, n)| (name.clone(), (*n).into()));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A JSON file.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Writes a JSON file.
pub fn write_json(path: &Path, content: Map<String, Value>) -> Result<()> {
    let text = serde_json::to_string_pretty(&Value::Object(content))?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

/// The file that says what may cost how much.
pub fn budget_file() -> PathBuf {
    artifacts::root().join("qemu-tests/bench/budget.json")
}

/// What is in it.
pub fn budget() -> Result<Value> {
    read_json(&budget_file())
}

/// Holds figures of a board against their budget: every one must have one, and every budget must have been measured.
pub fn judge(figures: &Figures, budget: &Value) -> Result<()> {
    let budget = budget.as_object().context("no budget")?;
    let mut open: HashMap<&str, u64> = HashMap::new();
    for (name, allowed) in budget {
        let allowed = allowed.as_u64().with_context(|| name.clone())?;
        open.insert(name, allowed);
    }
    let mut wrong = Vec::new();
    for (name, cost) in figures {
        match open.remove(name.as_str()) {
            Some(allowed) if cost * 100 <= allowed * (100 + ALLOWANCE) => {}
            Some(allowed) => wrong.push(format!("{name}: {cost}, and {allowed} are budgeted")),
            None => wrong.push(format!("{name}: {cost}, and nothing is budgeted")),
        }
    }
    wrong.extend(open.keys().map(|name| format!("{name}: not measured")));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

/// What the same operations cost elsewhere, by the name of the operation and of the hypervisor.
pub fn peers() -> Result<Value> {
    read_json(&artifacts::root().join("qemu-tests/bench/peers.json"))
}

/// The peer that KVM is represented by in the table.
const KVM: &str = "KVM 6.12";

/// The figures of the peers for an operation: they have no figures for each conduit.
fn peers_of<'a>(peers: &'a Value, operation: &str) -> Option<&'a Map<String, Value>> {
    let conduits = ["hvc-", "smc-"];
    let name = conduits.iter().find_map(|c| operation.strip_prefix(c));
    peers.get(name.unwrap_or(operation))?.as_object()
}

/// Sections of figures, each `(section, name, figure)`.
fn rows(figures: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    let sections = figures.as_object().into_iter().flatten();
    sections.flat_map(|(section, figures)| {
        let figures = figures.as_object().into_iter().flatten();
        figures.filter_map(|(name, n)| Some((section.as_str(), name.as_str(), n.as_u64()?)))
    })
}

/// A table of figures beside those of the best peer and of KVM, which are of boards with a GICv3.
pub fn table(measured: &Value, peers: &Value) -> String {
    let mut text = heading(["GICv3", "GICv2", "best peer", KVM, "ratio", ""]);
    for (section, name, figure) in rows(measured).filter(|(section, ..)| *section != GICV2) {
        let column = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let gicv2 = match section {
            GICV3 => measured
                .get(GICV2)
                .and_then(|gicv2| gicv2.get(name)?.as_u64()),
            _ => None,
        };
        let peers = peers_of(peers, name);
        let best = best_of(peers);
        let ratio = best.map(|(best, _)| format!("{:.2}", best as f64 / figure as f64));
        text += &row(
            name,
            [
                figure.to_string(),
                column(gicv2),
                column(best.map(|(best, _)| best)),
                column(peers.and_then(|peers| peers.get(KVM)?.as_u64())),
                ratio.unwrap_or("-".to_owned()),
                best.map_or("", |(_, peer)| peer).to_owned(),
            ],
        );
    }
    text
}

/// The lowest figure of an operation, and whose it is.
fn best_of(peers: Option<&Map<String, Value>>) -> Option<(u64, &str)> {
    let figures = peers.into_iter().flatten();
    figures
        .filter_map(|(peer, n)| Some((n.as_u64()?, peer.as_str())))
        .min()
}

/// A table of what has changed since an earlier run.
pub fn comparison(measured: &Value, earlier: &Value) -> String {
    let mut text = heading(["earlier", "now", "change", "percent", "", ""]);
    for (section, name, now) in rows(measured) {
        let was = earlier.get(section).and_then(|s| s.get(name)?.as_u64());
        let columns = match was {
            Some(was) => {
                let change = now as i64 - was as i64;
                let percent = 100.0 * change as f64 / was.max(1) as f64;
                [
                    was.to_string(),
                    format!("{change:+}"),
                    format!("{percent:+.1}"),
                ]
            }
            None => ["-".to_owned(), "new".to_owned(), String::new()],
        };
        let [was, change, percent] = columns;
        let columns = [
            was,
            now.to_string(),
            change,
            percent,
            String::new(),
            section.to_owned(),
        ];
        text += &row(name, columns);
    }
    text
}

fn heading(columns: [&str; 6]) -> String {
    row("operation", columns.map(str::to_owned))
}

fn row(operation: &str, [a, b, c, d, e, f]: [String; 6]) -> String {
    let line = format!("{operation:<22} {a:>9} {b:>9} {c:>9} {d:>9} {e:>6}  {f}");
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn notes(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    fn verdict(cost: u64, budget: Value) -> Result<(), String> {
        judge(&vec![("exit".to_owned(), cost)], &budget).map_err(|e| e.to_string())
    }

    #[test]
    fn starts_and_the_reset_between_them_become_figures() {
        let notes = notes(&["started 50", "cost exit 7 7", "resets 100", "started 130"]);
        let pairs = [("exit", 7), ("reset", 30), ("start", 50)];
        let wanted: Figures = pairs.map(|(name, n)| (name.to_owned(), n)).into();
        assert_eq!(figures(&notes).unwrap(), wanted);
    }

    #[test]
    fn a_cost_that_is_not_the_same_every_time_is_refused() {
        let notes = notes(&["started 50", "cost exit 7 8", "resets 100", "started 130"]);
        assert!(figures(&notes).unwrap_err().to_string().contains("7 to 8"));
    }

    #[test]
    fn two_percent_over_the_budget_are_allowed_and_no_more() {
        assert_eq!(verdict(102, json!({"exit": 100})), Ok(()));
        let error = verdict(103, json!({"exit": 100})).unwrap_err();
        assert_eq!(error, "exit: 103, and 100 are budgeted");
    }

    #[test]
    fn a_figure_without_budget_and_a_budget_without_figure_are_named() {
        let error = verdict(1, json!({"other": 1})).unwrap_err();
        assert!(
            error.contains("exit: 1, and nothing is budgeted"),
            "{error}"
        );
        assert!(error.contains("other: not measured"), "{error}");
    }
}
