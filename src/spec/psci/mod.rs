//! Power State Coordination Interface (DEN0022): its functions, as one table, and its formats.
//!
//! [`TABLE`] is what everything else is taken from: which calls a VM of some revision has
//! ([`CallSet`]), hence what PSCI_FEATURES answers, what the dispatcher lets through and which ids the
//! guest's device tree names.

use self::{
    Function::*,
    Ids::{Smc32, Smc32And64},
    Presence::{Mandatory, Optional},
    Support::{Absent, Implemented},
};
use super::smccc::FunctionId;
use crate::types::PsciVersion::{self, V0_1, V0_2, V1_0, V1_1, V1_3};

/// The functions of PSCI; the value is the number in the function's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "DEN0022's names, which the table repeats")]
pub enum Function {
    Version,
    CpuSuspend,
    CpuOff,
    CpuOn,
    AffinityInfo,
    Migrate,
    MigrateInfoType,
    MigrateInfoUpCpu,
    SystemOff,
    SystemReset,
    Features,
    CpuFreeze,
    CpuDefaultSuspend,
    NodeHwState,
    SystemSuspend,
    SetSuspendMode,
    StatResidency,
    StatCount,
    SystemReset2,
    MemProtect,
    MemProtectCheckRange,
    SystemOff2,
}

/// Whether an implementation may leave a function out, in the revisions that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Presence {
    Mandatory,
    Optional,
}

/// Which ids a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// 0x84000000 + number only; the SMC64 id of the same number is undefined.
    Smc32,
    /// Also 0xc4000000 + number.
    Smc32And64,
}

/// Whether Bulkhead has a function; what it has not is NOT_SUPPORTED from the call and from
/// PSCI_FEATURES alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Support {
    Implemented,
    Absent,
}

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub function: Function,
    /// Name in DEN0022.
    pub name: &'static str,
    /// First revision that has the standard ids.
    pub since: PsciVersion,
    /// Mandatory or optional, from then on.
    pub presence: Presence,
    /// Widths that it can be called in.
    pub ids: Ids,
    /// Whether Bulkhead has it.
    pub support: Support,
    /// What PSCI_FEATURES returns for it (DEN0022F.b table 11).
    pub feature_word: u32,
    /// The device tree property that holds the id in 0.1; `None` for what came later.
    pub property: Option<&'static str>,
}

