//! The power states, by steps, in every order of steps, and with steps at the same time.

use super::*;

#[cfg(not(shuttle))]
mod orders;
#[cfg(shuttle)]
mod races;
#[cfg(not(shuttle))]
mod steps;
