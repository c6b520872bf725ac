use super::*;
use crate::spec::fdt::{
    self,
    source::{Source, board_tree, board_trees},
};
use proptest::prelude::*;
use std::{
    format, fs,
    process::Command,
    string::{String, ToString},
    vec,
    vec::Vec,
};

fn range(start: u64, bytes: u64) -> PaRange {
    PaRange::new(Pa::new(start), bytes).unwrap()
}

fn level(intid: u32) -> Interrupt {
    Interrupt {
        intid,
        trigger: Trigger::Level,
    }
}

/// A serial line's driver, address and INTID.
fn line(uart: Uart<'_>) -> (&'static str, u64, u32) {
    let interrupt = uart.interrupt.unwrap();
    assert_eq!(interrupt.trigger, Trigger::Level);
    (
        uart.kind.compatible,
        uart.regs.start().get(),
        interrupt.intid,
    )
}

/// What `check` says of the board that `blob` describes.
fn with_board<R>(blob: Vec<u8>, check: impl FnOnce(&Board) -> R) -> R {
    let tree = fdt::open(&blob).unwrap();
    let board = Board::discover(&tree).unwrap();
    check(&board)
}

/// The one line of a tree that describes no board.
fn refusal(source: Source) -> String {
    let blob = source.build();
    let tree = fdt::open(&blob).unwrap();
    Board::discover(&tree).map(|_| ()).unwrap_err().to_string()
}

fn cpu(node: Source, name: &str, reg: u32) -> Source {
    node.node(name, |n| {
        n.str("device_type", &["cpu"])
            .str("enable-method", &["psci"])
            .cells("reg", &[reg])
    })
}

fn two_cpus(tree: Source) -> Source {
    tree.node("cpus", |n| {
        let n = n.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
        cpu(cpu(n, "cpu@0", 0), "cpu@1", 1)
    })
}

fn memory(tree: Source) -> Source {
    tree.node("memory@40000000", |n| {
        n.str("device_type", &["memory"])
            .cells("reg", &[0, 0x4000_0000, 0, 0x8000_0000])
    })
}

fn gic_v3(tree: Source) -> Source {
    tree.node("intc@8000000", |n| {
        n.str("compatible", &["arm,gic-v3"])
            .cells("phandle", &[1])
            .cells("#interrupt-cells", &[3])
            .cells("interrupts", &[1, 9, 4])
            .cells(
                "reg",
                &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000],
            )
    })
}

fn root() -> Source {
    Source::new()
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .cells("interrupt-parent", &[1])
}

/// The least that is a board.
fn least() -> Source {
    gic_v3(memory(two_cpus(root())))
}

/// The parts of a Raspberry Pi 4's tree that matter, as its firmware hands it over.
fn raspberry_pi_4() -> Source {
    let cpu = |n: Source, index: u32| {
        n.node(&format!("cpu@{index}"), |n| {
            n.str("device_type", &["cpu"])
                .str("enable-method", &["spin-table"])
                .cells("cpu-release-addr", &[0, 0xd8 + 8 * index])
                .cells("reg", &[index])
        })
    };
    let uart = |n: Source, name, compatible, reg: &[u32], spi| {
        n.node(name, |n| {
            n.str("compatible", &[compatible])
                .cells("reg", reg)
                .cells("interrupts", &[0, spi, 4])
        })
    };
    Source::new()
        .reserve(0, 0x1000)
        .str("compatible", &["raspberrypi,4-model-b", "brcm,bcm2711"])
        .str("model", &["Raspberry Pi 4 Model B"])
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[1])
        .cells("interrupt-parent", &[1])
        .node("aliases", |n| {
            n.str("serial0", &["/soc/serial@7e201000"])
                .str("serial1", &["/soc/serial@7e215040"])
        })
        .node("chosen", |n| {
            n.str("stdout-path", &["serial1:115200n8"])
                .str("bootargs", &["bulkhead.log=debug"])
                .cells("linux,initrd-start", &[0x2eff_0000])
                .cells("linux,initrd-end", &[0x2eff_f123])
        })
        .node("reserved-memory", |n| {
            n.cells("#address-cells", &[2])
                .cells("#size-cells", &[1])
                .flag("ranges")
                .node("linux,cma", |n| n.cells("size", &[0x400_0000]))
                .node("nvram@0", |n| {
                    n.cells("reg", &[0, 0x3ef6_4700, 0xd4]).flag("no-map")
                })
                .node("nvram@1", |n| {
                    n.cells("reg", &[0, 0, 0]).str("status", &["disabled"])
                })
        })
        .node("soc", |n| {
            let n = n
                .str("compatible", &["simple-bus"])
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[1])
                .cells(
                    "ranges",
                    &[
                        0x7e00_0000,
                        0,
                        0xfe00_0000,
                        0x180_0000,
                        0x7c00_0000,
                        0,
                        0xfc00_0000,
                        0x200_0000,
                        0x4000_0000,
                        0,
                        0xff80_0000,
                        0x80_0000,
                    ],
                );
            let n = uart(
                n,
                "serial@7e201000",
                "arm,pl011",
                &[0x7e20_1000, 0x200],
                0x79,
            );
            let mini = &[0x7e21_5040, 0x40];
            let n = uart(n, "serial@7e215040", "brcm,bcm2835-aux-uart", mini, 0x5d);
            n.node("interrupt-controller@40041000", |n| {
                n.str("compatible", &["arm,gic-400"])
                    .cells("#interrupt-cells", &[3])
                    .cells("phandle", &[1])
                    .cells("interrupts", &[1, 9, 0xf04])
                    .cells(
                        "reg",
                        &[
                            0x4004_1000,
                            0x1000,
                            0x4004_2000,
                            0x2000,
                            0x4004_4000,
                            0x2000,
                            0x4004_6000,
                            0x2000,
                        ],
                    )
            })
            .node("watchdog@7e100000", |n| {
                n.str("compatible", &["brcm,bcm2711-pm", "brcm,bcm2835-pm-wdt"])
                    .cells("reg", &[0x7e10_0000, 0x114, 0x7e00_a000, 0x24])
            })
        })
        .node("timer", |n| {
            n.str("compatible", &["arm,armv8-timer"]).cells(
                "interrupts",
                &[1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08],
            )
        })
        .node("cpus", |n| {
            let n = n
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[0])
                .str("enable-method", &["brcm,bcm2836-smp"]);
            (0..4).fold(n, cpu)
        })
        .node("memory@0", |n| {
            n.str("device_type", &["memory"])
                .cells("reg", &[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000])
        })
}

