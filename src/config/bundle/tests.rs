use super::*;
use crate::spec::{crc32::crc32, fdt::source::Source, gzip::tests::packed, image::tests::image};
use proptest::prelude::*;
use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

const BOARD: Resources = Resources {
    cpus: 4,
    vcpus: 32,
    memory: 0x3456_7890,
    reach: 0x7f_c000_0000,
};

/// The VMs of `blob`: name, and configuration or message.
fn read(blob: Vec<u8>) -> Vec<(String, Result<(), String>)> {
    let bundle = Bundle::open(&blob).unwrap();
    bundle
        .vms(BOARD, crc32)
        .map(|vm| {
            let result = vm.config.map(|_| ()).map_err(|e| e.to_string());
            (vm.name.to_string(), result)
        })
        .collect()
}

/// A bundle whose image node has what `image` adds, and whose VM has what `vm` adds.
fn bundle_of(image: impl FnOnce(Source) -> Source, vm: impl FnOnce(Source) -> Source) -> Vec<u8> {
    let vm = |n: Source| vm(n.str("compatible", &["bulkhead,vm"]));
    Source::new()
        .node("images", |n| n.node("linux", image))
        .node("configurations", |n| n.node("alpha", vm))
        .build()
}

fn good_image(node: Source) -> Source {
    node.bytes("data", b"kernel")
}

fn good_vm(node: Source) -> Source {
    node.str("kernel", &["linux"])
}

/// The one line that a VM gets that has what `vm` adds.
fn vm_line(vm: impl FnOnce(Source) -> Source) -> String {
    let vms = read(bundle_of(good_image, |n| vm(good_vm(n))));
    vms[0].1.clone().unwrap_err()
}

/// The one line that a VM gets whose image has what `image` adds.
fn image_line(image: impl FnOnce(Source) -> Source) -> String {
    read(bundle_of(image, good_vm))[0].1.clone().unwrap_err()
}

#[test]
fn a_vm_that_says_nothing_has_the_defaults() {
    let blob = bundle_of(good_image, good_vm);
    let bundle = Bundle::open(&blob).unwrap();
    let vm = bundle.vms(BOARD, crc32).next().unwrap();
    assert_eq!(vm.ignored().count(), 0);
    let vm = vm.config.unwrap();
    assert_eq!(vm.name, "alpha");
    assert!(matches!(vm.kernel, Kernel::Plain(b"kernel")));
    assert_eq!((vm.ramdisk, vm.fdt, vm.bootargs), (None, None, ""));
    assert_eq!((vm.cpus, vm.affinity, vm.memory), (1, None, 256 << 20));
    assert_eq!((vm.psci, vm.conduit), (PsciVersion::V1_3, Conduit::Hvc));
    assert_eq!((vm.manual_start, vm.on_crash), (false, OnCrash::Halt));
    assert_eq!(vm.psci_ids.cpu_on, 0x95c1_ba60);
    assert_eq!(vm.psci_hide, FunctionSet::default());
    assert_eq!(vm.services, Services::default());
}

