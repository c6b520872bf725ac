//! Which vCPUs of a VM are on, and how the VM comes to a stop and starts again.
//!
//! The machine's two promises: an accepted CPU_ON makes its target ON at once, so exactly one of several
//! callers succeeds and nobody sees ON_PENDING; and OFF is seen only when CPU_ON will work. A vCPU that
//! calls CPU_OFF is ON until its pCPU has taken back all that it held: what is sent to one that was seen
//! OFF is not thrown away with that. From then on CPU_ON is accepted, and its entry point waits in the
//! machine until the target's pCPU comes for it. DEN0022 would allow a gap at either place; guests do not
//! cope with it.
//!
//! A VM stops in two steps. The first event to arrive is *the* event: from then on no vCPU enters the
//! guest and none is turned on. Every pCPU says when it has left the guest for good, and the one that
//! is last to say so carries the event out, alone.

mod suspend;

use crate::{
    sync::{
        Mutex,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    types::{MAX_VCPUS, VcpuId, VcpuSet},
};

use suspend::Sleepers;
pub use suspend::{Sleep, Usage};

/// Where and how a vCPU begins (DEN0022F.b, initial state of a CPU).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First instruction, an IPA.
    pub pc: u64,
    /// x0: the caller's context_id.
    pub context: u64,
    /// SCTLR_EL1.EE: data accesses begin in the caller's byte order.
    pub big_endian: bool,
}

/// Why a VM stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StopEvent {
    /// SYSTEM_OFF.
    Off = 1,
    /// SYSTEM_RESET: it is to begin again as at first.
    Reset,
    /// SYSTEM_RESET2 of type SYSTEM_WARM_RESET: likewise, but its RAM is kept.
    WarmReset,
    /// Its last vCPU turned itself off: nobody is left who could turn one on.
    AllOff,
    /// It did what cannot be answered, or Bulkhead could not go on with it.
    Crash,
}

impl StopEvent {
    const NONE: u8 = 0;

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Off),
            2 => Some(Self::Reset),
            3 => Some(Self::WarmReset),
            4 => Some(Self::AllOff),
            5 => Some(Self::Crash),
            _ => None,
        }
    }
}

/// CPU_ON was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The target is on: running, suspended, or about to begin.
    AlreadyOn,
    /// There is no such vCPU.
    NoSuchVcpu,
    /// The VM is stopping, for this: the caller is not to go on.
    Stopping(StopEvent),
}

/// The power state of one VM.
///
/// `on` and `event` are written only under the lock and may be read without it.
pub struct Power {
    vcpus: usize,
    /// Bit n: vCPU n is ON. Its release pairs with the acquire of AFFINITY_INFO: who sees a vCPU OFF
    /// sees all that it wrote before.
    on: AtomicU32,
    /// The [`StopEvent`] that the VM stops for, or [`StopEvent::NONE`].
    event: AtomicU8,
    /// When each vCPU last began to run, in ticks of the counter; its own pCPU writes it.
    began: [AtomicU64; MAX_VCPUS],
    guarded: Mutex<Guarded>,
}

struct Guarded {
    /// Where a vCPU that is ON has yet to begin.
    entries: [Option<Entry>; MAX_VCPUS],
    /// Whose pCPU has left the guest for good.
    parked: VcpuSet,
    sleepers: Sleepers,
}

impl Power {
    /// A VM of `vcpus` vCPUs that is at rest, as after SYSTEM_OFF.
    ///
    /// More than [`MAX_VCPUS`] are cut to that many.
    pub fn new(vcpus: usize) -> Self {
        let vcpus = vcpus.min(MAX_VCPUS);
        Self {
            vcpus,
            on: AtomicU32::new(0),
            event: AtomicU8::new(StopEvent::Off as u8),
            began: [const { AtomicU64::new(0) }; MAX_VCPUS],
            guarded: Mutex::new(Guarded {
                entries: [None; MAX_VCPUS],
                parked: VcpuSet::first(vcpus),
                sleepers: Sleepers::NONE,
            }),
        }
    }

    /// How many vCPUs there are.
    pub const fn vcpus(&self) -> usize {
        self.vcpus
    }

    /// Every vCPU.
    pub fn all(&self) -> VcpuSet {
        VcpuSet::first(self.vcpus)
    }

