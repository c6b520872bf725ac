//! Bulkhead in QEMU, with Debian's kernels and guests of our own. `cargo test -p qemu-tests --test qemu -- --help` shows the options.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::{Arguments, Trial};
use qemu_tests::{Ended, artifacts};

mod adversary;
mod boards;
mod bundles;
mod conformance;
mod costs;
mod crash;
mod further_boards;
mod gicv2;
mod linux;
mod sdcard;
mod services;

/// Runs of QEMU at the same time, if nobody says otherwise: each is busy on several CPUs.
const JOBS: usize = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(JOBS);
    if !arguments.list
        && let Err(error) = artifacts::prepare()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let groups = [
        boards::groups(),
        bundles::groups(),
        adversary::groups(),
        conformance::groups(),
        costs::groups(),
        crash::groups(),
        gicv2::groups(),
        sdcard::groups(),
        further_boards::groups(),
        services::groups(),
        linux::groups(),
    ];
    let trials = in_order(groups.into_iter().flatten().collect());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Trials that look at the same run of QEMU.
type Group = Vec<Trial>;

/// Each group's first trial comes before the rest, which only wait for the same run.
fn in_order(groups: Vec<Group>) -> Vec<Trial> {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for group in groups {
        let mut trials = group.into_iter();
        first.extend(trials.next());
        rest.extend(trials);
    }
    first.extend(rest);
    first
}

/// One trial with a run of its own.
fn single(name: &str, run: impl FnOnce(&str) -> Result<()> + Send + 'static) -> Group {
    let test = name.to_owned();
    vec![Trial::test(name, move || {
        run(&test).map_err(|error| format!("{error:#}").into())
    })]
}

/// The exit status says that a machine did not shut down by itself.
fn tells_of_failure(ended: &Ended) -> Result<()> {
    let status = ended.status;
    ensure!(status.code() == Some(1), "the status is {status}");
    Ok(())
}

/// One run of QEMU, made when the first trial asks for what it brought.
struct Shared<T> {
    name: String,
    result: OnceLock<Result<T, String>>,
    run: fn(&str) -> Result<T>,
}

impl<T: Send + Sync + 'static> Shared<T> {
    fn new(name: &str, run: fn(&str) -> Result<T>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            result: OnceLock::new(),
            run,
        })
    }

    /// What the run brought; why it failed, whoever asks first is told in full.
    fn get(&self) -> Result<&T> {
        let mut first = None;
        self.result
            .get_or_init(|| {
                (self.run)(&self.name).map_err(|error| {
                    first = Some(format!("{error:#}"));
                    format!("the run {} failed", self.name)
                })
            })
            .as_ref()
            .map_err(|error| anyhow!(first.unwrap_or_else(|| error.clone())))
    }

    /// A trial that judges what the run brought.
    fn trial(
        self: &Arc<Self>,
        name: &str,
        judge: impl FnOnce(&T) -> Result<()> + Send + 'static,
    ) -> Trial {
        let shared = Arc::clone(self);
        Trial::test(format!("{}::{name}", self.name), move || {
            shared
                .get()
                .and_then(judge)
                .map_err(|error| format!("{error:#}").into())
        })
    }
}
