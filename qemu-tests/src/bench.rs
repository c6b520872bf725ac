//! What Bulkhead costs, in instructions.
//!
//! QEMU's `-icount shift=0,sleep=off` lets a nanosecond of the machine's time pass for each instruction, at any exception level and on
//! any of its CPUs, which take turns. With a counter of 1 GHz the guest reads the number of instructions so far, and no load of the host
//! can change it. Instructions are not cycles: caches, barriers and the exception's own latency count for nothing. Beside them stand bytes:
//! of the image and of memory.

pub mod chart;
pub mod linux;
pub mod profile;
mod size;
pub mod table;

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

/// The sections of figures that are held to a budget, each measured in a few seconds: of a guest by the board's interrupt controller, of
/// images on their way into a guest's RAM, of bytes.
pub const SECTIONS: [&str; 4] = [GICV3, GICV2, PLACEMENT, SIZE];
const GICV3: &str = "gicv3";
const GICV2: &str = "gicv2";
const PLACEMENT: &str = "placement";
const SIZE: &str = "size";

/// `machine` such that its counter counts instructions. Date and random seeds are the same every time.
pub fn counting(machine: Machine) -> Machine {
    machine
        .cpu("cortex-a57,cntfrq=1000000000")
        .arguments(["-icount", "shift=0,sleep=off"])
        .arguments(["-rtc", "base=2026-01-01,clock=vm"])
}

/// Measures one of [`SECTIONS`].
pub fn measure(section: &str) -> Result<Figures> {
    match section {
        GICV3 => measure_guest(section, Machine::new()),
        GICV2 => measure_guest(section, Machine::virt_gicv2()),
        PLACEMENT => linux::placement(),
        SIZE => size::measure(),
        _ => bail!("there is no section {section}"),
    }
}

/// Runs the guest `bench` on a board.
fn measure_guest(name: &str, board: Machine) -> Result<Figures> {
    let bundle = Bundle::new().vm(Vm::bare("bench", "bench").cpus(2));
    let machine = counting(board.cpus(2).memory("256M").bundle(bundle));
    let ended = machine.start(&format!("bench-{name}"))?.finish_well()?;
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

/// Holds figures of a section against their budget: every one must have one, and every budget must have been measured.
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
