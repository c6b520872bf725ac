//! What Linux costs from the machine's first instruction to a shell: natively, and as Bulkhead's only guest.
//!
//! The shell of the tests' initramfs runs a program that prints the virtual count. What that count is behind the board's own,
//! QEMU logs when Bulkhead sets CNTVOFF_EL2.

use std::process::Command;

use anyhow::{Context, Result};
use regex::Regex;

use super::{Figures, counting};
use crate::{Bundle, Image, Machine, Session, Vm, artifacts};

/// The kernel, as scripts/setup fetches it.
const LINE: &str = "6.1";
const ARGUMENTS: &str = "console=ttyAMA0 run=ticks";
const MIB: u32 = 512;

/// Instructions natively, under Bulkhead, and what Bulkhead has added.
pub fn measure() -> Result<Figures> {
    let initramfs = initramfs()?;
    let native = native(&initramfs)?;
    let hosted = hosted(&initramfs)?;
    let share = hosted.saturating_sub(native);
    let pairs = [
        ("linux-native", native),
        ("linux", hosted),
        ("linux-share", share),
    ];
    Ok(pairs.map(|(name, n)| (name.to_owned(), n)).into())
}

/// The initramfs of the tests, with the program in it.
fn initramfs() -> Result<std::path::PathBuf> {
    let tree = artifacts::scratch("ticks")?;
    let (object, program) = (tree.join("ticks.o"), tree.join("root/bin/ticks"));
    let source = artifacts::root().join("qemu-tests/bench/ticks.S");
    std::fs::create_dir_all(tree.join("root/bin"))?;
    artifacts::run(
        Command::new("aarch64-linux-gnu-as")
            .arg(source)
            .arg("-o")
            .arg(&object),
    )?;
    artifacts::run(
        Command::new("aarch64-linux-gnu-ld")
            .arg(&object)
            .arg("-o")
            .arg(program),
    )?;
    let archive = artifacts::build("tests/ticks.cpio");
    artifacts::run(
        Command::new(artifacts::root().join("scripts/initramfs"))
            .arg(&archive)
            .arg(artifacts::root().join("qemu-tests/linux"))
            .arg(tree.join("root")),
    )?;
    Ok(archive)
}

/// The board's count is the guest's.
fn native(initramfs: &std::path::Path) -> Result<u64> {
    let machine = Machine::new()
        .board("virt,gic-version=3,dtb-randomness=off")
        .without_semihosting()
        .firmware(artifacts::linux(LINE))
        .initrd(initramfs)
        .arguments(["-append", ARGUMENTS])
        .memory(&format!("{MIB}M"));
    ticks(&mut counting(machine.cpus(1)).start("bench-linux-native")?)
}

fn hosted(initramfs: &std::path::Path) -> Result<u64> {
    let vm = Vm::new("linux")
        .kernel(Image::kernel(artifacts::linux(LINE)))
        .ramdisk(Image::ramdisk(initramfs))
        .bootargs(ARGUMENTS)
        .memory_mib(MIB);
    let machine = Machine::new()
        .board("virt,virtualization=on,gic-version=3,dtb-randomness=off")
        .memory("1G")
        .bundle(Bundle::new().vm(vm))
        .arguments(["-d", "trace:arm_gt_cntvoff_write"]);
    let mut session = counting(machine.cpus(1)).start("bench-linux")?;
    let ticks = ticks(&mut session)?;
    let offsets = Regex::new(r"gt_cntvoff_write\D*(0x[0-9a-f]+)")?;
    let offset = offsets
        .captures_iter(session.text())
        .last()
        .and_then(|offset| u64::from_str_radix(offset[1].trim_start_matches("0x"), 16).ok());
    Ok(ticks + offset.context("QEMU logged no CNTVOFF_EL2")?)
}

fn ticks(session: &mut Session) -> Result<u64> {
    Ok(session.expect(r"(?m)^ticks (\d+)\n")?[1].parse()?)
}
