//! The functions by which a CPU sleeps, and those that tell of it.

use super::{Args, check_entry, vcpu};
use crate::{
    emul::{
        firmware::{Answer, Caller, Depth, Firmware},
        power::{Entry, Sleep, Usage},
    },
    spec::psci::{Error, PowerState, StateType, SuspendMode, TOP_LEVEL},
};

/// Where the caller goes on after it lost its state.
fn entry(firmware: &Firmware, caller: Caller, pc: u64, context: u64) -> Result<Entry, Error> {
    Ok(Entry {
        pc: check_entry(firmware, pc)?,
        context,
        big_endian: caller.big_endian,
    })
}

/// CPU_SUSPEND (DEN0022F.b). Any name of a state is taken; its type decides. The entry point is of
/// interest to a power-down only.
pub fn cpu_suspend(firmware: &Firmware, caller: Caller, args: Args) -> Result<Answer, Error> {
    let state = PowerState::decode(args.w1()).ok_or(Error::InvalidParameters)?;
    let (entry, depth) = match state.kind {
        StateType::Standby => (None, Depth::Standby),
        StateType::PowerDown => (
            Some(entry(firmware, caller, args.x2(), args.x3())?),
            Depth::PowerDown,
        ),
    };
    let sleep = Sleep { state, entry };
    firmware.power.suspend(caller.vcpu, sleep)?;
    Ok(Answer::Suspend(depth))
}

/// CPU_DEFAULT_SUSPEND (DEN0022F.b): the state is ours to choose.
pub fn cpu_default_suspend(
    firmware: &Firmware,
    caller: Caller,
    args: Args,
) -> Result<Answer, Error> {
    let entry = Some(entry(firmware, caller, args.x1(), args.x2())?);
    let sleep = Sleep {
        state: PowerState::POWER_DOWN,
        entry,
    };
    firmware.power.suspend(caller.vcpu, sleep)?;
    Ok(Answer::Suspend(Depth::PowerDown))
}

/// SYSTEM_SUSPEND (DEN0022F.b). The others are looked at before the entry point, as TF-A does.
pub fn system_suspend(firmware: &Firmware, caller: Caller, args: Args) -> Result<Answer, Error> {
    if !firmware.power.is_last(caller.vcpu) {
        return Err(Error::Denied);
    }
    let entry = entry(firmware, caller, args.x1(), args.x2())?;
    firmware.power.suspend_system(caller.vcpu, entry)?;
    Ok(Answer::Suspend(Depth::System))
}

/// PSCI_SET_SUSPEND_MODE (DEN0022F.b).
pub fn set_suspend_mode(firmware: &Firmware, caller: Caller, args: Args) -> Result<Answer, Error> {
    let mode = SuspendMode::decode(args.w1()).ok_or(Error::InvalidParameters)?;
    firmware.power.set_suspend_mode(caller.vcpu, mode)?;
    Ok(Answer::SUCCESS)
}

/// NODE_HW_STATE (DEN0022F.b).
pub fn node_hw_state(firmware: &Firmware, args: Args) -> Result<Answer, Error> {
    match (vcpu(firmware, args.x1()), args.w2()) {
        (Some(vcpu), level @ 0..=TOP_LEVEL) => {
            let state = firmware.power.hw_state(vcpu, level);
            Ok(Answer::Return(state as u64))
        }
        _ => Err(Error::InvalidParameters),
    }
}

/// PSCI_STAT_COUNT (DEN0022F.b).
pub fn stat_count(firmware: &Firmware, args: Args) -> Answer {
    statistic(args, usage(firmware, args).count)
}

/// PSCI_STAT_RESIDENCY (DEN0022F.b), in microseconds.
pub fn stat_residency(firmware: &Firmware, args: Args) -> Answer {
    let ticks = usage(firmware, args).ticks;
    statistic(args, microseconds(ticks, firmware.counter_frequency))
}

fn statistic(args: Args, value: u64) -> Answer {
    Answer::Return(args.width.narrow(value))
}

/// What the CPU has used of a state. There are no errors: what is not there has never been used.
fn usage(firmware: &Firmware, args: Args) -> Usage {
    vcpu(firmware, args.x1())
        .zip(PowerState::decode(args.w2()))
        .map(|(vcpu, state)| firmware.power.usage(vcpu, state))
        .unwrap_or_default()
}

/// `ticks` of a counter with `frequency` of them per second, in microseconds.
pub(super) fn microseconds(ticks: u64, frequency: u64) -> u64 {
    let frequency = frequency.max(1);
    let (seconds, rest) = (ticks / frequency, ticks % frequency);
    seconds.saturating_mul(1_000_000) + rest.saturating_mul(1_000_000) / frequency
}
