//! What comes of a trap: what a handler decides.

use crate::emul::inject::Exception;

/// What a handler has decided. Nobody else changes the guest's PC or PSTATE because of a trap; a vCPU that wakes without its
/// state begins anew (`run::vcpu`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on at the same instruction.
    Resume,
    /// The instruction has been emulated: go on behind it.
    Advance,
    /// The guest takes an exception.
    Inject(Exception),
}
