//! The hypervisor at work: boot, the vCPU loop, exits, interrupts, the life of VMs.
//!
//! The way of a trap: vectors.S saves the guest's registers and calls [`exit::on_sync`] or [`irq::on_irq`]; one
//! `match` finds the handler; the handler decides and [`exit`] applies it. Only what ends a vCPU's run
//! (CPU_OFF, reset, a stop) returns to the loop in [`vcpu`].

pub mod boot;
pub mod bundle;
pub mod devices;
mod entropy;
pub mod exit;
pub mod firmware;
pub mod irq;
pub mod lifecycle;
pub mod machine;
pub mod outcome;
pub mod panic;
pub mod roll;
pub mod serial;
pub mod suspend;
mod sysregs;
pub mod timers;
pub mod vcpu;
