//! The errors of optional functions.

use guests::bare::cpu;

use super::{BASE32, BASE64, DENIED, INVALID_PARAMETERS, SUCCESS, Test, V1_0, V1_1, V1_3};

impl Test {
    /// Optional functions that this firmware has: their argument errors.
    pub fn optional_functions(&mut self) {
        if self.version < V1_0 {
            return;
        }
        for base in [BASE32, BASE64] {
            if self.features(base + 0xd) == 0 {
                self.node_hw_state(base);
            }
            if self.version >= V1_1 && self.features(base + 0x12) == 0 {
                for kind in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
                    returns!(
                        self,
                        self.call(base + 0x12, kind, 0, 0),
                        INVALID_PARAMETERS,
                        "SYSTEM_RESET2 {base:#x}: type {kind:#x}"
                    );
                }
            }
            if self.version >= V1_3 && self.features(base + 0x15) >= 0 {
                for (kind, cookie) in [(2, 0), (0x8000_0000, 0), (1, 1)] {
                    returns!(
                        self,
                        self.call(base + 0x15, kind, cookie, 0),
                        INVALID_PARAMETERS,
                        "SYSTEM_OFF2 {base:#x}: type {kind:#x}, cookie {cookie}"
                    );
                }
            }
        }
        if self.version >= V1_1 && self.features(BASE64 + 0x14) == 0 {
            self.protectable_ranges();
        }
        if self.features(BASE32 + 0xf) == 0 {
            returns!(
                self,
                self.call(BASE32 + 0xf, 2, 0, 0),
                INVALID_PARAMETERS,
                "PSCI_SET_SUSPEND_MODE: mode 2"
            );
            returns!(
                self,
                self.call(BASE32 + 0xf, 0, 0, 0),
                SUCCESS,
                "PSCI_SET_SUSPEND_MODE: the mode that is set"
            );
        }
    }

    fn node_hw_state(&mut self, base: u64) {
        let me = cpu::affinity();
        returns!(
            self,
            self.call(base + 0xd, me, 0, 0),
            0,
            "NODE_HW_STATE {base:#x}: the caller is HW_ON"
        );
        returns!(
            self,
            self.call(base + 0xd, self.absent_cpu(), 0, 0),
            INVALID_PARAMETERS,
            "NODE_HW_STATE {base:#x}: no such CPU"
        );
        returns!(
            self,
            self.call(base + 0xd, me, 9, 0),
            INVALID_PARAMETERS,
            "NODE_HW_STATE {base:#x}: level too high"
        );
    }

    fn protectable_ranges(&mut self) {
        let (ram, size) = self.guest.fdt.memory().unwrap_or_default();
        for (base, length, wanted, text) in [
            (ram, size, SUCCESS, "all memory"),
            (ram + size - 1, 1, SUCCESS, "the last byte"),
            (ram, 0, DENIED, "length 0"),
            (ram, size + 1, DENIED, "a byte too many"),
            (ram - 1, 2, DENIED, "a byte before memory"),
            (ram, !0, DENIED, "wrap-around"),
            (0x0900_0000, 8, DENIED, "a device"),
        ] {
            returns!(
                self,
                self.call(BASE64 + 0x14, base, length, 0),
                wanted,
                "MEM_PROTECT_CHECK_RANGE64: {text}"
            );
        }
    }
}
