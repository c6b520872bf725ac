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
        if self.version >= V1_1 && self.features(BASE32 + 0x13) == 0 {
            self.mem_protect();
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

    /// The answer is the state of before; any value but 0 enables, and the upper half is no part of it.
    fn mem_protect(&mut self) {
        for (enable, before) in [(1, 0), (1, 1), (0, 1), (!0 << 32, 0), (2, 0), (0, 1)] {
            returns!(
                self,
                self.call(BASE32 + 0x13, enable, 0, 0),
                before,
                "MEM_PROTECT: {enable:#x} when it was {before}"
            );
        }
    }

    fn protectable_ranges(&mut self) {
        let (ram, size) = self.guest.fdt.memory().unwrap_or_default();
        let junk = 0xffff_ffff_0000_0000;
        for (id, base, length, wanted, text) in [
            (BASE64 + 0x14, ram, size, SUCCESS, "all memory"),
            (BASE64 + 0x14, ram + size - 1, 1, SUCCESS, "the last byte"),
            (BASE64 + 0x14, ram, 0, DENIED, "length 0"),
            (BASE64 + 0x14, ram, size + 1, DENIED, "a byte too many"),
            (BASE64 + 0x14, ram - 1, 2, DENIED, "a byte before memory"),
            (BASE64 + 0x14, ram, !0, DENIED, "wrap-around"),
            (BASE64 + 0x14, 0x0900_0000, 8, DENIED, "a device"),
            (
                BASE64 + 0x14,
                ram | junk,
                8,
                DENIED,
                "the upper half counts",
            ),
            (
                BASE32 + 0x14,
                ram | junk,
                size | junk,
                SUCCESS,
                "all memory",
            ),
            (BASE32 + 0x14, ram, junk, DENIED, "length 0"),
            (BASE32 + 0x14, ram, size + 1, DENIED, "a byte too many"),
            (BASE32 + 0x14, ram, !0, DENIED, "wrap-around"),
        ] {
            returns!(
                self,
                self.call(id, base, length, 0),
                wanted,
                "MEM_PROTECT_CHECK_RANGE {id:#x}: {text}"
            );
        }
    }
}
