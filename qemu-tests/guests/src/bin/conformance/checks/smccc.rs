//! The convention's own calls, and TRNG.

use super::{INVALID_PARAMETERS, NOT_SUPPORTED, SMCCC_VERSION, Test};

impl Test {
    /// SMCCC_VERSION is there when PSCI_FEATURES says so; ARCH_FEATURES knows itself; TRNG refuses bad sizes.
    pub fn smccc(&mut self) {
        let version = self.call(SMCCC_VERSION, 0, 0, 0);
        check!(
            self,
            (0x1_0001..0x2_0000).contains(&version),
            "SMCCC_VERSION: 1.1 or later, got {version:#x}"
        );
        returns!(
            self,
            self.call(0x8000_0001, SMCCC_VERSION, 0, 0),
            0,
            "SMCCC_ARCH_FEATURES(SMCCC_VERSION)"
        );
        returns!(
            self,
            self.call(0x8000_0001, 0x8000_0001, 0, 0),
            0,
            "SMCCC_ARCH_FEATURES(SMCCC_ARCH_FEATURES)"
        );
        returns!(
            self,
            self.call(0x8000_0001, 0x8000_7777, 0, 0),
            NOT_SUPPORTED,
            "SMCCC_ARCH_FEATURES of an unknown id"
        );
        returns!(
            self,
            self.call(0x8400_ff01, 0, 0, 0),
            NOT_SUPPORTED,
            "no UID of another firmware in the standard range"
        );
        if self.call(0x8400_0050, 0, 0, 0) >= 0 {
            self.trng_sizes();
        }
    }

    fn trng_sizes(&mut self) {
        for (id, bits) in [
            (0x8400_0053, 0),
            (0x8400_0053, 97),
            (0xc400_0053, 0),
            (0xc400_0053, 193),
        ] {
            returns!(
                self,
                self.call(id, bits, 0, 0),
                INVALID_PARAMETERS,
                "TRNG_RND {id:#x}: {bits} bits"
            );
        }
    }
}
