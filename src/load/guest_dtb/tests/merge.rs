use super::*;
use crate::{
    load::guest_dtb::{MergeError, generate, merge},
    spec::fdt::{open, source::Source},
    types::{Ipa, IpaRange},
};
use proptest::prelude::*;
use std::{string::ToString, vec};

fn merged(guest: &GuestTree, given: Vec<u8>) -> Result<Vec<u8>, MergeError> {
    let given = open(&given).unwrap();
    let mut memory = vec![0xa5; 0x1_0000];
    let size = merge(guest, &given, &mut memory)?;
    memory.truncate(size);
    Ok(memory)
}

fn nodes(guest: &GuestTree, given: Source) -> Nodes {
    let blob = merged(guest, given.build()).unwrap();
    assert_dtc_is_content(&blob, "a merged tree");
    read(&blob)
}

/// The root of a machine with addresses and sizes of two cells.
fn machine() -> Source {
    Source::new()
        .str("compatible", &["acme,machine"])
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
}

fn generated(guest: &GuestTree) -> Vec<u8> {
    let mut memory = vec![0; 0x1_0000];
    let size = generate(guest, &mut memory).unwrap();
    memory.truncate(size);
    memory
}

#[test]
fn the_tree_of_one_vm_becomes_that_of_another() {
    let one = GuestTree {
        psci: PsciVersion::V0_1,
        bootargs: "for the one",
        initrd: IpaRange::new(Ipa::new(0x4400_0000), 0x1000),
        ..GUEST
    };
    let other = GuestTree {
        memory: 0x4000_0000,
        psci: PsciVersion::V1_0,
        conduit: Conduit::Smc,
        bootargs: "for the other",
        initrd: IpaRange::new(Ipa::new(0x4800_0000), 0x2000),
        ..GUEST
    };
    let result = merged(&other, generated(&one)).unwrap();
    assert_eq!(read(&result), read(&generated(&other)));
}

#[test]
fn what_is_nobody_elses_business_is_kept() {
    let given = machine()
        .cells("interrupt-parent", &[7])
        .cells("acme,#address-cells", &[1])
        .node("aliases", |node| node.str("serial0", &["/uart@1000"]))
        .node("reserved-memory", |node| {
            node.cells("#address-cells", &[2])
                .cells("#size-cells", &[2])
                .flag("ranges")
                .node("pool@50000000", |pool| {
                    pool.cells("reg", &[0, 0x5000_0000, 0, 0x10_0000])
                        .flag("no-map")
                })
        })
        .node("uart@1000", |node| {
            node.cells("reg", &[0, 0x1000, 0, 0x100])
        })
        .node("gic@2000", |node| {
            node.flag("interrupt-controller")
                .cells("#interrupt-cells", &[1])
                .cells("#address-cells", &[0])
                .cells("reg", &[0, 0x2000, 0, 0x100])
                .cells("phandle", &[7])
        });
    let before = read(&given.clone().build());
    let after = nodes(&GUEST, given);
    for (path, properties) in &before {
        assert_eq!(after.get(path), Some(properties), "{path}");
    }
    let new: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .collect();
    let expected = [
        "/chosen",
        "/cpus",
        "/cpus/cpu@0",
        "/cpus/cpu@1",
        "/cpus/idle-states",
        "/cpus/idle-states/cpu-power-down",
        "/cpus/idle-states/cpu-standby",
        "/memory@40000000",
        "/psci",
    ];
    assert_eq!(new, expected);
    assert!(!after["/cpus/cpu@0"].contains_key("phandle"));
}

