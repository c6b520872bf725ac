//! The board's own firmware behind the SMC Calling Convention, for what EL2 wants of it: nothing that a
//! guest calls is handed on, and no argument of a guest's either.

use crate::{
    arch::firmware,
    spec::{
        psci::Function,
        services::Call,
        smccc::{self, FunctionId},
    },
    types::PsciVersion,
};

/// Firmware that keeps to SMCCC 1.1 or newer.
#[derive(Clone, Copy, Debug)]
pub struct Smccc(());

/// The first version with SMCCC_ARCH_FEATURES, and calls that keep x4 and above.
const VERSION_1_1: i32 = 0x1_0001;
/// TRNG 1.0.
const TRNG_1_0: i32 = 0x1_0000;

impl Smccc {
    /// Asks PSCI firmware of the standard ids. SMCCC_VERSION may be called only where
    /// PSCI_FEATURES, hence PSCI 1.0, says that it is there (DEN0028 7.2): elsewhere it may be
    /// UNDEFINED. Some firmware answers PSCI_VERSION with an error.
    pub fn discover() -> Option<Self> {
        let found = Self(());
        let [version, features] =
            [Function::Version, Function::Features].map(|function| function.row().id32());
        let is_1_0 = found.call(version, 0) >= PsciVersion::V1_0.word() as i32;
        let there = is_1_0 && found.call(features, smccc::VERSION.get().into()) >= 0;
        let good = there && found.call(smccc::VERSION, 0) >= VERSION_1_1;
        good.then_some(found)
    }

    /// SMCCC_ARCH_FEATURES of workarounds 1, 2 and 3, for the CPU that asks.
    pub fn workarounds(self) -> [i32; 3] {
        [Call::Workaround1, Call::Workaround2, Call::Workaround3]
            .map(|call| self.call(Call::ArchFeatures.id(), call.id().get().into()))
    }

    /// Carries out workaround 1 or 3 on this CPU.
    pub fn mitigate(self, workaround: Call) {
        self.call(workaround.id(), 0);
    }

    /// Prevents store bypass on this CPU for good: workaround 2, on.
    pub fn prevent_store_bypass(self) {
        self.call(Call::Workaround2.id(), 1);
    }

    /// Whether there is TRNG 1.0 with 64-bit calls.
    pub fn has_entropy(self) -> bool {
        let random = u64::from(Call::TrngRnd.id().get());
        self.call(Call::TrngVersion.id(), 0) >= TRNG_1_0
            && self.call(Call::TrngFeatures.id(), random) >= 0
    }

    /// 192 bits of entropy of which the last `words` times 64 count; `None` when there is not so much.
    pub fn entropy(self, words: u8) -> Option<[u64; 3]> {
        let id = Call::TrngRnd.id().get();
        let bits = 64 * u64::from(words);
        let [x0, entropy @ ..] = firmware::call_four(id, [bits, 0, 0]);
        (x0 as i32 == 0).then_some(entropy)
    }

    /// w0 of the answer: a code, sign included.
    fn call(self, id: FunctionId, x1: u64) -> i32 {
        firmware::call(id.get(), [x1, 0, 0]) as i32
    }
}
