//! What a guest's HVC and SMC instructions call (DEN0028): one dispatcher for both.
//!
//! A guest may probe for whatever firmware it likes: all that is not here is NOT_SUPPORTED, in every
//! owner's range, fast or yielding, and nothing is ever passed on to the board's firmware.

use super::{
    firmware::{Answer, Caller, Firmware, Mitigation, Workaround},
    psci::{self, Args},
    pv_time, trng,
};
use crate::{
    spec::{
        psci::{CallSet, Function},
        services::{self, Call, Service},
        smccc::{self, Error, FunctionId, owner},
    },
    types::PsciVersion,
};

const NOT_SUPPORTED: Answer = Answer::Return(Error::NotSupported.x0());

/// What [`call`] answers to `hvc #0` or `smc #0`, where that is a value for x0 that costs next to
/// nothing to find; otherwise `None`.
///
/// For a trap handler to try first, before it needs a stack frame: these are the calls by which a guest
/// finds out about its firmware, or waits for another CPU. No lock is taken.
#[inline(always)]
pub fn answer(firmware: &Firmware, x: &[u64; 4]) -> Option<u64> {
    let id = FunctionId::from_x0(x[0]);
    let Some(slot) = CallSet::slot(id) else {
        return answer_others(firmware, id);
    };
    let constant = firmware.constants.at(slot);
    if constant.is_some() {
        return constant;
    }
    let args = Args::of(id, x);
    match firmware.calls.at(slot) {
        Some(Function::AffinityInfo) if args.w2() == 0 => Some(psci::cpu_info(firmware, args)),
        Some(Function::Features) => Some(psci::features(firmware, args)),
        _ => None,
    }
}

/// [`answer`] to an id that is not in PSCI's range: whose owner has no calls, nobody answers.
#[inline(always)]
fn answer_others(firmware: &Firmware, id: FunctionId) -> Option<u64> {
    if id == firmware.version_id {
        Some(smccc::SUPPORTED_VERSION.into())
    } else if firmware.owners >> id.owner() & 1 == 0 {
        Some(Error::NotSupported.x0())
    } else {
        None
    }
}

/// Owners of calls to a VM with this revision of PSCI, a bit each. Ids of PSCI 0.1 may be anybody's.
pub(super) const fn owners(version: PsciVersion) -> u64 {
    match version {
        PsciVersion::V0_1 => u64::MAX,
        _ => services::OWNERS,
    }
}

/// What [`answer_others`] knows SMCCC_VERSION by. Where that may be an id of PSCI 0.1 it is one that never comes so far.
pub(super) const fn version_id(version: PsciVersion) -> FunctionId {
    match version {
        PsciVersion::V0_1 => FunctionId::fast32(owner::STANDARD_SECURE, 0),
        _ => smccc::VERSION,
    }
}

/// Answers `hvc #imm` or `smc #imm` with these x0-x3.
///
/// Only w0 selects. Other immediates than 0 are set aside for others (DEN0028 2.9).
pub fn call(firmware: &Firmware, caller: Caller, imm: u16, x: &[u64; 4]) -> Answer {
    if imm != 0 {
        return NOT_SUPPORTED;
    }
    let id = FunctionId::from_x0(x[0]);
    if let Some(function) = firmware.calls.find(id) {
        return psci::call(firmware, caller, function, Args::of(id, x));
    }
    if let Some(function) = legacy(firmware, id) {
        return psci::call(firmware, caller, function, Args::legacy(x));
    }
    other(firmware, caller, id, x[1])
}

/// The function of PSCI 0.1 that `id` calls. Its ids need not look like the convention's, and win over
/// it.
fn legacy(firmware: &Firmware, id: FunctionId) -> Option<Function> {
    match firmware.version {
        PsciVersion::V0_1 => firmware.legacy.find(id),
        _ => None,
    }
}

/// All that is not PSCI, as far as the VM has it.
fn other(firmware: &Firmware, caller: Caller, id: FunctionId, x1: u64) -> Answer {
    let Some(row) = services::find(id) else {
        return NOT_SUPPORTED;
    };
    let registers = firmware.registers();
    if row.service.is_some_and(|service| !registers.has(service)) {
        return NOT_SUPPORTED;
    }
    let workarounds = registers.workarounds();
    match row.call {
        Call::Version => Answer::Return(smccc::SUPPORTED_VERSION.into()),
        Call::ArchFeatures => arch_features(firmware, FunctionId::from_x0(x1)),
        Call::Workaround1 => mitigate(workarounds.branch_predictor, Workaround::BranchPredictor),
        Call::Workaround2 if workarounds.store_bypass => Answer::SUCCESS,
        Call::Workaround2 => NOT_SUPPORTED,
        Call::Workaround3 => mitigate(workarounds.branch_history, Workaround::BranchHistory),
        Call::TrngVersion => Answer::Return(trng::VERSION),
        Call::TrngFeatures => Answer::Return(trng::features(FunctionId::from_x0(x1))),
        Call::TrngUuid => Answer::ReturnFour(&trng::UUID),
        Call::TrngRnd => match trng::Request::new(id, x1) {
            Ok(request) => Answer::Entropy(request),
            Err(error) => Answer::Return(error.x0()),
        },
        Call::PvTimeFeatures => Answer::Return(pv_time::features(FunctionId::from_x0(x1))),
        Call::PvTimeSt => Answer::Return(pv_time::record(caller.vcpu).get()),
        Call::VendorCount => Answer::Return(VENDOR_CALLS),
        Call::VendorUid => Answer::ReturnFour(&smccc::BULKHEAD_UID),
        Call::VendorRevision => Answer::ReturnTwo(VENDOR_REVISION),
    }
}

/// Calls of the vendor hypervisor range: count, UID and revision.
const VENDOR_CALLS: u64 = services::count(Service::Vendor);
/// Revision of that range: major, minor.
const VENDOR_REVISION: [u32; 2] = [0, 1];

/// SMCCC_ARCH_FEATURES (DEN0028 7.3). "Not vulnerable" is 1, but for workaround 2 it is
/// NOT_REQUIRED, where 1 would only speak for the CPU that asks (DEN0070A 2.2).
fn arch_features(firmware: &Firmware, id: FunctionId) -> Answer {
    let workarounds = firmware.registers().workarounds();
    match services::find(id).map(|row| row.call) {
        Some(Call::Version | Call::ArchFeatures) => Answer::SUCCESS,
        Some(Call::PvTimeFeatures) if firmware.registers().has(Service::PvTime) => Answer::SUCCESS,
        Some(Call::Workaround1) => discovered(workarounds.branch_predictor),
        Some(Call::Workaround2) if workarounds.store_bypass => {
            Answer::Return(Error::NotRequired.x0())
        }
        Some(Call::Workaround3) => discovered(workarounds.branch_history),
        _ => NOT_SUPPORTED,
    }
}

const fn discovered(mitigation: Mitigation) -> Answer {
    match mitigation {
        Mitigation::Unknown => NOT_SUPPORTED,
        Mitigation::Callable => Answer::SUCCESS,
        Mitigation::NotRequired => Answer::Return(1),
    }
}

const fn mitigate(mitigation: Mitigation, workaround: Workaround) -> Answer {
    match mitigation {
        Mitigation::Unknown => NOT_SUPPORTED,
        Mitigation::Callable => Answer::Mitigate(workaround),
        Mitigation::NotRequired => Answer::SUCCESS,
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