#[test]
fn a_vm_that_says_everything_gets_it() {
    let blob = Source::new()
        .node("images", |n| {
            n.node("k", |n| {
                n.bytes("data", b"k")
                    .str("compression", &["gzip"])
                    .str("arch", &["arm64"])
            })
            .node("r@1", |n| n.bytes("data", b"r").str("type", &["ramdisk"]))
            .node("d", |n| n.bytes("data", b"d").str("type", &["flat_dt"]))
        })
        .node("configurations", |n| {
            n.str("default", &["beta"])
                .node("other", |n| n.str("kernel", &["nothing"]))
                .node("beta", |n| {
                    n.str("compatible", &["x", "bulkhead,vm"])
                        .str("description", &["the second"])
                        .str("kernel", &["k"])
                        .str("ramdisk", &["r@1"])
                        .str("fdt", &["d"])
                        .str("bootargs", &["console=ttyAMA0 quiet"])
                        .cells("cpus", &[32])
                        .cells("cpu-affinity", &[3, 1])
                        .cells("memory-mib", &[523_264])
                        .str("psci-version", &["0.1"])
                        .str("psci-method", &["smc"])
                        .str("psci-hide", &["SYSTEM_SUSPEND", "SYSTEM_RESET2"])
                        .cells("psci-cpu-suspend", &[0xc400_0001])
                        .cells("psci-cpu-off", &[0])
                        .cells("psci-cpu-on", &[0xffff_ffff])
                        .cells("psci-migrate", &[0x95c1_ba5e])
                        .cells("smccc-std-bmap", &[0])
                        .cells("smccc-std-hyp-bmap", &[1])
                        .cells("smccc-vendor-hyp-bmap", &[0])
                        .flag("manual-start")
                        .str("on-crash", &["restart"])
                        .str("boot-args", &["typo"])
                        .node("signature-1", |n| n.str("algo", &["sha256,rsa2048"]))
                })
        })
        .build();
    let bundle = Bundle::open(&blob).unwrap();
    let mut vms = bundle.vms(BOARD, crc32);
    let vm = vms.next().unwrap();
    assert!(vms.next().is_none());
    assert!(vm.ignored().eq(["boot-args"]));
    let vm = vm.config.unwrap();
    assert!(matches!(vm.kernel, Kernel::Gzip(b"k")));
    assert_eq!((vm.ramdisk, vm.fdt), (Some(&b"r"[..]), Some(&b"d"[..])));
    assert_eq!(vm.bootargs, "console=ttyAMA0 quiet");
    assert_eq!((vm.cpus, vm.affinity), (32, Some(0b1010)));
    assert_eq!(vm.memory, 0x7f_c000_0000);
    assert_eq!((vm.psci, vm.conduit), (PsciVersion::V0_1, Conduit::Smc));
    let hidden = FunctionSet::default().with("SYSTEM_RESET2").unwrap();
    assert_eq!(vm.psci_hide, hidden.with("SYSTEM_SUSPEND").unwrap());
    assert_eq!(
        vm.psci_ids,
        LegacyIds {
            cpu_suspend: 0xc400_0001,
            cpu_off: 0,
            cpu_on: 0xffff_ffff,
            migrate: 0x95c1_ba5e,
        }
    );
    assert_eq!(
        vm.services,
        Services {
            std: Some(0),
            std_hyp: Some(1),
            vendor_hyp: Some(0),
        }
    );
    assert_eq!((vm.manual_start, vm.on_crash), (true, OnCrash::Restart));
}

#[test]
fn a_wrong_value_is_one_line_with_what_is_allowed() {
    let line = |name: &'static str, cells: &'static [u32]| vm_line(move |n| n.cells(name, cells));
    let text = |name: &'static str, text: &'static str| vm_line(move |n| n.str(name, &[text]));
    for (line, wanted) in [
        (line("cpus", &[0]), "cpus = <0>, allowed: 1 to 32"),
        (line("cpus", &[33]), "cpus = <33>, allowed: 1 to 32"),
        (line("cpus", &[0, 2]), "cpus = <0 2>, allowed: 1 to 32"),
        (text("cpus", "two"), "cpus = \"two\", allowed: 1 to 32"),
        (
            line("memory-mib", &[0]),
            "memory-mib = <0>, allowed: 1 to 523264",
        ),
        (
            line("memory-mib", &[523_265]),
            "memory-mib = <0x7fc01>, allowed: 1 to 523264",
        ),
        (
            line("cpu-affinity", &[0, 4]),
            "cpu-affinity = <0 4>, allowed: numbers of board CPUs, 0 to 3",
        ),
        (
            line("cpu-affinity", &[]),
            "cpu-affinity = no value, allowed: numbers of board CPUs, 0 to 3",
        ),
        (
            text("psci-version", "0.3"),
            "psci-version = \"0.3\", allowed: 0.1, 0.2, 1.0, 1.1, 1.2, 1.3",
        ),
        (
            line("psci-version", &[1000]),
            "psci-version = <0x3e8>, allowed: 0.1, 0.2, 1.0, 1.1, 1.2, 1.3",
        ),
        (
            text("psci-method", "eret"),
            "psci-method = \"eret\", allowed: hvc, smc",
        ),
        (
            text("on-crash", "reboot"),
            "on-crash = \"reboot\", allowed: halt, restart",
        ),
        (
            text("manual-start", "no"),
            "manual-start = \"no\", allowed: no value",
        ),
        (
            line("bootargs", &[7]),
            "bootargs = <7>, allowed: a string of at most 16384 bytes",
        ),
        (
            vm_line(|n| n.str("bootargs", &[&"x".repeat(16385)])),
            &format!(
                "bootargs = \"{}\" ..., allowed: a string of at most 16384 bytes",
                "x".repeat(64)
            ),
        ),
        (
            text("ramdisk", "initrd"),
            "ramdisk = \"initrd\", allowed: the name of a node of /images",
        ),
        (
            vm_line(|n| n.str("fdt", &["a", "b"])),
            "fdt = \"a\", \"b\", allowed: the name of a node of /images",
        ),
    ] {
        assert_eq!(line, format!("/configurations/alpha: {wanted}"));
    }
    let vms = read(bundle_of(good_image, |n| n));
    let line = vms[0].1.clone().unwrap_err();
    assert_eq!(line, "/configurations/alpha: kernel is missing");
}

