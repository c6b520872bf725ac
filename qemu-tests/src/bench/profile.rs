//! Where the instructions of an operation are executed.
//!
//! QEMU logs every instruction of Bulkhead's image. A run with more attempts at the operation than another differs by these attempts
//! only, so the difference between the two, address by address, is the operation.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::counting;
use crate::{Bundle, Machine, Vm, artifacts};

/// Where QEMU puts the image, and more bytes than it has code.
const IMAGE: u64 = 0x4020_0000;
const CODE: u64 = 0x4_0000;

/// How many attempts the two runs make: numbers of as many digits, so that the boot arguments are of one length.
const FEW: u64 = 10;
const MANY: u64 = 42;

/// Executions by offset in the image.
type Counts = BTreeMap<u64, u64>;

/// The instructions of one operation by function, and within each by address.
pub fn of(operation: &str) -> Result<String> {
    let few = executed(operation, FEW)?;
    let mut counts = executed(operation, MANY)?;
    for (address, count) in &mut counts {
        *count = count.saturating_sub(few.get(address).copied().unwrap_or(0));
    }
    counts.retain(|_, count| *count > 0);
    ensure!(!counts.is_empty(), "there is no operation {operation}");
    report(&counts)
}

fn executed(operation: &str, attempts: u64) -> Result<Counts> {
    let vm = Vm::bare("bench", "bench")
        .cpus(2)
        .bootargs(&format!("only={operation} attempts={attempts}"));
    let machine = Machine::new()
        .cpus(2)
        .memory("256M")
        .bundle(Bundle::new().vm(vm))
        .arguments(["-accel", "tcg,one-insn-per-tb=on"])
        .arguments(["-d", "exec,nochain", "-dfilter"])
        .arguments([format!("{IMAGE:#x}+{CODE:#x}")]);
    let mut qemu = counting(machine).command(&artifacts::scratch("profile")?)?;
    qemu.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut qemu = qemu.spawn()?;
    let mut counts = Counts::new();
    // Trace 0: 0x7ff5a0000900 [00000000/0000000040200000/00000461/ff022201]
    for line in BufReader::new(qemu.stderr.take().context("no stderr")?).lines() {
        let line = line?;
        let field = line.split('/').nth(1).unwrap_or_default();
        if let Ok(address) = u64::from_str_radix(field, 16) {
            *counts.entry(address - IMAGE).or_default() += 1;
        }
    }
    ensure!(qemu.wait()?.success(), "QEMU failed");
    Ok(counts)
}

/// Functions by what is executed in them, each with its addresses; counts are of one attempt.
fn report(counts: &Counts) -> Result<String> {
    let per_attempt = |count: u64| count as f64 / (MANY - FEW) as f64;
    let functions = functions()?;
    let mut by_function: BTreeMap<&str, Counts> = BTreeMap::new();
    for (address, count) in counts {
        let name = functions.range(..=address).next_back();
        let name = name.map_or("?", |(_, name)| name.as_str());
        by_function
            .entry(name)
            .or_default()
            .insert(*address, *count);
    }
    let total = |counts: &Counts| per_attempt(counts.values().sum());
    let mut functions: Vec<_> = by_function.iter().collect();
    functions.sort_by(|a, b| total(b.1).total_cmp(&total(a.1)));
    let mut text = format!("{:>10.1}  in all\n", total(counts));
    for (name, addresses) in functions {
        writeln!(text, "{:>10.1}  {name}", total(addresses))?;
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
