//! True random numbers for guests (DEN0098, TRNG 1.0): which requests are good, and how entropy is laid
//! out in registers. Where it comes from is the board's business.

use crate::spec::{
    services::{self, Service},
    smccc::{FunctionId, Width, uid_words},
};

/// TRNG_VERSION: 1.0, major in `[30:16]`.
pub const VERSION: u64 = 0x1_0000;

/// Whose generator it is: a UUID of our own, a0476c3b-d6a4-4632-b88d-12c23153c4c8. One UUID for every board:
/// which source a board has is not for a guest to tell.
pub static UUID: [u32; 4] = uid_words(0xa047_6c3b_d6a4_4632_b88d_12c2_3153_c4c8);

/// What TRNG calls fail with (DEN0098 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "DEN0098's names")]
pub enum Error {
    NotSupported = -1,
    InvalidParameters = -2,
    NoEntropy = -3,
}

impl Error {
    /// As x0 carries it: sign-extended, for SMC32 calls too (DEN0028 7.1).
    pub const fn x0(self) -> u64 {
        self as i64 as u64
    }
}

/// TRNG_FEATURES of `id`: 0 for each of the calls.
pub fn features(id: FunctionId) -> u64 {
    match services::find(id).and_then(|row| row.service) {
        Some(Service::Trng) => 0,
        _ => Error::NotSupported.x0(),
    }
}

/// A good TRNG_RND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    bits: u8,
    width: Width,
}

impl Request {
    /// TRNG_RND by `id` with `x1`: 1 to 96 bits, or 1 to 192 for SMC64.
    pub const fn new(id: FunctionId, x1: u64) -> Result<Self, Error> {
        let width = id.width();
        match width.narrow(x1) {
            bits @ 1.. if bits <= 3 * width.bits() as u64 => Ok(Self {
                bits: bits as u8,
                width,
            }),
            _ => Err(Error::InvalidParameters),
        }
    }

    /// How many words the answer takes its bits from, the last of three: one for each register.
    pub const fn words(self) -> u8 {
        self.bits.div_ceil(self.width as u8)
    }

    /// x0 to x3 of the answer: success, then the bits, the last of them in bit 0 of x3, and zero above.
    pub fn results(self, entropy: &[u64; 3]) -> [u64; 4] {
        let width = self.width.bits();
        let bits = u32::from(self.bits);
        let [a, b, c] = entropy;
        let kept = |word: u64, below: u32| match bits.saturating_sub(below).min(width) {
            0 => 0,
            kept => word & u64::MAX >> (64 - kept),
        };
        [0, kept(*a, 2 * width), kept(*b, width), kept(*c, 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RND32: FunctionId = FunctionId::new(0x8400_0053);
    const RND64: FunctionId = FunctionId::new(0xc400_0053);
    const ONES: [u64; 3] = [u64::MAX; 3];

    /// No bits, and one more than three registers hold.
    #[test]
    fn a_number_of_bits_that_no_answer_holds_is_refused() {
        for (id, x1) in [
            (RND32, 0),
            (RND32, 97),
            (RND32, 0xffff_ffff),
            (RND32, 0xdead_beef_0000_0000),
            (RND64, 0),
            (RND64, 193),
            (RND64, 256 + 1),
            (RND64, 1 << 32 | 64),
            (RND64, u64::MAX),
        ] {
            assert_eq!(
                Request::new(id, x1),
                Err(Error::InvalidParameters),
                "{id:?} {x1:#x}"
            );
        }
        assert_eq!(Error::InvalidParameters.x0(), 0xffff_ffff_ffff_fffe);
        assert_eq!(Error::NoEntropy.x0(), 0xffff_ffff_ffff_fffd);
    }

    #[test]
    fn the_bits_end_in_x3_and_nothing_stands_above_them() {
        let answer = |id, x1| Request::new(id, x1).unwrap().results(&ONES);
        for (bits, wanted) in [
            (1, [0, 0, 0, 1]),
            (31, [0, 0, 0, 0x7fff_ffff]),
            (32, [0, 0, 0, 0xffff_ffff]),
            (33, [0, 0, 1, 0xffff_ffff]),
            (64, [0, 0, 0xffff_ffff, 0xffff_ffff]),
            (95, [0, 0x7fff_ffff, 0xffff_ffff, 0xffff_ffff]),
            (96, [0, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff]),
        ] {
            assert_eq!(answer(RND32, bits), wanted, "{bits}");
        }
        assert_eq!(answer(RND32, 0xdead_beef_0000_0001), [0, 0, 0, 1]);
        for (bits, wanted) in [
            (1, [0, 0, 0, 1]),
            (64, [0, 0, 0, u64::MAX]),
            (65, [0, 0, 1, u64::MAX]),
            (128, [0, 0, u64::MAX, u64::MAX]),
            (191, [0, u64::MAX >> 1, u64::MAX, u64::MAX]),
            (192, [0, u64::MAX, u64::MAX, u64::MAX]),
        ] {
            assert_eq!(answer(RND64, bits), wanted, "{bits}");
        }
    }

    #[test]
    fn each_register_has_a_word_of_its_own() {
        for (id, bits, words) in [
            (RND32, 1, 1),
            (RND32, 32, 1),
            (RND32, 33, 2),
            (RND32, 96, 3),
            (RND64, 64, 1),
            (RND64, 65, 2),
            (RND64, 128, 2),
            (RND64, 192, 3),
        ] {
            assert_eq!(Request::new(id, bits).unwrap().words(), words, "{bits}");
        }
    }

    #[test]
    fn every_call_of_the_service_and_no_other_is_a_feature() {
        for id in [
            0x8400_0050,
            0x8400_0051,
            0x8400_0052,
            0x8400_0053,
            0xc400_0053,
        ] {
            assert_eq!(features(FunctionId::new(id)), 0, "{id:#x}");
        }
        for id in [
            0,
            0x8400_0000,
            0x8400_0054,
            0xc400_0050,
            0x8000_0000,
            0x0400_0050,
        ] {
            assert_eq!(features(FunctionId::new(id)), u64::MAX, "{id:#x}");
        }
    }

    /// 0xffffffff in the first word would read as NOT_SUPPORTED; a version 4 UUID says so in byte 6.
    #[test]
    fn the_uuid_is_random_and_not_an_error() {
        assert_eq!(UUID, [0x3b6c_47a0, 0x3246_a4d6, 0xc212_8db8, 0xc8c4_5331]);
        assert_eq!(UUID[1] >> 20 & 0xf, 4);
    }
}
