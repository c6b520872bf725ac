//! Stolen time (DEN0057A): how long each vCPU could have run and did not, in memory that its guest reads.

use crate::{
    spec::{
        machine,
        services::{self, Service},
        smccc::{Error, FunctionId},
    },
    sync::atomic::{AtomicU64, Ordering},
    types::{Ipa, MAX_VCPUS, VcpuId},
};

/// The record of one vCPU (DEN0057A 3.2.2): little-endian whatever the guest is, 64 bytes.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Record {
    /// Revision 0 and no attributes.
    revision_and_attributes: u64,
    /// Stolen time in nanoseconds, stored whole.
    stolen: AtomicU64,
    reserved: [u64; 6],
}

/// The records of one VM, by vCPU; the page that the guest sees at [`machine::PV_TIME`] begins with them.
#[repr(C, align(4096))]
#[derive(Debug, Default)]
pub struct Records([Record; MAX_VCPUS]);

#[cfg(not(shuttle))] // whose atomics are larger
const _: () = assert!(size_of::<Record>() == 64);
const _: () = assert!(size_of::<Records>() as u64 == machine::PV_TIME.size);

impl Records {
    /// Another `nanoseconds` went by in which `vcpu` wanted to run and did not. Never as long as it has
    /// its pCPU for itself.
    pub fn add(&self, vcpu: VcpuId, nanoseconds: u64) {
        if let Some(record) = self.0.get(vcpu.index()) {
            let stolen = u64::from_le(record.stolen.load(Ordering::Relaxed));
            let stolen = stolen.wrapping_add(nanoseconds).to_le();
            record.stolen.store(stolen, Ordering::Relaxed);
        }
    }

    /// The VM starts anew: nothing has been stolen yet.
    pub fn reset(&self) {
        let zero = |record: &Record| record.stolen.store(0, Ordering::Relaxed);
        self.0.iter().for_each(zero);
    }
}

/// PV_TIME_ST: where the guest finds the record of `vcpu`.
pub const fn record(vcpu: VcpuId) -> Ipa {
    let offset = vcpu.index() * size_of::<Record>();
    Ipa::new(machine::PV_TIME.base.get() + offset as u64)
}

/// PV_TIME_FEATURES of `id`: 0 for the two calls.
pub fn features(id: FunctionId) -> u64 {
    match services::find(id).and_then(|row| row.service) {
        Some(Service::PvTime) => 0,
        _ => Error::NotSupported.x0(),
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    /// Revision at 0, attributes at 4, stolen time at 8; each record on 64 bytes.
    #[test]
    fn stolen_time_is_at_8_of_the_vcpus_own_record() {
        assert_eq!(core::mem::offset_of!(Record, stolen), 8);
        let records = Records::default();
        records.add(VcpuId::new(1), 5);
        records.add(VcpuId::new(1), 0x1_0000_0000);
        let stolen = |vcpu: usize| records.0[vcpu].stolen.load(Ordering::Relaxed);
        assert_eq!(stolen(1).to_le_bytes(), [5, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!((stolen(0), stolen(2)), (0, 0));
        assert_eq!(records.0[1].revision_and_attributes, 0);
        records.reset();
        assert_eq!(stolen(1), 0);
    }

    #[test]
    fn every_record_is_in_the_page_and_on_64_bytes() {
        assert_eq!(record(VcpuId::new(0)).get(), 0x090a_0000);
        assert_eq!(record(VcpuId::new(1)).get(), 0x090a_0040);
        assert_eq!(record(VcpuId::new(31)).get(), 0x090a_07c0);
    }

    #[test]
    fn the_two_calls_are_features_in_64_bits_only() {
        for (id, wanted) in [
            (0xc500_0020, 0),
            (0xc500_0021, 0),
            (0xc500_0022, u64::MAX),
            (0x8500_0021, u64::MAX),
            (0x8000_0000, u64::MAX),
        ] {
            assert_eq!(features(FunctionId::new(id)), wanted, "{id:#x}");
        }
    }
}