/// Above all that the tree has, on nodes that are not kept and under the old name too.
#[test]
fn idle_states_have_phandles_that_nobody_else_has() {
    let given = |highest| {
        machine()
            .node("gic", |node| node.cells("phandle", &[7]))
            .node("cpus", |node| {
                node.node("idle-states", |node| {
                    node.node("mine", |node| node.cells("linux,phandle", &[highest]))
                })
            })
    };
    for (highest, expected) in [
        (9, [10, 11]),
        (3, [8, 9]),
        (0xffff_fffc, [0xffff_fffd, 0xffff_fffe]),
    ] {
        let nodes = nodes(&GUEST, given(highest));
        assert!(!nodes.contains_key("/cpus/idle-states/mine"));
        assert_eq!(nodes["/cpus/cpu@1"]["cpu-idle-states"], cells(&expected));
        let states = ["cpu-standby", "cpu-power-down"];
        for (state, phandle) in states.into_iter().zip(expected) {
            let state = &nodes[&std::format!("/cpus/idle-states/{state}")];
            assert_eq!(state["phandle"], cells(&[phandle]));
        }
    }
}

#[test]
fn without_phandles_or_before_psci_0_2_there_are_no_idle_states() {
    let old = GuestTree {
        psci: PsciVersion::V0_1,
        ..GUEST
    };
    for (guest, phandle) in [
        (GUEST, 0xffff_fffd),
        (GUEST, 0xffff_fffe),
        (GUEST, 0xffff_ffff),
        (old, 1),
    ] {
        let given = machine().node("gic", |node| node.cells("phandle", &[phandle]));
        let blob = merged(&guest, given.build()).unwrap();
        let nodes = read(&blob);
        assert!(!nodes.contains_key("/cpus/idle-states"), "{phandle:#x}");
        assert!(!nodes["/cpus/cpu@0"].contains_key("cpu-idle-states"));
    }
}

#[test]
fn memory_cpus_and_firmware_are_those_of_the_vm_wherever_others_stood() {
    let firmware = |node: Source| node.str("compatible", &["acme,fw", "arm,psci-1.0"]);
    let given = machine()
        .node("memory", |node| node.str("device_type", &["memory"]))
        .node("memory@80000000", |node| {
            node.cells("reg", &[0, 0x8000_0000, 0, 1])
        })
        .node("dram@90000000", |node| {
            node.cells("reg", &[0, 0x9000_0000, 0, 1])
                .str("device_type", &["memory"])
        })
        .node("memory-controller@10", |node| {
            node.cells("reg", &[0, 0x10, 0, 1])
        })
        .node("cpus", |node| {
            node.cells("#address-cells", &[1])
                .cells("#size-cells", &[0])
                .node("idle-states", |node| node.str("entry-method", &["psci"]))
                .node("cpu@5", |node| node.cells("reg", &[5]))
        })
        .node("psci", |node| {
            firmware(node).node("power-domain", |node| node)
        })
        .node("my-psci", firmware)
        .node("firmware", |node| {
            node.node("psci", firmware).node("optee", |node| node)
        });
    let nodes = nodes(&GUEST, given);
    let paths: Vec<_> = nodes.keys().collect();
    let expected = [
        "/",
        "/chosen",
        "/cpus",
        "/cpus/cpu@0",
        "/cpus/cpu@1",
        "/cpus/idle-states",
        "/cpus/idle-states/cpu-power-down",
        "/cpus/idle-states/cpu-standby",
        "/firmware",
        "/firmware/optee",
        "/memory-controller@10",
        "/memory@40000000",
        "/psci",
    ];
    assert_eq!(paths, expected);
    assert_eq!(
        nodes["/psci"]["compatible"],
        b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0"
    );
    assert_eq!(nodes["/psci"]["method"], b"hvc\0");
    assert_eq!(nodes["/cpus/cpu@1"]["enable-method"], b"psci\0");
}