/// Otherwise each `kernel` of thousands would be looked up, and its data be read.
#[test]
fn a_property_is_given_once() {
    for (line, wanted) in [
        (
            vm_line(|n| n.str("kernel", &["linux"])),
            "kernel = \"linux\", allowed: once",
        ),
        (
            vm_line(|n| {
                n.cells("cpus", &[1])
                    .flag("x")
                    .flag("x")
                    .cells("cpus", &[2])
            }),
            "cpus = <2>, allowed: once",
        ),
    ] {
        assert_eq!(line, format!("/configurations/alpha: {wanted}"));
    }
}

#[test]
fn a_command_line_may_be_long() {
    let longest = "x".repeat(16384);
    let blob = bundle_of(good_image, |n| good_vm(n).str("bootargs", &[&longest]));
    let bundle = Bundle::open(&blob).unwrap();
    let vm = bundle.vms(BOARD, crc32).next().unwrap();
    assert_eq!(vm.config.unwrap().bootargs, longest);
}

#[test]
fn a_wrong_choice_of_firmware_is_one_line_with_what_is_allowed() {
    const OPTIONAL: &str = "MIGRATE, MIGRATE_INFO_TYPE, MIGRATE_INFO_UP_CPU, CPU_FREEZE, \
        CPU_DEFAULT_SUSPEND, NODE_HW_STATE, SYSTEM_SUSPEND, PSCI_SET_SUSPEND_MODE, \
        PSCI_STAT_RESIDENCY, PSCI_STAT_COUNT, SYSTEM_RESET2, MEM_PROTECT, \
        MEM_PROTECT_CHECK_RANGE, SYSTEM_OFF2";
    const DISTINCT: &str = "an id that no other function of PSCI 0.1 has";
    let id = "one function id";
    for (line, wanted, allowed) in [
        (
            vm_line(|n| n.str("psci-hide", &["CPU_ON"])),
            "psci-hide = \"CPU_ON\"",
            OPTIONAL,
        ),
        (
            vm_line(|n| n.str("psci-hide", &["MIGRATE", "SYSTEM_NAP"])),
            "psci-hide = \"MIGRATE\", \"SYSTEM_NAP\"",
            OPTIONAL,
        ),
        (
            vm_line(|n| n.flag("psci-hide")),
            "psci-hide = no value",
            OPTIONAL,
        ),
        (
            vm_line(|n| n.cells("psci-cpu-on", &[1, 2])),
            "psci-cpu-on = <1 2>",
            id,
        ),
        (
            vm_line(|n| n.str("psci-migrate", &["7seven"])),
            "psci-migrate = \"7seven\"",
            id,
        ),
        (
            vm_line(|n| n.cells("psci-cpu-off", &[5]).cells("psci-cpu-on", &[5])),
            "psci-cpu-on = <5>",
            DISTINCT,
        ),
        (
            vm_line(|n| n.cells("psci-cpu-suspend", &[0x95c1_ba60])),
            "psci-cpu-suspend = <0x95c1ba60>",
            DISTINCT,
        ),
        (
            vm_line(|n| n.cells("smccc-std-bmap", &[2])),
            "smccc-std-bmap = <2>",
            "0 to 1",
        ),
        (
            vm_line(|n| n.cells("smccc-std-hyp-bmap", &[0x8000_0000])),
            "smccc-std-hyp-bmap = <0x80000000>",
            "0 to 1",
        ),
        (
            vm_line(|n| n.cells("smccc-vendor-hyp-bmap", &[0, 1])),
            "smccc-vendor-hyp-bmap = <0 1>",
            "0 to 1",
        ),
    ] {
        assert_eq!(
            line,
            format!("/configurations/alpha: {wanted}, allowed: {allowed}")
        );
    }
}

