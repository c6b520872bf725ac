//! Nothing costs more instructions than is budgeted for it. The counts are exact: a failure is a change of the code.

use anyhow::Result;
use qemu_tests::bench;

use super::{Group, single};

pub fn groups() -> Vec<Group> {
    bench::GICS
        .map(|gic| single(&format!("costs::{gic}"), move |_| within_budget(gic)))
        .into()
}

fn within_budget(gic: &str) -> Result<()> {
    let budget = bench::budget()?;
    bench::judge(&bench::measure(gic)?, &budget[gic])
}