#[test]
fn a_reference_to_a_cpu_keeps_its_meaning() {
    let cpu = |unit: u32, phandle: &'static str, number| {
        move |cpu: Source| {
            cpu.cells("reg", &[0, unit])
                .cells(phandle, &[number])
                .cells("cpu-idle-states", &[99])
        }
    };
    let given = machine()
        .node("cpus", |node| {
            node.cells("#address-cells", &[2])
                .cells("#size-cells", &[0])
                .node("cpu@100", cpu(0x100, "phandle", 40))
                .node("cpu@0", cpu(0, "phandle", 41))
                .node("cpu@1", cpu(1, "linux,phandle", 42))
                .node("cpu@2", cpu(2, "phandle", 43))
        })
        .node("pmu", |node| node.cells("interrupt-affinity", &[41, 42]));
    let nodes = nodes(&GUEST, given);
    assert_eq!(nodes["/cpus/cpu@0"]["phandle"], cells(&[41]));
    assert_eq!(nodes["/cpus/cpu@1"]["phandle"], cells(&[42]));
    assert_eq!(nodes["/cpus/cpu@1"]["reg"], cells(&[1]));
    assert_eq!(nodes["/cpus/cpu@1"]["cpu-idle-states"], cells(&[44, 45]));
    assert!(!nodes.contains_key("/cpus/cpu@2") && !nodes.contains_key("/cpus/cpu@100"));
}

fn with_chosen() -> Source {
    machine().node("chosen", |node| {
        node.str("bootargs", &["of the tree"])
            .str("stdout-path", &["/uart@1000:115200"])
            .cells("linux,initrd-start", &[0x8000_0000])
            .cells("linux,initrd-end", &[0x8100_0000])
            .node("framebuffer", |node| node.flag("mine"))
    })
}

#[test]
fn a_command_line_of_the_tree_is_kept_unless_one_is_configured() {
    let kept = nodes(&GUEST, with_chosen());
    assert_eq!(kept["/chosen"]["bootargs"], b"of the tree\0");
    let configured = GuestTree {
        bootargs: "of the VM",
        ..GUEST
    };
    let replaced = nodes(&configured, with_chosen());
    assert_eq!(replaced["/chosen"]["bootargs"], b"of the VM\0");
}

#[test]
fn the_initrd_is_the_one_of_the_vm_or_none() {
    let none = nodes(&GUEST, with_chosen());
    let chosen: Vec<_> = none["/chosen"].keys().collect();
    assert_eq!(chosen, ["bootargs", "stdout-path"]);
    let initrd = IpaRange::new(Ipa::new(0x4800_0000), 0x10);
    let one = nodes(&GuestTree { initrd, ..GUEST }, with_chosen());
    assert_eq!(
        one["/chosen"]["linux,initrd-start"],
        cells(&[0, 0x4800_0000])
    );
    assert_eq!(one["/chosen"]["linux,initrd-end"], cells(&[0, 0x4800_0010]));
}

#[test]
fn what_else_is_chosen_stays_chosen() {
    let nodes = nodes(&GUEST, with_chosen());
    assert_eq!(nodes["/chosen"]["stdout-path"], b"/uart@1000:115200\0");
    assert!(nodes.contains_key("/chosen/framebuffer"));
}

#[test]
fn an_empty_tree_is_filled_in() {
    // DTSpec 2.3.5: without the properties, addresses have two cells and sizes one.
    let nodes = nodes(&GUEST, Source::new());
    assert_eq!(nodes["/"]["#address-cells"], cells(&[2]));
    assert_eq!(nodes["/"]["#size-cells"], cells(&[1]));
    assert_eq!(
        nodes["/memory@40000000"]["reg"],
        cells(&[0, 0x4000_0000, 0x2000_0000])
    );
    assert!(nodes.contains_key("/cpus/cpu@0") && nodes.contains_key("/psci"));
}

#[test]
fn a_tree_with_nops_in_it_is_merged_like_one_without() {
    let given = |nop: fn(Source) -> Source| {
        let root = nop(nop(Source::new()).cells("#address-cells", &[2]));
        let root = nop(root.cells("#size-cells", &[2]));
        let root = root.node("device", |node| {
            nop(nop(nop(node).flag("mine")).node("part", nop))
        });
        nop(nop(root).node("chosen", |node| nop(node).str("bootargs", &["quiet"])))
    };
    const NOP: u32 = 4; // DTSpec 5.4.1
    let with = nodes(&GUEST, given(|source| source.token(NOP)));
    assert_eq!(with, nodes(&GUEST, given(|source| source)));
    assert!(with.contains_key("/device/part"));
}