#[test]
fn a_raspberry_pi_4_is_what_its_manual_says() {
    let release = |index: u64| EnableMethod::SpinTable {
        release: Pa::new(0xd8 + 8 * index),
    };
    with_board(raspberry_pi_4().build(), |board| {
        assert_eq!(board.model, Some("Raspberry Pi 4 Model B"));
        assert_eq!(
            board.memory[..],
            [
                range(0x1000, 0x3b40_0000 - 0x1000),
                range(0x4000_0000, 0xbc00_0000)
            ]
        );
        let cpus: Vec<_> = board
            .cpus
            .iter()
            .map(|c| (c.mpidr.affinity(), c.enable))
            .collect();
        assert_eq!(
            cpus,
            [
                (0, release(0)),
                (1, release(1)),
                (2, release(2)),
                (3, release(3))
            ]
        );
        assert_eq!(board.cpus_left_out, 0);
        assert_eq!(
            board.gic,
            Gic::V2 {
                dist: range(0xff84_1000, 0x1000),
                cpu: range(0xff84_2000, 0x2000),
                hyp: range(0xff84_4000, 0x2000),
                vcpu: range(0xff84_6000, 0x2000),
                maintenance: level(25),
            }
        );
        let uart = board.uart.unwrap();
        assert_eq!(line(uart), ("brcm,bcm2835-aux-uart", 0xfe21_5040, 32 + 93));
        assert_eq!(
            (uart.regs.bytes(), uart.name, uart.options),
            (0x40, "serial@7e215040", "115200n8")
        );
        assert_eq!(board.psci, None);
        assert_eq!(
            board.timer,
            Timer {
                physical: Some(level(30)),
                virt: Some(level(27)),
                hyp_physical: Some(level(26)),
            }
        );
        assert_eq!(board.bcm2835_pm, Some(range(0xfe10_0000, 0x114)));
        assert_eq!(board.bootargs, "bulkhead.log=debug");
        assert_eq!(board.initrd, Some(range(0x2eff_0000, 0xf123)));
    });
}

#[test]
fn the_least_board_has_none_of_the_rest() {
    with_board(least().build(), |board| {
        assert_eq!(board.memory[..], [range(0x4000_0000, 0x8000_0000)]);
        assert_eq!(
            board.gic,
            Gic::V3 {
                dist: range(0x800_0000, 0x1_0000),
                redists: [range(0x80a_0000, 0xf6_0000)].into_iter().collect(),
                stride: None,
                maintenance: level(25),
            }
        );
        assert!(board.uart.is_none());
        assert_eq!(board.psci, None);
        assert_eq!((board.initrd, board.bcm2835_pm), (None, None));
        assert_eq!(board.rtc, None);
        assert_eq!((board.model, board.bootargs), (None, ""));
        assert_eq!(board.timer, Timer::default());
    });
}

#[test]
fn a_board_that_lacks_what_is_needed_is_one_line() {
    assert_eq!(
        refusal(gic_v3(two_cpus(root()))),
        "board: /: there is no memory node with any memory"
    );
    assert_eq!(refusal(memory(root())), "board: /: there is no /cpus");
    assert_eq!(
        refusal(memory(root().node("cpus", |n| n))),
        "board: /cpus: there is no CPU"
    );
    assert_eq!(
        refusal(memory(two_cpus(root()))),
        "board: /: there is no GICv2 or GICv3 (compatible = \"arm,gic-v3\", \"arm,gic-400\" ...)"
    );
    for compatible in ["arm,gic-v5", "arm,cortex-a9-gic"] {
        let other = memory(two_cpus(root()));
        let other = other.node("intc@1000", |n| {
            n.str("compatible", &[compatible]).cells("phandle", &[1])
        });
        assert_eq!(
            refusal(other),
            format!(
                "board: /intc@1000: compatible = \"{compatible}\", \
                 allowed: GICv2 or GICv3 (compatible = \"arm,gic-v3\", \"arm,gic-400\" ...)"
            )
        );
    }
    let v2 = memory(two_cpus(root())).node("intc@1000", |n| {
        n.str("compatible", &["arm,gic-400"])
            .cells("reg", &[0, 0x1000, 0, 0x1000, 0, 0x2000, 0, 0x1000])
    });
    assert_eq!(
        refusal(v2),
        "board: /intc@1000: reg = <0 0x1000 0 0x1000 0 0x2000 0 0x1000>, \
         allowed: GICD, GICC, GICH and GICV, at multiples of 0x1000, up to 256 MiB"
    );
    let v3 = memory(two_cpus(root())).node("intc@1004", |n| {
        n.str("compatible", &["arm,gic-v3"])
            .cells("reg", &[0, 0x1004, 0, 0x1_0000, 0, 0x2_0000, 0, 0x2_0000])
    });
    assert_eq!(
        refusal(v3),
        "board: /intc@1004: reg = <0 0x1004 0 0x10000 0 0x20000 0 0x20000>, \
         allowed: GICD and each redistributor region, at multiples of 0x1000, up to 256 MiB"
    );
}

