use super::*;
use crate::{
    load::guest_dtb::generate,
    spec::fdt::write::Full,
    types::{Ipa, IpaRange},
};
use std::vec;

fn blob(guest: &GuestTree) -> Vec<u8> {
    let mut memory = vec![0xa5; 0x1_0000];
    let size = generate(guest, &mut memory).unwrap();
    memory.truncate(size);
    memory
}

fn nodes(guest: GuestTree) -> Nodes {
    read(&blob(&guest))
}

/// The configurations that there can be: a GICv2 has at most 8 CPUs (IHI0048B 1.1).
fn configurations() -> impl Iterator<Item = GuestTree<'static>> {
    let interrupts = [GicVersion::V2, GicVersion::V3].into_iter();
    let sizes = interrupts.flat_map(|gic| [1, 2, 4, 8, 17, 32].map(|cpus| (gic, cpus)));
    let sizes = sizes.filter(|&(gic, cpus)| gic == GicVersion::V3 || cpus <= 8);
    sizes.flat_map(|(gic, cpus)| {
        let versions = PsciVersion::ALL.into_iter();
        versions.flat_map(move |psci| {
            [Conduit::Hvc, Conduit::Smc].map(|conduit| GuestTree {
                cpus,
                psci,
                conduit,
                gic,
                ..GUEST
            })
        })
    })
}

#[test]
fn the_device_tree_compiler_has_no_complaint_about_any_configuration() {
    for guest in configurations() {
        assert_dtc_is_content(&blob(&guest), &format!("{guest:?}"));
    }
}

#[test]
fn the_firmware_accepts_any_configuration_as_well_formed() {
    for guest in configurations() {
        let blob = blob(&guest);
        let size = blob.len();
        let tree = crate::spec::fdt::open(&blob).unwrap();
        assert_eq!(tree.size(), size);
    }
}

/// Typed from Linux's binding psci.yaml. The ids are those of KVM's 0.1 (uapi/asm/kvm.h,
/// KVM_PSCI_FN_*), then the standard's (DEN0022F.b chapter 5); nobody can call MIGRATE.
#[test]
fn the_firmware_is_described_by_its_version() {
    let kvm = [0x95c1_ba5e, 0x95c1_ba5f, 0x95c1_ba60];
    let standard = [0xc400_0001, 0x8400_0002, 0xc400_0003];
    let v1: &[_] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
    let expected: [(_, &[_], _); 6] = [
        ("0.1", &["arm,psci"], kvm),
        ("0.2", &["arm,psci-0.2", "arm,psci"], standard),
        ("1.0", v1, standard),
        ("1.1", v1, standard),
        ("1.2", v1, standard),
        ("1.3", v1, standard),
    ];
    for (version, compatible, [cpu_suspend, cpu_off, cpu_on]) in expected {
        for (conduit, method) in [(Conduit::Hvc, "hvc"), (Conduit::Smc, "smc")] {
            let psci = version.parse().unwrap();
            let found = nodes(GuestTree {
                psci,
                conduit,
                ..GUEST
            });
            let properties = [
                ("compatible", strings(compatible)),
                ("method", strings(&[method])),
                ("cpu_suspend", cells(&[cpu_suspend])),
                ("cpu_off", cells(&[cpu_off])),
                ("cpu_on", cells(&[cpu_on])),
            ];
            let properties = properties.map(|(name, value)| (String::from(name), value));
            assert_eq!(
                found["/psci"],
                BTreeMap::from(properties),
                "{version} {method}"
            );
        }
    }
}

#[test]
fn a_vm_that_chose_its_ids_of_psci_0_1_finds_them() {
    let psci_ids = LegacyIds {
        cpu_suspend: 1,
        cpu_off: 2,
        cpu_on: 3,
        migrate: 4,
    };
    let psci = &nodes(GuestTree {
        psci: PsciVersion::V0_1,
        psci_ids,
        ..GUEST
    })["/psci"];
    let id = |name: &str| psci[name].as_slice();
    assert_eq!(id("cpu_suspend"), [0, 0, 0, 1]);
    assert_eq!(id("cpu_off"), [0, 0, 0, 2]);
    assert_eq!(id("cpu_on"), [0, 0, 0, 3]);
    assert!(!psci.contains_key("migrate"), "nobody can call it");
}

