//! The RAM of one VM, as EL2 reaches it.

#![allow(
    unsafe_code,
    reason = "the one place where guest RAM becomes memory of ours"
)]

use super::ram::Piece;
use crate::{
    spec::machine::RAM_BASE,
    sync::Mutex,
    types::{Ipa, IpaRange, PaRange},
};

/// RAM of a VM: one piece of the board's, which the guest sees from [`RAM_BASE`] on.
pub struct GuestRam {
    pa: PaRange,
    filling: Mutex<()>,
}

impl GuestRam {
    /// The RAM in `piece`, for good.
    pub fn new(piece: Piece) -> Self {
        Self {
            pa: piece.range(),
            filling: Mutex::new(()),
        }
    }

    /// Where it is on the board.
    pub const fn pa(&self) -> PaRange {
        self.pa
    }

    /// Where the guest sees it; `None` for more than the address space holds, which no board has.
    pub const fn ipa(&self) -> Option<IpaRange> {
        IpaRange::new(RAM_BASE, self.pa.bytes())
    }

    /// Whether the guest has RAM at `ipa`.
    pub const fn contains(&self, ipa: Ipa) -> bool {
        ipa.get().wrapping_sub(RAM_BASE.get()) < self.pa.bytes()
    }

    /// Lends all of it as bytes while none of the VM's vCPUs runs; who fills it is alone.
    pub fn while_stopped<R>(&self, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let _alone = self.filling.lock();
        // SAFETY: (1) the range is mapped RAM of this VM alone: it was a `Piece`. (2) The lock makes the slice the only one.
        // (3) The caller is the VM's start or reset, which runs when every vCPU is parked; should a guest
        // write all the same, it spoils bytes of its own and nothing that we trust.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(
                self.pa.start().get() as *mut u8,
                self.pa.bytes() as usize,
            )
        };
        fill(bytes)
    }
}