#[test]
fn a_misaligned_device_is_left_alone() {
    let clock = |at: u32| {
        least().node("rtc", |n| {
            n.str("compatible", &["arm,pl031"])
                .cells("reg", &[0, at, 0, 0x1000])
        })
    };
    for (at, found) in [(0x901_0004, true), (0x901_0002, false)] {
        with_board(clock(at).build(), |board| {
            assert_eq!(board.rtc.is_some(), found, "{at:#x}");
        });
    }
}

/// Mapped page by page, 2^47 bytes would take days.
#[test]
fn no_device_has_registers_without_end() {
    let gic = |bytes: [u32; 2]| {
        memory(two_cpus(root())).node("intc@1000", |n| {
            n.str("compatible", &["arm,gic-v3"])
                .cells("phandle", &[1])
                .cells("#interrupt-cells", &[3])
                .cells("interrupts", &[1, 9, 4])
                .cells("reg", &[0, 0x1000, 0, 0x1_0000, 1, 0, bytes[0], bytes[1]])
        })
    };
    // QEMU's second region has 64 MiB.
    for bytes in [0x400_0000, 0x1000_0000] {
        with_board(gic([0, bytes]).build(), |board| match &board.gic {
            Gic::V3 { redists, .. } => assert_eq!(redists[0].bytes(), bytes.into()),
            Gic::V2 { .. } => panic!("a GICv2"),
        });
    }
    for (bytes, printed) in [
        ([0, 0x1000_1000], "0 0x10001000"),
        ([0x8000, 0], "0x8000 0"),
    ] {
        assert_eq!(
            refusal(gic(bytes)),
            format!(
                "board: /intc@1000: reg = <0 0x1000 0 0x10000 1 0 {printed}>, allowed: GICD and each \
                 redistributor region, at multiples of 0x1000, up to 256 MiB"
            )
        );
    }
    let clock = least().node("rtc", |n| {
        n.str("compatible", &["arm,pl031"])
            .cells("reg", &[0, 0x901_0000, 0x8000, 0])
    });
    with_board(clock.build(), |board| {
        assert_eq!(board.rtc, Some(range(0x901_0000, 0x1_0000)));
    });
}

/// RAM of the least board is [0x4000_0000, 0xc000_0000).
#[test]
fn a_tree_without_memory_where_we_are_is_told_from_our_own() {
    with_board(least().build(), |board| {
        assert!(board.has_memory(range(0x4000_0000, 0x8000_0000)));
        assert!(board.has_memory(range(0xbfff_f000, 0x1000)));
        assert!(!board.has_memory(range(0xbfff_f000, 0x1001)));
        assert!(!board.has_memory(range(0x8_0000, 0x80_0000)));
    });
}

#[test]
fn a_wrong_value_is_one_line_with_what_is_allowed() {
    let cpus = |reg: &'static [u32]| {
        memory(root()).node("cpus", |n| {
            let cpu = |n: Source, name| {
                n.node(name, |n| n.str("device_type", &["cpu"]).cells("reg", reg))
            };
            cpu(cpu(n.cells("#address-cells", &[2]), "cpu@0"), "cpu@1")
        })
    };
    let affinity = "allowed: the affinity fields of an MPIDR";
    let psci = |method: &'static str| {
        least().node("psci", |n| {
            n.str("compatible", &["arm,psci-0.2"])
                .str("method", &[method])
        })
    };
    let chosen = |start: u32, end: u32| {
        least().node("chosen", |n| {
            n.cells("linux,initrd-start", &[start])
                .cells("linux,initrd-end", &[end])
        })
    };
    let maintenance = |cells: &'static [u32]| {
        memory(two_cpus(root())).node("intc@0", |n| {
            n.str("compatible", &["arm,gic-v3"])
                .cells("phandle", &[1])
                .cells("#interrupt-cells", &[3])
                .cells("interrupts", cells)
                .cells("reg", &[0, 0, 0, 0x1_0000, 0, 0x2_0000, 0, 0x2_0000])
        })
    };
    let bus = |cells: u32| {
        let tree = memory(two_cpus(root()));
        gic_v3(
            tree.begin("bus")
                .cells("#size-cells", &[cells])
                .cells("ranges", &[1, 2, 3]),
        )
        .end()
    };
    for (line, wanted) in [
        (
            refusal(cpus(&[0, 0x8000_0000])),
            format!("/cpus/cpu@0: reg = <0 0x80000000>, {affinity}"),
        ),
        (
            refusal(cpus(&[0])),
            format!("/cpus/cpu@0: reg = <0>, {affinity}"),
        ),
        (
            refusal(cpus(&[1, 2])),
            "/cpus/cpu@1: reg = <1 2>, allowed: an affinity that no other CPU has".into(),
        ),
        (
            refusal(psci("hvc")),
            "/psci: method = \"hvc\", allowed: \"smc\" (an HVC from EL2 is taken to EL2)".into(),
        ),
        (
            refusal(chosen(5000, 4000)),
            "/chosen: linux,initrd-end = <0xfa0>, allowed: an address above linux,initrd-start"
                .into(),
        ),
        (
            refusal(maintenance(&[0, 9, 4])),
            "/intc@0: interrupts = <0 9 4>, allowed: one PPI of the controller itself".into(),
        ),
        (
            refusal(maintenance(&[3, 9, 4])),
            "/intc@0: interrupts = <3 9 4>, allowed: one PPI of the controller itself".into(),
        ),
        // In a hole: nothing is there to be read.
        (
            refusal(chosen(0x3fff_f000, 0x4000_0001)),
            "/chosen: linux,initrd-start = <0x3ffff000>, allowed: memory up to linux,initrd-end"
                .into(),
        ),
        (
            refusal(chosen(0xbfff_f000, 0xc000_0001)),
            "/chosen: linux,initrd-start = <0xbffff000>, allowed: memory up to linux,initrd-end"
                .into(),
        ),
        (
            refusal(bus(4)),
            "/bus: #size-cells = <4>, allowed: 0 to 3".into(),
        ),
        (
            refusal(bus(2)),
            "/bus/intc@8000000: reg = <0 0x8000000 0 0x10000 0 0x80a0000 0 0xf60000>, \
             allowed: what the ranges of the buses above lead to"
                .into(),
        ),
        (
            refusal(memory(two_cpus(root())).node("memory@0", |n| {
                n.str("device_type", &["memory"])
                    .cells("reg", &[u32::MAX, 0, 1, 0])
            })),
            "/memory@0: reg = <0xffffffff 0 1 0>, \
             allowed: addresses and sizes of 64 bits that do not wrap"
                .into(),
        ),
    ] {
        assert_eq!(line, format!("board: {wanted}"));
    }
}

