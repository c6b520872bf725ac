//! Bulkhead: Type-1 hypervisor firmware for ARMv8-A that is the PSCI firmware of its guests.
//!
//! Modules, lowest first; each imports only what stands above it in this list (scripts/check-layers):
//!
//! - [`types`]: a newtype per kind of number.
//! - [`spec`]: formats, register maps and tables of the architecture and the standards.
//! - [`sync`]: the one lock.
//! - `arch`: the CPU at EL2, in assembly and system registers.
//! - [`mm`]: EL2's map and pool, and the RAM that guests get.
//! - `hw`: drivers of the board's own devices.
//! - [`config`]: the board's device tree and the bundle, read once into plain data.
//! - [`emul`]: the machine that a guest sees; PSCI, interrupt controller, devices.
//! - [`console`]: one serial line for everybody.
//! - [`load`]: images and device tree into a guest's RAM.
//! - `vm`: a VM and its vCPUs.
//! - `run`: boot, the vCPU loop, exits, interrupts, the life of VMs.
//!
//! To read it, begin with `run::boot` (the boot order) and `run::exit` (the way of a trap), then take
//! [`emul::psci`] and [`emul::vgic`]. `arch`, `hw`, `vm` and `run` exist for the bare target only; all the
//! rest is plain code that is tested on the host.
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test that panics has failed, as it should"
    )
)]

#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod arch;
pub mod config;
pub mod console;
pub mod emul;
#[cfg(target_os = "none")]
pub mod hw;
pub mod load;
pub mod mm;
#[cfg(target_os = "none")]
pub mod run;
pub mod spec;
pub mod sync;
pub mod types;
#[cfg(target_os = "none")]
pub mod vm;
