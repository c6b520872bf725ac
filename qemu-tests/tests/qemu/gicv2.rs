//! Boards with a GICv2, with PSCI of their own and without: what runs on GICv3 runs there.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use qemu_tests::{Bundle, Machine, Vm, artifacts};

use super::{
    Group, adversary,
    boards::{ends_with, is_at, loaded_at, restart},
    conformance,
    linux::{self, Guest},
    single,
};

pub fn groups() -> Vec<Group> {
    let mut groups = on("virt_gicv2", Machine::virt_gicv2);
    groups.push(single("virt_gicv2::nine_cpus", nine_cpus));
    // EL2 has the Non-secure view of the GIC: shifted priorities, and Group 1 where it would be Group 0.
    groups.push(single("virt_gicv2::security_extensions", |test| {
        let options = "virt,virtualization=on,secure=on,gic-version=2";
        restart(test, Machine::new().board(options))
    }));
    groups.push(conformance::group("virt_gicv2::conformance", |name| {
        conformance::run_on(&Machine::virt_gicv2(), 8, name, "hvc", 2)
    }));
    groups.push(conformance::group(
        "virt_gicv2::conformance_smc_4",
        |name| conformance::run_on(&Machine::virt_gicv2(), 8, name, "smc", 4),
    ));
    for line in ["6.1", "7"] {
        groups.push(single(&format!("virt_gicv2::linux_{line}"), move |test| {
            linux_works(test, Machine::virt_gicv2(), line)
        }));
    }
    let raspi4b = [
        on("raspi4b", Machine::raspi4b),
        vec![
            single("raspi4b::power_off", |test| {
                powers_off(test, Machine::raspi4b()).map(|_| ())
            }),
            single("raspi4b::pl011", |test| {
                powers_off(test, Machine::raspi4b_on_pl011()?).map(|_| ())
            }),
            // Where the Pi's firmware puts a kernel8.img, by its age; the other one is the default.
            single("raspi4b::load_offset_0x80000", |test| {
                let machine = Machine::raspi4b().firmware(loaded_at(0x8_0000)?);
                is_at(&powers_off(test, machine)?, 0x8_0000)
            }),
            // x0 is the address of ATAGS then.
            single("raspi4b::no_device_tree", |test| {
                let machine = Machine::new().board("raspi4b");
                ends_with(
                    test,
                    machine,
                    r"bulkhead: stopped: x0 = 0x100 at entry, allowed: ",
                )
            }),
            // Where nobody polls, and in the middle of Bulkhead, which must not write there.
            single("raspi4b::missing_cpu", |test| {
                missing_cpu(test, "100", "it has not come up")
            }),
            single("raspi4b::wrong_release_address", |test| {
                missing_cpu(test, "208000", "its cpu-release-addr cannot be mapped")
            }),
            conformance::group("raspi4b::conformance", |name| {
                conformance::run_on(&Machine::raspi4b(), 4, name, "smc", 2)
            }),
        ],
    ];
    groups.extend(only_with_raspi4b(raspi4b.into_iter().flatten().collect()));
    groups
}

/// Leaves the trials out, and says why, if QEMU is too old.
pub fn only_with_raspi4b(groups: Vec<Group>) -> Vec<Group> {
    static HAS_RASPI4B: LazyLock<bool> = LazyLock::new(|| {
        let has = artifacts::qemu_has("raspi4b");
        if !has {
            eprintln!(
                "raspi4b: skipped, this QEMU does not have it; QEMU 9 is the first that does"
            );
        }
        has
    });
    let ignored = |trial: Trial| trial.with_ignored_flag(!*HAS_RASPI4B);
    groups
        .into_iter()
        .map(|group| group.into_iter().map(ignored).collect())
        .collect()
}

/// What every board has to do.
fn on(board: &str, machine: fn() -> Machine) -> Vec<Group> {
    let name = |test| format!("{board}::{test}");
    [
        single(&name("restart"), move |test| restart(test, machine())),
        single(&name("adversary"), move |test| {
            adversary::lives_on(test, machine())
        }),
        single(&name("typing"), move |test| {
            linux::typing(test, machine(), 2)
        }),
        single(&name("linux"), move |test| {
            linux_works(test, machine(), "6.12")
        }),
    ]
    .into()
}

/// Two versions of PSCI beside each other: checks with hotplug, reboot, poweroff.
fn linux_works(test: &str, machine: Machine, line: &'static str) -> Result<()> {
    let guests = ["0.2", "1.3"].map(|psci| Guest { psci, cpus: 2 });
    let reports = linux::run_matrix(test, machine, line, &guests)?;
    for (vm, report) in reports {
        let report = report.map_err(anyhow::Error::msg);
        report
            .and_then(|report| report.verdict())
            .with_context(|| vm.clone())?;
    }
    Ok(())
}

/// A GICv2 has eight CPU interfaces.
fn nine_cpus(test: &str) -> Result<()> {
    let bundle = Bundle::new().vm(Vm::bare("many", "heartbeat").cpus(9));
    let machine = Machine::virt_gicv2().cpus(8).bundle(bundle);
    ends_with(test, machine, r"bulkhead: vm many: .*cpus.*<9>.* 8\b")
}

/// Without semihosting, QEMU ends when the board's watchdog has been told so. All that was printed.
fn powers_off(test: &str, machine: Machine) -> Result<String> {
    let bundle = Bundle::new().vm(Vm::bare("alone", "heartbeat").cpus(4));
    let machine = machine.without_semihosting().bundle(bundle);
    let mut session = machine.limit(180).start(test)?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.expect(r"bulkhead: vm alone: off\b")?;
    Ok(session.finish_well()?.text)
}

/// A CPU whose release word is somewhere else: it is named, and the rest go on.
fn missing_cpu(test: &str, release: &str, reason: &str) -> Result<()> {
    let machine = Machine::raspi4b_with(
        release,
        &["-t", "x"],
        &["/cpus/cpu@3", "cpu-release-addr", "0", release],
    )?;
    let bundle = Bundle::new().vm(Vm::bare("alone", "heartbeat").cpus(3));
    let mut session = machine.bundle(bundle).limit(180).start(test)?;
    session.expect(&format!("CPU 0x3: {reason}"))?;
    session.expect("@alone@ # beat 2\n")?;
    session.send("q")?;
    session.finish_well()?;
    Ok(())
}
