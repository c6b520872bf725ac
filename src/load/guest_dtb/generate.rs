//! The tree of the machine that every guest sees, one function for each node.

use super::{
    GicVersion, GuestTree,
    vm::{self, CellCount, RegCells},
};
use crate::{
    spec::{
        fdt::write::{Children, Full, Writer},
        machine::{self, Window},
    },
    types::MAX_VCPUS,
};
use core::fmt::{self, Display};

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

/// A device and where it is: `pl011@9000000`.
struct UnitName(&'static str, Window);

const UART_NAME: UnitName = UnitName("pl011", machine::UART);
const RTC_NAME: UnitName = UnitName("pl031", machine::RTC);
const INTC_NAME: UnitName = UnitName("intc", machine::GICD);

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
    nodes
        .node("aliases")
        .string("serial0", format_args!("/{UART_NAME}"));
}

fn chosen(nodes: &mut Children, guest: &GuestTree) {
    let mut chosen = nodes.node("chosen");
    chosen.string("stdout-path", format_args!("/{UART_NAME}"));
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
        .cells(
            "interrupts",
            intids.into_iter().flat_map(|id| ppi(id, guest)),
        )
        // It counts on while a vCPU is suspended: no broadcast timer is needed.
        .empty("always-on");
}

fn interrupt_controller(nodes: &mut Children, guest: &GuestTree) {
    let mut intc = nodes.node(INTC_NAME);
    ROOT_CELLS.declare(&mut intc);
    match guest.gic {
        GicVersion::V2 => intc
            .string("compatible", "arm,cortex-a15-gic")
            .cells("reg", reg([machine::GICD, machine::GICC])),
        GicVersion::V3 => intc
            .string("compatible", "arm,gic-v3")
            .u32("#redistributor-regions", 1)
            .cells("reg", reg([machine::GICD, redistributors(guest)])),
    };
    intc.empty("interrupt-controller")
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
    nodes
        .node(UART_NAME)
        .strings("compatible", &["arm,pl011", "arm,primecell"])
        .cells("reg", reg([machine::UART]))
        .cells("interrupts", spi(machine::UART_INTID))
        .cells("clocks", [CLOCK, CLOCK])
        .strings("clock-names", &["uartclk", "apb_pclk"]);
}

fn rtc(nodes: &mut Children) {
    nodes
        .node(RTC_NAME)
        .strings("compatible", &["arm,pl031", "arm,primecell"])
        .cells("reg", reg([machine::RTC]))
        .cells("interrupts", spi(machine::RTC_INTID))
        .cells("clocks", [CLOCK])
        .string("clock-names", "apb_pclk");
}

fn reg<const N: usize>(windows: [Window; N]) -> impl Iterator<Item = u32> {
    windows
        .into_iter()
        .flat_map(|Window { base, size }| ROOT_CELLS.of(base.get(), size))
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

impl Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self(name, Window { base, .. }) = self;
        write!(f, "{name}@{:x}", base.get())
    }
}
