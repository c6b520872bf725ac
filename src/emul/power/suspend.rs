//! vCPUs that sleep: in which state, where they go on, and how long each has slept or was off so far.
//!
//! To CPU_ON and AFFINITY_INFO one that sleeps is on (DEN0022F.b, CPU_SUSPEND). The power domains are the
//! instances of AFFINITY_INFO: a CPU, a cluster, the VM. The upper two have nothing of their own that
//! could be turned off; what is asked for them is checked, noted, and told by NODE_HW_STATE.

use super::{Entry, Power};
use crate::{
    spec::psci::{Error, HwState, PowerState, StateType, SuspendMode, TOP_LEVEL},
    sync::atomic::Ordering,
    types::{MAX_VCPUS, Mpidr, VcpuId, VcpuSet},
};

/// The states that are counted: two types at each level.
const STATES: usize = 2 * (TOP_LEVEL as usize + 1);

/// How a vCPU sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// What it asked for.
    pub state: PowerState,
    /// Where it goes on after a power-down; from standby it returns.
    pub entry: Option<Entry>,
}

/// How much a vCPU has used one power state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How often it has woken from it.
    pub count: u64,
    /// How long it was in it then, altogether, in ticks of the counter.
    pub ticks: u64,
}

impl Usage {
    const NONE: Self = Self { count: 0, ticks: 0 };

    fn add(&mut self, ticks: u64) {
        self.count = self.count.wrapping_add(1);
        self.ticks = self.ticks.wrapping_add(ticks);
    }
}

/// All sleepers of a VM, and what is remembered of their sleep.
pub(super) struct Sleepers {
    mode: SuspendMode,
    pub(super) asleep: [Option<Sleep>; MAX_VCPUS],
    usage: [[Usage; STATES]; MAX_VCPUS],
    /// When each was last turned off, in ticks, if it ran before.
    off_since: [Option<u64>; MAX_VCPUS],
}

impl Sleepers {
    /// Everybody is awake and never slept.
    pub(super) const NONE: Self = Self {
        mode: SuspendMode::PlatformCoordinated,
        asleep: [None; MAX_VCPUS],
        usage: [[Usage::NONE; STATES]; MAX_VCPUS],
        off_since: [None; MAX_VCPUS],
    };

    fn state_of(&self, vcpu: VcpuId) -> Option<PowerState> {
        let sleep = self.asleep.get(vcpu.index())?;
        sleep.map(|sleep| sleep.state)
    }

    /// `who` was in `state` for `ticks`.
    fn count(&mut self, who: VcpuId, state: PowerState, ticks: u64) {
        let usage = self.usage.get_mut(who.index());
        if let Some(usage) = usage.and_then(|usage| usage.get_mut(slot(state))) {
            usage.add(ticks);
        }
    }

    fn set(&mut self, who: VcpuId, sleep: Sleep) {
        if let Some(slot) = self.asleep.get_mut(who.index()) {
            *slot = Some(sleep);
        }
    }
}

/// Where the usage of `state` is kept: whatever its name, a type at a level is one state.
const fn slot(state: PowerState) -> usize {
    let kind = matches!(state.kind, StateType::PowerDown) as usize;
    2 * state.level as usize + kind
}

impl Power {
    /// The vCPUs that agree with `mpidr` from level `level` up.
    pub fn domain(&self, mpidr: Mpidr, level: u32) -> VcpuSet {
        let above = |mpidr: Mpidr| mpidr.affinity() >> (8 * level.min(TOP_LEVEL));
        let mut members = VcpuSet::EMPTY;
        self.all()
            .into_iter()
            .filter(|&vcpu| above(Mpidr::of_vcpu(vcpu)) == above(mpidr))
            .for_each(|vcpu| members.insert(vcpu));
        members
    }

    /// `who`, the caller, goes to sleep, until [`wake`](Self::wake) or [`abandon`](Self::abandon).
    ///
    /// # Errors
    /// In OS-initiated mode, what is wrong with the state asked for (DEN0022F.b, power state
    /// coordination).
    pub fn suspend(&self, who: VcpuId, sleep: Sleep) -> Result<(), Error> {
        let sleepers = &mut self.guarded.lock().sleepers;
        if sleepers.mode == SuspendMode::OsInitiated {
            self.check_coordinated(sleepers, who, sleep.state)?;
        }
        sleepers.set(who, sleep);
        Ok(())
    }

    /// SYSTEM_SUSPEND: likewise, for the only vCPU that is not off.
    ///
    /// # Errors
    /// DENIED while there is another one.
    pub fn suspend_system(&self, who: VcpuId, entry: Entry) -> Result<(), Error> {
        let sleepers = &mut self.guarded.lock().sleepers;
        if !self.is_last(who) {
            return Err(Error::Denied);
        }
        let sleep = Sleep {
            state: PowerState::SYSTEM,
            entry: Some(entry),
        };
        sleepers.set(who, sleep);
        Ok(())
    }

