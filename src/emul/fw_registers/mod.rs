//! What a VM's firmware is, as registers with KVM's ids and values (Linux,
//! Documentation/virt/kvm/arm/fw-pseudo-registers.rst): all of it that is not a vCPU's state.
//!
//! The bundle's properties are written here, and so is what a saved VM brings along. A VM that has run
//! keeps what its guest may have seen: then a register takes no other value than the one it has.

use super::firmware::{Mitigation, Workarounds};
use crate::{
    spec::services::{self, Service},
    types::PsciVersion,
};
use core::fmt;

/// A register; the value is its id: arm64, 64 bits, coprocessor 0x14 (firmware) or 0x16 (bitmaps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Register {
    /// The revision of PSCI, as PSCI_VERSION returns it.
    PsciVersion = 0x6030_0000_0014_0000,
    /// CVE-2017-5715: 0 not available, 1 available, 2 not required.
    Workaround1 = 0x6030_0000_0014_0001,
    /// CVE-2018-3639: 0 not available, 1 unknown, 2 available, 3 not required; bit 4 enabled.
    Workaround2 = 0x6030_0000_0014_0002,
    /// CVE-2022-23960: as workaround 1.
    Workaround3 = 0x6030_0000_0014_0003,
    /// Standard secure services: bit 0 TRNG 1.0.
    StdBmap = 0x6030_0000_0016_0000,
    /// Standard hypervisor services: bit 0 PV time.
    StdHypBmap = 0x6030_0000_0016_0001,
    /// Vendor hypervisor services: bit 0 call count, UID and revision.
    VendorHypBmap = 0x6030_0000_0016_0002,
}

impl Register {
    /// Every register, by rising id; a VM has them all, whatever its revision.
    pub const ALL: [Self; 7] = [
        Self::PsciVersion,
        Self::Workaround1,
        Self::Workaround2,
        Self::Workaround3,
        Self::StdBmap,
        Self::StdHypBmap,
        Self::VendorHypBmap,
    ];

    /// The register of that id.
    pub fn from_id(id: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|register| register.id() == id)
    }

    /// Its id.
    pub const fn id(self) -> u64 {
        self as u64
    }

    /// Its name in the ABI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PsciVersion => "PSCI_VERSION",
            Self::Workaround1 => "ARCH_WORKAROUND_1",
            Self::Workaround2 => "ARCH_WORKAROUND_2",
            Self::Workaround3 => "ARCH_WORKAROUND_3",
            Self::StdBmap => "STD_BMAP",
            Self::StdHypBmap => "STD_HYP_BMAP",
            Self::VendorHypBmap => "VENDOR_HYP_BMAP",
        }
    }
}

/// What a board can give to the firmware of its VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// How its CPUs stand to what the workarounds are for.
    pub workarounds: Workarounds,
    /// There is a source of entropy.
    pub trng: bool,
}

/// The registers of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    version: PsciVersion,
    bitmaps: Bitmaps,
    offer: Offer,
    has_run: bool,
}

/// The three bitmaps, each in the bits of its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bitmaps {
    std: u64,
    std_hyp: u64,
    vendor_hyp: u64,
}

impl Bitmaps {
    /// All that the board can serve.
    fn of(offer: &Offer) -> Self {
        let all = u64::from(services::BITMAP_BITS);
        Self {
            std: if offer.trng { all } else { 0 },
            std_hyp: all,
            vendor_hyp: all,
        }
    }
}

impl Registers {
    /// A VM's that has not run: the newest PSCI, and all that the board offers.
    pub fn new(offer: Offer) -> Self {
        Self {
            version: PsciVersion::NEWEST,
            bitmaps: Bitmaps::of(&offer),
            offer,
            has_run: false,
        }
    }

    /// From here on no value changes.
    pub fn seal(&mut self) {
        self.has_run = true;
    }

    /// The revision of PSCI.
    pub const fn version(&self) -> PsciVersion {
        self.version
    }

    /// How the VM stands to what the workarounds are for.
    pub const fn workarounds(&self) -> &Workarounds {
        &self.offer.workarounds
    }

    /// Whether the VM has `service`.
    pub const fn has(&self, service: Service) -> bool {
        let bitmap = match service {
            Service::Trng => self.bitmaps.std,
            Service::PvTime => self.bitmaps.std_hyp,
            Service::Vendor => self.bitmaps.vendor_hyp,
        };
        bitmap & 1 != 0
    }

