//! The firmware of one VM: what it is, who calls it, and what comes of a call.

use super::{
    fw_registers::Registers,
    power::{Entry, Power, StopEvent},
    smccc,
    trng::Request,
};
use crate::{
    spec::{
        psci::{CallSet, Constants, FunctionSet, LegacyIds},
        services::Call,
        smccc::FunctionId,
    },
    sync::atomic::{AtomicBool, Ordering},
    types::{IpaRange, PsciVersion, VcpuId},
};

/// The firmware of one VM. All but the power state and what the guest asks to be remembered is fixed when the VM is created.
pub struct Firmware {
    registers: Registers,
    /// [`Registers::version`], which nearly every call is answered by.
    pub(super) version: PsciVersion,
    /// The standard PSCI ids that are answered.
    pub(super) calls: CallSet,
    /// What some of them always answer.
    pub(super) constants: Constants,
    /// Whose calls there are besides PSCI's, a bit for each owner.
    pub(super) owners: u64,
    /// What SMCCC_VERSION is known by.
    pub(super) version_id: FunctionId,
    /// The PSCI ids of a 0.1 VM.
    pub(super) legacy: LegacyIds,
    /// Where an entry point may be.
    pub(super) ram: IpaRange,
    /// Ticks of the board's counter per second.
    pub(super) counter_frequency: u64,
    /// MEM_PROTECT is on.
    pub(super) protected: AtomicBool,
    /// Which vCPUs are on.
    pub power: Power,
}

/// What of PSCI a VM's configuration settles besides the revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsciChoice {
    /// The ids of 0.1; no other revision answers them.
    pub legacy: LegacyIds,
    /// Optional functions that the VM is without.
    pub hidden: FunctionSet,
}

impl Firmware {
    /// The firmware of a VM of `vcpus` vCPUs with RAM at `ram`, on a board whose counter makes `counter_frequency` ticks a
    /// second; the VM is at rest, and its registers keep their values.
    pub fn new(
        mut registers: Registers,
        psci: PsciChoice,
        vcpus: usize,
        ram: IpaRange,
        counter_frequency: u64,
    ) -> Self {
        registers.seal();
        let version = registers.version();
        let calls = CallSet::of(version).without(psci.hidden);
        Self {
            registers,
            version,
            constants: Constants::of(version, &calls),
            calls,
            owners: smccc::owners(version),
            version_id: smccc::version_id(version),
            legacy: psci.legacy,
            ram,
            counter_frequency,
            protected: AtomicBool::new(false),
            power: Power::new(vcpus),
        }
    }

    /// What it is, as registers.
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// First start, and restart: as [`Power::start`], and what a guest asked of its firmware is
    /// forgotten.
    #[must_use]
    pub fn start(&self, entry: Entry) -> bool {
        // Only now may a guest ask again. Whatever RAM was to be cleared has been.
        self.protected.store(false, Ordering::Relaxed);
        self.power.start(entry)
    }

    /// The ids by which PSCI 0.1 is called.
    pub const fn legacy_ids(&self) -> LegacyIds {
        self.legacy
    }

    /// PSCI revision.
    pub const fn version(&self) -> PsciVersion {
        self.version
    }
}

/// Who calls. It is at EL1 in AArch64 state: no guest has another EL1.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Which vCPU.
    pub vcpu: VcpuId,
    /// Its SCTLR_EL1.EE, which a vCPU that it turns on inherits.
    pub big_endian: bool,
}

/// How the board's CPUs stand to what the calls of DEN0070A are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workarounds {
    /// CVE-2017-5715, branch predictors: workaround 1.
    pub branch_predictor: Mitigation,
    /// CVE-2018-3639, speculative store bypass: workaround 2 need not be called, since no CPU is
    /// vulnerable or all have it prevented for good. Guests cannot switch it: it would be the board
    /// CPU's state, left to whoever runs there next.
    pub store_bypass: bool,
    /// CVE-2022-23960, branch history: workaround 3.
    pub branch_history: Mitigation,
}

/// How the board's CPUs stand to one vulnerability, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mitigation {
    /// Vulnerable or unknown, and the call is not there.
    Unknown,
    /// Vulnerable, and the call mitigates: [`Answer::Mitigate`].
    Callable,
    /// Not vulnerable; the call may be made and does nothing.
    NotRequired,
}

/// A workaround that a guest calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1.
    BranchPredictor,
    /// SMCCC_ARCH_WORKAROUND_3.
    BranchHistory,
}

impl Workaround {
    /// The call that carries it out.
    pub const fn call(self) -> Call {
        match self {
            Self::BranchPredictor => Call::Workaround1,
            Self::BranchHistory => Call::Workaround3,
        }
    }
}

/// How a vCPU sleeps: in any case until the redistributor has an interrupt for it, for the CPU interface
/// may have been closed, and masked or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// x0 takes 0.
    Standby,
    /// All state is lost; but an interrupt that is there at once has the request abandoned: x0 takes 0.
    PowerDown,
    /// All state is lost, even so: an OS takes a return for a failure to suspend.
    System,
}

/// What comes of a call. Whoever applies it changes the registers named here and no other: guests may
/// rely on x1-x17 being kept (DEN0028, register use), and must for all above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// x0 takes the value; errors are sign-extended already.
    Return(u64),
    /// x0 and x1 take the words, zero-extended.
    ReturnTwo([u32; 2]),
    /// x0 to x3 take the words, zero-extended.
    ReturnFour(&'static [u32; 4]),
    /// x0 takes 0, and the pCPU of this vCPU, which was off, has to be kicked.
    TurnedOn(VcpuId),
    /// The caller sleeps. In the end [`Power::wake`] or [`Power::abandon`] is called for it, unless the
    /// VM stops before that.
    Suspend(Depth),
    /// The caller leaves the guest. Once its pCPU has taken back what it held, [`Power::cpu_off`] makes
    /// it off; then the pCPU waits until [`Power::take_entry`] yields.
    Off,
    /// Likewise, and what interrupts it stays pending for it.
    Freeze,
    /// The VM stops for the event: all its pCPUs are kicked, the caller's parks.
    Stop(StopEvent),
    /// x0 to x3 take [`Request::results`], or x0 takes NO_ENTROPY.
    Entropy(Request),
    /// The workaround is carried out; no register changes.
    Mitigate(Workaround),
}

impl Answer {
    /// x0 takes 0.
    pub const SUCCESS: Self = Self::Return(0);
}

// Two registers carry it, so it is returned without a round trip through memory.
const _: () = assert!(size_of::<Answer>() <= 16);