/// Every function, each at the index that is its number (DEN0022F.b).
#[rustfmt::skip]
pub const TABLE: [Row; 22] = [
    row(Version,              "PSCI_VERSION",            V0_2, Mandatory, Smc32,      Implemented),
    row(CpuSuspend,           "CPU_SUSPEND",             V0_2, Mandatory, Smc32And64, Implemented).in_0_1("cpu_suspend").features(OS_INITIATED),
    row(CpuOff,               "CPU_OFF",                 V0_2, Mandatory, Smc32,      Implemented).in_0_1("cpu_off"),
    row(CpuOn,                "CPU_ON",                  V0_2, Mandatory, Smc32And64, Implemented).in_0_1("cpu_on"),
    row(AffinityInfo,         "AFFINITY_INFO",           V0_2, Mandatory, Smc32And64, Implemented),
    // No trusted OS sits on one CPU, so there is nothing to migrate: that is what type 2 of
    // MIGRATE_INFO_TYPE says, and it makes the other two undefined.
    row(Migrate,              "MIGRATE",                 V0_2, Optional,  Smc32And64, Absent).in_0_1("migrate"),
    row(MigrateInfoType,      "MIGRATE_INFO_TYPE",       V0_2, Optional,  Smc32,      Implemented),
    row(MigrateInfoUpCpu,     "MIGRATE_INFO_UP_CPU",     V0_2, Optional,  Smc32And64, Absent),
    row(SystemOff,            "SYSTEM_OFF",              V0_2, Mandatory, Smc32,      Implemented),
    row(SystemReset,          "SYSTEM_RESET",            V0_2, Mandatory, Smc32,      Implemented),
    row(Features,             "PSCI_FEATURES",           V1_0, Mandatory, Smc32,      Implemented),
    row(CpuFreeze,            "CPU_FREEZE",              V1_0, Optional,  Smc32,      Implemented),
    row(CpuDefaultSuspend,    "CPU_DEFAULT_SUSPEND",     V1_0, Optional,  Smc32And64, Implemented),
    row(NodeHwState,          "NODE_HW_STATE",           V1_0, Optional,  Smc32And64, Implemented),
    row(SystemSuspend,        "SYSTEM_SUSPEND",          V1_0, Optional,  Smc32And64, Implemented),
    row(SetSuspendMode,       "PSCI_SET_SUSPEND_MODE",   V1_0, Optional,  Smc32,      Implemented),
    row(StatResidency,        "PSCI_STAT_RESIDENCY",     V1_0, Optional,  Smc32And64, Implemented),
    row(StatCount,            "PSCI_STAT_COUNT",         V1_0, Optional,  Smc32And64, Implemented),
    row(SystemReset2,         "SYSTEM_RESET2",           V1_1, Optional,  Smc32And64, Implemented),
    row(MemProtect,           "MEM_PROTECT",             V1_1, Optional,  Smc32,      Implemented),
    row(MemProtectCheckRange, "MEM_PROTECT_CHECK_RANGE", V1_1, Optional,  Smc32And64, Implemented),
    row(SystemOff2,           "SYSTEM_OFF2",             V1_3, Optional,  Smc32And64, Implemented).features(HIBERNATE_OFF),
];

/// PSCI_FEATURES(CPU_SUSPEND): OS-initiated mode is there. Bit 1 is 0: power states have the original
/// format.
const OS_INITIATED: u32 = 1 << 0;

/// PSCI_FEATURES(SYSTEM_OFF2): type HIBERNATE_OFF is there.
const HIBERNATE_OFF: u32 = 1 << 0;

/// `reset_type` of SYSTEM_RESET2: SYSTEM_WARM_RESET, the only one that is not a vendor's.
pub const WARM_RESET: u32 = 0;
/// `type` of SYSTEM_OFF2: HIBERNATE_OFF, and 0, which means the same.
pub const HIBERNATE_OFF_TYPES: [u32; 2] = [1, 0];

const fn row(
    function: Function,
    name: &'static str,
    since: PsciVersion,
    presence: Presence,
    ids: Ids,
    support: Support,
) -> Row {
    Row {
        function,
        name,
        since,
        presence,
        ids,
        support,
        feature_word: 0,
        property: None,
    }
}

impl Function {
    /// Its row of [`TABLE`].
    pub fn row(self) -> &'static Row {
        let [first, ..] = &TABLE;
        TABLE.get(self as usize).unwrap_or(first)
    }
}

impl Row {
    const fn in_0_1(mut self, property: &'static str) -> Self {
        self.property = Some(property);
        self
    }

    const fn features(mut self, word: u32) -> Self {
        self.feature_word = word;
        self
    }

    /// The SMC32 id, which every function has.
    pub const fn id32(&self) -> FunctionId {
        FunctionId::new(SMC32_BASE | self.function as u32)
    }

    /// The SMC64 id, where there is one.
    pub const fn id64(&self) -> Option<FunctionId> {
        match self.ids {
            Smc32 => None,
            Smc32And64 => Some(FunctionId::new(SMC64_BASE | self.function as u32)),
        }
    }

    /// Whether revision `version` defines the function, by whatever id.
    pub const fn is_in(&self, version: PsciVersion) -> bool {
        match version {
            V0_1 => self.property.is_some(),
            _ => version.word() >= self.since.word(),
        }
    }
}