    /// The OS that takes a domain down does so with its last CPU, and to no deeper state than the
    /// others are in.
    fn check_coordinated(
        &self,
        sleepers: &Sleepers,
        who: VcpuId,
        state: PowerState,
    ) -> Result<(), Error> {
        let others = self.domain(Mpidr::of_vcpu(who), state.level.into());
        let others = match state.level {
            0 => VcpuSet::EMPTY,
            _ => others.without(who),
        };
        let mut shallower = false;
        for other in others.intersection(self.on()) {
            let theirs = sleepers.state_of(other).ok_or(Error::Denied)?;
            shallower |= state.kind == StateType::PowerDown && theirs.kind == StateType::Standby;
        }
        match shallower {
            true => Err(Error::InvalidParameters),
            false => Ok(()),
        }
    }

    /// `who` wakes after `ticks` of sleep. Answers where it goes on, if it does not return from its call.
    #[must_use]
    pub fn wake(&self, who: VcpuId, ticks: u64) -> Option<Entry> {
        let sleepers = &mut self.guarded.lock().sleepers;
        let sleep = sleepers.asleep.get_mut(who.index())?.take()?;
        sleepers.count(who, sleep.state, ticks);
        sleep.entry
    }

    /// `who`, which ran, is about to be off from `now` on, in ticks of the counter: a power-down to the statistics.
    pub fn leaves(&self, who: VcpuId, now: u64) {
        let sleepers = &mut self.guarded.lock().sleepers;
        if let Some(ticks) = self.time_off(sleepers, who) {
            sleepers.count(who, PowerState::POWER_DOWN, ticks);
        }
        if let Some(since) = sleepers.off_since.get_mut(who.index()) {
            *since = Some(now);
        }
    }

    /// `who` runs from `now` on, in ticks. CPU_ON waits for this, so it is only noted, without the lock.
    #[inline(always)]
    pub fn begins(&self, who: VcpuId, now: u64) {
        if let Some(began) = self.began.get(who.index()) {
            began.store(now, Ordering::Relaxed);
        }
    }

    /// How long `who` was off last, once that is over; counted when it leaves again.
    fn time_off(&self, sleepers: &Sleepers, who: VcpuId) -> Option<u64> {
        let since = (*sleepers.off_since.get(who.index())?)?;
        let began = self.began.get(who.index())?.load(Ordering::Relaxed);
        began.checked_sub(since)
    }

    /// `who` returns from its call without having slept.
    pub fn abandon(&self, who: VcpuId) {
        let sleepers = &mut self.guarded.lock().sleepers;
        if let Some(sleep) = sleepers.asleep.get_mut(who.index()) {
            *sleep = None;
        }
    }

    /// PSCI_SET_SUSPEND_MODE, called by `who`.
    ///
    /// # Errors
    /// DENIED when the CPUs are not as they must be for a change.
    pub fn set_suspend_mode(&self, who: VcpuId, mode: SuspendMode) -> Result<(), Error> {
        let sleepers = &mut self.guarded.lock().sleepers;
        let is_last = self.is_last(who);
        let all_on = self.on() == self.all();
        let allowed = match mode {
            _ if mode == sleepers.mode => true,
            SuspendMode::PlatformCoordinated => is_last,
            SuspendMode::OsInitiated => is_last || all_on,
        };
        if !allowed {
            return Err(Error::Denied);
        }
        sleepers.mode = mode;
        Ok(())
    }

    /// NODE_HW_STATE of the domain of `vcpu` at `level`: as deep as its shallowest CPU has asked for.
    pub fn hw_state(&self, vcpu: VcpuId, level: u32) -> HwState {
        let sleepers = &self.guarded.lock().sleepers;
        let mut state = HwState::Off;
        let domain = self.domain(Mpidr::of_vcpu(vcpu), level);
        for vcpu in domain.intersection(self.on()) {
            match sleepers.state_of(vcpu) {
                Some(sleep) if u32::from(sleep.level) >= level => {
                    if sleep.kind == StateType::Standby {
                        state = HwState::Standby;
                    }
                }
                _ => return HwState::On,
            }
        }
        state
    }

    /// How much `vcpu` has used `state`.
    pub fn usage(&self, vcpu: VcpuId, state: PowerState) -> Usage {
        let sleepers = &self.guarded.lock().sleepers;
        let usage = sleepers.usage.get(vcpu.index());
        let mut usage = usage
            .and_then(|usage| usage.get(slot(state)))
            .copied()
            .unwrap_or_default();
        if slot(state) == slot(PowerState::POWER_DOWN)
            && let Some(ticks) = self.time_off(sleepers, vcpu)
        {
            usage.add(ticks);
        }
        usage
    }
}
