//! The instruction by which a guest calls its firmware.

use core::{fmt, str::FromStr};

/// HVC or SMC: what the device tree's `method` names. A guest may use either, whatever is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conduit {
    /// `hvc #0`.
    Hvc,
    /// `smc #0`.
    Smc,
}

impl Conduit {
    /// As device trees write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hvc => "hvc",
            Self::Smc => "smc",
        }
    }
}

impl fmt::Display for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is neither of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownConduit;

impl FromStr for Conduit {
    type Err = UnknownConduit;

    fn from_str(text: &str) -> Result<Self, UnknownConduit> {
        match text {
            "hvc" => Ok(Self::Hvc),
            "smc" => Ok(Self::Smc),
            _ => Err(UnknownConduit),
        }
    }
}
