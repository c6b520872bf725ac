//! A guest that does all that it should not, beside machines that have to live on.

use anyhow::{Context, Result, ensure};
use qemu_tests::{Bundle, Machine, Vm, report_of};

use super::{
    Group,
    linux::{asked, tell},
    single,
};

pub fn groups() -> Vec<Group> {
    let lives_on = ["cortex-a72", "max"].map(|cpu| {
        single(&format!("adversary::{cpu}"), move |test| {
            lives_on(test, Machine::new().cpu(cpu))
        })
    });
    let flooded = [
        ("gicv3", Machine::new as fn() -> Machine),
        ("gicv2", Machine::virt_gicv2),
    ]
    .map(|(gic, machine)| {
        single(&format!("adversary::flood_{gic}"), move |test| {
            is_not_flooded(test, machine())
        })
    });
    lives_on.into_iter().chain(flooded).collect()
}

/// However often a machine makes the CPU look that takes the console's input, keys arrive, here and elsewhere.
fn is_not_flooded(test: &str, machine: Machine) -> Result<()> {
    let bundle = Bundle::new()
        .vm(Vm::bare("flood", "flood").cpus(3))
        .vm(Vm::bare("witness", "heartbeat"));
    let mut session = machine.bundle(bundle).start(test)?;
    session.expect_of("flood", "@flood@ # flooded")?;
    session.focus(1)?;
    session.send("q")?;
    session.expect_of("witness", r"bulkhead: vm witness: off\b")?;
    session.focus(0)?;
    session.send("q")?;
    let ended = session.finish_well()?;
    for vm in ["flood", "witness"] {
        report_of(vm, &ended.text)?.verdict().context(vm)?;
    }
    Ok(())
}

/// The machine beside it beats before, during and after, and takes a key at the end; Linux beside it passes its checks.
pub fn lives_on(test: &str, machine: Machine) -> Result<()> {
    let bundle = Bundle::new()
        // Its memory ends within a block of 2 MiB.
        .vm(Vm::bare("adversary", "adversary").memory_mib(17))
        .vm(Vm::bare("witness", "heartbeat"))
        .vm(Vm::linux("linux", "6.12", "tasks")
            .cpus(2)
            .bootargs("cpus=2 psci=1.3"));
    let mut session = machine.bundle(bundle).start(test)?;
    session.expect_of("witness", "@witness@ # beat")?;
    session.expect_of("adversary", r"bulkhead: vm adversary: off\b")?;

    let at = session.text().len();
    asked(&mut session, "linux", 1)?;
    tell(&mut session, 2, "check")?;
    asked(&mut session, "linux", 2)?;
    tell(&mut session, 2, "poweroff")?;
    session.expect_of("linux", r"bulkhead: vm linux: off\b")?;
    session.focus(1)?;
    session.send("q")?;
    session.expect_of("witness", r"bulkhead: vm witness: off\b")?;
    let ended = session.finish_well()?;
    let after = ended.text.get(at..).unwrap_or_default();
    ensure!(
        after.contains("@witness@ # beat"),
        "the witness beat no more"
    );
    for vm in ["adversary", "witness", "linux"] {
        report_of(vm, &ended.text)?.verdict().context(vm)?;
    }
    Ok(())
}
