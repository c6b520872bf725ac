//! Firmware services besides PSCI, by what the board's CPUs have and what the bundle takes away.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Bundle, Image, Machine, Vm, artifacts, report_of};

use super::{Group, conformance, single};

pub fn groups() -> Vec<Group> {
    vec![
        // No random numbers, and vulnerable to all without a word from its firmware.
        single("services::cortex_a72", |test| {
            run(test, "cortex-a72", "no", "unknown")
        }),
        single("services::cortex_a53", |test| {
            run(test, "cortex-a53", "no", "safe")
        }),
        single("services::max", |test| run(test, "max", "yes", "ssbs")),
        single("services::no_entropy", no_entropy),
        single("services::linux", linux),
        single("services::psci_by_choice", psci_by_choice),
    ]
}

/// A VM with all services, and for each service one without it.
fn run(test: &str, cpu: &str, trng: &str, workarounds: &str) -> Result<()> {
    const BITMAPS: [(&str, &str); 4] = [
        ("all", ""),
        ("trng", "smccc-std-bmap"),
        ("pvtime", "smccc-std-hyp-bmap"),
        ("vendor", "smccc-vendor-hyp-bmap"),
    ];
    let bundle = BITMAPS
        .iter()
        .fold(Bundle::new(), |bundle, (name, bitmap)| {
            let expected = |service, there| if service == *name { "no" } else { there };
            let vm = Vm::bare(&format!("not-{name}"), "services").bootargs(&format!(
                "trng={} pvtime={} vendor={} workarounds={workarounds}",
                expected("trng", trng),
                expected("pvtime", "yes"),
                expected("vendor", "yes"),
            ));
            bundle.vm(match *bitmap {
                "" => vm,
                bitmap => vm.property(bitmap, "<0>"),
            })
        });
    let session = Machine::new().cpu(cpu).bundle(bundle).start(test)?;
    let ended = session.finish_well()?;
    for (name, _) in BITMAPS {
        let vm = format!("not-{name}");
        let report = report_of(&vm, &ended.text).with_context(|| vm.clone())?;
        report.verdict().with_context(|| vm.clone())?;
    }
    Ok(())
}

/// A VM that has to have what the board has not does not start; another does.
fn no_entropy(test: &str) -> Result<()> {
    let plain = "trng=no pvtime=yes vendor=yes workarounds=unknown";
    let bundle = Bundle::new()
        .vm(Vm::bare("wants", "services").property("smccc-std-bmap", "<1>"))
        .vm(Vm::bare("plain", "services").bootargs(plain));
    let ended = Machine::new().bundle(bundle).start(test)?.finish()?;
    let line = "bulkhead: vm wants: not started: STD_BMAP = 0x1, allowed: 0 on this board";
    ensure!(ended.text.contains(line), "no line {line:?}");
    report_of("plain", &ended.text)?.verdict()
}

/// PSCI 0.1 by ids that the bundle gives, which the guest finds in its device tree, and 1.1 without an optional function.
fn psci_by_choice(test: &str) -> Result<()> {
    let vm = |name, psci| {
        Vm::bare(name, "conformance")
            .cpus(2)
            .psci(psci)
            .bootargs(&format!("psci={psci} method=hvc cpus=2"))
    };
    let own_ids = vm("own-ids", "0.1")
        .property("psci-cpu-suspend", "<0x11>")
        .property("psci-cpu-off", "<0x8400ff77>")
        .property("psci-cpu-on", "<0x7>")
        .bootargs("ids=11,8400ff77,7");
    let hiding = vm("hiding", "1.1")
        .property("psci-hide", "\"MIGRATE_INFO_TYPE\"")
        .bootargs("hidden=84000006");
    let bundle = Bundle::new().vm(own_ids).vm(hiding);
    let mut session = Machine::new().bundle(bundle).start(test)?;
    let names = ["own-ids", "hiding"].map(String::from);
    conformance::remember(&mut session, &names)?;
    let ended = session.finish_well()?;
    for name in &names {
        report_of(name, &ended.text)?
            .verdict()
            .with_context(|| name.clone())?;
    }
    Ok(())
}

/// Debian's kernel finds stolen time, and its driver for the TRNG has data for /dev/hwrng; or none where that is taken away.
fn linux(test: &str) -> Result<()> {
    let initramfs = initramfs_with_module(test)?;
    let vm = |name, words| {
        Vm::linux(name, "6.1", "services")
            .ramdisk(Image::ramdisk(&initramfs))
            .bootargs(words)
    };
    let bundle =
        Bundle::new()
            .vm(vm("all", "trng=yes pvtime=yes"))
            .vm(vm("none", "trng=no pvtime=no")
                .property("smccc-std-bmap", "<0>")
                .property("smccc-std-hyp-bmap", "<0>"));
    let machine = Machine::new().cpu("max").bundle(bundle);
    let ended = machine.start(test)?.finish_well()?;
    for name in ["all", "none"] {
        report_of(name, &ended.text)?.verdict().context(name)?;
    }
    Ok(())
}

/// The tests' initramfs and the module arm_smccc_trng of the kernel 6.1, from Debian's package of it.
fn initramfs_with_module(test: &str) -> Result<PathBuf> {
    let kernel = fs::read_to_string(artifacts::linux("6.1").with_file_name("version"))?;
    let deb = package_of(kernel.trim())?;
    let dir = artifacts::build(&format!("tests/{}", test.replace("::", "-")));
    let modules = dir.join("tests");
    fs::create_dir_all(&modules)?;
    let unpack =
        "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards '*/arm_smccc_trng.ko' >\"$2\"";
    artifacts::run(
        Command::new("bash")
            .args(["-o", "pipefail", "-c", unpack, "bash"])
            .arg(deb)
            .arg(modules.join("arm_smccc_trng.ko")),
    )?;
    let initramfs = dir.with_extension("cpio");
    artifacts::run(
        Command::new(artifacts::root().join("scripts/initramfs"))
            .arg(&initramfs)
            .arg(artifacts::root().join("qemu-tests/linux"))
            .arg(&dir),
    )?;
    Ok(initramfs)
}

/// The file of a package, from its name and version.
fn package_of(kernel: &str) -> Result<PathBuf> {
    let start = format!("{}_", kernel.replace(' ', "_").replace(':', "%3a"));
    let cache = artifacts::cache();
    let files = fs::read_dir(&cache).into_iter().flatten().flatten();
    let mut files = files.map(|entry| entry.path());
    let found = files.find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&start))
    });
    // A kernel that is there is not fetched again.
    found.with_context(|| {
        format!(
            "{} has no package {start}*.deb: remove build/guests/linux-6.1 and run scripts/setup --tests",
            cache.display()
        )
    })
}
