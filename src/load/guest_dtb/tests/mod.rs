//! What is shared by the tests of generated and of merged trees: a VM, a second reader, and the
//! device tree compiler, which knows the rules of the trade better than any list of ours.

mod generate;
mod merge;

use super::{GicVersion, GuestTree};
use crate::{
    spec::psci::LegacyIds,
    types::{Conduit, PsciVersion},
};
use fdt::{Fdt, node::FdtNode};
use std::{
    collections::BTreeMap,
    format,
    io::Write,
    process::{Command, Stdio},
    string::String,
    vec::Vec,
};

/// Two vCPUs, 512 MiB.
const GUEST: GuestTree = GuestTree {
    memory: 0x2000_0000,
    cpus: 2,
    psci: PsciVersion::V1_3,
    psci_ids: LegacyIds {
        cpu_suspend: 0x95c1_ba5e,
        cpu_off: 0x95c1_ba5f,
        cpu_on: 0x95c1_ba60,
        migrate: 0x95c1_ba61,
    },
    conduit: Conduit::Hvc,
    bootargs: "",
    initrd: None,
    gic: GicVersion::V3,
};

/// The properties of every node, by path.
type Nodes = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

fn read(blob: &[u8]) -> Nodes {
    let fdt = Fdt::new(blob).unwrap();
    let mut nodes = Nodes::new();
    collect(fdt.all_nodes().next().unwrap(), "", &mut nodes);
    nodes
}

fn collect(node: FdtNode, path: &str, nodes: &mut Nodes) {
    let properties: Vec<_> = node.properties().collect();
    let content: BTreeMap<_, _> = properties
        .iter()
        .map(|property| (String::from(property.name), property.value.to_vec()))
        .collect();
    assert_eq!(content.len(), properties.len(), "{path}: a property twice");
    let name = if path.is_empty() { "/" } else { path };
    let known = nodes.insert(String::from(name), content);
    assert_eq!(known, None, "{path} twice");
    for child in node.children() {
        collect(child, &format!("{path}/{}", child.name), nodes);
    }
}

fn cells(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn strings(values: &[&str]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|text| [text.as_bytes(), b"\0"].concat())
        .collect()
}

/// The device tree compiler reads `blob` and finds nothing to warn about.
fn assert_dtc_is_content(blob: &[u8], case: &str) {
    let child = Command::new("dtc")
        .args(["-I", "dtb", "-O", "dts", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("dtc could not be run: run scripts/setup");
    child.stdin.take().unwrap().write_all(blob).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{case}: {complaints}"
    );
}
