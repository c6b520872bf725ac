//! The table and the formats against a second copy, typed from the standard.

use super::*;
use std::{vec, vec::Vec};

/// DEN0022's functions: number, name, whether there is an SMC64 id, first revision with a standard id
/// (as PSCI_VERSION word), whether it is mandatory from then on.
const STANDARD: [(u32, &str, bool, u32, bool); 22] = [
    (0x00, "PSCI_VERSION", false, 0x0_0002, true),
    (0x01, "CPU_SUSPEND", true, 0x0_0002, true),
    (0x02, "CPU_OFF", false, 0x0_0002, true),
    (0x03, "CPU_ON", true, 0x0_0002, true),
    (0x04, "AFFINITY_INFO", true, 0x0_0002, true),
    (0x05, "MIGRATE", true, 0x0_0002, false),
    (0x06, "MIGRATE_INFO_TYPE", false, 0x0_0002, false),
    (0x07, "MIGRATE_INFO_UP_CPU", true, 0x0_0002, false),
    (0x08, "SYSTEM_OFF", false, 0x0_0002, true),
    (0x09, "SYSTEM_RESET", false, 0x0_0002, true),
    (0x0a, "PSCI_FEATURES", false, 0x1_0000, true),
    (0x0b, "CPU_FREEZE", false, 0x1_0000, false),
    (0x0c, "CPU_DEFAULT_SUSPEND", true, 0x1_0000, false),
    (0x0d, "NODE_HW_STATE", true, 0x1_0000, false),
    (0x0e, "SYSTEM_SUSPEND", true, 0x1_0000, false),
    (0x0f, "PSCI_SET_SUSPEND_MODE", false, 0x1_0000, false),
    (0x10, "PSCI_STAT_RESIDENCY", true, 0x1_0000, false),
    (0x11, "PSCI_STAT_COUNT", true, 0x1_0000, false),
    (0x12, "SYSTEM_RESET2", true, 0x1_0001, false),
    (0x13, "MEM_PROTECT", false, 0x1_0001, false),
    (0x14, "MEM_PROTECT_CHECK_RANGE", true, 0x1_0001, false),
    (0x15, "SYSTEM_OFF2", true, 0x1_0003, false),
];

#[test]
fn every_row_is_as_the_standard_has_it() {
    for (row, (number, name, smc64, since, mandatory)) in TABLE.iter().zip(STANDARD) {
        assert_eq!(row.name, name);
        assert_eq!(row.id32().get(), 0x8400_0000 + number, "{name}");
        let id64 = smc64.then_some(0xc400_0000 + number);
        assert_eq!(row.id64().map(FunctionId::get), id64, "{name}");
        assert_eq!(row.since.word(), since, "{name}");
        assert_eq!(row.presence == Presence::Mandatory, mandatory, "{name}");
    }
}

#[test]
fn what_is_mandatory_is_implemented() {
    for row in &TABLE {
        assert!(
            row.presence == Optional || row.support == Implemented,
            "{}",
            row.name
        );
    }
}

/// DEN0022F.b table 11: only CPU_SUSPEND and SYSTEM_OFF2 have bits: bit 0 says that there is
/// OS-initiated mode, bit 1 that power states are not in the original format; bit 0 of SYSTEM_OFF2 is
/// HIBERNATE_OFF.
#[test]
fn feature_words_are_os_initiated_mode_and_hibernate_off() {
    for row in &TABLE {
        let word = match row.name {
            "CPU_SUSPEND" | "SYSTEM_OFF2" => 1,
            _ => 0,
        };
        assert_eq!(row.feature_word, word, "{}", row.name);
    }
}

#[test]
fn version_0_1_has_four_functions() {
    let names: Vec<_> = TABLE
        .iter()
        .filter(|row| row.is_in(V0_1))
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["CPU_SUSPEND", "CPU_OFF", "CPU_ON", "MIGRATE"]);
}

/// Number of functions per revision: 10, 18, 21, 21, 22.
#[test]
fn revisions_only_ever_add() {
    let counts = PsciVersion::ALL.map(|version| TABLE.iter().filter(|r| r.is_in(version)).count());
    assert_eq!(counts, [4, 10, 18, 21, 21, 22]);
}

#[test]
fn a_0_1_vm_answers_to_no_standard_id() {
    let calls = CallSet::of(V0_1);
    for id in (0x8400_0000..0x8400_0100).chain(0xc400_0000..0xc400_0100) {
        assert_eq!(calls.find(FunctionId::new(id)), None, "{id:#x}");
    }
}

/// Fast bit, owner, must-be-zero bits [23:16], the SVE hint, and numbers beyond PSCI's.
#[test]
fn an_id_with_one_wrong_bit_is_another_call() {
    let calls = CallSet::of(V1_3);
    assert_eq!(calls.find(FunctionId::new(0xc400_0003)), Some(CpuOn));
    for bit in (5..30).chain([31]) {
        assert_eq!(
            calls.find(FunctionId::new(0xc400_0003 ^ 1 << bit)),
            None,
            "bit {bit}"
        );
    }
}