/// Of cells of no width there is no end.
#[test]
fn entries_without_cells_are_one_line() {
    let none = |n: Source| n.cells("#address-cells", &[0]).cells("#size-cells", &[0]);
    let node = |tree: Source| {
        tree.node("memory", |n| {
            n.str("device_type", &["memory"]).cells("reg", &[1])
        })
    };
    let allowed = "allowed: none, as #address-cells and #size-cells are 0";
    assert_eq!(
        refusal(gic_v3(two_cpus(node(none(Source::new()))))),
        format!("board: /memory: reg = <1>, {allowed}")
    );
    let reserved = least().node("reserved-memory", |n| {
        none(n).flag("ranges").node("r", |n| n.cells("reg", &[1]))
    });
    assert_eq!(
        refusal(reserved),
        format!("board: /reserved-memory/r: reg = <1>, {allowed}")
    );
    let clock = least().node("a", |n| {
        none(n).flag("ranges").node("b", |n| {
            none(n).cells("ranges", &[1]).node("c", |n| {
                let n = n.cells("#address-cells", &[1]);
                n.cells("ranges", &[0, 0x1000]).node("rtc", |n| {
                    n.str("compatible", &["arm,pl031"]).cells("reg", &[0, 4])
                })
            })
        })
    });
    with_board(clock.build(), |board| assert_eq!(board.rtc, None));
}

#[test]
fn memory_nodes_add_up_and_reservations_are_taken_out() {
    let node = |tree: Source, name, reg: &[u32]| {
        tree.node(name, |n| {
            n.str("device_type", &["memory"]).cells("reg", reg)
        })
    };
    let tree = gic_v3(two_cpus(root()))
        .reserve(0x4000_0000, 0x1000)
        .reserve(0x9_0000_0000, u64::MAX);
    let tree = node(
        tree,
        "memory@880000000",
        &[8, 0x8000_0000, 0, 0x8000_0000, 9, 0, 0, 0x1000],
    );
    let tree = node(tree, "memory@40000000", &[0, 0x4000_0000, 0, 0x1000_0000]);
    let tree = node(
        tree,
        "memory@50000000",
        &[0, 0x5000_0000, 0, 0x1000_0000, 0, 0, 0, 0],
    );
    let tree = tree
        .node("memory@1", |n| {
            n.str("device_type", &["memory"])
                .str("status", &["disabled"])
                .cells("reg", &[1, 0, 1, 0])
        })
        .node("reserved-memory", |n| {
            n.cells("#address-cells", &[2])
                .cells("#size-cells", &[2])
                .flag("ranges")
                .node("optee@5fe00000", |n| {
                    n.cells("reg", &[0, 0x5fe0_0000, 0, 0x10_0000])
                })
        });
    with_board(tree.build(), |board| {
        assert_eq!(
            board.memory[..],
            [
                range(0x4000_1000, 0x1fdf_f000),
                range(0x5ff0_0000, 0x10_0000),
                range(0x8_8000_0000, 0x8000_0000),
            ]
        );
    });
}

/// U-Boot reserves it, and it may be as large as a memory node.
#[test]
fn an_initrd_is_in_memory_that_may_be_reserved() {
    let tree = least()
        .reserve(0x4000_0000, 0x100_0000)
        .node("chosen", |n| {
            n.cells("linux,initrd-start", &[0, 0x4000_0000])
                .cells("linux,initrd-end", &[0, 0xc000_0000])
        });
    with_board(tree.build(), |board| {
        assert_eq!(board.initrd, Some(range(0x4000_0000, 0x8000_0000)));
    });
}