    /// The value of `register`.
    pub fn get(&self, register: Register) -> u64 {
        let all = &self.offer.workarounds;
        match register {
            Register::PsciVersion => self.version.word().into(),
            Register::Workaround1 => level(all.branch_predictor),
            Register::Workaround2 if all.store_bypass => WORKAROUND_2_NOT_REQUIRED,
            Register::Workaround2 => 0,
            Register::Workaround3 => level(all.branch_history),
            Register::StdBmap => self.bitmaps.std,
            Register::StdHypBmap => self.bitmaps.std_hyp,
            Register::VendorHypBmap => self.bitmaps.vendor_hyp,
        }
    }

    /// Sets `register`.
    ///
    /// A workaround's register takes whatever level a VM was promised elsewhere that this board keeps
    /// as well, and goes on to tell this board's. The other registers hold what they are given.
    pub fn set(&mut self, register: Register, value: u64) -> Result<(), SetError> {
        let offered = Bitmaps::of(&self.offer);
        let allowed = match register {
            Register::PsciVersion => return self.set_version(value),
            Register::Workaround1 | Register::Workaround3 => {
                return self.promise(register, value <= self.get(register), value);
            }
            Register::Workaround2 => {
                let kept = match value {
                    0 | 1 => true,
                    2 | WORKAROUND_2_NOT_REQUIRED => self.offer.workarounds.store_bypass,
                    // What was switched on there is on here for good.
                    WORKAROUND_2_ENABLED => self.offer.workarounds.store_bypass,
                    _ => false,
                };
                return self.promise(register, kept, value);
            }
            Register::StdBmap => offered.std,
            Register::StdHypBmap => offered.std_hyp,
            Register::VendorHypBmap => offered.vendor_hyp,
        };
        if value & !allowed != 0 {
            return Err(SetError::new(register, value, Allowed::Bits(allowed)));
        }
        self.unless_run(register, value)?;
        match register {
            Register::StdBmap => self.bitmaps.std = value,
            Register::StdHypBmap => self.bitmaps.std_hyp = value,
            _ => self.bitmaps.vendor_hyp = value,
        }
        Ok(())
    }

    fn set_version(&mut self, value: u64) -> Result<(), SetError> {
        let register = Register::PsciVersion;
        let mut all = PsciVersion::ALL.into_iter();
        let version = all.find(|version| u64::from(version.word()) == value);
        let version = version.ok_or(SetError::new(register, value, Allowed::Versions))?;
        self.unless_run(register, value)?;
        self.version = version;
        Ok(())
    }

    /// A level that is kept is fine; nothing changes.
    fn promise(&self, register: Register, kept: bool, value: u64) -> Result<(), SetError> {
        let most = Allowed::UpTo(self.get(register));
        let refused = SetError::new(register, value, most);
        if kept { Ok(()) } else { Err(refused) }
    }

    /// Refuses a value that `register` has not, once the VM has run.
    fn unless_run(&self, register: Register, value: u64) -> Result<(), SetError> {
        let has = self.get(register);
        if self.has_run && value != has {
            return Err(SetError::new(register, value, Allowed::Only(has)));
        }
        Ok(())
    }
}

const WORKAROUND_2_NOT_REQUIRED: u64 = 3;
/// Available, and bit 4: enabled.
const WORKAROUND_2_ENABLED: u64 = 1 << 4 | 2;

/// The level of workarounds 1 and 3.
const fn level(mitigation: Mitigation) -> u64 {
    match mitigation {
        Mitigation::Unknown => 0,
        Mitigation::Callable => 1,
        Mitigation::NotRequired => 2,
    }
}

/// A register did not take a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetError {
    /// Which one.
    pub register: Register,
    /// The value.
    pub value: u64,
    /// What it would take.
    pub allowed: Allowed,
}

/// The values that a register takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The words of the revisions of PSCI.
    Versions,
    /// Levels up to this: the board's CPUs are no better.
    UpTo(u64),
    /// Bits of this: the board can serve no more.
    Bits(u64),
    /// What it has, for the VM has run.
    Only(u64),
}

impl SetError {
    const fn new(register: Register, value: u64, allowed: Allowed) -> Self {
        Self {
            register,
            value,
            allowed,
        }
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} = {:#x}, allowed: ", self.register.name(), self.value)?;
        match self.allowed {
            Allowed::Versions => {
                let [first, rest @ ..] = PsciVersion::ALL.map(PsciVersion::word);
                write!(f, "{first:#x}")?;
                rest.iter().try_for_each(|word| write!(f, ", {word:#x}"))
            }
            Allowed::UpTo(most) => write!(f, "levels up to {most} on this board"),
            Allowed::Bits(0) => f.write_str("0 on this board"),
            Allowed::Bits(bits) => write!(f, "bits of {bits:#x} on this board"),
            Allowed::Only(value) => write!(f, "{value:#x}, as the VM has run"),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
