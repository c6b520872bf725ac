//! Nothing costs more instructions or bytes than are budgeted for it. The counts are exact: a failure is a change of the code.

use anyhow::Result;
use qemu_tests::bench;

use super::{Group, single};

pub fn groups() -> Vec<Group> {
    let name = |section| format!("costs::{section}");
    bench::SECTIONS
        .map(|section| single(&name(section), move |_| within_budget(section)))
        .into()
}

fn within_budget(section: &str) -> Result<()> {
    let budget = bench::budget()?;
    bench::judge(&bench::measure(section)?, &budget[section])
}