const SMC32_BASE: u32 = 0x8400_0000;
const SMC64_BASE: u32 = 0xc400_0000;
/// Function numbers that the standard secure range sets aside for PSCI.
pub const NUMBERS: usize = 32;

// Each row is at the index that is its function's number.
const _: () = {
    let mut rest: &[Row] = &TABLE;
    let mut number = 0;
    while let [row, tail @ ..] = rest {
        assert!(row.function as usize == number && number < NUMBERS);
        number += 1;
        rest = tail;
    }
};

/// Which standard ids a VM's firmware answers: the lookup that dispatch and PSCI_FEATURES share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSet([Option<Function>; 2 * NUMBERS]);

impl CallSet {
    /// All that is implemented of revision `version`; 0.1 has no standard ids.
    pub fn of(version: PsciVersion) -> Self {
        let mut set = Self([None; 2 * NUMBERS]);
        for row in &TABLE {
            if version == V0_1 || !row.is_in(version) || row.support == Absent {
                continue;
            }
            for id in [Some(row.id32()), row.id64()].into_iter().flatten() {
                if let Some(call) = Self::slot(id).and_then(|slot| set.0.get_mut(slot)) {
                    *call = Some(row.function);
                }
            }
        }
        set
    }

    /// The same without `hidden`.
    pub fn without(mut self, hidden: FunctionSet) -> Self {
        for call in &mut self.0 {
            *call = call.filter(|function| !hidden.contains(*function));
        }
        self
    }

    /// The function that `id` calls, if it is one of the set.
    #[inline(always)]
    pub fn find(&self, id: FunctionId) -> Option<Function> {
        self.at(Self::slot(id)?)
    }

    /// What PSCI_FEATURES tells of `id`, if it is one of the set. OS-initiated mode is there where it can be chosen.
    #[inline(always)]
    pub fn features(&self, id: FunctionId) -> Option<u32> {
        let function = self.find(id)?;
        let word = function.row().feature_word;
        match function {
            CpuSuspend if self.at(SetSuspendMode as usize).is_none() => Some(word & !OS_INITIATED),
            _ => Some(word),
        }
    }

    /// The function in a [`slot`](Self::slot).
    #[inline(always)]
    pub fn at(&self, slot: usize) -> Option<Function> {
        *self.0.get(slot)?
    }

    /// Where an id is: the SMC32 ids by number, then the SMC64 ids. `None` outside of PSCI's range.
    #[inline(always)]
    pub const fn slot(id: FunctionId) -> Option<usize> {
        const WIDTH: u32 = SMC32_BASE ^ SMC64_BASE;
        let number = id.get() as usize % NUMBERS;
        if id.get() & !WIDTH & !(NUMBERS as u32 - 1) != SMC32_BASE {
            return None;
        }
        match id.get() & WIDTH {
            0 => Some(number),
            _ => Some(NUMBERS + number),
        }
    }
}

/// What is answered to the standard ids of a VM, as far as neither an argument nor a state matters: the
/// version, and NOT_SUPPORTED. A guest asks such questions all the time and gets an answer at once.
#[derive(Clone, Copy, Debug)]
pub struct Constants([Option<i32>; 2 * NUMBERS]);

impl Constants {
    /// Those of a VM of revision `version` that has `calls`. There are none in 0.1, whose own ids may be any.
    pub fn of(version: PsciVersion, calls: &CallSet) -> Self {
        let constant = |function| match function {
            _ if version == V0_1 => None,
            Some(Version) => Some(version.word() as i32),
            Some(MigrateInfoType) => Some(MIGRATE_INFO_TYPE),
            None => Some(Error::NotSupported as i32),
            _ => None,
        };
        Self(calls.0.map(constant))
    }

    /// What x0 is to be, for the id in a [`slot`](CallSet::slot).
    #[inline(always)]
    pub fn at(&self, slot: usize) -> Option<u64> {
        Some(i64::from((*self.0.get(slot)?)?) as u64)
    }
}