#[test]
fn the_board_limits_the_vcpus_and_the_memory_of_a_vm() {
    let board = Resources {
        cpus: 16,
        vcpus: 8,
        memory: 1 << 30,
        reach: 1 << 29,
    };
    let blob = bundle_of(good_image, |n| good_vm(n).cells("cpus", &[9]));
    let bundle = Bundle::open(&blob).unwrap();
    let config = bundle.vms(board, crc32).next().unwrap().config;
    assert_eq!(
        config.unwrap_err().to_string(),
        "/configurations/alpha: cpus = <9>, allowed: 1 to 8"
    );
    let blob = image(0, 0x1000, 0, 100);
    let bundle = Bundle::open(&blob).unwrap();
    let vm = bundle.vms(board, crc32).next().unwrap().config.unwrap();
    assert_eq!((vm.cpus, vm.memory), (8, 1 << 29));
}

#[test]
fn an_image_that_is_no_use_is_one_line() {
    let at = |offset: u32, bytes: u32| {
        image_line(move |n| {
            n.cells("data-position", &[offset])
                .cells("data-size", &[bytes])
        })
    };
    let have = bundle_of(
        |n| n.cells("data-position", &[0]).cells("data-size", &[0]),
        good_vm,
    )
    .len();
    let outside = |offset: u64, bytes| {
        format!(
            "data of {bytes} bytes at {offset:#x} are not within the bundle, which has {have} bytes"
        )
    };
    let text = |name: &'static str, text: &'static str| {
        image_line(move |n| good_image(n).str(name, &[text]))
    };
    for (line, wanted) in [
        (image_line(|n| n), "data is missing".into()),
        (image_line(|n| n.flag("data")), "data is missing".into()),
        (
            image_line(|n| n.cells("data-offset", &[0])),
            "data-size is missing".into(),
        ),
        (at(0, 0), "data-size is missing".into()),
        (at(0, have as u32 + 1), outside(0, have + 1)),
        (at(u32::MAX, u32::MAX), outside(0xffff_ffff, 0xffff_ffff)),
        (
            image_line(|n| n.str("data-offset", &["here"])),
            "data-offset = \"here\", allowed: a number".into(),
        ),
        (
            text("compression", "lzma"),
            "compression = \"lzma\", allowed: none, gzip".into(),
        ),
        (text("arch", "arm"), "arch = \"arm\", allowed: arm64".into()),
        (
            text("type", "ramdisk"),
            "type = \"ramdisk\", allowed: kernel, kernel_noload, standalone, firmware".into(),
        ),
    ] {
        assert_eq!(line, format!("/images/linux: {wanted}"));
    }
    // The sum of two 64-bit numbers does not wrap.
    let huge = &[u32::MAX, u32::MAX];
    let line = image_line(|n| n.cells("data-offset", huge).cells("data-size", huge));
    assert!(line.contains("are not within the bundle"), "{line}");
}

#[test]
fn hashes_are_checked_and_unknown_ones_refused() {
    let data = b"123456789";
    let crc: &[u8] = &[0xcb, 0xf4, 0x39, 0x26];
    // FIPS 180: SHA-256 of "abc".
    let abc: &[u8] = &[
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    let hashed = |data: &'static [u8], name: &'static str, algo: &'static str, value: &[u8]| {
        let value = value.to_vec();
        let image = move |n: Source| {
            n.bytes("data", data)
                .node(name, |n| n.str("algo", &[algo]).bytes("value", &value))
        };
        read(bundle_of(image, good_vm))[0].1.clone()
    };
    assert_eq!(hashed(data, "hash", "crc32", crc), Ok(()));
    assert_eq!(hashed(data, "hash@1", "crc32", crc), Ok(()));
    assert_eq!(hashed(b"abc", "hash-1", "sha256", abc), Ok(()));
    let hashed = |data, algo, value: &[u8]| hashed(data, "hash-1", algo, value);
    for result in [
        hashed(b"12345678", "crc32", crc),
        hashed(b"abd", "sha256", abc),
    ] {
        assert_eq!(
            result.unwrap_err(),
            "/images/linux/hash-1: value is not that of the data: the image is damaged"
        );
    }
    assert_eq!(
        hashed(data, "md5", crc).unwrap_err(),
        "/images/linux/hash-1: algo = \"md5\", allowed: crc32, sha256"
    );
    assert_eq!(
        hashed(data, "sha256", crc).unwrap_err(),
        "/images/linux/hash-1: value = <0xcbf43926>, allowed: 32 bytes"
    );
    let line = image_line(|n| good_image(n).node("hash", |n| n.flag("value")));
    assert_eq!(line, "/images/linux/hash: algo is missing");
    let line = image_line(|n| good_image(n).node("hash", |n| n.str("algo", &["crc32"])));
    assert_eq!(line, "/images/linux/hash: value is missing");
}

