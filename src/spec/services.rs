//! What a VM's firmware answers besides PSCI (DEN0028): the calls, as one table.
//!
//! [`TABLE`] is what the dispatcher goes by, what decides which calls a disabled service takes away,
//! and what docs/smccc.md is made from. There is no SOC_ID: it names the silicon that a guest runs on,
//! and what a guest runs on is the same virtual machine on every board; the board's own id would be
//! false of that, change under a VM that moves, and tell guests errata that they cannot act on.

use self::Call::*;
use super::smccc::{FunctionId, owner};

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the standards' names, which the table repeats")]
pub enum Call {
    Version,
    ArchFeatures,
    Workaround1,
    Workaround2,
    Workaround3,
    TrngVersion,
    TrngFeatures,
    TrngUuid,
    TrngRnd,
    PvTimeFeatures,
    PvTimeSt,
    VendorCount,
    VendorUid,
    VendorRevision,
}

/// Calls that go together: what a VM can be without. Each has a bitmap of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// True random numbers (DEN0098): STD_BMAP bit 0.
    Trng,
    /// Stolen time (DEN0057A): STD_HYP_BMAP bit 0.
    PvTime,
    /// Who the hypervisor is (DEN0028 6.2): VENDOR_HYP_BMAP bit 0.
    Vendor,
}

/// The bits that each of the three bitmaps has: one service in each, as bit 0.
pub const BITMAP_BITS: u32 = 1 << 0;

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub call: Call,
    /// Its name.
    pub name: &'static str,
    /// Its SMC32 id, if it has one.
    pub id32: Option<FunctionId>,
    /// Its SMC64 id, if it has one.
    pub id64: Option<FunctionId>,
    /// The service it belongs to; what belongs to none cannot be taken away.
    pub service: Option<Service>,
}

/// Every call, in the order of the ids.
#[rustfmt::skip]
pub const TABLE: [Row; 14] = [
    smc32(Version,        "SMCCC_VERSION",           owner::ARCH, 0x0000),
    smc32(ArchFeatures,   "SMCCC_ARCH_FEATURES",     owner::ARCH, 0x0001),
    smc32(Workaround3,    "SMCCC_ARCH_WORKAROUND_3", owner::ARCH, 0x3fff),
    smc32(Workaround2,    "SMCCC_ARCH_WORKAROUND_2", owner::ARCH, 0x7fff),
    smc32(Workaround1,    "SMCCC_ARCH_WORKAROUND_1", owner::ARCH, 0x8000),
    smc32(TrngVersion,    "TRNG_VERSION",            owner::STANDARD_SECURE, 0x50).of(Service::Trng),
    smc32(TrngFeatures,   "TRNG_FEATURES",           owner::STANDARD_SECURE, 0x51).of(Service::Trng),
    smc32(TrngUuid,       "TRNG_GET_UUID",           owner::STANDARD_SECURE, 0x52).of(Service::Trng),
    both(TrngRnd,         "TRNG_RND",                owner::STANDARD_SECURE, 0x53).of(Service::Trng),
    smc64(PvTimeFeatures, "PV_TIME_FEATURES",        owner::STANDARD_HYPERVISOR, 0x20).of(Service::PvTime),
    smc64(PvTimeSt,       "PV_TIME_ST",              owner::STANDARD_HYPERVISOR, 0x21).of(Service::PvTime),
    smc32(VendorCount,    "vendor hypervisor: call count", owner::VENDOR_HYPERVISOR, 0xff00).of(Service::Vendor),
    smc32(VendorUid,      "vendor hypervisor: UID",        owner::VENDOR_HYPERVISOR, 0xff01).of(Service::Vendor),
    smc32(VendorRevision, "vendor hypervisor: revision",   owner::VENDOR_HYPERVISOR, 0xff03).of(Service::Vendor),
];

