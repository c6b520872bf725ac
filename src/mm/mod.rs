//! Memory: EL2's own pool and map, the RAM that guests get, and the registers of the board's devices.

#[cfg(target_os = "none")]
pub mod el2_map;
#[cfg(target_os = "none")]
pub mod guest_ram;
#[cfg(target_os = "none")]
pub mod mailbox;
#[cfg(target_os = "none")]
pub mod mmio;
#[cfg(target_os = "none")]
pub mod pool;
pub mod ram;