#[test]
fn cpus_that_failed_are_left_out_and_so_are_too_many() {
    let tree = gic_v3(memory(root())).node("cpus", |n| {
        let n = n.cells("#address-cells", &[1]).node("cpu-map", |n| n);
        let status = |n: Source, reg: u32, status: &str| {
            n.node(&format!("cpu@{reg}"), |n| {
                n.str("device_type", &["cpu"])
                    .str("status", &[status])
                    .cells("reg", &[reg])
            })
        };
        let n = status(status(n, 0x100, "fail-ecc"), 0x101, "disabled");
        (0..66).fold(n, |n, index| cpu(n, &format!("cpu@{index}"), index))
    });
    with_board(tree.build(), |board| {
        assert_eq!((board.cpus.len(), board.cpus_left_out), (64, 3));
        assert_eq!(board.cpus[0].mpidr.affinity(), 0x101);
        assert_eq!(board.cpus[0].enable, EnableMethod::Unknown);
        assert_eq!(board.cpus[1].enable, EnableMethod::Psci);
    });
}

/// One CPU with these properties.
fn with_cpu(properties: impl FnOnce(Source) -> Source) -> Source {
    let tree = memory(root()).node("cpus", |n| {
        let n = n.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
        let n = n.str("enable-method", &["spin-table"]);
        n.node("cpu@0", |n| {
            properties(n.str("device_type", &["cpu"]).cells("reg", &[0]))
        })
    });
    gic_v3(tree)
}

/// Linux, bindings/arm/cpus.yaml: the method may stand in /cpus, and the address has two cells.
#[test]
fn a_spin_table_names_a_word_of_64_bits() {
    let enable = |tree: Source| with_board(tree.build(), |board| board.cpus[0].enable);
    let release = |cells: &'static [u32]| with_cpu(|n| n.cells("cpu-release-addr", cells));
    assert_eq!(
        enable(release(&[1, 0xe0])),
        EnableMethod::SpinTable {
            release: Pa::new(0x1_0000_00e0)
        }
    );
    let own = |method| with_cpu(|n| n.str("enable-method", &[method]));
    assert_eq!(enable(own("psci")), EnableMethod::Psci);
    assert_eq!(enable(own("brcm,bcm2836-smp")), EnableMethod::Unknown);
    assert_eq!(
        refusal(with_cpu(|n| n)),
        "board: /cpus/cpu@0: cpu-release-addr is missing"
    );
    assert_eq!(
        refusal(release(&[0, 0xd9])),
        "board: /cpus/cpu@0: cpu-release-addr = <0 217>, allowed: the address of a 64-bit word"
    );
}

/// The page of each word is mapped for us: where we are already, nobody polls.
#[test]
fn words_that_cpus_poll_are_not_ours() {
    let cpu = |enable| Cpu {
        mpidr: Mpidr::from_affinity(0).unwrap(),
        enable,
    };
    let spins = |release| {
        cpu(EnableMethod::SpinTable {
            release: Pa::new(release),
        })
    };
    let cpus = [
        cpu(EnableMethod::Psci),
        spins(0xd8),
        spins(0xe0),
        spins(0x20_0ff8),
        spins(0x20_1000),
        spins(0x1f_fff8),
        cpu(EnableMethod::Unknown),
        spins(u64::MAX - 7),
    ];
    // Our own range begins and ends within a page.
    let ours = [range(0x20_0800, 0x900)];
    assert_eq!(
        mailboxes(&cpus, ours.into_iter())[..],
        [0xd8, 0xe0, 0x1f_fff8].map(Pa::new)
    );
    assert_eq!(mailbox_page(Pa::new(0xd8)), Some(range(0, 0x1000)));
    assert_eq!(mailbox_page(Pa::new(u64::MAX - 7)), None);
}

#[test]
fn psci_is_called_by_standard_numbers_unless_it_is_0_1() {
    let psci = |compatible: &'static [&'static str]| {
        let tree = least().node("firmware", |n| {
            n.node("psci", |n| {
                n.str("compatible", compatible)
                    .str("method", &["smc"])
                    .cells("cpu_on", &[0x95c1_ba60])
                    .cells("cpu_off", &[0x95c1_ba5f])
            })
        });
        with_board(tree.build(), |board| board.psci).unwrap()
    };
    assert_eq!(
        psci(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]).v0_1,
        None
    );
    assert_eq!(psci(&["arm,psci-0.2"]).v0_1, None);
    let ids = PsciIds {
        cpu_on: Some(0x95c1_ba60),
        cpu_off: Some(0x95c1_ba5f),
        ..PsciIds::default()
    };
    assert_eq!(psci(&["arm,psci"]).v0_1, Some(ids));
}

/// A board with a PL011 at 0x9000000 that has what `uart` adds, and what `chosen` adds to `/chosen`.
fn with_uart(
    chosen: impl FnOnce(Source) -> Source,
    uart: impl FnOnce(Source) -> Source,
) -> Option<(u64, Option<Interrupt>, String)> {
    let tree = least()
        .node("aliases", |n| {
            n.str("serial0", &["/nothing"])
                .str("serial1", &["/pl011@9000000"])
        })
        .node("chosen", chosen)
        .node("other@a000000", |n| n.str("compatible", &["vendor,uart"]))
        .node("pl011@8000", |n| {
            n.str("compatible", &["arm,pl011"])
                .cells("reg", &[0, 0x8000, 0, 0x1000])
        })
        .node("pl011@9000000", |n| {
            uart(n.str("compatible", &["arm,pl011", "arm,primecell"]))
                .cells("reg", &[0, 0x900_0000, 0, 0x1000])
        })
        .node("gpio", |n| {
            n.cells("phandle", &[2]).cells("#interrupt-cells", &[2])
        });
    with_board(tree.build(), |board| {
        board.uart.map(|uart| {
            (
                uart.regs.start().get(),
                uart.interrupt,
                uart.options.to_string(),
            )
        })
    })
}

