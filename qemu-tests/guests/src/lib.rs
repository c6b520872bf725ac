//! What bare-metal test guests share: start, exceptions that a test provokes, the serial port, TAP, PSCI, the device tree.
//!
//! A guest is an arm64 Image that runs at EL1 with an identity map of all 512 GiB: the first gigabyte as device memory, the rest as
//! ordinary memory, whether something is there or not. It prints results as TAP lines that begin with `@NAME@ `, where NAME comes from
//! `vm=NAME` in its boot arguments.
//!
//! Build it with the flags of `qemu-tests/src/artifacts.rs`: `guest.ld` takes the place of Bulkhead's linker script.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod bare;