const fn both(call: Call, name: &'static str, owner: u8, number: u16) -> Row {
    Row {
        call,
        name,
        id32: Some(FunctionId::fast32(owner, number)),
        id64: Some(FunctionId::fast64(owner, number)),
        service: None,
    }
}

const fn smc32(call: Call, name: &'static str, owner: u8, number: u16) -> Row {
    Row {
        id64: None,
        ..both(call, name, owner, number)
    }
}

const fn smc64(call: Call, name: &'static str, owner: u8, number: u16) -> Row {
    Row {
        id32: None,
        ..both(call, name, owner, number)
    }
}

impl Row {
    const fn of(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }
}

impl Call {
    /// The id by which EL2 itself makes the call: the SMC64 one where there is one.
    pub fn id(self) -> FunctionId {
        let row = TABLE.iter().find(|row| row.call == self);
        let id = row.and_then(|row| row.id64.or(row.id32));
        // Every call has a row, as a test makes sure; 0xffffffff is no call of anybody's.
        id.unwrap_or(FunctionId::new(u32::MAX))
    }
}

/// The owners of all these calls, a bit each.
pub const OWNERS: u64 = {
    let mut owners = 0;
    let mut rest: &[Row] = &TABLE;
    while let [row, tail @ ..] = rest {
        if let Some(id) = row.id32 {
            owners |= 1 << id.owner();
        }
        if let Some(id) = row.id64 {
            owners |= 1 << id.owner();
        }
        rest = tail;
    }
    owners
};

/// How many calls `service` has.
pub const fn count(service: Service) -> u64 {
    let mut count = 0;
    let mut rest: &[Row] = &TABLE;
    while let [row, tail @ ..] = rest {
        if matches!(row.service, Some(of) if of as u8 == service as u8) {
            count += 1;
        }
        rest = tail;
    }
    count
}

/// The call that `id` is, whether a VM has it or not.
pub fn find(id: FunctionId) -> Option<&'static Row> {
    static ROWS: [Row; TABLE.len()] = TABLE;
    ROWS.iter()
        .find(|row| row.id32 == Some(id) || row.id64 == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DEN0028, DEN0098, DEN0057A.
    #[test]
    fn the_ids_are_those_of_the_standards() {
        for (call, id32, id64) in [
            (Version, 0x8000_0000, 0),
            (ArchFeatures, 0x8000_0001, 0),
            (Workaround1, 0x8000_8000, 0),
            (Workaround2, 0x8000_7fff, 0),
            (Workaround3, 0x8000_3fff, 0),
            (TrngVersion, 0x8400_0050, 0),
            (TrngFeatures, 0x8400_0051, 0),
            (TrngUuid, 0x8400_0052, 0),
            (TrngRnd, 0x8400_0053, 0xc400_0053),
            (PvTimeFeatures, 0, 0xc500_0020),
            (PvTimeSt, 0, 0xc500_0021),
            (VendorCount, 0x8600_ff00, 0),
            (VendorUid, 0x8600_ff01, 0),
            (VendorRevision, 0x8600_ff03, 0),
        ] {
            let row = TABLE.iter().find(|row| row.call == call).unwrap();
            assert_eq!(row.id32.map_or(0, FunctionId::get), id32, "{}", row.name);
            assert_eq!(row.id64.map_or(0, FunctionId::get), id64, "{}", row.name);
            assert_eq!(call.id().get(), if id64 == 0 { id32 } else { id64 });
            for id in [id32, id64].into_iter().filter(|id| *id != 0) {
                assert_eq!(find(FunctionId::new(id)).map(|row| row.call), Some(call));
            }
        }
    }

    #[test]
    fn the_other_width_of_a_call_that_has_one_is_no_call() {
        for id in [
            0xc000_0000,
            0xc400_0050,
            0x8500_0020,
            0xc600_ff01,
            0x0400_0053,
        ] {
            assert!(find(FunctionId::new(id)).is_none(), "{id:#x}");
        }
    }
}