/// Affinities as QEMU's virt lays them out: 16 CPUs to a cluster; `reg` has the affinity bits only.
#[test]
fn every_vcpu_is_enabled_by_psci() {
    for (cpus, last) in [
        (1, 0),
        (2, 1),
        (4, 3),
        (16, 0xf),
        (17, 0x100),
        (32, 0x10f_u32),
    ] {
        let nodes = nodes(GuestTree { cpus, ..GUEST });
        let found: Vec<_> = nodes
            .range(String::from("/cpus/cpu@")..String::from("/cpus/cpu@z"))
            .collect();
        assert_eq!(found.len(), cpus);
        for (path, cpu) in found {
            assert_eq!(cpu["enable-method"], b"psci\0", "{path}");
            assert_eq!(cpu["device_type"], b"cpu\0", "{path}");
            assert_eq!(cpu["compatible"], b"arm,armv8\0", "{path}");
            let reg = cpu["reg"].as_slice().try_into().unwrap();
            let reg = u32::from_be_bytes(reg);
            assert_eq!(*path, format!("/cpus/cpu@{reg:x}"));
        }
        let path = format!("/cpus/cpu@{last:x}");
        assert_eq!(nodes[&path]["reg"], cells(&[last]));
    }
}

/// Typed from Linux's binding idle-states.yaml; the states are DEN0022F.b's original format: bit 16 is
/// power-down. A vCPU's timers go on in either, so neither has `local-timer-stop`.
#[test]
fn every_vcpu_has_a_standby_and_a_power_down_state_from_0_2_on() {
    for psci in PsciVersion::ALL {
        let nodes = nodes(GuestTree { psci, ..GUEST });
        let states = nodes.get("/cpus/idle-states");
        if psci == PsciVersion::V0_1 {
            assert_eq!(states, None);
            assert!(!nodes["/cpus/cpu@0"].contains_key("cpu-idle-states"));
            continue;
        }
        assert_eq!(states.unwrap()["entry-method"], b"psci\0");
        let mut phandles = Vec::new();
        for (name, parameter) in [("cpu-standby", 0), ("cpu-power-down", 0x1_0000)] {
            let state = &nodes[&format!("/cpus/idle-states/{name}")];
            assert_eq!(state["compatible"], b"arm,idle-state\0");
            assert_eq!(state["arm,psci-suspend-param"], cells(&[parameter]));
            assert!(!state.contains_key("local-timer-stop"));
            phandles.extend_from_slice(&state["phandle"]);
        }
        for cpu in ["/cpus/cpu@0", "/cpus/cpu@1"] {
            assert_eq!(nodes[cpu]["cpu-idle-states"], phandles);
        }
        assert_eq!(phandles.len(), 8);
    }
}

/// Typed from the description of QEMU's virt (`-M virt,gic-version=3,dumpdtb=...`), which the addresses
/// and interrupts are those of; without the devices that Bulkhead does not have.
#[test]
fn the_devices_are_where_qemu_virt_has_them() {
    let nodes = nodes(GUEST);
    let expect = |path: &str, property: &str, value: Vec<u8>| {
        assert_eq!(nodes[path].get(property), Some(&value), "{path} {property}");
    };
    expect("/", "compatible", strings(&["linux,dummy-virt"]));
    expect("/", "#address-cells", cells(&[2]));
    expect("/", "#size-cells", cells(&[2]));
    expect("/memory@40000000", "device_type", strings(&["memory"]));
    expect(
        "/memory@40000000",
        "reg",
        cells(&[0, 0x4000_0000, 0, 0x2000_0000]),
    );
    expect(
        "/pl011@9000000",
        "compatible",
        strings(&["arm,pl011", "arm,primecell"]),
    );
    expect("/pl011@9000000", "reg", cells(&[0, 0x900_0000, 0, 0x1000]));
    expect("/pl011@9000000", "interrupts", cells(&[0, 1, 4]));
    expect(
        "/pl011@9000000",
        "clock-names",
        strings(&["uartclk", "apb_pclk"]),
    );
    expect(
        "/pl031@9010000",
        "compatible",
        strings(&["arm,pl031", "arm,primecell"]),
    );
    expect("/pl031@9010000", "reg", cells(&[0, 0x901_0000, 0, 0x1000]));
    expect("/pl031@9010000", "interrupts", cells(&[0, 2, 4]));
    expect("/pl031@9010000", "clock-names", strings(&["apb_pclk"]));
    expect(
        "/timer",
        "compatible",
        strings(&["arm,armv8-timer", "arm,armv7-timer"]),
    );
    expect(
        "/timer",
        "interrupts",
        cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]),
    );
    expect("/timer", "always-on", vec![]);
    expect("/apb-pclk", "compatible", strings(&["fixed-clock"]));
    expect("/apb-pclk", "#clock-cells", cells(&[0]));
    expect("/apb-pclk", "clock-frequency", cells(&[24_000_000]));
    expect("/cpus", "#address-cells", cells(&[1]));
    expect("/cpus", "#size-cells", cells(&[0]));
    expect("/aliases", "serial0", strings(&["/pl011@9000000"]));
    expect("/chosen", "stdout-path", strings(&["/pl011@9000000"]));
}

