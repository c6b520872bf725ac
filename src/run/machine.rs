//! The board at run time: its devices, its CPUs and its VMs, settled at boot.

use super::serial::Port;
use crate::{
    arch::{self, guest::Hardening},
    emul::mitigation::CpuFacts,
    hw::{
        bcm2835_pm::PowerManager,
        gic::{Gic, SgiTarget},
        pl031::Pl031,
        psci::Psci,
        smccc::Smccc,
    },
    sync::Mutex,
    types::{MAX_PCPUS, MAX_VMS, Mpidr},
    vm::{Vcpu, Vm},
};
use arrayvec::ArrayVec;
use spin::Once;

/// The board.
pub struct Machine {
    /// Its interrupt controller.
    pub gic: Gic,
    /// INTID of the GIC's maintenance interrupt.
    pub maintenance: u32,
    /// INTID of the UART.
    pub uart_intid: Option<u32>,
    /// The UART once more, for a panic that finds the line locked.
    pub emergency_uart: Port,
    /// Its clock.
    pub rtc: Option<Pl031>,
    /// Its firmware.
    pub psci: Option<Psci>,
    /// What turns it off where no firmware does.
    pub power_manager: Option<PowerManager>,
    /// The same firmware by the calling convention, if it keeps to that.
    pub smccc: Option<Smccc>,
    /// Its CPUs, the boot CPU first.
    pub cpus: ArrayVec<&'static Pcpu, MAX_PCPUS>,
    /// Its VMs, in the bundle's order.
    pub vms: Once<ArrayVec<&'static Vm, MAX_VMS>>,
}

/// A CPU of the board.
pub struct Pcpu {
    /// Its affinity.
    pub mpidr: Mpidr,
    /// What it says of itself, known once it is online.
    pub facts: Once<CpuFacts>,
    /// How SGIs reach it, once it has come up and waits for work.
    pub sgi_target: Once<SgiTarget>,
    /// The vCPU that it shall run, until it takes it.
    pub work: Mutex<Option<&'static mut Vcpu>>,
}

impl Pcpu {
    /// A CPU that has not come up yet.
    pub const fn new(mpidr: Mpidr) -> Self {
        Self {
            mpidr,
            facts: Once::new(),
            sgi_target: Once::new(),
            work: Mutex::new(None),
        }
    }
}

static MACHINE: Once<Machine> = Once::new();

/// Makes `machine` the board; the first call counts.
pub fn set(machine: Machine) -> &'static Machine {
    MACHINE.call_once(|| machine)
}

/// The board, once boot has settled it.
pub fn try_get() -> Option<&'static Machine> {
    MACHINE.get()
}

/// The board. Interrupts and vCPUs exist only after [`set`]; a CPU that comes here before has lost its
/// way and is parked.
pub fn get() -> &'static Machine {
    match MACHINE.get() {
        Some(machine) => machine,
        None => arch::halt(),
    }
}

/// The VMs; none before the bundle is read.
pub fn vms() -> impl Iterator<Item = &'static Vm> {
    let vms = MACHINE.get().and_then(|machine| machine.vms.get());
    vms.into_iter().flatten().copied()
}

impl Machine {
    /// Turns the board off; returns only when there is no way to do so.
    pub fn power_off(&self) {
        if let Some(psci) = self.psci {
            psci.system_off();
        }
        if let Some(manager) = self.power_manager {
            manager.power_off();
        }
    }

    /// What the vectors of a CPU that has come up do at exits of its guest.
    pub fn hardening(&self, cpu: &Pcpu) -> Hardening {
        let measures = cpu.facts.get().map(CpuFacts::hardening);
        let call = measures
            .and_then(|measures| Some(measures.call()?.call().id().get()))
            .unwrap_or(0);
        let loops = measures.map_or(0, |measures| measures.loops());
        Hardening { call, loops }
    }

    /// The CPUs that have come up, by index.
    pub fn online(&self) -> impl Iterator<Item = (usize, &'static Pcpu)> {
        self.cpus
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, cpu)| cpu.sgi_target.is_completed())
    }

    /// What the CPUs that have come up say of themselves.
    pub fn facts(&self) -> impl Iterator<Item = &CpuFacts> {
        self.online().filter_map(|(_, cpu)| cpu.facts.get())
    }
}
