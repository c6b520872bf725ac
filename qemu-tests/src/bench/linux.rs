//! What Linux costs from the machine's first instruction to a shell: natively, and as Bulkhead's only guest.
//!
//! The shell of the tests' initramfs runs a program that prints the virtual count. What that count is behind the board's own,
//! QEMU logs when Bulkhead sets CNTVOFF_EL2.
//!
//! Natively there is a board with the devices that a guest has, and no more: Linux spends 18 million instructions on the rest of QEMU's.
//!
//! When the kernel begins, it tells nobody. A guest of ours that does is as large and has the same RAM disk.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::{Figures, counting};
use crate::{Bundle, Image, Machine, Session, Vm, artifacts};

/// The kernel, as scripts/setup fetches it.
const LINE: &str = "6.1";
const ARGUMENTS: &str = "console=ttyAMA0 run=ticks";
const MIB: u32 = 512;

/// The board without EL2.
const NATIVE: &str = "virt,gic-version=3,dtb-randomness=off";
/// What a guest's device tree has in its root.
const GUEST_NODES: [&str; 10] = [
    "aliases", "apb-pclk", "chosen", "cpus", "intc", "memory", "pl011", "pl031", "psci", "timer",
];

/// Of an arm64 Image's header: where in memory it goes (text_offset), and how much it takes (image_size).
const PLACE: Range<usize> = 8..24;

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

/// Instructions until the kernel's first one, from a bundle without hashes, and what a crc32 of its images adds.
pub fn placement() -> Result<Figures> {
    let without = placed(None)?;
    let checked = placed(Some("crc32"))?;
    let pairs = [
        ("linux-placement", without),
        ("linux-crc32", checked.saturating_sub(without)),
    ];
    Ok(pairs.map(|(name, n)| (name.to_owned(), n)).into())
}

/// The board with Linux as its only guest, from a bundle without hashes.
pub fn board() -> Result<Machine> {
    board_with(artifacts::linux(LINE), &initramfs()?, None)
}

/// The board with a guest of ours instead that is as large.
pub fn board_with_stand_in(hash: Option<&'static str>) -> Result<Machine> {
    board_with(stand_in()?, &initramfs()?, hash)
}

/// The initramfs of the tests, with the program in it.
fn initramfs() -> Result<PathBuf> {
    let tree = artifacts::scratch("ticks")?;
    let (object, program) = (tree.join("ticks.o"), tree.join("root/bin/ticks"));
    let source = artifacts::root().join("qemu-tests/bench/ticks.S");
    fs::create_dir_all(tree.join("root/bin"))?;
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

/// The guest `bench` in front of what is left of the kernel.
fn stand_in() -> Result<PathBuf> {
    let mut image = fs::read(artifacts::linux(LINE))?;
    let mut guest = fs::read(artifacts::guest("bench"))?;
    ensure!(guest.len() < image.len(), "the guest is larger than Linux");
    guest[PLACE].copy_from_slice(&image[PLACE]);
    image[..guest.len()].copy_from_slice(&guest);
    let path = artifacts::build("tests/bench-as-linux.bin");
    fs::write(&path, image)?;
    Ok(path)
}

/// The board's count is the guest's.
fn native(initramfs: &Path) -> Result<u64> {
    let machine = Machine::new()
        .board(&format!("{NATIVE},dtb={}", native_tree()?.display()))
        .without_semihosting()
        .firmware(artifacts::linux(LINE))
        .initrd(initramfs)
        .arguments(["-append", ARGUMENTS])
        .memory(&format!("{MIB}M"));
    ticks(&mut counting(machine.cpus(1)).start("bench-linux-native")?)
}

/// QEMU's device tree for the board, without the devices that no guest has.
fn native_tree() -> Result<PathBuf> {
    let tree = artifacts::build("tests/bench-native.dtb");
    artifacts::run(
        Command::new("qemu-system-aarch64")
            .arg("-M")
            .arg(format!("{NATIVE},dumpdtb={}", tree.display()))
            .args(["-cpu", "cortex-a57"]),
    )?;
    let nodes = Command::new("fdtget")
        .arg("-l")
        .args([&tree])
        .arg("/")
        .output()?;
    for node in String::from_utf8(nodes.stdout)?.lines() {
        let name = node.split('@').next().unwrap_or(node);
        if !GUEST_NODES.contains(&name) {
            remove(&tree, &format!("/{node}"))?;
        }
    }
    remove(&tree, "/intc@8000000/its@8080000")?;
    Ok(tree)
}

fn remove(tree: &Path, node: &str) -> Result<()> {
    artifacts::run(Command::new("fdtput").arg("-r").arg(tree).arg(node))
}

fn hosted(initramfs: &Path) -> Result<u64> {
    let machine = board_with(artifacts::linux(LINE), initramfs, None)?
        .arguments(["-d", "trace:arm_gt_cntvoff_write"]);
    let mut session = counting(machine).start("bench-linux")?;
    let ticks = ticks(&mut session)?;
    let offsets = Regex::new(r"gt_cntvoff_write\D*(0x[0-9a-f]+)")?;
    let offset = offsets
        .captures_iter(session.text())
        .last()
        .and_then(|offset| u64::from_str_radix(offset[1].trim_start_matches("0x"), 16).ok());
    Ok(ticks + offset.context("QEMU logged no CNTVOFF_EL2")?)
}

fn placed(hash: Option<&'static str>) -> Result<u64> {
    let mut session = counting(board_with_stand_in(hash)?).start("bench-placement")?;
    Ok(session.expect(r"(?m)# started (\d+)\n")?[1].parse()?)
}

/// One CPU, and a bundle that scripts/bundle has made.
fn board_with(kernel: PathBuf, initramfs: &Path, hash: Option<&'static str>) -> Result<Machine> {
    let vm = Vm::new("linux")
        .kernel(Image::kernel(kernel).hash(hash))
        .ramdisk(Image::ramdisk(initramfs).hash(hash))
        .bootargs(ARGUMENTS)
        .memory_mib(MIB);
    let (its, itb) = (
        artifacts::build("tests/bench-linux.its"),
        artifacts::build("tests/bench-linux.itb"),
    );
    fs::write(&its, Bundle::new().vm(vm).source())?;
    let script = artifacts::root().join("scripts/bundle");
    artifacts::run(Command::new(script).arg(&its).arg("-o").arg(&itb))?;
    Ok(Machine::new()
        .board("virt,virtualization=on,gic-version=3,dtb-randomness=off")
        .memory("1G")
        .cpus(1)
        .initrd(itb))
}

fn ticks(session: &mut Session) -> Result<u64> {
    Ok(session.expect(r"(?m)^ticks (\d+)\n")?[1].parse()?)
}