#[test]
fn a_reference_leads_to_what_is_meant() {
    let nodes = nodes(GUEST);
    let clock = &nodes["/apb-pclk"]["phandle"];
    assert_eq!(
        nodes["/"]["interrupt-parent"],
        nodes["/intc@8000000"]["phandle"]
    );
    assert_eq!(
        nodes["/pl011@9000000"]["clocks"],
        [clock.clone(), clock.clone()].concat()
    );
    assert_eq!(nodes["/pl031@9010000"]["clocks"], *clock);
    assert_ne!(nodes["/intc@8000000"]["phandle"], *clock);
}

#[test]
fn a_gic_v2_is_distributor_and_cpu_interface() {
    let nodes = nodes(GuestTree {
        gic: GicVersion::V2,
        ..GUEST
    });
    let intc = &nodes["/intc@8000000"];
    assert_eq!(intc["compatible"], b"arm,cortex-a15-gic\0");
    assert_eq!(
        intc["reg"],
        cells(&[0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000])
    );
    assert_eq!(intc["#interrupt-cells"], cells(&[3]));
    assert_eq!(intc["interrupt-controller"], []);
    assert!(!intc.contains_key("#redistributor-regions"));
}

/// Linux's binding arm,gic.yaml: bits [15:8] are the PPI's CPU mask.
#[test]
fn with_a_gic_v2_a_private_interrupt_names_its_cpus() {
    for (cpus, flags) in [(1, 0x104), (2, 0x304), (4, 0xf04), (8, 0xff04)] {
        let nodes = nodes(GuestTree {
            cpus,
            gic: GicVersion::V2,
            ..GUEST
        });
        let expected = cells(&[1, 13, flags, 1, 14, flags, 1, 11, flags, 1, 10, flags]);
        assert_eq!(nodes["/timer"]["interrupts"], expected, "{cpus} vCPUs");
    }
}

/// A redistributor takes two frames of 64 KiB (IHI0069H 12.10).
#[test]
fn a_gic_v3_has_a_redistributor_for_each_vcpu() {
    for (cpus, bytes) in [(1, 0x2_0000), (2, 0x4_0000), (4, 0x8_0000), (17, 0x22_0000)] {
        let nodes = nodes(GuestTree { cpus, ..GUEST });
        let intc = &nodes["/intc@8000000"];
        assert_eq!(intc["compatible"], b"arm,gic-v3\0");
        assert_eq!(
            intc["reg"],
            cells(&[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, bytes])
        );
        assert_eq!(intc["#redistributor-regions"], cells(&[1]));
        assert_eq!(intc["#interrupt-cells"], cells(&[3]));
        assert_eq!(intc["interrupt-controller"], []);
    }
}

#[test]
fn memory_above_4_gib_is_described() {
    let nodes = nodes(GuestTree {
        memory: 0x1_8000_0000,
        ..GUEST
    });
    assert_eq!(
        nodes["/memory@40000000"]["reg"],
        cells(&[0, 0x4000_0000, 1, 0x8000_0000])
    );
}

#[test]
fn what_is_not_configured_is_not_chosen() {
    let nodes = nodes(GUEST);
    let chosen: Vec<_> = nodes["/chosen"].keys().collect();
    assert_eq!(chosen, ["stdout-path"]);
}

#[test]
fn the_kernel_finds_its_command_line_and_its_initrd() {
    let nodes = nodes(GuestTree {
        bootargs: "console=ttyAMA0 quiet",
        initrd: IpaRange::new(Ipa::new(0x1_4800_0000), 0x1001),
        ..GUEST
    });
    let chosen = &nodes["/chosen"];
    assert_eq!(chosen["bootargs"], b"console=ttyAMA0 quiet\0");
    assert_eq!(chosen["linux,initrd-start"], cells(&[1, 0x4800_0000]));
    assert_eq!(chosen["linux,initrd-end"], cells(&[1, 0x4800_1001]));
}

#[test]
fn memory_that_is_too_small_is_refused_at_every_length() {
    let guest = GuestTree {
        bootargs: "quiet",
        psci: PsciVersion::V0_1,
        ..GUEST
    };
    let size = blob(&guest).len();
    let mut memory = vec![0xa5; size];
    for length in 0..size {
        assert_eq!(
            generate(&guest, &mut memory[..length]),
            Err(Full),
            "{length} bytes"
        );
    }
    assert_eq!(generate(&guest, &mut memory), Ok(size));
}
