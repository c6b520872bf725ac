//! Boards of other makers: what differs is the device tree and the serial port.

use anyhow::Result;
use qemu_tests::{Bundle, Machine, Vm, artifacts};

use super::{Group, boards::ends_with, linux, single};

pub fn groups() -> Vec<Group> {
    [
        on("xlnx-versal-virt", |test| {
            linux::typing(test, Machine::xlnx_versal_virt(), 1)
        }),
        on("xlnx-zcu102", |test| {
            linux::typing(test, Machine::xlnx_zcu102(), 2)
        }),
        on("imx8mp-evk", echo),
        on("npcm845-evb", |test| {
            ends_with(
                test,
                Machine::npcm845_evb()?,
                "bulkhead: stopped: .*no GICH",
            )
        }),
    ]
    .into()
}

/// The test of a board, if this QEMU has it.
fn on(board: &str, run: fn(&str) -> Result<()>) -> Group {
    let has = artifacts::qemu_has(board);
    if !has {
        eprintln!(
            "{board}: skipped, this QEMU does not have it; QEMU 10 is the first that has all"
        );
    }
    single(&format!("further_boards::{board}"), run)
        .into_iter()
        .map(|trial| trial.with_ignored_flag(!has))
        .collect()
}

/// Two machines that hear what is typed. They take no interrupts: QEMU brings an i.MX 8M Plus virtual ones in its later versions only.
fn echo(test: &str) -> Result<()> {
    let bundle = ["left", "right"]
        .into_iter()
        .fold(Bundle::new(), |bundle, vm| bundle.vm(Vm::bare(vm, "echo")));
    let mut session = Machine::imx8mp_evk().bundle(bundle).start(test)?;
    for vm in ["left", "right"] {
        session.expect_of(vm, &format!("@{vm}@ # listening\n"))?;
    }
    for (index, vm, key) in [(0, "left", 'a'), (1, "right", 'b'), (0, "left", 'c')] {
        session.focus(index)?;
        session.send(&key.to_string())?;
        session.expect_of(vm, &format!("@{vm}@ # key {:#x}\n", u32::from(key)))?;
    }
    for (index, vm) in [(0, "left"), (1, "right")] {
        session.focus(index)?;
        session.send("q")?;
        session.expect_of(vm, &format!(r"bulkhead: vm {vm}: off\b"))?;
    }
    session.finish_well()?;
    Ok(())
}
