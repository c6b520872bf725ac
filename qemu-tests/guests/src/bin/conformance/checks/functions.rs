//! Which functions a version has.

use guests::bare::smccc;

use super::{
    BASE32, BASE64, INVALID_PARAMETERS, NOT_SUPPORTED, SMCCC_VERSION, Test, V0_2, V1_0, V1_1, V1_3,
    chosen,
};

/// Whether a function must be there from its first version on.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Mandatory,
    Optional,
}
use Need::{Mandatory, Optional};

/// Name, number, whether it has a 64-bit form too, first version (minor of 0.2 to 1.3 as in the version word), need.
struct Function(&'static str, u64, bool, u32, Need);

const FUNCTIONS: [Function; 22] = [
    Function("PSCI_VERSION", 0x00, false, V0_2, Mandatory),
    Function("CPU_SUSPEND", 0x01, true, V0_2, Mandatory),
    Function("CPU_OFF", 0x02, false, V0_2, Mandatory),
    Function("CPU_ON", 0x03, true, V0_2, Mandatory),
    Function("AFFINITY_INFO", 0x04, true, V0_2, Mandatory),
    Function("MIGRATE", 0x05, true, V0_2, Optional),
    Function("MIGRATE_INFO_TYPE", 0x06, false, V0_2, Optional),
    Function("MIGRATE_INFO_UP_CPU", 0x07, true, V0_2, Optional),
    Function("SYSTEM_OFF", 0x08, false, V0_2, Mandatory),
    Function("SYSTEM_RESET", 0x09, false, V0_2, Mandatory),
    Function("PSCI_FEATURES", 0x0a, false, V1_0, Mandatory),
    Function("CPU_FREEZE", 0x0b, false, V1_0, Optional),
    Function("CPU_DEFAULT_SUSPEND", 0x0c, true, V1_0, Optional),
    Function("NODE_HW_STATE", 0x0d, true, V1_0, Optional),
    Function("SYSTEM_SUSPEND", 0x0e, true, V1_0, Optional),
    Function("PSCI_SET_SUSPEND_MODE", 0x0f, false, V1_0, Optional),
    Function("PSCI_STAT_RESIDENCY", 0x10, true, V1_0, Optional),
    Function("PSCI_STAT_COUNT", 0x11, true, V1_0, Optional),
    Function("SYSTEM_RESET2", 0x12, true, V1_1, Optional),
    Function("MEM_PROTECT", 0x13, false, V1_1, Optional),
    Function("MEM_PROTECT_CHECK_RANGE", 0x14, true, V1_1, Optional),
    Function("SYSTEM_OFF2", 0x15, true, V1_3, Optional),
];

impl Test {
    /// Ids that no version has, and 64-bit forms that do not exist: NOT_SUPPORTED in all 64 bits, and nothing but x0 changes.
    pub fn unknown_functions(&mut self) {
        for id in (0x16..0x20).flat_map(|n| [BASE32 + n, BASE64 + n]) {
            self.is_unknown(id, "reserved PSCI function");
        }
        for Function(name, number, wide, ..) in FUNCTIONS {
            if !wide {
                self.is_unknown(BASE64 + number, name);
            }
        }
        if self.version == 1 {
            for number in 0..0x20 {
                self.is_unknown(BASE32 + number, "standard id in 0.1");
                self.is_unknown(BASE64 + number, "standard id in 0.1");
            }
        } else if !self.on_qemu {
            // The ids that KVM and QEMU give to 0.1; QEMU serves them always.
            for id in 0x95c1_ba5e..=0x95c1_ba61 {
                self.is_unknown(id, "id of 0.1");
            }
        }
    }

    fn is_unknown(&mut self, id: u64, name: &str) {
        let before = smccc::pattern(id);
        let after = self.conduit.call(before);
        let unchanged = after[1..] == before[1..];
        check!(
            self,
            after[0] as i64 == NOT_SUPPORTED && unchanged,
            "{name} {id:#x} is NOT_SUPPORTED and changes only x0"
        );
    }

    pub fn psci_version(&mut self) {
        let before = smccc::pattern(BASE32);
        let after = self.conduit.call(before);
        returns!(
            self,
            after[0] as i64,
            self.version.into(),
            "PSCI_VERSION: the configured version"
        );
        check!(
            self,
            after[1..] == before[1..],
            "PSCI_VERSION: only x0 changes"
        );
        let junk = self.call(0xdead_beef_0000_0000 | BASE32, 0, 0, 0);
        returns!(
            self,
            junk,
            self.version.into(),
            "PSCI_VERSION: x0[63:32] is ignored"
        );
    }

    /// Presence by version: absent functions are NOT_SUPPORTED by FEATURES and by the call; mandatory ones are there; optional ones
    /// are told alike by FEATURES and by the call.
    pub fn function_table(&mut self) {
        for function in &FUNCTIONS {
            let Function(name, number, wide, since, _) = *function;
            for id in [Some(BASE32 + number), wide.then_some(BASE64 + number)]
                .into_iter()
                .flatten()
            {
                if self.version < since {
                    self.is_unknown(id, name);
                }
                // Below 1.0 there is no PSCI_FEATURES: it is one of the absent.
                if self.version >= V1_0 {
                    self.feature(function, id);
                }
            }
        }
        if self.version >= V1_0 {
            self.features_of_others();
        }
    }

    /// Functions that this version has, and this machine has not: `hidden=`.
    pub fn hidden_functions(&mut self) {
        for id in chosen(&self.guest, "hidden=") {
            self.is_unknown(id, "a function that is hidden");
            if self.version >= V1_0 {
                returns!(
                    self,
                    self.features(id),
                    NOT_SUPPORTED,
                    "FEATURES({id:#x}): a function that is hidden"
                );
            }
        }
    }

    /// What PSCI_FEATURES tells of one function.
    fn feature(&mut self, function: &Function, id: u64) {
        let Function(name, number, _, since, need) = *function;
        let feature = self.features(id);
        let word = match number {
            0x01 => feature & !3, // extended StateID, OS-initiated
            0x15 => feature & !1, // HIBERNATE_OFF
            _ => feature,
        };
        if self.version < since {
            returns!(
                self,
                feature,
                NOT_SUPPORTED,
                "FEATURES({name} {id:#x}): absent in this version"
            );
        } else if need == Mandatory {
            returns!(self, word, 0, "FEATURES({name} {id:#x}): mandatory");
        } else {
            check!(
                self,
                word == 0 || feature == NOT_SUPPORTED,
                "FEATURES({name} {id:#x}): 0 or NOT_SUPPORTED, got {feature}"
            );
            if feature == NOT_SUPPORTED {
                let result = self.call(id, 0, 0, 0);
                check!(
                    self,
                    result == NOT_SUPPORTED || number == 7 && result == INVALID_PARAMETERS,
                    "{name} {id:#x}: not in FEATURES, so NOT_SUPPORTED; got {result}"
                );
            }
        }
    }

    /// PSCI_FEATURES of ids that are no functions of PSCI, and of the one that is asked for there all the same.
    fn features_of_others(&mut self) {
        for id in [
            BASE64,
            BASE64 + 2,
            BASE64 + 0xa,
            BASE32 + 0x16,
            BASE64 + 0x1f,
            0x8600_beef,
            0,
            0x95c1_ba60,
        ] {
            returns!(
                self,
                self.features(id),
                NOT_SUPPORTED,
                "FEATURES({id:#x}): unknown"
            );
        }
        returns!(
            self,
            self.features(SMCCC_VERSION),
            0,
            "FEATURES(SMCCC_VERSION): present"
        );
        returns!(
            self,
            self.features(0xffff_ffff_8400_0000),
            0,
            "FEATURES: x1[63:32] is ignored"
        );
    }
}
