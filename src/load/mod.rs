//! From a configuration to the first instruction: image placement and the guest device tree.

pub mod fill;
pub mod guest_dtb;
pub mod image;
