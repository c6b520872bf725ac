//! The PSCI revision that a VM has for life.

use core::{fmt, str::FromStr};

/// A revision of the Power State Coordination Interface (DEN0022), oldest first; the value is what
/// PSCI_VERSION returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum PsciVersion {
    /// 0.1 (DEN0022A): function ids come from the device tree.
    V0_1 = 0x0000_0001,
    /// 0.2 (DEN0022B).
    V0_2 = 0x0000_0002,
    /// 1.0 (DEN0022C).
    V1_0 = 0x0001_0000,
    /// 1.1 (DEN0022D).
    V1_1 = 0x0001_0001,
    /// 1.2 (DEN0022E).
    V1_2 = 0x0001_0002,
    /// 1.3 (DEN0022F.b).
    V1_3 = 0x0001_0003,
}

impl PsciVersion {
    /// Every revision, oldest first.
    pub const ALL: [Self; 6] = [
        Self::V0_1,
        Self::V0_2,
        Self::V1_0,
        Self::V1_1,
        Self::V1_2,
        Self::V1_3,
    ];

    /// What a VM gets that does not ask for a revision.
    pub const NEWEST: Self = Self::V1_3;

    /// As PSCI_VERSION returns it: major in `[30:16]`, minor in `[15:0]`.
    pub const fn word(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for PsciVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.word() >> 16, self.word() & 0xffff)
    }
}

/// The text is none of the revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPsciVersion;

impl FromStr for PsciVersion {
    type Err = UnknownPsciVersion;

    fn from_str(text: &str) -> Result<Self, UnknownPsciVersion> {
        match text {
            "0.1" => Ok(Self::V0_1),
            "0.2" => Ok(Self::V0_2),
            "1.0" => Ok(Self::V1_0),
            "1.1" => Ok(Self::V1_1),
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(UnknownPsciVersion),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_revision_is_written_as_it_is_read() {
        for version in PsciVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for text in ["", "0.3", "1", "1.4", "2.0", "1.0 ", "v1.0", "1.00"] {
            assert_eq!(
                text.parse::<PsciVersion>(),
                Err(UnknownPsciVersion),
                "{text:?}"
            );
        }
    }
}
