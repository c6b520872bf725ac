//! SMC Calling Convention (DEN0028): how a function id is read, and the ids and codes of its own.

/// A function id: w0 of a call (DEN0028 2.5). Bit 31 fast, 30 SMC64, `[29:24]` owner, `[15:0]` number; a
/// fast call has zero in `[23:16]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionId(u32);

impl FunctionId {
    /// The id `value`.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The fast SMC32 function `number` of `owner`.
    pub const fn fast32(owner: u8, number: u16) -> Self {
        Self(FAST | (owner as u32) << 24 | number as u32)
    }

    /// The fast SMC64 function `number` of `owner`.
    pub const fn fast64(owner: u8, number: u16) -> Self {
        Self(Self::fast32(owner, number).0 | SMC64)
    }

    /// What x0 selects: w0 alone, whatever the upper half holds (DEN0028 2.5).
    pub const fn from_x0(x0: u64) -> Self {
        Self(x0 as u32)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the call is atomic; otherwise it is a yielding one.
    pub const fn is_fast(self) -> bool {
        self.0 & FAST != 0
    }

    /// How wide arguments and results are.
    pub const fn width(self) -> Width {
        if self.0 & SMC64 == 0 {
            Width::Smc32
        } else {
            Width::Smc64
        }
    }

    /// Whose range the id is in: 0 to 63.
    pub const fn owner(self) -> u8 {
        (self.0 >> 24) as u8 & 0x3f
    }

    /// Which function of its owner, reserved bits included: `[23:0]`.
    pub const fn number(self) -> u32 {
        self.0 & 0xff_ffff
    }
}

/// How much of its registers a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// The lower halves.
    Smc32 = 32,
    /// All.
    Smc64 = 64,
}

impl Width {
    /// How many bits of a register.
    pub const fn bits(self) -> u32 {
        self as u32
    }

    /// An argument or result as the call means it: SMC32 ignores the upper halves (DEN0028 3.1).
    pub const fn narrow(self, register: u64) -> u64 {
        match self {
            Self::Smc32 => register & 0xffff_ffff,
            Self::Smc64 => register,
        }
    }
}

const FAST: u32 = 1 << 31;
const SMC64: u32 = 1 << 30;

/// Owners that answer at all (DEN0028 table 6-2).
pub mod owner {
    /// Arm architecture service.
    pub const ARCH: u8 = 0;
    /// Standard secure service: PSCI, TRNG.
    pub const STANDARD_SECURE: u8 = 4;
    /// Standard hypervisor service: PV time.
    pub const STANDARD_HYPERVISOR: u8 = 5;
    /// Vendor-specific hypervisor service.
    pub const VENDOR_HYPERVISOR: u8 = 6;
}

/// SMCCC_VERSION (DEN0028 7.2), which PSCI_FEATURES is asked for.
pub const VERSION: FunctionId = FunctionId::fast32(owner::ARCH, 0);

/// The revision that Bulkhead keeps to: 1.2, major in `[30:16]`.
///
/// Everything that 1.2 obliges holds: no call changes a register that it does not define, of x0-x17
/// too, and SMCCC_ARCH_FEATURES answers for what is there. 1.3 would add the SVE hint, bit 16 of the
/// id, by which a caller saves its firmware from preserving SVE state. EL2 never touches that state, so
/// it would gain nothing, and the guest's kernel would test on each call whether to set the bit.
pub const SUPPORTED_VERSION: u32 = 0x0001_0002;

/// Error codes of the convention's own calls (DEN0028 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such call.
    NotSupported = -1,
    /// The call need not be made on this CPU.
    NotRequired = -2,
    /// An argument is not one of those defined.
    InvalidParameter = -3,
}

impl Error {
    /// As x0 carries it: sign-extended, for SMC32 calls too (DEN0028 7.1).
    pub const fn x0(self) -> u64 {
        self as i64 as u64
    }
}

/// Bulkhead's UID, 001b6656-af9e-489c-be28-da212b26b47e, as the UID call returns it.
pub static BULKHEAD_UID: [u32; 4] = uid_words(0x001b_6656_af9e_489c_be28_da21_2b26_b47e);

/// A UUID, in the order it is written, as the four words of a UID call: four consecutive bytes in each,
/// the first in `[7:0]` (DEN0028 6.2).
pub const fn uid_words(uuid: u128) -> [u32; 4] {
    [
        ((uuid >> 96) as u32).swap_bytes(),
        ((uuid >> 64) as u32).swap_bytes(),
        ((uuid >> 32) as u32).swap_bytes(),
        (uuid as u32).swap_bytes(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_w0_alone() {
        let id = FunctionId::from_x0(0xdead_beef_c400_0003);
        assert_eq!(id.get(), 0xc400_0003);
        assert!(id.is_fast());
        assert_eq!(id.width(), Width::Smc64);
        assert_eq!((id.owner(), id.number()), (4, 3));
    }

    #[test]
    fn a_yielding_smc32_id_of_the_trusted_os() {
        let id = FunctionId::new(0x3200_1234);
        assert!(!id.is_fast());
        assert_eq!(id.width(), Width::Smc32);
        assert_eq!((id.owner(), id.number()), (0x32, 0x1234));
    }

    #[test]
    fn the_number_keeps_the_bits_that_must_be_zero() {
        assert_eq!(FunctionId::new(0x80ff_0000).number(), 0xff_0000);
        assert_eq!(FunctionId::new(0x8401_0000).number(), 0x01_0000);
    }

    #[test]
    fn smc32_arguments_lose_their_upper_half() {
        let junk = 0xdead_beef_0000_0001;
        assert_eq!(FunctionId::new(0x8400_0003).width().narrow(junk), 1);
        assert_eq!(FunctionId::new(0xc400_0003).width().narrow(junk), junk);
    }

    #[test]
    fn errors_are_sign_extended() {
        assert_eq!(Error::NotSupported.x0(), 0xffff_ffff_ffff_ffff);
        assert_eq!(Error::NotRequired.x0(), 0xffff_ffff_ffff_fffe);
        assert_eq!(Error::InvalidParameter.x0(), 0xffff_ffff_ffff_fffd);
    }

    /// KVM's UID, as its guests compare it.
    #[test]
    fn a_uid_is_four_words_of_four_bytes_in_order() {
        assert_eq!(
            uid_words(0x28b4_6fb6_2ec5_11e9_a9ca_4b56_4d00_3a74),
            [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d]
        );
    }

    /// 0xffffffff in the first word would read as NOT_SUPPORTED; a version 4 UUID says so in byte 6.
    #[test]
    fn our_uid_is_random_and_not_an_error() {
        assert_eq!(
            BULKHEAD_UID,
            [0x5666_1b00, 0x9c48_9eaf, 0x21da_28be, 0x7eb4_262b]
        );
        assert_eq!(BULKHEAD_UID[1] >> 20 & 0xf, 4);
    }
}
