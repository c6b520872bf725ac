//! The Raspberry Pi 4's SD card as `scripts/sdcard` makes it: its files, all of them, and nothing else.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use qemu_tests::{Bundle, Card, Machine, Session, Vm, artifacts, report_of};

use super::{Group, gicv2::only_with_raspi4b, single};

pub fn groups() -> Vec<Group> {
    let mut groups = only_with_raspi4b(vec![
        single("raspi4b::sdcard", boots),
        single("raspi4b::sdcard_u_boot", boots_by_u_boot),
        single("raspi4b::sdcard_tf_a", boots_on_tf_a),
        single("raspi4b::sdcard_u_boot_tf_a", boots_by_u_boot_on_tf_a),
    ]);
    groups.push(single("sdcard::directory", directory));
    groups
}

fn make<'a>(options: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let script = artifacts::root().join("scripts/sdcard");
    artifacts::run(Command::new(script).arg("--no-build").args(options))
}

/// The image, taken apart, boots as its config.txt says to the shells of its two machines. There is no semihosting on a Pi.
fn boots(test: &str) -> Result<()> {
    let image = artifacts::build("tests/sdcard.img");
    make(["--output".as_ref(), image.as_ref()])?;
    let card = Card::take_apart(&image, &artifacts::build("tests/sdcard-image"))?;
    let machine = Machine::raspi4b_from(&card)?.without_semihosting();
    let mut session = machine.start(test)?;
    session.expect("bulkhead: version .* on Raspberry Pi 4 Model B: 4 CPUs")?;
    for (index, vm) in ["alpha", "beta"].into_iter().enumerate() {
        // Whichever of these a message of the kernel leaves whole.
        session.expect_of(
            vm,
            &format!("{vm}: leave with|{vm}: Linux 6.*online: 0-1|{vm}:/root# "),
        )?;
        session.focus(index)?;
        // From here on no message stands in the middle of a line. The answer is nowhere in what is typed.
        session.send("dmesg -n 1; echo $(hostname)-$((6 * 7))-$((1000 + 1))\n")?;
        session.expect_of(vm, &format!("{vm}-42-1001\n"))?;
    }
    for (index, vm) in ["alpha", "beta"].into_iter().enumerate() {
        session.focus(index)?;
        session.send("poweroff\n")?;
        session.expect_of(vm, &format!(r"bulkhead: vm {vm}: off\b"))?;
    }
    let ended = session.finish_well()?;
    ensure!(
        ended
            .text
            .contains("bulkhead: summary: alpha off, beta off\n"),
        "no summary"
    );
    Ok(())
}

/// A card with U-Boot on it: QEMU gets what config.txt names, U-Boot and the device tree, and U-Boot the rest from the card itself.
fn boots_by_u_boot(test: &str) -> Result<()> {
    let (image, card) = small_card(["--u-boot"])?;
    let mut session = with_card(&image, &card)?.start(test)?;
    u_boot_starts(&mut session)?;
    runs_and_ends(session)?;
    Ok(())
}

/// The board of `card`, with the card in it.
fn with_card(image: &Path, card: &Card) -> Result<Machine> {
    let drive = format!("file={},if=sd,format=raw,snapshot=on", image.display());
    let machine = Machine::raspi4b_from(card)?.without_semihosting();
    Ok(machine.arguments(["-drive", &drive]))
}

fn u_boot_starts(session: &mut Session) -> Result<()> {
    session.expect("U-Boot 20")?;
    session.expect("RPI 4 Model B")?;
    session.expect(r"Starting kernel \.\.\.")?;
    Ok(())
}

/// With TF-A at EL3 the CPUs come, and the board goes, by its PSCI.
fn boots_on_tf_a(test: &str) -> Result<()> {
    let (_, card) = small_card(["--tf-a"])?;
    let machine = Machine::raspi4b_from(&card)?.without_semihosting();
    let mut session = machine.start(test)?;
    tf_a_starts(&mut session)?;
    tf_a_turns_off(&runs_and_ends(session)?)
}

/// Both: TF-A starts U-Boot, whose tree is TF-A's.
fn boots_by_u_boot_on_tf_a(test: &str) -> Result<()> {
    let (image, card) = small_card(["--u-boot", "--tf-a"])?;
    let mut session = with_card(&image, &card)?.start(test)?;
    tf_a_starts(&mut session)?;
    u_boot_starts(&mut session)?;
    tf_a_turns_off(&runs_and_ends(session)?)
}

fn tf_a_starts(session: &mut Session) -> Result<()> {
    session.expect("BL31: v2")?;
    session.expect("Changed device tree to advertise PSCI")?;
    Ok(())
}

fn tf_a_turns_off(text: &str) -> Result<()> {
    ensure!(
        text.contains("PSCI_SYSTEM_OFF"),
        "TF-A was not asked to turn the board off"
    );
    Ok(())
}

/// The image of a card with those options and one small machine on all CPUs, and what is on it.
fn small_card<const N: usize>(options: [&str; N]) -> Result<(PathBuf, Card)> {
    let name = format!("sdcard{}", options.concat());
    let bundle = Bundle::new().vm(Vm::bare("alone", "heartbeat").cpus(4));
    let bundle = bundle.write(&artifacts::scratch(&name)?)?;
    let image = artifacts::build(&format!("tests/{name}.img"));
    let files = [
        "--bundle".as_ref(),
        bundle.as_ref(),
        "--output".as_ref(),
        image.as_ref(),
    ];
    make(options.iter().map(OsStr::new).chain(files))?;
    let card = Card::take_apart(&image, &artifacts::build(&format!("tests/{name}")))?;
    Ok((image, card))
}

/// Lets the machine of a small card, which needs every CPU of the board, run and end; returns all that was printed.
fn runs_and_ends(mut session: Session) -> Result<String> {
    session.expect("bulkhead: version .* on Raspberry Pi 4 Model B: 4 CPUs")?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.expect(r"bulkhead: vm alone: off\b")?;
    let ended = session.finish_well()?;
    report_of("alone", &ended.text)?.verdict()?;
    Ok(ended.text)
}

/// A directory has the same files, can be filled again, and is left alone when it is somebody else's.
fn directory(_: &str) -> Result<()> {
    let (image, place) = (
        artifacts::build("tests/sdcard-2.img"),
        artifacts::build("tests/sdcard-directory"),
    );
    make(["--output".as_ref(), image.as_ref()])?;
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let directory = ["--directory".as_ref(), place.as_ref()];
    make(directory)?;
    let files = artifacts::build("tests/sdcard-files");
    Card::take_apart(&image, &files)?;
    ensure!(
        names(&place)? == names(&files)?,
        "{:?} is not {:?}",
        names(&place)?,
        names(&files)?
    );
    make(directory)?;

    let theirs = place.join("config.txt");
    fs::write(&theirs, "kernel=theirs.img\n")?;
    fs::remove_file(place.join("kernel8.img"))?;
    ensure!(make(directory).is_err(), "it was overwritten");
    ensure!(
        fs::read_to_string(&theirs)? == "kernel=theirs.img\n"
            && !place.join("kernel8.img").exists(),
        "it was changed"
    );
    Ok(())
}

/// All files below a directory.
fn names(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut names = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                names.insert(path.strip_prefix(dir)?.to_owned());
            }
        }
    }
    Ok(names)
}