/// A bundle with a VM of each name, all with one image.
fn vms_named(names: &[&str]) -> Vec<u8> {
    let vm = |tree: Source, name: &&str| {
        tree.node(name, |n| good_vm(n.str("compatible", &["bulkhead,vm"])))
    };
    Source::new()
        .node("images", |n| n.node("linux", good_image))
        .node("configurations", |n| names.iter().fold(n, vm))
        .build()
}

#[test]
fn one_bad_vm_leaves_the_others_alone() {
    let long = "x".repeat(32);
    let vms = read(vms_named(&[
        "a",
        "b[1]",
        "a",
        &long,
        "c:d",
        "vm@2.1,x_y+z-",
    ]));
    let bad: Vec<_> = vms.iter().map(|(_, result)| result.is_err()).collect();
    assert_eq!(bad, [false, true, true, true, true, false]);
    let line = |index: usize| vms[index].1.clone().unwrap_err();
    assert_eq!(
        line(1),
        "/configurations/b[1]: name of the VM, allowed: 1 to 31 letters, digits or ,._+-@"
    );
    assert_eq!(
        line(2),
        "/configurations/a: name of the VM, allowed: one that no earlier VM has"
    );
}

#[test]
fn more_vms_than_can_be_are_one_line() {
    let names: Vec<_> = (0..40).map(|n| format!("vm{n}")).collect();
    let names: Vec<_> = names.iter().map(|name| &name[..]).collect();
    let vms = read(vms_named(&names));
    assert_eq!(vms.len(), 33);
    assert!(vms[..32].iter().all(|(_, result)| result.is_ok()));
    assert_eq!(
        vms[32].1.clone().unwrap_err(),
        "/configurations/vm32: this VM and later ones are left out, allowed: 32 VMs"
    );
}

/// The first one that is too many is named, whatever the earlier ones have wrong, or its own name has.
#[test]
fn vms_of_a_bad_name_count() {
    for bad in ["b[1]", "vm1"] {
        for at in [0, 5, 32] {
            let mut names: Vec<_> = (0..40).map(|n| format!("vm{n}")).collect();
            names.insert(at, bad.to_string());
            let names: Vec<_> = names.iter().map(|name| &name[..]).collect();
            let vms = read(vms_named(&names));
            assert_eq!(vms.len(), 33);
            let good = vms.iter().filter(|(_, result)| result.is_ok());
            assert_eq!(good.count(), if at == 32 { 32 } else { 31 }, "{bad} {at}");
            let last = vms[32].1.clone().unwrap_err();
            assert!(last.ends_with("left out, allowed: 32 VMs"), "{last}");
        }
    }
}

#[test]
fn a_kernel_alone_is_a_vm_with_the_board_to_itself() {
    let plain = image(0, 0x1000, 0, 100);
    for blob in [plain.clone(), packed(&plain)] {
        let gzip = blob[0] == 0x1f;
        let bundle = Bundle::open(&blob).unwrap();
        let mut vms = bundle.vms(BOARD, crc32);
        let vm = vms.next().unwrap();
        assert!(vms.next().is_none());
        assert_eq!((vm.name, vm.ignored().count()), ("vm", 0));
        let vm = vm.config.unwrap();
        assert_eq!((vm.cpus, vm.memory), (4, 0x3450_0000));
        assert_eq!(matches!(vm.kernel, Kernel::Gzip(_)), gzip);
    }
}