#[test]
fn stdout_path_decides_which_line_it_is() {
    let path = |path: &'static str| {
        let found = with_uart(|n| n.str("stdout-path", &[path]), |n| n);
        found.map(|(start, _, options)| (start, options))
    };
    let at = |start, options: &str| Some((start, options.to_string()));
    assert_eq!(path("/pl011@9000000"), at(0x900_0000, ""));
    assert_eq!(path("serial1:9600n8"), at(0x900_0000, "9600n8"));
    assert_eq!(path("/pl011@8000:x"), at(0x8000, "x"));
    assert_eq!(path("/other@a000000"), None);
    for nothing in ["serial0", "serial9", "/nothing", ""] {
        assert_eq!(path(nothing), at(0x900_0000, ""), "{nothing:?}");
    }
    let disabled = with_uart(
        |n| n.str("stdout-path", &["serial1"]),
        |n| n.str("status", &["disabled"]),
    );
    assert_eq!(disabled, None);
    let first = with_uart(|n| n, |n| n.str("status", &["disabled"]));
    assert_eq!(first.map(|(start, ..)| start), Some(0x8000));
}

#[test]
fn the_exact_name_goes_before_one_with_a_unit_address() {
    let chosen =
        |tree: Source, name: &str, text: &str| tree.node(name, |n| n.str("bootargs", &[text]));
    let bootargs = |tree: Source| with_board(tree.build(), |board| board.bootargs.to_string());
    let tree = chosen(least(), "chosen@0", "first");
    assert_eq!(bootargs(tree.clone()), "first");
    let tree = chosen(chosen(tree, "chosen", "second"), "chosen", "third");
    assert_eq!(bootargs(tree), "second");
}

#[test]
fn the_clock_is_the_first_pl031_in_use() {
    let clock = |n: Source, name, reg: &[u32]| {
        n.node(name, |n| {
            n.str("compatible", &["arm,pl031", "arm,primecell"])
                .cells("reg", reg)
                .str(
                    "status",
                    &[if name == "rtc@0" { "disabled" } else { "okay" }],
                )
        })
    };
    let blob = clock(least(), "rtc@0", &[0, 0, 0, 0x1000]).node("bus", |n| {
        let n = n
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", &[0x1000, 0, 0x901_0000, 0x1_0000]);
        clock(n, "rtc@3000", &[0x3000, 0x1000])
    });
    with_board(blob.build(), |board| {
        assert_eq!(board.rtc, Some(range(0x901_2000, 0x1000)));
    });
}

#[test]
fn interrupts_are_the_gics_or_none() {
    let interrupt = |uart: fn(Source) -> Source| with_uart(|n| n, uart).unwrap().1;
    assert_eq!(interrupt(|n| n), None);
    assert_eq!(
        interrupt(|n| n.cells("interrupts", &[0, 1, 4])),
        Some(level(33))
    );
    let edge = Interrupt {
        intid: 32 + 15,
        trigger: Trigger::Edge,
    };
    assert_eq!(
        interrupt(|n| n.cells("interrupts", &[0, 15, 1])),
        Some(edge)
    );
    // SPIs alone are a serial line's: no PPI, nor what a GICv3.1 has more of each.
    for (kind, number, intid) in [
        (0, 0, Some(32)),
        (0, 987, Some(1019)),
        (0, 988, None),
        (1, 15, None),
        (1, 16, None),
        (2, 0, None),
        (2, 1023, None),
        (2, 1024, None),
        (3, 0, None),
        (3, 64, None),
        (4, 0, None),
        (u32::MAX, u32::MAX, None),
    ] {
        let tree = least()
            .node("pl011@0", |n| {
                n.str("compatible", &["arm,pl011"])
                    .cells("reg", &[0, 0x8000, 0, 0x1000])
                    .cells("interrupts", &[kind, number, 4])
            })
            .build();
        let found = with_board(tree, |board| board.uart.unwrap().interrupt);
        assert_eq!(found.map(|i| i.intid), intid, "{kind} {number}");
    }
    let other = interrupt(|n| {
        n.cells("interrupt-parent", &[2])
            .cells("interrupts", &[0, 1, 4])
    });
    assert_eq!(other, None);
    let extended = interrupt(|n| n.cells("interrupts-extended", &[1, 0, 5, 4, 2, 1, 1]));
    assert_eq!(extended, Some(level(37)));
    let extended = interrupt(|n| n.cells("interrupts-extended", &[2, 1, 1, 1, 0, 5, 4]));
    assert_eq!(extended, None, "the first one is another controller's");
    let dangling = interrupt(|n| n.cells("interrupts-extended", &[99, 0, 5, 4]));
    assert_eq!(dangling, None);
}

