//! What comes of a trap: what a handler decides.

use crate::emul::inject::Exception;

/// What a handler has decided. Nobody else changes the guest's PC or PSTATE because of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on where ELR_EL2 points: at the same instruction, or behind an HVC.
    Resume,
    /// The instruction has been emulated: go on behind it.
    Advance,
    /// The guest takes an exception.
    Inject(Exception),
    /// Go on where ELR_EL2 points, with none of the former registers.
    Renew,
    /// The vCPU leaves the guest.
    Park,
}
