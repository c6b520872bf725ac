//! Files that tests boot: where they are, and how those that are ours are made.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The bare-metal target of Bulkhead and of our own guests.
const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// `build/` and what is below it.
pub fn build(path: &str) -> PathBuf {
    root().join("build").join(path)
}

/// Where the scripts keep packages: `BULKHEAD_CACHE`, counted from the repository unless it is absolute, or `build/cache`.
pub fn cache() -> PathBuf {
    match env::var_os("BULKHEAD_CACHE").filter(|path| !path.is_empty()) {
        Some(path) => root().join(path),
        None => build("cache"),
    }
}

/// The firmware under test.
pub fn firmware() -> PathBuf {
    build("bulkhead.bin")
}

/// Debian's kernel of the given line, such as "6.12".
pub fn linux(line: &str) -> PathBuf {
    build(&format!("guests/linux-{line}/Image"))
}

/// The device tree of the Raspberry Pi 4, from Debian's kernel.
pub fn raspi4b_dtb() -> PathBuf {
    debian_dtb("broadcom/bcm2711-rpi-4-b.dtb")
}

/// A device tree of Debian's kernel, by its place there.
pub fn debian_dtb(path: &str) -> PathBuf {
    build("guests/dtbs").join(path)
}

/// The device tree made of a source in `qemu-tests`.
pub fn own_dtb(name: &str) -> Result<PathBuf> {
    let blob = build(&format!("tests/{name}.dtb"));
    run(Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
        .arg(&blob)
        .arg(root().join(format!("qemu-tests/{name}.dts"))))?;
    Ok(blob)
}

/// Debian's U-Boot for QEMU's virt machine.
pub fn u_boot() -> PathBuf {
    build("guests/u-boot.bin")
}

/// Whether QEMU has the machine of that name.
pub fn qemu_has(machine: &str) -> bool {
    let output = Command::new("qemu-system-aarch64")
        .args(["-M", "help"])
        .output();
    let names = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    names.is_ok_and(|names| {
        let mut lines = names.lines();
        lines.any(|line| line.split(' ').next() == Some(machine))
    })
}

/// The initramfs that holds the scripts of `qemu-tests/linux`.
pub fn initramfs() -> PathBuf {
    build("tests/initramfs.cpio")
}

/// One of our own bare-metal guests.
pub fn guest(name: &str) -> PathBuf {
    build(&format!("tests/{name}.bin"))
}

/// A directory for what one run makes, empty.
pub fn scratch(test: &str) -> Result<PathBuf> {
    let dir = build("tests/runs").join(test);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Makes what the tests boot and is ours; kernels and the firmware must be there.
pub fn prepare() -> Result<()> {
    for file in [firmware(), linux("6.1"), linux("6.12"), linux("7")] {
        ensure!(
            file.exists(),
            "{} is missing: run scripts/setup --tests and scripts/build",
            file.display()
        );
    }
    fs::create_dir_all(build("tests"))?;
    build_guests()?;
    run(Command::new(root().join("scripts/initramfs"))
        .arg(initramfs())
        .arg(root().join("qemu-tests/linux")))
}

/// Builds `qemu-tests/guests`. The environment's flags take the place of those in `.cargo/config.toml`, which name Bulkhead's linker
/// script; the guests keep their own target directory, so that neither build makes the other stale.
fn build_guests() -> Result<()> {
    let script = root().join("qemu-tests/guests/guest.ld");
    let flags = [
        "-Crelocation-model=pie".to_owned(),
        format!("-Clink-arg=-T{}", script.display()),
        "-Clink-arg=-pie".to_owned(),
        "-Clink-arg=--no-dynamic-linker".to_owned(),
        "-Clink-arg=--pack-dyn-relocs=relr".to_owned(),
    ];
    let target_dir = root().join("target/guests");
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "guests"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(root()))?;
    for name in [
        "adversary",
        "bench",
        "conformance",
        "echo",
        "flood",
        "heartbeat",
        "services",
    ] {
        run(Command::new("aarch64-linux-gnu-objcopy")
            .args(["--output-target", "binary"])
            .arg(target_dir.join(TARGET).join("release").join(name))
            .arg(guest(name)))?;
    }
    Ok(())
}

/// Runs a tool; its failure is an error that holds what it said.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{:?} could not be run", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed, {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