#[test]
fn timer_interrupts_go_by_their_names_if_they_have_any() {
    let timer = |names: &'static [&'static str]| {
        let tree = least().node("timer", |n| {
            let n = n
                .str("compatible", &["arm,armv8-timer"])
                .cells("interrupts", &[1, 10, 8, 1, 11, 8, 1, 14, 8]);
            if names.is_empty() {
                n
            } else {
                n.str("interrupt-names", names)
            }
        });
        with_board(tree.build(), |board| board.timer)
    };
    let named = timer(&["hyp-phys", "virt", "phys"]);
    assert_eq!(named.hyp_physical, Some(level(26)));
    assert_eq!(named.virt, Some(level(27)));
    assert_eq!(named.physical, Some(level(30)));
    let ordered = timer(&[]);
    assert_eq!(ordered.physical, Some(level(27)));
    assert_eq!(
        (ordered.virt, ordered.hyp_physical),
        (Some(level(30)), None)
    );
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_tree_discovery_does_not_fail(
        pi in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        words in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![0u32..10, any::<u32>()]), 0..4),
        length in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.1),
    ) {
        let mut blob = if pi { raspberry_pi_4().build() } else { least().build() };
        for (at, byte) in edits {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        for (at, token) in words {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&token.to_be_bytes());
        }
        if cut {
            blob.truncate(length.index(blob.len()));
        }
        if let Ok(tree) = fdt::open(&blob) {
            let _ = Board::discover(&tree).map_err(|error| error.to_string());
        }
    }
}

/// Steps that are quadratic in nodes would take minutes.
#[test]
fn a_tree_of_many_nodes_takes_no_longer_than_its_size_allows() {
    const NODES: u32 = 10_000;
    let memory = |tree: Source, index: u32| {
        tree.node("memory", |n| {
            n.str("device_type", &["memory"])
                .cells("reg", &[index >> 20, index << 12, 0, 0x1000])
        })
    };
    let reserved =
        |tree: Source, index: u32| tree.node("r", |n| n.cells("reg", &[0, index << 12, 0, 0x1000]));
    let interrupts: Vec<u32> = (0..NODES).flat_map(|_| [1, 0, 5, 4]).collect();
    let tree = (0..NODES).fold(two_cpus(root()), memory);
    let tree = tree.node("reserved-memory", |n| {
        let n = n.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        (0..NODES / 2).fold(n.flag("ranges"), reserved)
    });
    let tree = gic_v3(tree).node("pl011", |n| {
        n.str("compatible", &["arm,pl011"])
            .cells("reg", &[0, 0x8000, 0, 0x1000])
            .cells("interrupts-extended", &interrupts)
    });
    with_board(tree.build(), |board| {
        assert_eq!(board.memory[..], [range(0x138_8000, 0x138_8000)]);
        assert_eq!(board.uart.unwrap().interrupt, Some(level(37)));
    });
}

/// `blob` with 1 GiB of memory added, as firmware does where the tree leaves that to it.
fn with_memory(blob: Vec<u8>) -> Vec<u8> {
    let reg = {
        let tree = fdt::open(&blob).unwrap();
        let number = |value: u32, cells: Option<u32>| match cells {
            Some(1) => vec![value],
            _ => vec![0, value],
        };
        let mut reg = number(0, tree.root().address_cells());
        reg.extend(number(0x4000_0000, tree.root().size_cells()));
        reg
    };
    let memory = |n: Source| n.str("device_type", &["memory"]).cells("reg", &reg);
    Source::reopen(&blob).node("memory@0", memory).build()
}

#[test]
fn every_board_of_linux_with_a_virtualizable_gic_is_discovered() {
    let paths = board_trees();
    let mut refused = 0;
    for path in &paths {
        let blob = with_memory(fs::read(path).unwrap());
        let tree = fdt::open(&blob).unwrap();
        match Board::discover(&tree) {
            Ok(board) => {
                assert!(board.timer.hyp_physical.is_some(), "{}", path.display());
            }
            Err(error) => {
                refused += 1;
                // Qualcomm's first GICv2 has no virtual interface, and a Pi 3 has no GIC.
                let line = error.to_string();
                let reasons = [
                    "allowed: GICD, GICC, GICH and GICV",
                    r#"compatible = "brcm,bcm2836-armctrl-ic", allowed: GICv2 or GICv3"#,
                ];
                let known = reasons.iter().any(|reason| line.contains(reason));
                assert!(known, "{}: {line}", path.display());
            }
        }
    }
    // Those are few.
    assert!(refused * 10 < paths.len(), "{refused} of {}", paths.len());
}

#[test]
fn the_raspberry_pi_4_of_linux_is_the_same_board() {
    let path = board_tree("bcm2711-rpi-4-b.dtb");
    let own = with_board(raspberry_pi_4().build(), |board| {
        (
            board.gic.clone(),
            board.timer,
            board.cpus.clone(),
            board.bcm2835_pm,
        )
    });
    with_board(with_memory(fs::read(path).unwrap()), |board| {
        assert_eq!(board.gic, own.0);
        assert_eq!(board.timer, own.1);
        assert_eq!(board.cpus, own.2);
        assert_eq!(board.bcm2835_pm, own.3);
        assert_eq!(board.memory[..], [range(0x1000, 0x3fff_f000)]);
        let uart = board.uart.unwrap();
        assert_eq!(uart.regs.start(), Pa::new(0xfe21_5040));
        assert_eq!(
            (uart.interrupt, uart.options),
            (Some(level(125)), "115200n8")
        );
    });
}

