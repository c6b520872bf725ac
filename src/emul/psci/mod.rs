//! PSCI for guests (DEN0022): what each function answers, in the revision that the VM has.

mod suspend;

use super::{
    firmware::{Answer, Caller, Firmware},
    power::{Entry, Refused, StopEvent},
};
use crate::{
    spec::{
        psci::{self, Error, Function, TOP_LEVEL},
        smccc::{self, FunctionId, Width},
    },
    sync::atomic::Ordering,
    types::{Ipa, IpaRange, Mpidr, VcpuId, VcpuSet},
};

/// The arguments of a call.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    x: &'a [u64; 4],
    width: Width,
}

impl<'a> Args<'a> {
    /// The arguments of a call by a standard id (DEN0028 3.1).
    pub const fn of(id: FunctionId, x: &'a [u64; 4]) -> Self {
        let width = id.width();
        Self { x, width }
    }

    /// The arguments of a call by an id of 0.1, which has no widths: whole registers.
    pub const fn legacy(x: &'a [u64; 4]) -> Self {
        let width = Width::Smc64;
        Self { x, width }
    }

    /// The first argument, of the call's width.
    const fn x1(self) -> u64 {
        self.width.narrow(self.x[1])
    }

    /// The second argument, of the call's width.
    const fn x2(self) -> u64 {
        self.width.narrow(self.x[2])
    }

    /// The third argument, of the call's width.
    const fn x3(self) -> u64 {
        self.width.narrow(self.x[3])
    }

    /// The first argument where it has 32 bits in calls of either width.
    const fn w1(self) -> u32 {
        self.x[1] as u32
    }

    /// The second argument where it has 32 bits in calls of either width.
    pub const fn w2(self) -> u32 {
        self.x[2] as u32
    }
}

/// Calls `function`, which the VM's revision has.
pub fn call(firmware: &Firmware, caller: Caller, function: Function, args: Args) -> Answer {
    let result = match function {
        Function::Version => Ok(Answer::Return(version(firmware))),
        Function::Features => Ok(Answer::Return(features(firmware, args))),
        Function::MigrateInfoType => Ok(Answer::Return(psci::MIGRATE_INFO_TYPE as u64)),
        Function::AffinityInfo if args.w2() == 0 => Ok(Answer::Return(cpu_info(firmware, args))),
        Function::AffinityInfo => instance_info(firmware, args),
        Function::CpuSuspend => suspend::cpu_suspend(firmware, caller, args),
        Function::CpuDefaultSuspend => suspend::cpu_default_suspend(firmware, caller, args),
        Function::SystemSuspend => suspend::system_suspend(firmware, caller, args),
        // As CPU_OFF, but interrupts may be sent to the CPU meanwhile. They do not wake it: CPU_ON does.
        Function::CpuFreeze => return Answer::Freeze,
        Function::SetSuspendMode => suspend::set_suspend_mode(firmware, caller, args),
        Function::NodeHwState => suspend::node_hw_state(firmware, args),
        Function::StatResidency => Ok(suspend::stat_residency(firmware, args)),
        Function::StatCount => Ok(suspend::stat_count(firmware, args)),
        // The argument that 0.1 has is of no interest.
        Function::CpuOff => return Answer::Off,
        Function::CpuOn => cpu_on(firmware, caller, args),
        Function::SystemOff => return stop(firmware, StopEvent::Off),
        Function::SystemReset => return stop(firmware, StopEvent::Reset),
        Function::SystemReset2 => system_reset2(firmware, args),
        Function::SystemOff2 => system_off2(firmware, args),
        Function::MemProtect => Ok(Answer::Return(mem_protect(firmware, args))),
        Function::MemProtectCheckRange => check_range(firmware, args),
        Function::Migrate | Function::MigrateInfoUpCpu => Err(Error::NotSupported),
    };
    result.unwrap_or_else(|error| Answer::Return(error.in_version(firmware.version).x0()))
}

/// AFFINITY_INFO: a vCPU of the instance is on (DEN0022F.b).
const AFFINITY_ON: u64 = 0;
/// AFFINITY_INFO: all vCPUs of the instance are off.
const AFFINITY_OFF: u64 = 1;

/// PSCI_VERSION (DEN0022F.b).
fn version(firmware: &Firmware) -> u64 {
    firmware.version.word().into()
}

/// PSCI_FEATURES (DEN0022F.b). SMCCC_VERSION is asked for here because it is not itself to be
/// called before one knows that it is there.
#[inline(always)]
pub fn features(firmware: &Firmware, args: Args) -> u64 {
    let id = FunctionId::new(args.w1());
    match firmware.calls.features(id) {
        Some(word) => word.into(),
        None if id == smccc::VERSION => 0,
        None => Error::NotSupported.x0(),
    }
}