/// What MIGRATE_INFO_TYPE returns: a trusted OS is not there or needs no migration (DEN0022F.b).
pub const MIGRATE_INFO_TYPE: i32 = 2;

/// Functions that a VM has to be without, whether its revision has them or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionSet(u32);

impl FunctionSet {
    /// The functions that may be taken away, by name: the optional ones.
    pub fn hideable() -> impl Iterator<Item = &'static str> {
        let optional = TABLE.iter().filter(|row| row.presence == Optional);
        optional.map(|row| row.name)
    }

    /// Adds the function of that name; `None` when there is none or it is mandatory.
    pub fn with(self, name: &str) -> Option<Self> {
        let row = TABLE.iter().find(|row| row.name == name)?;
        (row.presence == Optional).then_some(Self(self.0 | Self::bit(row.function)))
    }

    /// Whether `function` is one of them.
    pub const fn contains(self, function: Function) -> bool {
        self.0 & Self::bit(function) != 0
    }

    const fn bit(function: Function) -> u32 {
        1 << (function as u32 % NUMBERS as u32)
    }
}

/// The function ids of a 0.1 VM, which its device tree names (DEN0022A left them to the platform).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the id of the function of its name")]
pub struct LegacyIds {
    pub cpu_suspend: u32,
    pub cpu_off: u32,
    pub cpu_on: u32,
    pub migrate: u32,
}

impl LegacyIds {
    /// KVM's, which guests that take no notice of the device tree have built in.
    pub const KVM: Self = Self {
        cpu_suspend: 0x95c1_ba5e,
        cpu_off: 0x95c1_ba5f,
        cpu_on: 0x95c1_ba60,
        migrate: 0x95c1_ba61,
    };

    /// The function that `id` calls in a 0.1 VM, if any that is implemented.
    pub fn find(&self, id: FunctionId) -> Option<Function> {
        let row = TABLE
            .iter()
            .find(|row| self.id(row.function) == Some(id.get()))?;
        (row.support == Implemented).then_some(row.function)
    }

    /// The id of `function`, if 0.1 has it.
    pub const fn id(&self, function: Function) -> Option<u32> {
        match function {
            CpuSuspend => Some(self.cpu_suspend),
            CpuOff => Some(self.cpu_off),
            CpuOn => Some(self.cpu_on),
            Migrate => Some(self.migrate),
            _ => None,
        }
    }
}

impl Default for LegacyIds {
    fn default() -> Self {
        Self::KVM
    }
}

/// What the `compatible` property of a guest's /psci node lists, best first. There are no strings for
/// 1.1 and later; PSCI_VERSION tells. "arm,psci" is for guests that know 0.1 only: the ids of
/// [`dt_ids`] must then be there (Linux Documentation/devicetree/bindings/arm/psci.yaml).
pub const fn compatibles(version: PsciVersion) -> &'static [&'static str] {
    match version {
        V0_1 => &["arm,psci"],
        V0_2 => &["arm,psci-0.2", "arm,psci"],
        _ => &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"],
    }
}

/// The id properties of a guest's /psci node, by name: those that can be called, in the width that an
/// AArch64 guest wants. `migrate` is not among them in any revision: the binding demands `cpu_on` and
/// `cpu_off` only (psci.yaml), and whoever finds the property may take it that there is something to
/// migrate. The call, by the id that it would have, is NOT_SUPPORTED.
pub fn dt_ids(
    version: PsciVersion,
    legacy: LegacyIds,
) -> impl Iterator<Item = (&'static str, u32)> {
    TABLE.iter().filter_map(move |row| {
        let id = match version {
            V0_1 => legacy.id(row.function)?,
            _ => row.id64().unwrap_or(row.id32()).get(),
        };
        let property = row.property?;
        (row.support == Implemented).then_some((property, id))
    })
}