#[test]
fn what_is_no_bundle_is_one_line() {
    let line = |blob: Vec<u8>| match Bundle::open(&blob) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        line(b"070701cpio".to_vec()),
        "bundle: it begins with 0x30373037, allowed are a FIT image and an arm64 Image, plain or gzip"
    );
    assert!(line(packed(b"cpio")).contains("0x1f8b0800"));
    assert_eq!(
        line(b"\x1f\x8b\x08".to_vec()),
        "bundle: it is gzip data that are cut off"
    );
    assert!(line(vec![]).contains("0x00000000"));
    assert_eq!(
        line(vec![0xd0, 0x0d, 0xfe, 0xed, 0]),
        "bundle: device tree is cut off: its header says 40 bytes, there are 5"
    );
    let no_vm = Source::new().node("configurations", |n| n.node("a", good_vm));
    for blob in [no_vm.build(), Source::new().build()] {
        assert!(line(blob).contains("compatible = \"bulkhead,vm\""));
    }
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_bundle_no_reading_fails(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut blob = bundle_of(
            |n| {
                n.cells("data-offset", &[0])
                    .cells("data-size", &[40])
                    .str("compression", &["none"])
                    .node("hash-1", |n| n.str("algo", &["crc32"]).cells("value", &[1]))
            },
            |n| good_vm(n).cells("cpus", &[1]).cells("cpu-affinity", &[0]).str("psci-version", &["1.1"]),
        );
        blob.extend([0; 40]);
        for (at, byte) in edits {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if cut {
            blob.truncate(length.index(blob.len()));
        }
        if let Ok(bundle) = Bundle::open(&blob) {
            for vm in bundle.vms(BOARD, crc32) {
                let _ = (vm.ignored().count(), vm.config.map_err(|error| error.to_string()));
            }
        }
    }
}

/// U-Boot's own tool makes the bundle, in every layout that it knows.
#[test]
fn bundles_of_mkimage_are_read() {
    use std::{fs, process::Command};
    let directory = std::env::temp_dir().join(format!("bulkhead-mkimage-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let kernel = image(0, 0x1000, 0, 5001);
    let ramdisk = vec![7; 333];
    fs::write(directory.join("Image"), &kernel).unwrap();
    fs::write(directory.join("initrd"), &ramdisk).unwrap();
    let source = r#"/dts-v1/;
    / {
        description = "test";
        #address-cells = <1>;
        images {
            linux {
                data = /incbin/("Image"); type = "kernel"; arch = "arm64"; os = "linux";
                compression = "none"; load = <0>; entry = <0>;
                hash-1 { algo = "crc32"; };
                hash-2 { algo = "sha256"; };
            };
            initrd {
                data = /incbin/("initrd"); type = "ramdisk"; arch = "arm64"; os = "linux";
                compression = "none";
                hash-1 { algo = "crc32"; };
            };
        };
        configurations {
            default = "alpha";
            alpha { compatible = "bulkhead,vm"; kernel = "linux"; ramdisk = "initrd"; cpus = <2>; };
            beta { compatible = "bulkhead,vm"; kernel = "linux"; };
        };
    };"#;
    fs::write(directory.join("vms.its"), source).unwrap();
    for options in [
        &[][..],
        &["-E"],
        &["-E", "-B", "1000"],
        &["-E", "-p", "0x3000"],
    ] {
        let output = Command::new("mkimage")
            .args(options)
            .args(["-f", "vms.its", "vms.itb"])
            .current_dir(&directory)
            .output()
            .expect("mkimage could not be run: run scripts/setup");
        assert!(output.status.success(), "{output:?}");
        let blob = fs::read(directory.join("vms.itb")).unwrap();
        let bundle = Bundle::open(&blob).unwrap();
        let vms: Vec<_> = bundle
            .vms(BOARD, crc32)
            .map(|vm| vm.config.unwrap())
            .collect();
        assert_eq!(vms.len(), 2, "{options:?}");
        assert!(matches!(vms[0].kernel, Kernel::Plain(data) if data == kernel));
        assert_eq!(vms[0].ramdisk, Some(&ramdisk[..]));
        assert_eq!((vms[0].cpus, vms[1].ramdisk), (2, None));
        // The last byte of the kernel changes: both VMs that use it are refused.
        let mut blob = fs::read(directory.join("vms.itb")).unwrap();
        let at = blob
            .windows(kernel.len())
            .position(|window| window == kernel);
        blob[at.unwrap() + kernel.len() - 1] ^= 1;
        let vms = read(blob);
        assert!(vms.iter().all(|(_, result)| {
            let line = result.clone().unwrap_err();
            line.starts_with("/images/linux/hash-1: ")
        }));
    }
    fs::remove_dir_all(&directory).unwrap();
}
