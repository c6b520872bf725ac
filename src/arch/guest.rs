//! Into a guest and back: its general-purpose registers, and the call that runs it.

use crate::types::Gpr;
use aarch64_cpu::registers::*;
use core::mem::offset_of;

/// x0-x30 of a vCPU that runs, as vectors.S lays them out and saves them (see [`GuestRegs::always_has`]), and what the
/// hardened vectors look at.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct GuestRegs {
    x: [u64; 31],
    hardening: Hardening,
}

/// What the hardened vectors do at an exit before any branch that the guest could have trained.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Hardening {
    /// The function that is called by SMC; 0 for none.
    pub call: u32,
    /// How often the loop runs that fills the branch history; once is the least.
    pub loops: u32,
}

/// Bytes of a frame.
pub const FRAME_BYTES: usize = size_of::<GuestRegs>();
const _: () = assert!(FRAME_BYTES == 256);
/// Where vectors.S finds [`Hardening::call`] and [`Hardening::loops`].
pub(super) const CALL_OFFSET: usize = offset_of!(GuestRegs, hardening.call);
pub(super) const LOOPS_OFFSET: usize = offset_of!(GuestRegs, hardening.loops);

// vectors.S stores both in one.
const _: () = assert!(LOOPS_OFFSET == CALL_OFFSET + 4 && CALL_OFFSET.is_multiple_of(8));

impl Hardening {
    const fn word(self) -> u64 {
        (self.loops as u64) << 32 | self.call as u64
    }
}

impl GuestRegs {
    /// Whether `gpr` is one of those that a handler may change, so that a frame always has it: not x20 to x28, which
    /// vectors.S saves only for an abort that may name one, and where they are asked for.
    #[inline(always)]
    pub const fn always_has(gpr: Gpr) -> bool {
        !matches!(gpr.index(), Some(20..=28))
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.x = [0; 31];
    }

    /// x0-x3: function id and first arguments of an SMCCC call.
    pub fn arguments(&self) -> [u64; 4] {
        let [x0, x1, x2, x3, ..] = self.x;
        [x0, x1, x2, x3]
    }

    /// Sets x0, the result of an SMCCC call.
    pub fn set_result(&mut self, value: u64) {
        let [x0, ..] = &mut self.x;
        *x0 = value;
    }

    /// Sets x0 and the registers behind it.
    pub fn set_results(&mut self, values: &[u64]) {
        self.x
            .iter_mut()
            .zip(values)
            .for_each(|(x, value)| *x = *value);
    }

    /// The value of a register; XZR reads as zero.
    pub fn get(&self, gpr: Gpr) -> u64 {
        gpr.index()
            .and_then(|index| self.x.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Sets a register; a write to XZR vanishes.
    pub fn set(&mut self, gpr: Gpr, value: u64) {
        if let Some(x) = gpr.index().and_then(|index| self.x.get_mut(index)) {
            *x = value;
        }
    }
}

/// What vectors.S does after a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Exit {
    /// Back into the guest.
    Resume = 0,
    /// Out of the guest: the vCPU parks.
    Park = 1,
    /// The same exception again, with x20 to x28 in the frame as well.
    Whole = 2,
    /// Back into the guest with all of the frame, which the handler has filled anew.
    Renew = 3,
}

/// What the CPU held when EL2 itself took an exception, as vectors.S lays it out.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct FaultFrame {
    /// x0-x29.
    pub x: [u64; 30],
    /// Stack pointer.
    pub sp: u64,
    /// Where it happened; the handler may return after setting it.
    pub elr: u64,
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
}

const _: () = assert!(offset_of!(FaultFrame, esr) == 256);

/// Runs the guest from ELR_EL2 in the state SPSR_EL2, with `x0` and zeros in its registers, on a CPU that wants `hardening`,
/// until a trap handler answers [`Exit::Park`]. Handlers get `state` meanwhile, one at a time.
///
/// # Safety
///
/// The handlers that vectors.S calls take a `&mut T`.
pub unsafe fn enter<T>(x0: u64, hardening: Hardening, state: &mut T) {
    unsafe extern "C" {
        fn enter_guest(x0: u64, hardening: u64) -> u64;
    }
    TPIDR_EL2.set(core::ptr::from_mut(state) as u64);
    // SAFETY: (1) The guest's own translation (stage 2) keeps it out of our memory. (2) vectors.S preserves what the C
    // calling convention wants. (3) It lends `state`, which is exclusively borrowed for as long, to handlers of the guest's
    // exceptions, none of which comes inside another; that they take a `T` is what the caller answers for.
    unsafe { enter_guest(x0, hardening.word()) };
}

/// Where and in which state the guest goes on.
pub fn set_return(pc: u64, pstate: u64) {
    ELR_EL2.set(pc);
    SPSR_EL2.set(pstate);
}

/// Where the guest goes on, in the state in which it trapped.
pub fn set_pc(pc: u64) {
    ELR_EL2.set(pc);
}

/// Where the guest was when it trapped.
pub fn pc() -> u64 {
    ELR_EL2.get()
}

/// The guest's PSTATE when it trapped.
pub fn pstate() -> u64 {
    SPSR_EL2.get()
}

/// ESR_EL2 of the trap.
pub fn syndrome() -> u64 {
    ESR_EL2.get()
}

/// FAR_EL2: the virtual address of an abort.
pub fn fault_address() -> u64 {
    FAR_EL2.get()
}

/// HPFAR_EL2: the IPA page of a stage 2 fault.
pub fn fault_ipa() -> u64 {
    HPFAR_EL2.get()
}
