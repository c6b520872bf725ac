//! Who is who: VMs, vCPUs, pCPUs and their affinities.

use core::fmt;

/// The most pCPUs that are used; further ones are named and left alone.
pub const MAX_PCPUS: usize = 64;
/// The most vCPUs of one VM.
pub const MAX_VCPUS: usize = 32;
/// The most VMs of one bundle.
pub const MAX_VMS: usize = 32;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u8);

        impl $name {
            /// The number `index`.
            pub const fn new(index: u8) -> Self {
                Self(index)
            }

            /// The number, to index with.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

index!(
    /// A VM, in the order of the bundle. Not the hardware's VMID.
    VmId
);
index!(
    /// A vCPU, counted from 0 within its VM.
    VcpuId
);

/// The affinity fields of an MPIDR: Aff3 in `[39:32]`, Aff2 in `[23:16]`, Aff1 in `[15:8]`, Aff0 in `[7:0]`;
/// no other bit is ever set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mpidr(u64);

impl Mpidr {
    /// Where the affinity fields are.
    pub const AFFINITY: u64 = 0xff_00ff_ffff;

    /// `value` when it has affinity bits only; a caller's argument with any other bit names no CPU
    /// (DEN0022F.b 5.1.4).
    pub const fn from_affinity(value: u64) -> Option<Self> {
        if value & !Self::AFFINITY == 0 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The affinity fields of the register's value.
    pub const fn from_register(value: u64) -> Self {
        Self(value & Self::AFFINITY)
    }

    /// The affinity of a vCPU: 16 CPUs to an Aff0 cluster, so that one write of ICC_SGI1R_EL1 reaches
    /// each of them; as QEMU and KVM lay theirs out.
    pub const fn of_vcpu(vcpu: VcpuId) -> Self {
        let index = vcpu.0 as u64;
        Self(index & 0xf | (index >> 4) << 8)
    }

    /// The vCPU of a machine with `count` vCPUs that has this affinity.
    pub fn vcpu(self, count: usize) -> Option<VcpuId> {
        Self::vcpu_named(self.0, count)
    }

    /// The vCPU of a machine with `count` vCPUs whose affinity a caller's argument is: one test for
    /// the bits that belong to no field and for those that no vCPU has.
    #[inline(always)]
    pub fn vcpu_named(argument: u64, count: usize) -> Option<VcpuId> {
        if argument & !0xf0f != 0 {
            return None;
        }
        let index = argument & 0xf | (argument >> 4) & 0xf0;
        ((index as usize) < count).then_some(VcpuId(index as u8))
    }

    /// The affinity bits.
    pub const fn affinity(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A set of vCPUs of one VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct VcpuSet(u32);

impl VcpuSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// Just `vcpu`.
    pub const fn one(vcpu: VcpuId) -> Self {
        Self(1u32.wrapping_shl(vcpu.0 as u32))
    }

    /// The first `count` vCPUs, of [`MAX_VCPUS`] at most.
    pub const fn first(count: usize) -> Self {
        Self(if count < 32 {
            (1 << count) - 1
        } else {
            u32::MAX
        })
    }

    /// Adds `vcpu`.
    pub const fn insert(&mut self, vcpu: VcpuId) {
        self.0 |= Self::one(vcpu).0;
    }

    /// The members of either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members of both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// All but `vcpu`.
    pub const fn without(self, vcpu: VcpuId) -> Self {
        Self(self.0 & !Self::one(vcpu).0)
    }

    /// Whether `vcpu` is a member.
    pub const fn contains(self, vcpu: VcpuId) -> bool {
        self.0 & Self::one(vcpu).0 != 0
    }

    /// Bit n set: vCPU n is a member.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The vCPUs whose bits are set.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether there is no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl IntoIterator for VcpuSet {
    type Item = VcpuId;
    type IntoIter = Members;

    fn into_iter(self) -> Members {
        Members(self.0)
    }
}

/// The members of a [`VcpuSet`], in ascending order.
#[derive(Clone, Debug)]
pub struct Members(u32);

impl Iterator for Members {
    type Item = VcpuId;

    fn next(&mut self) -> Option<VcpuId> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(VcpuId(lowest as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_cpus_to_a_cluster() {
        assert_eq!(Mpidr::of_vcpu(VcpuId::new(15)).affinity(), 0x00f);
        assert_eq!(Mpidr::of_vcpu(VcpuId::new(16)).affinity(), 0x100);
        for index in 0..MAX_VCPUS as u8 {
            let vcpu = VcpuId::new(index);
            assert_eq!(Mpidr::of_vcpu(vcpu).vcpu(MAX_VCPUS), Some(vcpu));
        }
    }

    #[test]
    fn an_affinity_that_no_vcpu_has_names_none() {
        for value in [0x4, 0x10, 0x100, 0x1_0000, 0x1_0000_0000] {
            assert_eq!(
                Mpidr::from_affinity(value).and_then(|m| m.vcpu(4)),
                None,
                "{value:#x}"
            );
            assert_eq!(Mpidr::vcpu_named(value, 4), None, "{value:#x}");
        }
        assert_eq!(Mpidr::vcpu_named(0x8000_0000, 4), None);
        assert_eq!(Mpidr::vcpu_named(0x8000_0000_0000_0001, 4), None);
        assert_eq!(Mpidr::from_affinity(0x8000_0000), None);
        assert_eq!(Mpidr::from_affinity(0x100_0000_0000), None);
    }

    #[test]
    fn a_set_yields_its_members_in_order() {
        let mut set = VcpuSet::one(VcpuId::new(31));
        set.insert(VcpuId::new(2));
        assert!(set.into_iter().map(VcpuId::index).eq([2, 31]));
    }
}
