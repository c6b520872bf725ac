//! What the board is and what the VMs are: device trees read once, checked, and turned into plain data.

pub mod board;
pub mod bundle;
pub mod options;
pub mod text;
pub mod vm;