#[test]
fn memory_is_written_in_the_cells_of_the_root() {
    let root = |address, size| {
        Source::new()
            .cells("#address-cells", &[address])
            .cells("#size-cells", &[size])
    };
    let reg = |address, size| nodes(&GUEST, root(address, size))["/memory@40000000"]["reg"].clone();
    assert_eq!(reg(1, 1), cells(&[0x4000_0000, 0x2000_0000]));
    assert_eq!(reg(1, 2), cells(&[0x4000_0000, 0, 0x2000_0000]));
    assert_eq!(reg(2, 1), cells(&[0, 0x4000_0000, 0x2000_0000]));
    assert_eq!(reg(2, 2), cells(&[0, 0x4000_0000, 0, 0x2000_0000]));
}

#[test]
fn a_root_that_cannot_describe_memory_is_refused_with_one_line() {
    let error = |memory, root: Source| {
        let error = merged(&GuestTree { memory, ..GUEST }, root.build()).unwrap_err();
        error.to_string()
    };
    let root = |address: &[u32], size: &[u32]| {
        Source::new()
            .cells("#address-cells", address)
            .cells("#size-cells", size)
    };
    let cases = [
        (
            error(0x1000_0000, root(&[3], &[2])),
            "/: #address-cells is 3, allowed are 1 and 2",
        ),
        (
            error(0x1000_0000, root(&[2], &[0])),
            "/: #size-cells is 0, allowed are 1 and 2",
        ),
        (
            error(0x1000_0000, root(&[2, 2], &[2])),
            "/: #address-cells is not one cell, allowed are 1 and 2",
        ),
        (
            error(0x1_0000_0000, root(&[2], &[1])),
            "/: 4096 MiB of memory need #address-cells and #size-cells of 2",
        ),
        (
            error(0xd000_0000, root(&[1], &[2])),
            "/: 3328 MiB of memory need #address-cells and #size-cells of 2",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn reservations_are_kept() {
    let given = machine()
        .reserve(0x1_0000_0000, 0x1000)
        .reserve(0x4200_0000, 0x20);
    let blob = merged(&GUEST, given.build()).unwrap();
    let reserved: Vec<_> = open(&blob).unwrap().reservations().collect();
    assert_eq!(reserved, [(0x1_0000_0000, 0x1000), (0x4200_0000, 0x20)]);
}

#[test]
fn memory_that_is_too_small_is_refused_at_every_length() {
    let given = with_chosen().build();
    let given = open(&given).unwrap();
    let mut memory = vec![0xa5; 4096];
    let size = merge(&GUEST, &given, &mut memory).unwrap();
    for length in 0..size {
        let result = merge(&GUEST, &given, &mut memory[..length]);
        assert_eq!(result, Err(MergeError::Full), "{length} bytes");
    }
    assert_eq!(merge(&GUEST, &given, &mut memory[..size]), Ok(size));
}

proptest! {
    #[test]
    fn whatever_is_accepted_as_a_tree_is_merged_into_one(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        nested in 1usize..40,
    ) {
        let deep = (0..nested).fold(with_chosen(), |tree, _| tree.begin("node"));
        let mut given = (0..nested).fold(deep, |tree, _| tree.end()).build();
        for (place, value) in damage {
            *place.get_mut(&mut given) = value;
        }
        if let Ok(given) = open(&given) {
            let mut memory = vec![0; 0x1_0000];
            if let Ok(size) = merge(&GUEST, &given, &mut memory) {
                prop_assert_eq!(open(&memory).map(|tree| tree.size()), Ok(size));
            }
        }
    }
}
