//! docs/psci.md, made from the table that dispatches.

use crate::spec::psci::{Presence, Row, Support, TABLE};
use crate::types::PsciVersion;
use std::{format, string::String, vec::Vec};

const HEAD: &str = "# PSCI functions by revision

What a VM's firmware answers, by the revision that the VM was configured with. This page is made from the table in
`src/spec/psci` that dispatches the calls, answers PSCI_FEATURES and writes the guest's device tree, and a test holds it current.

**M** mandatory and implemented, **o** optional and implemented, **-** optional and absent, blank: not in that revision.
Absent and blank alike answer NOT_SUPPORTED, from the call and from PSCI_FEATURES. In 0.1 a function is called by the id that the
VM's device tree gives; from 0.2 on by the standard ids.

| function | SMC32 | SMC64 | 0.1 | 0.2 | 1.0 | 1.1 | 1.2 | 1.3 |
|---|---|---|---|---|---|---|---|---|
";

fn cell(row: &Row, version: PsciVersion) -> &'static str {
    match (row.is_in(version), row.support, row.presence) {
        (false, ..) => " ",
        (true, Support::Absent, _) => "-",
        (true, Support::Implemented, Presence::Mandatory) => "M",
        (true, Support::Implemented, Presence::Optional) => "o",
    }
}

/// The page.
pub fn page() -> String {
    let lines = TABLE.iter().map(|row| {
        let id64 = row
            .id64()
            .map_or(String::new(), |id| format!("{:#010x}", id.get()));
        let cells: Vec<&str> = PsciVersion::ALL.map(|version| cell(row, version)).to_vec();
        let id32 = row.id32().get();
        format!(
            "| {} | {id32:#010x} | {id64} | {} |\n",
            row.name,
            cells.join(" | ")
        )
    });
    HEAD.chars()
        .chain(lines.collect::<String>().chars())
        .collect()
}
