//! The tree of the machine that every guest sees, one function for each node.

use super::{
    GicVersion, GuestTree,
    vm::{self, CellCount, RegCells},
};
use crate::{
    spec::{
        fdt::write::{Children, Full, Node, Writer},
        machine::{self, Window},
    },
    types::MAX_VCPUS,
};
/// Phandles: what other nodes refer to.
const INTC: u32 = 1;
const CLOCK: u32 = 2;
const FREE: u32 = 3;

/// First cell of an interrupt of a GIC (Linux's binding arm,gic-v3.yaml, `#interrupt-cells`).
const SPI: u32 = 0;
const PPI: u32 = 1;
/// Third cell: active high and level-sensitive.
const LEVEL_HIGH: u32 = 4;

/// The INTID of PPI 0 (IHI0048B 2.2.1).
const PPI_BASE: u32 = 16;

const ROOT_CELLS: RegCells = RegCells {
    address: CellCount::Two,
    size: CellCount::Two,
};

const _: () = assert!(MAX_VCPUS as u64 * machine::GICR_STRIDE <= machine::GICR.size);

/// Where the serial line is.
const UART_PATH: &str = "/pl011@9000000";
const _: () = assert!(machine::UART.base.get() == 0x900_0000);

/// Writes the tree into `memory` and returns the bytes that it takes.
///
/// # Errors
/// `memory` is too small.
pub fn generate(guest: &GuestTree, memory: &mut [u8]) -> Result<usize, Full> {
    Writer::new(memory, 0).root(|mut root| {
        root.string("compatible", "linux,dummy-virt")
            .string("model", "linux,dummy-virt")
            .u32("interrupt-parent", INTC);
        ROOT_CELLS.declare(&mut root);
        let mut nodes = root.children();
        aliases(&mut nodes);
        chosen(&mut nodes, guest);
        vm::memory(&mut nodes, guest, ROOT_CELLS);
        vm::cpus(&mut nodes, guest, FREE, &|_| None);
        vm::psci(&mut nodes, guest);
        timer(&mut nodes, guest);
        interrupt_controller(&mut nodes, guest);
        clock(&mut nodes);
        uart(&mut nodes);
        rtc(&mut nodes);
    })
}

fn aliases(nodes: &mut Children) {
    nodes.node("aliases").string("serial0", UART_PATH);
}

fn chosen(nodes: &mut Children, guest: &GuestTree) {
    let mut chosen = nodes.node("chosen");
    chosen.string("stdout-path", UART_PATH);
    vm::boot_parameters(&mut chosen, guest);
}

/// The binding arm,arch_timer.yaml fixes the order: secure, non-secure EL1, virtual, EL2.
fn timer(nodes: &mut Children, guest: &GuestTree) {
    let intids = [
        machine::SECURE_TIMER_INTID,
        machine::PHYSICAL_TIMER_INTID,
        machine::VIRTUAL_TIMER_INTID,
        machine::HYP_TIMER_INTID,
    ];
    nodes
        .node("timer")
        .strings("compatible", &["arm,armv8-timer", "arm,armv7-timer"])
        .cells("interrupts", intids.map(|id| ppi(id, guest)).as_flattened())
        // It counts on while a vCPU is suspended: no broadcast timer is needed.
        .empty("always-on");
}

fn interrupt_controller(nodes: &mut Children, guest: &GuestTree) {
    let mut intc = device(nodes, "intc", machine::GICD);
    ROOT_CELLS.declare(&mut intc);
    let (compatible, second) = match guest.gic {
        GicVersion::V2 => ("arm,cortex-a15-gic", machine::GICC),
        GicVersion::V3 => ("arm,gic-v3", redistributors(guest)),
    };
    intc.string("compatible", compatible);
    if guest.gic == GicVersion::V3 {
        intc.u32("#redistributor-regions", 1);
    }
    intc.cells("reg", [machine::GICD, second].map(reg).as_flattened())
        .empty("interrupt-controller")
        .u32("#interrupt-cells", 3)
        .empty("ranges")
        .u32("phandle", INTC);
}

/// One redistributor for each vCPU and nothing behind the last one.
fn redistributors(guest: &GuestTree) -> Window {
    Window {
        size: guest.vcpus().count() as u64 * machine::GICR_STRIDE,
        ..machine::GICR
    }
}

fn clock(nodes: &mut Children) {
    nodes
        .node("apb-pclk")
        .string("compatible", "fixed-clock")
        .u32("#clock-cells", 0)
        .u32("clock-frequency", machine::APB_CLOCK_HZ)
        .string("clock-output-names", "clk24mhz")
        .u32("phandle", CLOCK);
}

fn uart(nodes: &mut Children) {
    device(nodes, "pl011", machine::UART)
        .strings("compatible", &["arm,pl011", "arm,primecell"])
        .cells("reg", &reg(machine::UART))
        .cells("interrupts", &spi(machine::UART_INTID))
        .cells("clocks", &[CLOCK, CLOCK])
        .strings("clock-names", &["uartclk", "apb_pclk"]);
}

fn rtc(nodes: &mut Children) {
    device(nodes, "pl031", machine::RTC)
        .strings("compatible", &["arm,pl031", "arm,primecell"])
        .cells("reg", &reg(machine::RTC))
        .cells("interrupts", &spi(machine::RTC_INTID))
        .cells("clocks", &[CLOCK])
        .string("clock-names", "apb_pclk");
}

/// The node of a device by where it is.
fn device<'n, 'b>(nodes: &'n mut Children<'_, 'b>, name: &str, registers: Window) -> Node<'n, 'b> {
    nodes.node_at(name, registers.base.get())
}

/// An entry in [`ROOT_CELLS`].
fn reg(Window { base, size }: Window) -> [u32; 4] {
    let base = base.get();
    [
        (base >> 32) as u32,
        base as u32,
        (size >> 32) as u32,
        size as u32,
    ]
}

fn spi(intid: u32) -> [u32; 3] {
    [SPI, intid - machine::SPI_BASE, LEVEL_HIGH]
}

/// With a GICv2 the third cell also names the CPUs that have the interrupt, a bit for each, from bit 8.
fn ppi(intid: u32, guest: &GuestTree) -> [u32; 3] {
    let cpus = match guest.gic {
        GicVersion::V2 => guest
            .vcpus()
            .take(8)
            .fold(0, |set, vcpu| set | 1 << vcpu.index()),
        GicVersion::V3 => 0,
    };
    [PPI, intid - PPI_BASE, cpus << 8 | LEVEL_HIGH]
}
