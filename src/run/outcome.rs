//! What comes of a trap: what a handler decides, and what vectors.S is told.

use crate::emul::inject::Exception;

/// What vectors.S does after a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Exit {
    /// Back into the guest.
    Resume = 0,
    /// Out of the guest: the vCPU parks.
    Park = 1,
}

/// What a handler has decided. Nobody else changes the guest's PC or PSTATE because of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on where ELR_EL2 points: at the same instruction, or behind an HVC.
    Resume,
    /// The instruction has been emulated: go on behind it.
    Advance,
    /// The guest takes an exception.
    Inject(Exception),
    /// The vCPU leaves the guest.
    Park,
}
