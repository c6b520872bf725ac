//! The VMs of the bundle and what has become of each: whether all is over, and what the summary says.

use crate::types::{MAX_VMS, VmId};
use arrayvec::ArrayVec;
use core::fmt;

/// What has become of a VM; prints as the summary's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It could not be started, or nobody has asked for it.
    NotStarted,
    /// It runs or is about to.
    On,
    /// It shut down by itself.
    Off,
    /// It was halted after a crash.
    Crash,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "not started",
            Self::On => "on",
            Self::Off => "off",
            Self::Crash => "crash",
        })
    }
}

struct Entry {
    name: &'static str,
    /// `None` for one that could not be made.
    vm: Option<VmId>,
    state: State,
}

/// All VMs, in the bundle's order; one more than can be, for the first that is too many.
pub struct Roll(ArrayVec<Entry, { MAX_VMS + 1 }>);

impl Roll {
    /// Nobody.
    pub const EMPTY: Self = Self(ArrayVec::new_const());

    /// Adds the next VM.
    pub fn add(&mut self, name: &'static str, vm: Option<VmId>, state: State) {
        let _ = self.0.try_push(Entry { name, vm, state });
    }

    /// `vm` has come to `state`.
    pub fn set(&mut self, vm: VmId, state: State) {
        self.0
            .iter_mut()
            .filter(|entry| entry.vm == Some(vm))
            .for_each(|entry| entry.state = state);
    }

    /// There is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nobody runs or will.
    pub fn is_over(&self) -> bool {
        self.0.iter().all(|entry| entry.state != State::On)
    }

    /// There are VMs, and each shut down by itself.
    pub fn is_success(&self) -> bool {
        !self.is_empty() && self.0.iter().all(|entry| entry.state == State::Off)
    }
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(n, entry)| {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", entry.name, entry.state)
        })
    }
}
