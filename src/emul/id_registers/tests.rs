use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const V3: View = View {
    gicv3: true,
    pa_range: 4,
};

fn id(crm: u16, op2: u16) -> SysReg {
    SysReg::new(3, 0, 0, crm, op2)
}

/// The view of a CPU on which `register` reads as `raw`, and which has AArch32 at EL0.
fn seen(register: SysReg, raw: u64, view: &View) -> u64 {
    read(
        register,
        view,
        |asked| {
            if asked == register { raw } else { 2 }
        },
    )
}

#[test]
fn a_neoverse_n1_shows_what_works_without_el2() {
    // Neoverse N1 TRM (100616) B2.
    for (register, raw, expected) in [
        (id(4, 0), 0x1100_0000_1011_1112, 0x1100_0000_0111_0012),
        (id(4, 1), 0x20, 0x20),
        (id(5, 0), 0x1_1030_5408, 0xf0_1030_5008),
        (id(6, 0), 0x1000_1021_1120, 0x1000_1021_1120),
        (id(6, 1), 0x10_0001, 0x10_0001),
        (id(7, 0), 0x10_1125, 0x10_0124),
        (id(7, 1), 0x1021_2122, 0x0020_2002),
        (id(7, 2), 0x1011, 0x11),
    ] {
        assert_eq!(seen(register, raw, &V3), expected, "{register}");
    }
}

#[test]
fn a_cortex_a72_with_a_gicv2_shows_what_works_without_el2() {
    // Cortex-A72 TRM (100095) 4.3.
    let view = View {
        gicv3: false,
        pa_range: 5,
    };
    for (register, raw, expected) in [
        (id(4, 0), 0x0100_2222, 0x12),
        (id(5, 0), 0x1030_5106, 0xf0_1030_5006),
        (id(6, 0), 0x1_1120, 0x1_1120),
        (id(7, 0), 0x1124, 0x124),
        (id(7, 1), 0, 0),
    ] {
        assert_eq!(seen(register, raw, &view), expected, "{register}");
    }
}

#[test]
fn what_is_not_virtualised_is_hidden_whatever_its_value() {
    for (crm, op2, shift, name) in [
        (4, 0, 8, "EL2"),
        (4, 0, 12, "EL3"),
        (4, 0, 28, "RAS"),
        (4, 0, 32, "SVE"),
        (4, 0, 36, "SEL2"),
        (4, 0, 40, "MPAM"),
        (4, 0, 44, "AMU"),
        (4, 0, 52, "RME"),
        (4, 1, 8, "MTE"),
        (4, 1, 12, "RAS_frac"),
        (4, 1, 16, "MPAM_frac"),
        (4, 1, 24, "SME"),
        (4, 1, 36, "NMI"),
        (4, 1, 44, "GCS"),
        (4, 1, 48, "THE"),
        (4, 1, 56, "DF2"),
        (4, 2, 32, "FPMR"),
        (5, 0, 4, "TraceVer"),
        (5, 0, 8, "PMUVer"),
        (5, 0, 32, "PMSVer"),
        (5, 0, 40, "TraceFilt"),
        (5, 0, 44, "TraceBuffer"),
        (5, 0, 52, "BRBE"),
        (6, 0, 24, "TME"),
        (6, 1, 4, "APA"),
        (6, 1, 8, "API"),
        (6, 1, 24, "GPA"),
        (6, 1, 28, "GPI"),
        (6, 1, 60, "LS64"),
        (6, 2, 8, "GPA3"),
        (6, 2, 12, "APA3"),
        (6, 2, 16, "MOPS"),
        (6, 2, 24, "PAC_frac"),
        (7, 0, 56, "FGT"),
        (7, 0, 60, "ECV"),
        (7, 1, 8, "VH"),
        (7, 1, 16, "LO"),
        (7, 1, 40, "HCX"),
        (7, 2, 12, "IESB"),
        (7, 2, 24, "NV"),
        (7, 2, 40, "FWB"),
        (7, 2, 56, "EVT"),
        (7, 3, 0, "TCRX"),
        (7, 3, 4, "SCTLRX"),
        (7, 3, 8, "S1PIE"),
        (7, 3, 16, "S1POE"),
        (7, 3, 32, "D128"),
    ] {
        for value in 0..=15u64 {
            let field = seen(id(crm, op2), value << shift, &V3) >> shift & 15;
            assert_eq!(field, 0, "{name} = {value}");
        }
    }
}

#[test]
fn a_field_above_what_we_know_is_cut_down_to_it() {
    for (crm, op2, shift, raw, expected, name) in [
        (4, 0, 0, 1, 1, "EL0 without AArch32"),
        (4, 0, 4, 2, 1, "EL1 with AArch32"),
        (4, 0, 24, 3, 1, "GICv4.1"),
        (4, 0, 56, 3, 1, "CSV2_3"),
        (4, 0, 60, 1, 1, "CSV3"),
        (4, 1, 4, 2, 2, "SSBS2"),
        (4, 1, 32, 2, 1, "CSV2_1p2"),
        (5, 0, 0, 11, 10, "Debugv8p9"),
        (7, 1, 0, 3, 2, "HAFT"),
        (7, 1, 20, 3, 3, "PAN3"),
        (7, 1, 60, 1, 1, "ECBHB"),
        (7, 2, 16, 2, 1, "56-bit addresses"),
    ] {
        let field = seen(id(crm, op2), raw << shift, &V3) >> shift & 15;
        assert_eq!(field, expected, "{name}");
    }
}

