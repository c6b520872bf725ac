//! AFFINITY_INFO, and what there is of MIGRATE.

use guests::bare::{cpu, smccc};

use super::{BASE32, BASE64, INVALID_PARAMETERS, NOT_SUPPORTED, OFF, ON, Test, V1_0};

impl Test {
    pub fn affinity_info(&mut self) {
        let me = cpu::affinity();
        for (base, form) in [(BASE32, "32"), (BASE64, "64")] {
            let id = base + 4;
            returns!(
                self,
                self.call(id, me, 0, 0),
                ON,
                "AFFINITY_INFO{form}: the caller is ON"
            );
            for index in 1..self.guest.cpus {
                returns!(
                    self,
                    self.call(id, self.target(index), 0, 0),
                    OFF,
                    "AFFINITY_INFO{form}: CPU {index} is OFF before CPU_ON"
                );
            }
            returns!(
                self,
                self.call(id, self.absent_cpu(), 0, 0),
                INVALID_PARAMETERS,
                "AFFINITY_INFO{form}: a CPU that is not there"
            );
            self.affinity_info_arguments(id, form);
        }
        self.affinity_info_registers();
    }

    /// Reserved bits and levels, for one form of the call.
    fn affinity_info_arguments(&mut self, id: u64, form: &str) {
        let me = cpu::affinity();
        for bit in [24, 31] {
            returns!(
                self,
                self.call(id, me | 1 << bit, 0, 0),
                INVALID_PARAMETERS,
                "AFFINITY_INFO{form}: reserved bit {bit}"
            );
        }
        for level in [3, 4, 0xff, 0x8000_0000, 0xffff_ffff] {
            returns!(
                self,
                self.call(id, me, level, 0),
                INVALID_PARAMETERS,
                "AFFINITY_INFO{form}: level {level:#x} is too high"
            );
        }
        for level in [1, 2] {
            // Fields below the level are ignored; from 1.0 on levels above 0 may be refused (DEN0022 5.7).
            let result = self.call(id, me | 0xe1, level, 0);
            check!(
                self,
                result == ON || self.version >= V1_0 && result == INVALID_PARAMETERS,
                "AFFINITY_INFO{form}: level {level} with junk below it, got {result}"
            );
        }
    }

    /// What the two forms see of the registers, and what an error leaves in them.
    fn affinity_info_registers(&mut self) {
        let me = cpu::affinity();
        for bit in [32, 40, 63] {
            returns!(
                self,
                self.call(BASE64 + 4, me | 1 << bit, 0, 0),
                INVALID_PARAMETERS,
                "AFFINITY_INFO64: bit {bit}"
            );
        }
        let junk = 0xffff_ffff_0000_0000;
        returns!(
            self,
            self.call(BASE32 + 4, me | junk, junk, 0),
            ON,
            "AFFINITY_INFO32: upper halves are ignored"
        );
        let before = {
            let mut registers = smccc::pattern(BASE64 + 4);
            registers[1] = self.absent_cpu();
            registers
        };
        check!(
            self,
            self.conduit.call(before)[1..] == before[1..],
            "AFFINITY_INFO64: an error changes only x0"
        );
    }

    pub fn migrate(&mut self) {
        let kind = self.call(BASE32 + 6, 0, 0, 0);
        check!(
            self,
            kind == 2 || kind == NOT_SUPPORTED,
            "MIGRATE_INFO_TYPE: 2 or NOT_SUPPORTED, got {kind}"
        );
        for base in [BASE32, BASE64] {
            returns!(
                self,
                self.call(base + 5, cpu::affinity(), 0, 0),
                NOT_SUPPORTED,
                "MIGRATE {:#x}: no trusted OS",
                base + 5
            );
            let up = self.call(base + 7, 0, 0, 0);
            check!(
                self,
                up == NOT_SUPPORTED || up == INVALID_PARAMETERS,
                "MIGRATE_INFO_UP_CPU {:#x}: fails, got {up}",
                base + 7
            );
        }
    }
}