/// What a call can fail with (DEN0022F.b, return error codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "DEN0022's names")]
pub enum Error {
    NotSupported = -1,
    InvalidParameters = -2,
    Denied = -3,
    AlreadyOn = -4,
    OnPending = -5,
    InternalFailure = -6,
    NotPresent = -7,
    Disabled = -8,
    InvalidAddress = -9,
}

impl Error {
    /// The code that revision `version` has for it: 0.1 knows the first three only, and
    /// INVALID_ADDRESS came with 1.0.
    pub const fn in_version(self, version: PsciVersion) -> Self {
        match (version, self) {
            (V0_1 | V0_2, Self::InvalidAddress) => Self::InvalidParameters,
            (V0_1, Self::AlreadyOn | Self::OnPending | Self::NotPresent) => Self::InvalidParameters,
            (V0_1, Self::InternalFailure | Self::Disabled) => Self::Denied,
            _ => self,
        }
    }

    /// As x0 carries it: sign-extended, for SMC32 calls too (DEN0028 7.1).
    pub const fn x0(self) -> u64 {
        self as i64 as u64
    }
}

/// The `power_state` argument in its original format (DEN0022F.b, CPU_SUSPEND): the only one before
/// 1.0, and afterwards the one that PSCI_FEATURES(CPU_SUSPEND) bit 1 = 0 announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerState {
    /// `[25:24]`: the highest level of the power domain tree that is to go down with the CPU.
    pub level: u8,
    /// `[16]`: whether the CPU's state may be lost.
    pub kind: StateType,
    /// `[15:0]`: the platform's name for it.
    pub id: u16,
}

/// The level of the power domain that holds all of a VM: every vCPU has Aff2 = 0.
pub const TOP_LEVEL: u32 = 2;

/// Bit 16 of `power_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateType {
    /// Standby or retention: the call returns with everything as it was.
    Standby,
    /// Power-down: execution starts afresh at the entry point.
    PowerDown,
}

impl PowerState {
    /// Standby of one CPU.
    pub const STANDBY: Self = Self::new(0, StateType::Standby);
    /// Power-down of one CPU.
    pub const POWER_DOWN: Self = Self::new(0, StateType::PowerDown);
    /// Power-down of everything.
    pub const SYSTEM: Self = Self::new(TOP_LEVEL as u8, StateType::PowerDown);

    const fn new(level: u8, kind: StateType) -> Self {
        Self { level, kind, id: 0 }
    }

    /// As an argument.
    pub const fn word(self) -> u32 {
        (self.level as u32) << 24 | (self.kind as u32) << 16 | self.id as u32
    }

    /// Bits of the original format that must be zero.
    const RESERVED: u32 = 0xfcfe_0000;

    /// Reads `word`; `None` when a reserved bit is set, or no power domain has this level.
    pub const fn decode(word: u32) -> Option<Self> {
        if word & Self::RESERVED != 0 || word >> 24 > TOP_LEVEL {
            return None;
        }
        Some(Self {
            level: (word >> 24) as u8,
            kind: if word & 1 << 16 == 0 {
                StateType::Standby
            } else {
                StateType::PowerDown
            },
            id: word as u16,
        })
    }
}

/// Who decides how deep a power domain sleeps, as PSCI_SET_SUSPEND_MODE names it (DEN0022F.b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspendMode {
    /// The firmware, from what the CPUs of the domain allow.
    PlatformCoordinated = 0,
    /// The OS, with the last CPU that goes to sleep.
    OsInitiated = 1,
}

impl SuspendMode {
    /// The mode with this number.
    pub const fn decode(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::PlatformCoordinated),
            1 => Some(Self::OsInitiated),
            _ => None,
        }
    }
}

/// What NODE_HW_STATE returns (DEN0022F.b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HwState {
    /// HW_ON.
    On = 0,
    /// HW_OFF.
    Off = 1,
    /// HW_STANDBY.
    Standby = 2,
}

#[cfg(test)]
mod tests;
