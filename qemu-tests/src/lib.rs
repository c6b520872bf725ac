//! Boots Bulkhead in QEMU, talks to its serial port, and checks what comes.
//!
//! A test says which board ([`Machine`]) and which virtual machines ([`Bundle`]) it wants, starts them, and follows the serial output
//! through a [`Session`]: it waits for patterns and types answers. Nothing here sleeps; what a test waits for is always something that
//! is printed, and the time limit of a session is only there so that a broken run ends.

pub mod artifacts;
pub mod bench;
mod bundle;
mod card;
mod machine;
mod session;
mod tap;

pub use bundle::{Bundle, Image, Vm};
pub use card::{Card, Config};
pub use machine::Machine;
pub use session::{Ended, Session};
pub use tap::{Report, report_of};