#[test]
fn kvm_ids_of_0_1() {
    let ids = LegacyIds::default();
    assert_eq!(ids.find(FunctionId::new(0x95c1_ba5d)), None);
    assert_eq!(ids.find(FunctionId::new(0x95c1_ba5e)), Some(CpuSuspend));
    assert_eq!(ids.find(FunctionId::new(0x95c1_ba5f)), Some(CpuOff));
    assert_eq!(ids.find(FunctionId::new(0x95c1_ba60)), Some(CpuOn));
    assert_eq!(
        ids.find(FunctionId::new(0x95c1_ba61)),
        None,
        "MIGRATE is not there"
    );
    assert_eq!(ids.find(FunctionId::new(0x95c1_ba62)), None);
}

#[test]
fn optional_functions_can_be_hidden_and_no_others() {
    let none = FunctionSet::default();
    for name in [
        "PSCI_VERSION",
        "CPU_SUSPEND",
        "CPU_OFF",
        "CPU_ON",
        "AFFINITY_INFO",
        "SYSTEM_OFF",
        "SYSTEM_RESET",
        "PSCI_FEATURES",
        "system_suspend",
        "",
    ] {
        assert_eq!(none.with(name), None, "{name}");
    }
    assert_eq!(FunctionSet::hideable().count(), 14);
    for name in FunctionSet::hideable() {
        assert!(none.with(name).is_some(), "{name}");
    }
    let two = none
        .with("SYSTEM_SUSPEND")
        .unwrap()
        .with("MIGRATE")
        .unwrap();
    assert!(two.contains(SystemSuspend) && two.contains(Migrate));
    assert!(!two.contains(SystemOff2) && !two.contains(Version));
}

#[test]
fn the_device_tree_says_which_revision() {
    assert_eq!(compatibles(V0_1), ["arm,psci"]);
    assert_eq!(compatibles(V0_2), ["arm,psci-0.2", "arm,psci"]);
    for version in [V1_0, V1_1, PsciVersion::V1_2, V1_3] {
        assert_eq!(
            compatibles(version),
            ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]
        );
    }
}

#[test]
fn the_device_tree_names_the_ids_that_work() {
    let ids = |version| dt_ids(version, LegacyIds::KVM).collect::<Vec<_>>();
    assert_eq!(
        ids(V0_1),
        vec![
            ("cpu_suspend", 0x95c1_ba5e),
            ("cpu_off", 0x95c1_ba5f),
            ("cpu_on", 0x95c1_ba60)
        ]
    );
    for version in [V0_2, V1_0, V1_3] {
        assert_eq!(
            ids(version),
            vec![
                ("cpu_suspend", 0xc400_0001),
                ("cpu_off", 0x8400_0002),
                ("cpu_on", 0xc400_0003)
            ]
        );
    }
}

#[test]
fn errors_of_1_0_and_later_are_the_standards() {
    let codes = [
        (Error::NotSupported, -1),
        (Error::InvalidParameters, -2),
        (Error::Denied, -3),
        (Error::AlreadyOn, -4),
        (Error::OnPending, -5),
        (Error::InternalFailure, -6),
        (Error::NotPresent, -7),
        (Error::Disabled, -8),
        (Error::InvalidAddress, -9),
    ];
    for (error, code) in codes {
        assert_eq!(error.in_version(V1_0).x0() as i64, code);
        assert_eq!(error.in_version(V1_3).x0() as i64, code);
        let before_1_0 = if code == -9 { -2 } else { code };
        assert_eq!(error.in_version(V0_2).x0() as i64, before_1_0);
        let in_0_1 = error.in_version(V0_1).x0() as i64;
        assert!((-3..=-1).contains(&in_0_1), "{error:?} is {in_0_1}");
    }
    assert_eq!(Error::AlreadyOn.in_version(V0_1).x0() as i64, -2);
    assert_eq!(Error::InvalidAddress.in_version(V0_1).x0() as i64, -2);
    assert_eq!(Error::Denied.in_version(V0_1).x0() as i64, -3);
}

/// The three states of the example in Linux's psci.yaml, and a power-down with every field set.
#[test]
fn power_states_of_the_original_format() {
    let state = |level, kind, id| Some(PowerState { level, kind, id });
    use StateType::{PowerDown, Standby};
    assert_eq!(PowerState::decode(0x000_0001), state(0, Standby, 1));
    assert_eq!(PowerState::decode(0x100_0011), state(1, Standby, 0x11));
    assert_eq!(PowerState::decode(0x100_0031), state(1, Standby, 0x31));
    assert_eq!(PowerState::decode(0x201_ffff), state(2, PowerDown, 0xffff));
}

#[test]
fn our_own_power_states_are_written_as_they_are_read() {
    for (state, word) in [
        (PowerState::STANDBY, 0),
        (PowerState::POWER_DOWN, 0x1_0000),
        (PowerState::SYSTEM, 0x201_0000),
    ] {
        assert_eq!(state.word(), word);
        assert_eq!(PowerState::decode(word), Some(state));
    }
}

#[test]
fn a_power_state_with_a_reserved_bit_is_none() {
    for bit in (17..=23).chain(26..=31) {
        assert_eq!(PowerState::decode(1 << bit), None, "bit {bit}");
    }
}

/// There are domains of three levels: CPU, cluster, system.
#[test]
fn a_power_state_of_a_level_that_no_domain_has_is_none() {
    assert_eq!(PowerState::decode(0x300_0000), None);
    assert_eq!(PowerState::decode(0x301_0000), None);
}
