//! Where the instructions of an operation are executed.
//!
//! QEMU logs every instruction of Bulkhead's image. Which of them are an operation's depends on it:
//!
//! - For a start, those before the guest's first instruction; for a reset, those between the guest's last one before it and the first of its
//!   new life.
//! - For Linux, all until it has turned itself off.
//! - Else a run with more attempts at the operation than another differs by these attempts only, so the difference between the two, address
//!   by address, is the operation.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader},
    ops::{ControlFlow, Range},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{counting, linux};
use crate::{Bundle, Machine, Vm, artifacts};

/// Where QEMU puts the image, with more room than it has code.
const IMAGE: Range<u64> = 0x4020_0000..0x4024_0000;
/// Where the guest `bench` runs. The few instructions with which QEMU starts the board have been there before.
const GUEST: Range<u64> = 0x4000_0000..IMAGE.start;

/// How many attempts two runs make: numbers of as many digits, so that the boot arguments are of one length.
const FEW: u64 = 10;
const MANY: u64 = 42;

/// Executions by offset in the image.
type Counts = BTreeMap<u64, u64>;

/// The instructions of one operation by function.
pub fn of(operation: &str) -> Result<String> {
    match operation {
        "start" => report(&until_life(1, bench("only=none"))?, 1),
        "reset" => report(&until_life(2, bench("only=reset"))?, 1),
        "linux-placement" => report(&until_life(1, linux::board_with_stand_in(None)?)?, 1),
        "linux-share" => report(&executed(linux::board()?)?, 1),
        _ => {
            let few = executed(bench(&format!("only={operation} attempts={FEW}")))?;
            let mut counts = executed(bench(&format!("only={operation} attempts={MANY}")))?;
            for (address, count) in &mut counts {
                *count = count.saturating_sub(few.get(address).copied().unwrap_or(0));
            }
            counts.retain(|_, count| *count > 0);
            ensure!(!counts.is_empty(), "there is no operation {operation}");
            report(&counts, MANY - FEW)
        }
    }
}

/// The board with the guest `bench`.
fn bench(bootargs: &str) -> Machine {
    let vm = Vm::bare("bench", "bench").cpus(2).bootargs(bootargs);
    Machine::new()
        .cpus(2)
        .memory("256M")
        .bundle(Bundle::new().vm(vm))
}

/// What a whole run executes in the image.
fn executed(machine: Machine) -> Result<Counts> {
    let mut counts = Counts::new();
    follow(machine, &[IMAGE], |pc| {
        *counts.entry(pc - IMAGE.start).or_default() += 1;
        ControlFlow::Continue(())
    })?;
    Ok(counts)
}

/// What is executed in the image before the guest's life of that number, counted from 1, and behind any other instruction of the guest's.
fn until_life(number: u32, machine: Machine) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut entry = None;
    let mut lives = 0;
    follow(machine, &[GUEST, IMAGE], |pc| {
        if IMAGE.contains(&pc) {
            *counts.entry(pc - IMAGE.start).or_default() += 1;
            return ControlFlow::Continue(());
        }
        if counts.is_empty() && entry.is_none() {
            return ControlFlow::Continue(()); // the board's start
        }
        if *entry.get_or_insert(pc) == pc {
            lives += 1;
            if lives == number {
                return ControlFlow::Break(());
            }
        }
        counts.clear();
        ControlFlow::Continue(())
    })?;
    ensure!(lives == number, "the guest began {lives} times");
    Ok(counts)
}

/// Runs the machine, and shows the address of each instruction in `ranges` that it executes to `see`, until that has enough.
fn follow(
    machine: Machine,
    ranges: &[Range<u64>],
    mut see: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<()> {
    let filter = ranges
        .iter()
        .map(|range| format!("{:#x}+{:#x}", range.start, range.end - range.start));
    let machine = machine
        .arguments(["-accel", "tcg,one-insn-per-tb=on"])
        .arguments(["-d", "exec,nochain", "-dfilter"])
        .arguments([filter.collect::<Vec<_>>().join(",")]);
    let mut qemu = counting(machine).command(&artifacts::scratch("profile")?)?;
    qemu.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut qemu = qemu.spawn()?;
    let mut log = BufReader::new(qemu.stderr.take().context("no stderr")?);
    let mut line = String::new();
    // Trace 0: 0x7ff5a0000900 [00000000/0000000040200000/00000461/ff022201]
    while log.read_line(&mut line)? > 0 {
        let field = line.split('/').nth(1).unwrap_or_default();
        if let Ok(pc) = u64::from_str_radix(field, 16)
            && see(pc).is_break()
        {
            qemu.kill()?;
            qemu.wait()?;
            return Ok(());
        }
        line.clear();
    }
    ensure!(qemu.wait()?.success(), "QEMU failed");
    Ok(())
}

/// Functions by what is executed in them in one of so many attempts.
fn report(counts: &Counts, attempts: u64) -> Result<String> {
    let functions = functions()?;
    let mut by_function: BTreeMap<&str, u64> = BTreeMap::new();
    for (address, count) in counts {
        let name = functions.range(..=address).next_back();
        let name = name.map_or("?", |(_, name)| name.as_str());
        *by_function.entry(name).or_default() += count;
    }
    let mut functions: Vec<(&str, u64)> = by_function.into_iter().collect();
    functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = ("in all", functions.iter().map(|(_, count)| count).sum());
    let mut text = String::new();
    for (name, count) in [all].into_iter().chain(functions) {
        let per_attempt = count as f64 / attempts as f64;
        writeln!(text, "{per_attempt:>12.1}  {name}")?;
    }
    Ok(text)
}

/// The image's functions by offset.
fn functions() -> Result<BTreeMap<u64, String>> {
    let output = Command::new("aarch64-linux-gnu-nm")
        .args(["--demangle", "--defined-only"])
        .arg(artifacts::build("bulkhead.elf"))
        .output()?;
    let symbols = String::from_utf8(output.stdout)?;
    let function = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let address = u64::from_str_radix(address, 16).ok()?;
        // Mapping symbols ($x, $d) tell code from data.
        (kind.eq_ignore_ascii_case("t") && !name.starts_with('$'))
            .then(|| (address, name.to_owned()))
    };
    Ok(symbols.lines().filter_map(function).collect())
}
