//! What only Bulkhead knows about a VM: the nodes that are written whatever tree it has.

use super::GuestTree;
use crate::{
    spec::{
        fdt::write::{Children, Node},
        machine,
        psci::{self, PowerState},
    },
    types::{Mpidr, PsciVersion},
};
use arrayvec::ArrayVec;

/// In how many cells an address or a size is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellCount {
    /// 32 bits.
    One,
    /// 64 bits, the upper half first.
    Two,
}

impl CellCount {
    fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Whether `value` can be written so.
    pub fn fits(self, value: u64) -> bool {
        self == Self::Two || u32::try_from(value).is_ok()
    }
}

/// How the root writes the `reg` of its children.
#[derive(Clone, Copy, Debug)]
pub struct RegCells {
    /// `#address-cells`.
    pub address: CellCount,
    /// `#size-cells`.
    pub size: CellCount,
}

impl RegCells {
    /// Tells the readers of `node`'s children.
    pub fn declare(self, node: &mut Node) {
        node.u32("#address-cells", self.address.count())
            .u32("#size-cells", self.size.count());
    }

    /// The cells of one entry, without what does not fit.
    fn entry(self, address: u64, size: u64) -> ArrayVec<u32, 4> {
        let mut entry = ArrayVec::new();
        for (cells, value) in [(self.address, address), (self.size, size)] {
            // There is room for two of two.
            if cells == CellCount::Two {
                let _ = entry.try_push((value >> 32) as u32);
            }
            let _ = entry.try_push(value as u32);
        }
        entry
    }
}

/// The part of `/chosen` that follows from the configuration.
pub fn boot_parameters(chosen: &mut Node, guest: &GuestTree) {
    if !guest.bootargs.is_empty() {
        chosen.string("bootargs", guest.bootargs);
    }
    if let Some(initrd) = guest.initrd {
        chosen
            .u64("linux,initrd-start", initrd.start().get())
            .u64("linux,initrd-end", initrd.end().get());
    }
}

/// RAM, one range.
pub fn memory(nodes: &mut Children, guest: &GuestTree, cells: RegCells) {
    let base = machine::RAM_BASE.get();
    nodes
        .node_at("memory", base)
        .string("device_type", "memory")
        .cells("reg", &cells.entry(base, guest.memory));
}

/// A state for a CPU that has nothing to do, for Linux's binding idle-states.yaml.
struct IdleState {
    name: &'static str,
    state: PowerState,
    /// Until it sleeps, and from a wake-up until it works again; microseconds.
    entry_us: u32,
    exit_us: u32,
    /// What it has to sleep for that state to be worth while; microseconds.
    residency_us: u32,
}

/// From the shallowest to the deepest. WFI, which traps to nobody, is what Linux has besides; hence they are
/// for longer sleeps, the more so the one after which a kernel has to put its CPU together again.
const IDLE_STATES: [IdleState; 2] = [
    IdleState {
        name: "cpu-standby",
        state: PowerState::STANDBY,
        entry_us: 5,
        exit_us: 10,
        residency_us: 500,
    },
    IdleState {
        name: "cpu-power-down",
        state: PowerState::POWER_DOWN,
        entry_us: 50,
        exit_us: 100,
        residency_us: 5000,
    },
];

/// The phandles of the idle states when all from `free` up are free. 0xffff_ffff is none (DTSpec 2.3.3). What has
/// no PSCI_VERSION has nothing but WFI either: 0.1 leaves the states to the platform.
fn idle_state_phandles(guest: &GuestTree, free: u32) -> Option<[u32; IDLE_STATES.len()]> {
    let fit = free < u32::MAX - 1;
    (fit && guest.psci > PsciVersion::V0_1).then(|| [free, free + 1])
}

/// The vCPUs, each with the phandle, if any, by which other nodes know it, and the idle states that they all have,
/// with phandles from `free` up, if there are as many.
pub fn cpus(
    nodes: &mut Children,
    guest: &GuestTree,
    free: u32,
    phandle: &dyn Fn(Mpidr) -> Option<u32>,
) {
    let idle_states = idle_state_phandles(guest, free);
    let mut cpus = nodes.node("cpus");
    cpus.u32("#address-cells", 1).u32("#size-cells", 0);
    let mut cpus = cpus.children();
    for vcpu in guest.vcpus() {
        let mpidr = Mpidr::of_vcpu(vcpu);
        cpu(&mut cpus, mpidr, idle_states, phandle(mpidr));
    }
    if let Some(phandles) = idle_states {
        let mut node = cpus.node("idle-states");
        node.string("entry-method", "psci");
        let mut states = node.children();
        for (state, phandle) in IDLE_STATES.iter().zip(phandles) {
            idle_state(&mut states, state, phandle);
        }
    }
}

/// Without `local-timer-stop`: a vCPU's timers go on and wake it.
fn idle_state(states: &mut Children, state: &IdleState, phandle: u32) {
    states
        .node(state.name)
        .string("compatible", "arm,idle-state")
        .u32("arm,psci-suspend-param", state.state.word())
        .u32("entry-latency-us", state.entry_us)
        .u32("exit-latency-us", state.exit_us)
        .u32("min-residency-us", state.residency_us)
        .u32("phandle", phandle);
}

fn cpu(
    cpus: &mut Children,
    mpidr: Mpidr,
    idle_states: Option<[u32; IDLE_STATES.len()]>,
    phandle: Option<u32>,
) {
    let reg = mpidr.affinity() as u32; // One cell is enough: Aff3 of a vCPU is 0.
    let mut cpu = cpus.node_at("cpu", reg.into());
    cpu.string("device_type", "cpu")
        .string("compatible", "arm,armv8")
        .u32("reg", reg)
        // On the boot CPU as well: without it Linux never turns that one off.
        .string("enable-method", "psci");
    if let Some(phandles) = idle_states {
        cpu.cells("cpu-idle-states", &phandles);
    }
    if let Some(phandle) = phandle {
        cpu.u32("phandle", phandle);
    }
}

/// The firmware as Linux's binding psci.yaml wants it, in the words of the table that answers the
/// calls. A guest may use the other conduit as well.
pub fn psci(nodes: &mut Children, guest: &GuestTree) {
    let mut node = nodes.node("psci");
    node.strings("compatible", psci::compatibles(guest.psci))
        .string("method", guest.conduit.name());
    for (property, id) in psci::dt_ids(guest.psci, guest.psci_ids) {
        node.u32(property, id);
    }
}