    /// First start, and restart: vCPU 0 is on and begins at `entry`, all others are off.
    ///
    /// False, and nothing done, while a vCPU has not parked. The VM has to be ready to run: whoever
    /// [`parked`](Self::parked) named calls this, or, when the VM is at rest, its operator. Then vCPU
    /// 0's pCPU has to be kicked.
    #[must_use]
    pub fn start(&self, entry: Entry) -> bool {
        let mut guarded = self.guarded.lock();
        if guarded.parked != self.all() {
            return false;
        }
        guarded.parked = VcpuSet::EMPTY;
        guarded.entries = [None; MAX_VCPUS];
        guarded.sleepers = Sleepers::NONE;
        if let Some(first) = guarded.entries.first_mut() {
            *first = Some(entry);
        }
        self.on
            .store(VcpuSet::one(VcpuId::new(0)).bits(), Ordering::Release);
        self.event.store(StopEvent::NONE, Ordering::Release);
        true
    }

    /// Turns `target` on; it will begin at `entry` once its pCPU, to be kicked, comes for it.
    pub fn cpu_on(&self, target: VcpuId, entry: Entry) -> Result<(), Refused> {
        if target.index() >= self.vcpus() {
            return Err(Refused::NoSuchVcpu);
        }
        let mut guarded = self.guarded.lock_inline();
        if let Some(event) = self.stopping() {
            return Err(Refused::Stopping(event));
        }
        let on = self.on();
        if on.contains(target) {
            return Err(Refused::AlreadyOn);
        }
        let slot = guarded.entries.get_mut(target.index());
        *slot.ok_or(Refused::NoSuchVcpu)? = Some(entry);
        self.on
            .store(on.union(VcpuSet::one(target)).bits(), Ordering::Release);
        Ok(())
    }

    /// `who` has left the guest, holds nothing of the hardware and executes nothing more before
    /// [`take_entry`](Self::take_entry) yields: it is off, unless it left because the VM stops. True when
    /// it was the last one on: then the VM stops, and every pCPU of it has to be kicked.
    #[must_use]
    pub fn cpu_off(&self, who: VcpuId) -> bool {
        let _guarded = self.guarded.lock();
        if self.stopping().is_some() {
            return false;
        }
        let left = self.on().without(who);
        self.on.store(left.bits(), Ordering::Release);
        if left.is_empty() {
            self.event.store(StopEvent::AllOff as u8, Ordering::Release);
        }
        left.is_empty()
    }

    /// The vCPUs that are on; takes no lock.
    pub fn on(&self) -> VcpuSet {
        VcpuSet::from_bits(self.on.load(Ordering::Acquire))
    }

    /// Whether `who` alone is on.
    pub fn is_last(&self, who: VcpuId) -> bool {
        self.on() == VcpuSet::one(who)
    }

    /// Where `who` is to begin, if it was turned on since it last ran; for the pCPU that holds it.
    /// From then on it runs. Nobody begins in a VM that stops.
    #[must_use]
    pub fn take_entry(&self, who: VcpuId) -> Option<Entry> {
        let mut guarded = self.guarded.lock_inline();
        if self.stopping().is_some() {
            return None;
        }
        guarded.entries.get_mut(who.index())?.take()
    }

    /// Stops the VM because of `event`, unless it is stopping already: the first one wins, and is
    /// answered. Afterwards every pCPU of the VM has to be kicked.
    pub fn stop(&self, event: StopEvent) -> StopEvent {
        let _guarded = self.guarded.lock();
        self.stopping().unwrap_or_else(|| {
            self.event.store(event as u8, Ordering::Release);
            event
        })
    }

    /// What the VM stops for, if it does; takes no lock. To be asked, with interrupts masked, before
    /// every entry into the guest, so that a kick that comes later ends that entry at once.
    pub fn stopping(&self) -> Option<StopEvent> {
        StopEvent::from_code(self.event.load(Ordering::Acquire))
    }

    /// `who` has left the guest for good, because the VM stops or while it was off. The call that
    /// makes it all of them answers the event, once: that pCPU carries it out while the others wait
    /// for their entries.
    #[must_use]
    pub fn parked(&self, who: VcpuId) -> Option<StopEvent> {
        // Whoever stops the VM kicks the pCPU afterwards, which asks again.
        self.stopping()?;
        let mut guarded = self.guarded.lock();
        let event = self.stopping()?;
        if guarded.parked.contains(who) {
            return None;
        }
        guarded.parked.insert(who);
        (guarded.parked == self.all()).then_some(event)
    }
}

#[cfg(test)]
mod tests;
