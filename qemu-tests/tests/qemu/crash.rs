//! SErrors that a guest's doing brings: that VM alone ends, or starts again. Firmware at EL3 makes them, see `qemu-tests/el3.S`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use qemu_tests::{Bundle, Machine, Session, Vm, artifacts};

use super::{
    Group,
    boards::{fdtput, load, virt_tree},
    single, tells_of_failure,
};

/// As in el3.S.
const BULKHEAD_AT: u64 = 0x4820_0000;
const TREE_AT: u64 = 0x4400_0000;
const BUNDLE_AT: u64 = 0x5000_0000;

pub fn groups() -> Vec<Group> {
    vec![
        single("crash::halt", halts),
        single("crash::restart", restarts),
    ]
}

/// The default: the VM is over, the other goes on, and the exit status tells.
fn halts(test: &str) -> Result<()> {
    let mut session = start(test, Vm::bare("victim", "echo"))?;
    crashes(&mut session)?;
    session.expect_of("victim", "bulkhead: vm victim: halted after a crash\n")?;
    lives(&mut session, 1, "witness")?;
    session.expect("bulkhead: summary: victim crash, witness off\n")?;
    let ended = session.finish()?;
    let lives = ended.text.matches("@victim@ # listening\n").count();
    ensure!(lives == 1, "it began {lives} times");
    tells_of_failure(&ended)
}

/// The VM begins anew as often as it crashes, and can end well.
fn restarts(test: &str) -> Result<()> {
    let vm = Vm::bare("victim", "echo").property("on-crash", "\"restart\"");
    let mut session = start(test, vm)?;
    for _ in 0..3 {
        crashes(&mut session)?;
        session.expect_of("victim", "bulkhead: vm victim: restart after a crash\n")?;
        session.expect_of("victim", "bulkhead: vm victim: on, PSCI 1.3\n")?;
    }
    session.expect_of("victim", "@victim@ # listening\n")?;
    lives(&mut session, 1, "witness")?;
    lives(&mut session, 0, "victim")?;
    session.expect("bulkhead: summary: victim off, witness off\n")?;
    session.finish_well()?;
    Ok(())
}

/// `victim` beside a VM that listens.
fn start(test: &str, victim: Vm) -> Result<Session> {
    let bundle = Bundle::new().vm(victim).vm(Vm::bare("witness", "echo"));
    let mut session = with_el3(test, bundle)?.limit(180).start(test)?;
    session.expect_of("witness", "@witness@ # listening\n")?;
    Ok(session)
}

/// Has the first VM do what becomes an SError.
fn crashes(session: &mut Session) -> Result<()> {
    session.expect_of("victim", "@victim@ # listening\n")?;
    session.focus(0)?;
    session.send("w")?;
    let line = "bulkhead: vm victim: crash: SError, ESR_EL2 0xbe000011\n";
    session.expect_of("victim", line)?;
    Ok(())
}

/// Has that VM hear a key, and go off.
fn lives(session: &mut Session, index: usize, vm: &str) -> Result<()> {
    session.focus(index)?;
    session.send("a")?;
    session.expect_of(vm, &format!("@{vm}@ # key 0x61\n"))?;
    session.send("q")?;
    session.expect_of(vm, &format!("bulkhead: vm {vm}: off\n"))?;
    Ok(())
}

/// The default board with firmware at EL3, which finds in RAM what QEMU's boot loader would have put there.
fn with_el3(test: &str, bundle: Bundle) -> Result<Machine> {
    let name = test.replace("::", "-");
    let files = artifacts::scratch(&format!("{name}-files"))?;
    let bundle = bundle.write(&files)?;
    let tree = virt_tree(&name)?;
    let end = BUNDLE_AT + fs::metadata(&bundle)?.len();
    for (property, address) in [("linux,initrd-start", BUNDLE_AT), ("linux,initrd-end", end)] {
        let cell = format!("{address:x}");
        fdtput(&tree, &["-t", "x", "/chosen", property, "0", &cell])?;
    }
    let mut machine = Machine::new()
        .board("virt,secure=on,virtualization=on,gic-version=3")
        .without_firmware()
        .arguments(["-bios".into(), firmware_at_el3(&files)?.into_os_string()]);
    for (file, address) in [
        (artifacts::firmware(), BULKHEAD_AT),
        (tree, TREE_AT),
        (bundle, BUNDLE_AT),
    ] {
        machine = machine.arguments(["-device".to_owned(), load(&file, address)]);
    }
    Ok(machine)
}

/// Makes the firmware in `dir`.
fn firmware_at_el3(dir: &Path) -> Result<PathBuf> {
    let (object, image) = (dir.join("el3.o"), dir.join("el3.bin"));
    artifacts::run(
        Command::new("aarch64-linux-gnu-as")
            .arg(artifacts::root().join("qemu-tests/el3.S"))
            .arg("-o")
            .arg(&object),
    )?;
    artifacts::run(
        Command::new("aarch64-linux-gnu-objcopy")
            .args(["--output-target", "binary"])
            .args([&object, &image]),
    )?;
    Ok(image)
}