/// Further boards: Linux's trees as they are, and the one that QEMU makes.
#[test]
fn further_boards_are_what_their_manuals_say() {
    let debian = |name| fs::read(board_tree(name)).unwrap();
    with_board(debian("zynqmp-zcu102-rev1.0.dtb"), |board| {
        assert_eq!(
            board.memory[..],
            [range(0, 0x8000_0000), range(0x8_0000_0000, 0x8000_0000)]
        );
        assert_eq!(
            board.gic,
            Gic::V2 {
                dist: range(0xf901_0000, 0x1_0000),
                cpu: range(0xf902_0000, 0x2_0000),
                hyp: range(0xf904_0000, 0x2_0000),
                vcpu: range(0xf906_0000, 0x2_0000),
                maintenance: level(25),
            }
        );
        by_psci(board, 4, ("cdns,uart-r1p12", 0xff00_0000, 32 + 21));
    });
    with_board(debian("imx8mp-evk.dtb"), |board| {
        assert_eq!(
            board.gic,
            Gic::V3 {
                dist: range(0x3880_0000, 0x1_0000),
                redists: [range(0x3888_0000, 0xc_0000)].into_iter().collect(),
                stride: None,
                maintenance: level(25),
            }
        );
        by_psci(board, 4, ("fsl,imx6q-uart", 0x3089_0000, 32 + 27));
    });
    // Any file will do as a kernel, but without one QEMU makes no tree.
    let kernel = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let versal = qemu_tree("xlnx-versal-virt", &["-m", "2G", "-kernel", kernel]);
    with_board(versal, |board| {
        assert_eq!(board.memory[..], [range(0, 0x8000_0000)]);
        assert_eq!(
            board.gic,
            Gic::V3 {
                dist: range(0xf900_0000, 0x1_0000),
                redists: [range(0xf908_0000, 0x8_0000)].into_iter().collect(),
                stride: None,
                maintenance: level(25),
            }
        );
        by_psci(board, 2, ("arm,pl011", 0xff00_0000, 32 + 18));
    });
}

/// So many CPUs that PSCI starts by SMC, and that serial line.
fn by_psci(board: &Board, cpus: usize, uart: (&str, u64, u32)) {
    let psci = |cpu: &&Cpu| cpu.enable == EnableMethod::Psci;
    assert_eq!(board.cpus.iter().filter(psci).count(), cpus);
    assert!(board.psci.is_some());
    assert_eq!(line(board.uart.unwrap()), uart);
}

/// The tree that QEMU hands over for `machine`.
fn qemu_tree(machine: &str, options: &[&str]) -> Vec<u8> {
    let (kind, _) = machine.split_once(',').unwrap_or((machine, ""));
    let file = format!("bulkhead-{}-{kind}.dtb", std::process::id());
    let file = std::env::temp_dir().join(file);
    let machine = format!("{machine},dumpdtb={}", file.display());
    let qemu = Command::new("qemu-system-aarch64")
        .args(["-M", &machine, "-display", "none"])
        .args(options)
        .output();
    let output = qemu.expect("qemu-system-aarch64 could not be run: run scripts/setup");
    assert!(
        output.status.success(),
        "qemu-system-aarch64 makes no tree with -M {machine}: run scripts/setup for a newer one: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let blob = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    blob
}

/// QEMU writes FDT_NOPs over nodes of devices that it does not model.
#[test]
fn a_raspberry_pi_4_tree_with_nops_is_the_same_board() {
    let path = board_tree("bcm2711-rpi-4-b.dtb");
    // Any kernel will do, but without one QEMU does not look at the tree.
    let path = path.to_str().unwrap();
    let blob = qemu_tree("raspi4b", &["-dtb", path, "-kernel", path]);
    let nop = [0, 0, 0, 4].repeat(16);
    assert!(blob.windows(nop.len()).any(|window| window == nop));
    let tree = fdt::open(&blob).unwrap();
    assert!(
        tree.nodes()
            .all(|node| !node.is_compatible("brcm,bcm2711-genet-v5"))
    );
    let own = with_board(raspberry_pi_4().build(), |board| board.gic.clone());
    let board = Board::discover(&tree).unwrap();
    assert_eq!(board.gic, own);
    assert_eq!(board.memory[..], [range(0x1000, 0x3c00_0000 - 0x1000)]);
}

#[test]
fn qemu_virt_is_what_qemu_makes_it() {
    let v2 = Gic::V2 {
        dist: range(0x800_0000, 0x1_0000),
        cpu: range(0x801_0000, 0x1_0000),
        hyp: range(0x803_0000, 0x1_0000),
        vcpu: range(0x804_0000, 0x1_0000),
        maintenance: level(25),
    };
    let v3 = Gic::V3 {
        dist: range(0x800_0000, 0x1_0000),
        redists: [range(0x80a_0000, 0xf6_0000)].into_iter().collect(),
        stride: None,
        maintenance: level(25),
    };
    for (options, gic) in [("gic-version=2", v2), ("gic-version=3", v3)] {
        let machine = format!("virt,virtualization=on,{options}");
        let size = ["-cpu", "cortex-a72", "-smp", "4", "-m", "2G"];
        with_board(qemu_tree(&machine, &size), |board| {
            assert_eq!(board.gic, gic);
            assert_eq!(board.memory[..], [range(0x4000_0000, 0x8000_0000)]);
            let cpus = board.cpus.iter().map(|cpu| cpu.mpidr.affinity());
            assert!(cpus.eq([0, 1, 2, 3]));
            let psci = board
                .cpus
                .iter()
                .all(|cpu| cpu.enable == EnableMethod::Psci);
            assert!(psci);
            assert_eq!(board.psci, Some(Psci { v0_1: None }));
            assert_eq!(line(board.uart.unwrap()), ("arm,pl011", 0x900_0000, 33));
            assert_eq!(board.timer.hyp_physical, Some(level(26)));
            assert_eq!(board.timer.virt, Some(level(27)));
            assert_eq!(board.rtc, Some(range(0x901_0000, 0x1000)));
        });
    }
}