/// CPU_ON (DEN0022F.b). The order of the checks is TF-A's: the CPU, the entry point, the state.
fn cpu_on(firmware: &Firmware, caller: Caller, args: Args) -> Result<Answer, Error> {
    let target = vcpu(firmware, args.x1()).ok_or(Error::InvalidParameters)?;
    let entry = Entry {
        pc: check_entry(firmware, args.x2())?,
        context: args.x3(),
        big_endian: caller.big_endian,
    };
    match firmware.power.cpu_on(target, entry) {
        Ok(()) => Ok(Answer::TurnedOn(target)),
        Err(Refused::AlreadyOn) => Err(Error::AlreadyOn),
        Err(Refused::NoSuchVcpu) => Err(Error::InvalidParameters),
        Err(Refused::Stopping(event)) => Ok(Answer::Stop(event)),
    }
}

/// AFFINITY_INFO of one CPU (DEN0022F.b). One that is suspended, or has yet to begin, is on.
#[inline(always)]
pub fn cpu_info(firmware: &Firmware, args: Args) -> u64 {
    match vcpu(firmware, args.x1()) {
        Some(vcpu) => state(firmware, VcpuSet::one(vcpu)),
        None => Error::InvalidParameters.x0(),
    }
}

/// AFFINITY_INFO of an instance that may hold several: on if one of them is.
fn instance_info(firmware: &Firmware, args: Args) -> Result<Answer, Error> {
    let instance = instance(firmware, args.x1(), args.w2()).ok_or(Error::InvalidParameters)?;
    Ok(Answer::Return(state(firmware, instance)))
}

fn state(firmware: &Firmware, instance: VcpuSet) -> u64 {
    if firmware.power.on().bits() & instance.bits() != 0 {
        AFFINITY_ON
    } else {
        AFFINITY_OFF
    }
}

/// The vCPUs that agree with `affinity` from level `level` up; `None` when there are none, or the level
/// is above the highest that tells vCPUs apart.
fn instance(firmware: &Firmware, affinity: u64, level: u32) -> Option<VcpuSet> {
    if level > TOP_LEVEL {
        return None;
    }
    let members = firmware
        .power
        .domain(Mpidr::from_affinity(affinity)?, level);
    (!members.is_empty()).then_some(members)
}

fn stop(firmware: &Firmware, event: StopEvent) -> Answer {
    Answer::Stop(firmware.power.stop(event))
}

/// SYSTEM_RESET2 (DEN0022F.b). There are no vendor's types; SYSTEM_WARM_RESET has no use for the
/// cookie.
fn system_reset2(firmware: &Firmware, args: Args) -> Result<Answer, Error> {
    match args.w1() {
        psci::WARM_RESET => Ok(stop(firmware, StopEvent::WarmReset)),
        _ => Err(Error::InvalidParameters),
    }
}

/// SYSTEM_OFF2 (DEN0022F.b): the guest has written itself to a disk; for us that is off.
fn system_off2(firmware: &Firmware, args: Args) -> Result<Answer, Error> {
    if psci::HIBERNATE_OFF_TYPES.contains(&args.w1()) && args.x2() == 0 {
        Ok(stop(firmware, StopEvent::Off))
    } else {
        Err(Error::InvalidParameters)
    }
}

/// MEM_PROTECT (DEN0022F.b): whether RAM is to be cleared before the next boot; answers whether it
/// was. Every start clears it, so there is nothing to do but to remember. The exception is
/// SYSTEM_WARM_RESET, which is there to keep RAM and ends the protection.
fn mem_protect(firmware: &Firmware, args: Args) -> u64 {
    let enable = args.w1() != 0;
    firmware.protected.swap(enable, Ordering::Relaxed).into()
}

/// MEM_PROTECT_CHECK_RANGE (DEN0022F.b): all RAM can be protected, and nothing else.
fn check_range(firmware: &Firmware, args: Args) -> Result<Answer, Error> {
    match IpaRange::new(Ipa::new(args.x1()), args.x2()) {
        Some(range) if range.bytes() != 0 && firmware.ram.covers(range) => Ok(Answer::SUCCESS),
        _ => Err(Error::Denied),
    }
}

/// The vCPU that an argument names.
fn vcpu(firmware: &Firmware, affinity: u64) -> Option<VcpuId> {
    Mpidr::vcpu_named(affinity, firmware.power.vcpus())
}

/// An entry point is an instruction in RAM (DEN0022F.b, CPU_ON); AArch64 has no Thumb bit.
fn check_entry(firmware: &Firmware, entry: u64) -> Result<u64, Error> {
    let at = Ipa::new(entry);
    if at.is_aligned(4) && firmware.ram.contains(at) {
        Ok(entry)
    } else {
        Err(Error::InvalidAddress)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
