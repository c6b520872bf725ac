//! Bytes: of the image, and of the board's RAM that Bulkhead writes to.
//!
//! The board's RAM is a file that is full of one byte before QEMU starts. Where it is something else afterwards, there it was written to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{Figures, counting};
use crate::{Bundle, Machine, Vm, artifacts};

/// The board's RAM, and what it is full of.
const RAM_MIB: u32 = 64;
const FILLING: u8 = 0xa5;
/// Where in the board's RAM QEMU puts the image, and that in the greeting.
const IMAGE: usize = 0x20_0000;
const GREETING: &str = "image at 0x40200000\n";
/// Of the image's header: the bytes from its start that are Bulkhead's.
const IMAGE_SIZE: usize = 16;

const PAGE: usize = 4096;

/// The image, what of RAM is written to without virtual machines, and what more for a CPU, a machine and a vCPU more.
pub fn measure() -> Result<Figures> {
    let image = fs::metadata(artifacts::firmware())?.len();
    let one = || Bundle::new().vm(vm("a", 1));
    let with_one_cpu = written(1, None)?;
    let without_vms = written(2, None)?;
    let with_vm = written(2, Some(one()))?;
    let with_vms = written(2, Some(one().vm(vm("b", 1))))?;
    let with_vcpus = written(2, Some(Bundle::new().vm(vm("a", 2))))?;
    let pairs = [
        ("image-bytes", image),
        ("memory-bytes", without_vms),
        ("memory-per-cpu", without_vms.saturating_sub(with_one_cpu)),
        ("memory-per-vm", with_vms.saturating_sub(with_vm)),
        ("memory-per-vcpu", with_vcpus.saturating_sub(with_vm)),
    ];
    Ok(pairs.map(|(name, n)| (name.to_owned(), n)).into())
}

/// It starts its other CPU, stops it, and ends.
fn vm(name: &str, cpus: u32) -> Vm {
    Vm::bare(name, "bench").cpus(cpus).bootargs("only=none")
}

/// Bytes, in whole pages, of Bulkhead's memory that hold something else after a run with so many CPUs. Its image is among them.
fn written(cpus: u32, bundle: Option<Bundle>) -> Result<u64> {
    let scratch = artifacts::scratch("memory")?;
    let ram = full(&scratch)?;
    let backend = format!(
        "memory-backend-file,id=ram,size={RAM_MIB}M,share=on,mem-path={}",
        ram.display()
    );
    let machine = Machine::new()
        .board("virt,virtualization=on,gic-version=3,dtb-randomness=off,memory-backend=ram")
        .memory(&format!("{RAM_MIB}M"))
        .arguments(["-object", &backend])
        .cpus(cpus);
    let has_vms = bundle.is_some();
    let machine = match bundle {
        Some(bundle) => machine.bundle(bundle),
        None => machine,
    };
    let ended = counting(machine).start("bench-memory")?.finish()?;
    // Without a bundle Bulkhead says that there is nothing to do.
    ensure!(ended.status.success() == has_vms, "{}", ended.text);
    ensure!(ended.text.contains(GREETING), "{}", ended.text);
    let after = fs::read(&ram)?;
    fs::remove_dir_all(scratch)?;
    let pages = own(&after)?.chunks(PAGE);
    let untouched = [FILLING; PAGE];
    let written = pages.filter(|page| *page != untouched).count();
    Ok((written * PAGE) as u64)
}

/// A file for the board's RAM.
fn full(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("ram");
    fs::write(&path, vec![FILLING; (RAM_MIB as usize) << 20])?;
    Ok(path)
}

/// Bulkhead's memory, the image in front: what its header announces. All the rest of RAM is for guests.
fn own(ram: &[u8]) -> Result<&[u8]> {
    let firmware = fs::read(artifacts::firmware())?;
    let bytes = firmware
        .get(IMAGE_SIZE..)
        .and_then(|rest| rest.first_chunk());
    let bytes = u64::from_le_bytes(*bytes.context("the image has no header")?) as usize;
    ram.get(IMAGE..)
        .and_then(|rest| rest.get(..bytes))
        .context("the image is larger than RAM")
}
