//! The board: what its device tree says, checked and turned into plain data.
//!
//! Memory, CPUs and an interrupt controller with virtualization are needed, so their absence is an
//! error; whatever else is missing or of no use is `None`.
//!
//! What looks for one of them is not inlined: in one frame of all their locals, half of the code
//! would be the arithmetic to reach them.

mod cpus;
mod error;
mod firmware;
mod gic;
mod interrupt;
mod memory;
mod reg;
mod survey;
mod uart;

#[cfg(test)]
mod tests;

use crate::{
    spec::{
        self,
        fdt::{Property, Tree},
        gic::MAX_REDIST_REGIONS,
    },
    types::{MAX_PCPUS, Mpidr, Pa, PaRange},
};
use arrayvec::ArrayVec;
use cpus::Cpus;
use survey::Survey;

pub use cpus::{mailbox_page, mailboxes};
pub use error::BoardError;
pub use interrupt::{Interrupt, Trigger};
pub use memory::{MAX_RANGES, Ranges, TooManyRanges, cut, subtract};

/// Everything that is known of the board.
#[derive(Clone, Debug)]
pub struct Board<'a> {
    /// `model`, to print.
    pub model: Option<&'a str>,
    /// RAM without what the firmware reserves; the hypervisor itself, the device tree and the initrd
    /// are still in there. Rising, apart from each other.
    pub memory: Ranges,
    /// CPUs in the order of the device tree.
    pub cpus: ArrayVec<Cpu, MAX_PCPUS>,
    /// How many CPUs more than [`MAX_PCPUS`] there are.
    pub cpus_left_out: usize,
    /// The interrupt controller.
    pub gic: Gic,
    /// The serial line for console and log.
    pub uart: Option<Uart<'a>>,
    /// The firmware that starts CPUs and ends the board, if it speaks PSCI.
    pub psci: Option<Psci>,
    /// Interrupts of the architected timer.
    pub timer: Timer,
    /// The BCM2835 power manager, which resets boards that have no PSCI.
    pub bcm2835_pm: Option<PaRange>,
    /// The PL031 that knows the time of day.
    pub rtc: Option<PaRange>,
    /// `/chosen/bootargs`.
    pub bootargs: &'a str,
    /// Where the initrd was loaded.
    pub initrd: Option<PaRange>,
}

/// A CPU of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its affinity.
    pub mpidr: Mpidr,
    /// How it is started.
    pub enable: EnableMethod,
}

/// How a CPU is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableMethod {
    /// By PSCI's CPU_ON.
    Psci,
    /// By writing the entry address to this word and SEV.
    SpinTable {
        /// The 64-bit word that the CPU polls.
        release: Pa,
    },
    /// In no way that is known; fine for the CPU that runs already.
    Unknown,
}

/// The interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv3 or v4 (IHI0069).
    V3 {
        /// GICD.
        dist: PaRange,
        /// Regions of redistributors.
        redists: ArrayVec<PaRange, MAX_REDIST_REGIONS>,
        /// Bytes from one redistributor to the next, where GICR_TYPER does not tell.
        stride: Option<u64>,
        /// Maintenance interrupt.
        maintenance: Interrupt,
    },
    /// GICv2 with the virtualization extension (IHI0048 chapter 5).
    V2 {
        /// GICD.
        dist: PaRange,
        /// GICC.
        cpu: PaRange,
        /// GICH.
        hyp: PaRange,
        /// GICV.
        vcpu: PaRange,
        /// Maintenance interrupt.
        maintenance: Interrupt,
    },
}

/// A serial line.
#[derive(Clone, Copy, Debug)]
pub struct Uart<'a> {
    /// How it is driven.
    pub kind: &'static spec::uart::Uart,
    /// Its registers.
    pub regs: PaRange,
    /// Its interrupt, unless it is not an SPI of the GIC's.
    pub interrupt: Option<Interrupt>,
    /// Name of its node, to print.
    pub name: &'a str,
    /// What follows the colon in `stdout-path`, such as `115200n8`; "" if nothing.
    pub options: &'a str,
}

/// PSCI firmware of the board, called by SMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psci {
    /// Function ids from the device tree, by which PSCI 0.1 is called; `None` when the ids are those
    /// of DEN0022.
    pub v0_1: Option<PsciIds>,
}

/// Function ids of PSCI 0.1 (Linux, Documentation/devicetree/bindings/arm/psci.yaml).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsciIds {
    /// CPU_SUSPEND.
    pub cpu_suspend: Option<u32>,
    /// CPU_OFF.
    pub cpu_off: Option<u32>,
    /// CPU_ON.
    pub cpu_on: Option<u32>,
    /// MIGRATE.
    pub migrate: Option<u32>,
}

/// Interrupts of the architected timer, as far as the device tree tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// EL1 physical timer.
    pub physical: Option<Interrupt>,
    /// EL1 virtual timer.
    pub virt: Option<Interrupt>,
    /// EL2 physical timer.
    pub hyp_physical: Option<Interrupt>,
}

/// The serial line of a board that may be of no other use, to say why; its interrupt is not looked for.
pub fn uart<'a>(tree: &Tree<'a>) -> Option<Uart<'a>> {
    let mut found = Survey::new();
    found.run(tree);
    uart::discover(&found, tree, tree.root())
}

impl<'a> Board<'a> {
    /// Reads `tree`, the device tree that the board's firmware handed over. What that takes of the stack is free again afterwards.
    #[inline(never)]
    pub fn discover<'t>(tree: &'t Tree<'a>) -> Result<Self, BoardError<'t, 'a>> {
        let root = tree.root();
        let (mut found, mut cpus) = (Survey::new(), Cpus::new());
        found.run(tree);
        let cpus_left_out = cpus::discover(root, found.cpus, &mut cpus)?;
        found.fault.map_or(Ok(()), Err)?;
        // Who loaded it may have reserved it.
        let initrd = firmware::initrd(found.chosen, &found.memory)?;
        memory::reserve(&mut found.memory, root, found.reserved_memory)?;
        let gic = gic::discover(root, found.gic.as_ref())?;
        let controller = found.gic.as_ref().map_or(root, |(path, _)| path.node());
        let text = |property: Option<Property<'a>>| property?.str();
        let bootargs = found.chosen.and_then(|chosen| chosen.property("bootargs"));
        Ok(Self {
            model: text(root.property("model")),
            cpus,
            cpus_left_out,
            gic,
            uart: uart::discover(&found, tree, controller),
            psci: firmware::psci(found.psci)?,
            timer: firmware::timer(found.timer.as_ref(), controller),
            bcm2835_pm: found.power_manager.as_ref().and_then(reg::of_device),
            rtc: found.rtc.as_ref().and_then(reg::of_device),
            bootargs: text(bootargs).unwrap_or(""),
            initrd,
            memory: found.memory,
        })
    }

    /// Whether all of `range` is RAM that the firmware leaves to us. Where we are it must be, or the tree is of another
    /// board.
    pub fn has_memory(&self, range: PaRange) -> bool {
        self.memory.iter().any(|piece| piece.covers(range))
    }
}