#[test]
fn signed_fields_say_not_implemented_by_minus_one() {
    let no_fp = seen(id(4, 0), 0x00ff_0012, &V3);
    assert_eq!(no_fp >> 16 & 0xff, 0xff, "neither FP nor AdvSIMD");
    let fp16 = seen(id(4, 0), 0x0011_0012, &V3);
    assert_eq!(fp16 >> 16 & 0xff, 0x11);
    // TGran4 = -1, TGran64 = 0, TGran16 = 0: 64 KiB pages only.
    let granules = seen(id(7, 0), 0xf000_0000, &V3);
    assert_eq!(granules >> 20 & 0xfff, 0xf00);
    // TGran4 = 1 with 52 bits, TGran64 = -1, TGran16 = 2.
    let lpa2 = seen(id(7, 0), 0x1f20_0000, &V3);
    assert_eq!(lpa2 >> 20 & 0xfff, 0x1f2);
}

#[test]
fn the_double_lock_is_absent_on_every_cpu() {
    for raw in [0, u64::MAX, 0x10_0000_0000] {
        assert_eq!(seen(id(5, 0), raw, &V3) >> 36 & 15, 15);
    }
}

#[test]
fn the_physical_range_is_what_stage_2_offers() {
    for (raw, pa_range, expected) in [(6, 5, 5), (2, 5, 2), (7, 4, 4), (0, 0, 0)] {
        let view = View {
            gicv3: true,
            pa_range,
        };
        assert_eq!(seen(id(7, 0), raw, &view) & 15, expected);
    }
}

#[test]
fn the_gic_field_follows_the_guests_gic() {
    let v2 = View { gicv3: false, ..V3 };
    assert_eq!(seen(id(4, 0), 0x0100_0012, &v2) >> 24 & 15, 0);
    assert_eq!(seen(id(4, 0), 0x12, &V3) >> 24 & 15, 1);
}

#[test]
fn without_aarch32_its_registers_read_as_zero() {
    for crm in 1..=3 {
        for op2 in 0..=7 {
            let value = read(id(crm, op2), &V3, |register| {
                if register == id(4, 0) { 0x11 } else { u64::MAX }
            });
            assert_eq!(value, 0, "{}", id(crm, op2));
        }
    }
    // ID_ISAR5_EL1 of Cortex-A72: crypto and CRC32, passed when AArch32 is there.
    assert_eq!(seen(id(2, 5), 0x1_1121, &V3), 0x1_1121);
}

#[test]
fn reserved_registers_read_as_zero() {
    for (crm, op2) in [
        (3, 3),
        (3, 7),
        (4, 3),
        (4, 4),
        (4, 5),
        (4, 6),
        (4, 7),
        (5, 1),
        (5, 4),
        (6, 7),
        (7, 3),
        (7, 4),
        (7, 7),
    ] {
        assert_eq!(seen(id(crm, op2), u64::MAX, &V3), 0, "{}", id(crm, op2));
    }
}

#[test]
fn the_trapped_group_is_crm_1_to_7() {
    assert!(is_id_register(id(1, 0)) && is_id_register(id(7, 7)));
    for other in [
        id(0, 0),
        id(0, 5),
        id(8, 0),
        SysReg::new(3, 1, 0, 1, 0),
        SysReg::new(3, 0, 1, 1, 0),
        SysReg::new(2, 0, 0, 1, 0),
    ] {
        assert!(!is_id_register(other), "{other}");
    }
}

#[test]
fn every_register_and_field_has_one_row() {
    let mut registers = Vec::new();
    for (crm, table) in [(1..=3, AARCH32), (4..=7, AARCH64)] {
        for (register, fields) in table {
            assert!(is_id_register(*register) && crm.contains(&register.crm()));
            assert!(!registers.contains(register), "{register}");
            registers.push(*register);
            let shifts: Vec<u32> = fields.iter().map(|f| f.0).collect();
            assert!(shifts.is_sorted_by(|a, b| a < b), "{register}");
            assert!(shifts.iter().all(|s| s % 4 == 0 && *s < 64), "{register}");
        }
    }
}

proptest! {
    #[test]
    fn a_feature_is_never_made_up(crm in 4u16..8, op2 in 0u16..8, raw: u64, gicv3: bool, pa_range: u8) {
        let value = read(id(crm, op2), &View { gicv3, pa_range }, |_| raw);
        for shift in (0..64).step_by(4) {
            let (field, cpu) = (value >> shift & 15, raw >> shift & 15);
            let gic = (crm, op2, shift) == (4, 0, 24);
            prop_assert!(field <= cpu || field == 15 || gic, "S3_0_C0_C{crm}_{op2}[{shift}]");
        }
    }
}
