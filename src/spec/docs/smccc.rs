//! docs/smccc.md, made from the table that dispatches.

use crate::spec::{
    services::{Call, Row, Service, TABLE},
    smccc::FunctionId,
};
use std::{format, string::String};

const HEAD: &str = "# Firmware calls besides PSCI

What a VM's firmware answers by HVC and SMC (immediate 0) besides [PSCI](psci.md), in every revision of PSCI; a guest on PSCI 0.1 or
0.2 only has no way to discover it. This page is made from the table in `src/spec/services.rs` that dispatches the calls, and a test
holds it current.

All other ids, of all 64 owners, fast or yielding, answer NOT_SUPPORTED (-1), sign-extended, and change x0 only. Only what workarounds
1 and 3 stand for is ever asked of the board's firmware, by a call of Bulkhead's own.

A VM's property takes a service away, bit 0 for each: then its calls answer NOT_SUPPORTED, and so does SMCCC_ARCH_FEATURES of them.
TRNG needs a source of entropy: RNDRRS on every CPU of the board, or TRNG 1.0 of the board's firmware. Without one it is absent.
SMCCC_ARCH_SOC_ID is absent: the id would be the board's, and the machine that a guest sees is the same on all boards.

| call | SMC32 | SMC64 | taken away by | answer |
|---|---|---|---|---|
";

fn id(id: Option<FunctionId>) -> String {
    id.map_or(String::new(), |id| format!("{:#010x}", id.get()))
}

fn property(row: &Row) -> &'static str {
    match row.service {
        Some(Service::Trng) => "`smccc-std-bmap`",
        Some(Service::PvTime) => "`smccc-std-hyp-bmap`",
        Some(Service::Vendor) => "`smccc-vendor-hyp-bmap`",
        None => "",
    }
}

/// What a call answers.
fn answer(call: Call) -> &'static str {
    match call {
        Call::Version => "1.2",
        Call::ArchFeatures => {
            "0 for itself, SMCCC_VERSION and PV_TIME_FEATURES; workarounds as below; -1 for all else"
        }
        Call::Workaround3 => "as workaround 1, for CVE-2022-23960",
        Call::Workaround2 => {
            "SMCCC_ARCH_FEATURES: -2 no CPU needs it called, or all have store bypass (CVE-2018-3639) prevented for good; -1 unknown, or SSBS is there"
        }
        Call::Workaround1 => {
            "SMCCC_ARCH_FEATURES: 1 no CPU is vulnerable to CVE-2017-5715, 0 the call mitigates it, by the board's firmware; -1 unknown"
        }
        Call::TrngVersion => "1.0",
        Call::TrngFeatures => "0 for each TRNG call, -1 for others",
        Call::TrngUuid => "a0476c3b-d6a4-4632-b88d-12c23153c4c8 on every board",
        Call::TrngRnd => {
            "1 to 96 bits (SMC64: 192); -2 for another number, -3 when there is no entropy right now"
        }
        Call::PvTimeFeatures => "0 for itself and PV_TIME_ST",
        Call::PvTimeSt => {
            "address of the caller's record; stolen time is 0 as long as a vCPU has its board CPU for itself"
        }
        Call::VendorCount => "3",
        Call::VendorUid => "001b6656-af9e-489c-be28-da212b26b47e",
        Call::VendorRevision => "0.1",
    }
}

/// The page.
pub fn page() -> String {
    let lines = TABLE.iter().map(|row| {
        let (id32, id64) = (id(row.id32), id(row.id64));
        let (name, by, answer) = (row.name, property(row), answer(row.call));
        format!("| {name} | {id32} | {id64} | {by} | {answer} |\n")
    });
    [String::from(HEAD)].into_iter().chain(lines).collect()
}
