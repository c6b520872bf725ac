//! Generic Interrupt Controller: register offsets, list registers and SGI requests.
//!
//! GICv3 by IHI0069H, GICv2 by IHI0048B. What a register does is the emulation's and the driver's
//! business; here is only how it looks.

use crate::types::{MAX_VCPUS, Mpidr, VcpuId, VcpuSet};

/// Which architecture a GIC follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv2: memory-mapped CPU interface, at most eight CPUs (IHI0048B).
    V2,
    /// GICv3: redistributors and a CPU interface in system registers (IHI0069H).
    V3,
}

impl GicVersion {
    /// The most vCPUs that a VM can have: a GICv2 has eight CPU interfaces (IHI0048B 2.2).
    pub const fn max_vcpus(self) -> usize {
        match self {
            Self::V2 => 8,
            Self::V3 => MAX_VCPUS,
        }
    }
}

/// The most list registers that the architecture has (IHI0069H 12.4); a CPU has 1 to 16 of them.
pub const MAX_LRS: usize = 16;
/// The most regions of redistributors that a board may have; the architecture has no limit (IHI0069H 12.10).
pub const MAX_REDIST_REGIONS: usize = 8;

/// Distributor registers, as offsets from GICD_base (IHI0069H 12.8, IHI0048B 4.1).
pub mod gicd {
    /// Distributor Control Register.
    pub const CTLR: u64 = 0x0000;
    /// Interrupt Controller Type Register.
    pub const TYPER: u64 = 0x0004;
    /// Distributor Implementer Identification Register.
    pub const IIDR: u64 = 0x0008;
    /// Interrupt Group Registers, 1 bit per interrupt.
    pub const IGROUPR: u64 = 0x0080;
    /// Interrupt Set-Enable Registers, 1 bit per interrupt.
    pub const ISENABLER: u64 = 0x0100;
    /// Interrupt Clear-Enable Registers, 1 bit per interrupt.
    pub const ICENABLER: u64 = 0x0180;
    /// Interrupt Set-Pending Registers, 1 bit per interrupt.
    pub const ISPENDR: u64 = 0x0200;
    /// Interrupt Clear-Pending Registers, 1 bit per interrupt.
    pub const ICPENDR: u64 = 0x0280;
    /// Interrupt Set-Active Registers, 1 bit per interrupt.
    pub const ISACTIVER: u64 = 0x0300;
    /// Interrupt Clear-Active Registers, 1 bit per interrupt.
    pub const ICACTIVER: u64 = 0x0380;
    /// Interrupt Priority Registers, 8 bits per interrupt.
    pub const IPRIORITYR: u64 = 0x0400;
    /// Interrupt Processor Targets Registers, 8 bits per interrupt; GICv2 only.
    pub const ITARGETSR: u64 = 0x0800;
    /// Interrupt Configuration Registers, 2 bits per interrupt.
    pub const ICFGR: u64 = 0x0c00;
    /// Software Generated Interrupt Register; GICv2 only.
    pub const SGIR: u64 = 0x0f00;
    /// SGI Clear-Pending Registers, 8 bits per SGI; GICv2 only.
    pub const CPENDSGIR: u64 = 0x0f10;
    /// SGI Set-Pending Registers, 8 bits per SGI; GICv2 only.
    pub const SPENDSGIR: u64 = 0x0f20;
    /// Peripheral ID2 of a GICv2, whose distributor has 4 KiB.
    pub const PIDR2_V2: u64 = 0x0fe8;
    /// Interrupt Clear-Enable Registers of the INTIDs from 4096 on.
    pub const ICENABLER_E: u64 = 0x1200;
    /// Interrupt Routing Registers, 64 bits per interrupt counted from INTID 0; the first one that
    /// exists is INTID 32's.
    pub const IROUTER: u64 = 0x6000;
    /// Peripheral ID2 Register: ArchRev in `[7:4]`.
    pub const PIDR2: u64 = 0xffe8;

    /// TYPER: ITLinesNumber, N for INTIDs up to 32 (N + 1) - 1.
    pub const TYPER_IT_LINES: u32 = 0x1f;
    /// TYPER: there are INTIDs from 4096 on, ESPI_range (bits 31:27) N for 32 (N + 1) of them; GICv3 only.
    pub const TYPER_ESPI: u32 = 1 << 8;

    /// CTLR: forwards Group 0 interrupts.
    pub const CTLR_ENABLE_GRP0: u32 = 1 << 0;
    /// CTLR: forwards Group 1 interrupts.
    pub const CTLR_ENABLE_GRP1: u32 = 1 << 1;
    /// CTLR with one Security state: affinity routing is on.
    pub const CTLR_ARE: u32 = 1 << 4;
    /// CTLR: there is one Security state.
    pub const CTLR_DS: u32 = 1 << 6;
    /// CTLR: a write to an enable has not taken effect everywhere yet.
    pub const CTLR_RWP: u32 = 1 << 31;

    /// IROUTER: any participating CPU may take the interrupt.
    pub const IROUTER_IRM: u64 = 1 << 31;
    /// IROUTER: IRM and the affinity fields, which lie as in MPIDR_EL1.
    pub const IROUTER_MASK: u64 = 0xff_80ff_ffff;
}

/// Redistributor registers, as offsets from RD_base (IHI0069H 12.10); the SGI_base frame repeats the
/// distributor's offsets for INTIDs 0 to 31.
pub mod gicr {
    /// Redistributor Control Register.
    pub const CTLR: u64 = 0x0000;
    /// Redistributor Implementer Identification Register.
    pub const IIDR: u64 = 0x0004;
    /// Redistributor Type Register, 64 bits.
    pub const TYPER: u64 = 0x0008;
    /// Redistributor Wake Register.
    pub const WAKER: u64 = 0x0014;
    /// Peripheral ID2 Register: ArchRev in `[7:4]`.
    pub const PIDR2: u64 = 0xffe8;
    /// Where the SGI_base frame begins.
    pub const SGI_BASE: u64 = 0x1_0000;

    /// CTLR: a write to ICENABLER0 has not taken effect yet.
    pub const CTLR_RWP: u32 = 1 << 3;
    /// CTLR: LPIs are enabled.
    pub const CTLR_ENABLE_LPIS: u32 = 1 << 0;
    /// TYPER: it has frames for virtual LPIs.
    pub const TYPER_VLPIS: u64 = 1 << 1;
    /// TYPER: the last redistributor of its series.
    pub const TYPER_LAST: u64 = 1 << 4;
    /// WAKER: the CPU sleeps, or is about to.
    pub const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
    /// WAKER: the interface to the CPU is quiescent.
    pub const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
}

/// CPU interface registers of a GICv2, as offsets from GICC_base (IHI0048B 4.1.3).
pub mod gicc {
    /// CPU Interface Control Register.
    pub const CTLR: u64 = 0x0000;
    /// Interrupt Priority Mask Register.
    pub const PMR: u64 = 0x0004;
    /// Binary Point Register.
    pub const BPR: u64 = 0x0008;
    /// Interrupt Acknowledge Register.
    pub const IAR: u64 = 0x000c;
    /// End of Interrupt Register.
    pub const EOIR: u64 = 0x0010;
    /// Active Priorities Registers, four of them.
    pub const APR: u64 = 0x00d0;
    /// CPU Interface Identification Register.
    pub const IIDR: u64 = 0x00fc;
    /// Deactivate Interrupt Register.
    pub const DIR: u64 = 0x1000;
    /// Bytes of all of them.
    pub const SIZE: u64 = 0x2000;

    /// CTLR: signals Group 1 interrupts (Non-secure view), or Group 0 ones (without Security Extensions).
    pub const CTLR_ENABLE: u32 = 1 << 0;
    /// CTLR: what is signalled while the interface is off; the firmware's choice.
    pub const CTLR_BYPASS: u32 = 0xf << 5;
    /// CTLR: EOIR only drops the priority, DIR deactivates (Non-secure view, or without Security Extensions).
    pub const CTLR_EOIMODE: u32 = 1 << 9;
    /// IAR: the INTID; above it, of an SGI, the CPU that requested it.
    pub const IAR_INTID: u32 = 0x3ff;
}

/// Virtual interface control registers of a GICv2, as offsets from GICH_base (IHI0048B 5.3).
pub mod gich {
    /// Hypervisor Control Register: [`super::ich_hcr`].
    pub const HCR: u64 = 0x0000;
    /// VGIC Type Register: [`super::ich_vtr`].
    pub const VTR: u64 = 0x0004;
    /// Virtual Machine Control Register: [`super::ich_vmcr`].
    pub const VMCR: u64 = 0x0008;
    /// Empty List Register Status Register, of the first 32.
    pub const ELRSR: u64 = 0x0030;
    /// Active Priorities Register.
    pub const APR: u64 = 0x00f0;
    /// List Registers.
    pub const LR: u64 = 0x0100;
}

/// ICH_HCR_EL2 (IHI0069H 12.4); GICH_HCR has the same bits except TDIR (IHI0048B 5.3).
pub mod ich_hcr {
    /// The virtual CPU interface works.
    pub const EN: u64 = 1 << 0;
    /// Maintenance interrupt while EOIcount is not 0.
    pub const LRENPIE: u64 = 1 << 2;
    /// Maintenance interrupt while no list register is in the pending state.
    pub const NPIE: u64 = 1 << 3;
    /// Maintenance interrupt while VMCR.VENG0 is 1.
    pub const VGRP0EIE: u64 = 1 << 4;
    /// Maintenance interrupt while VMCR.VENG0 is 0.
    pub const VGRP0DIE: u64 = 1 << 5;
    /// Maintenance interrupt while VMCR.VENG1 is 1.
    pub const VGRP1EIE: u64 = 1 << 6;
    /// Maintenance interrupt while VMCR.VENG1 is 0.
    pub const VGRP1DIE: u64 = 1 << 7;
    /// Traps writes of ICC_DIR_EL1; implemented if ICH_VTR_EL2.TDS is 1.
    pub const TDIR: u64 = 1 << 14;

    /// EOIcount: deactivations by the guest for which no list register was found, modulo 32.
    pub const fn eoi_count(hcr: u64) -> u8 {
        ((hcr >> 27) & 0x1f) as u8
    }
}

/// ICH_VMCR_EL2 (IHI0069H 12.4); the fields named here lie in GICH_VMCR likewise (IHI0048B 5.3).
pub mod ich_vmcr {
    /// The guest enabled Group 0 at its CPU interface.
    pub const VENG0: u64 = 1 << 0;
    /// The guest enabled Group 1 at its CPU interface.
    pub const VENG1: u64 = 1 << 1;
    /// EOImode: EOIR only drops the priority, DIR deactivates.
    pub const VEOIM: u64 = 1 << 9;

    /// VPMR: only priorities below this number are signalled.
    pub const fn priority_mask(vmcr: u64) -> u8 {
        (vmcr >> 24) as u8
    }
}

/// ICH_VTR_EL2 (IHI0069H 12.4); GICH_VTR has the first two likewise (IHI0048B 5.3).
pub mod ich_vtr {
    /// How many list registers there are, 1 to 16.
    pub const fn list_registers(vtr: u64) -> usize {
        (vtr & 0xf) as usize + 1
    }

    /// How many bits of a virtual priority are implemented, 5 to 8.
    pub const fn priority_bits(vtr: u64) -> u32 {
        let bits = ((vtr >> 29) & 7) as u32 + 1;
        if bits < 5 { 5 } else { bits }
    }
}

/// The content of `ICH_LR<n>_EL2` (IHI0069H 12.4): one virtual interrupt at the CPU interface.
///
/// For a GICv2 guest, bits `[34:32]` of an SGI hold the requesting CPU: that makes bits `[41:32]` the
/// very field `[19:10]` of `GICH_LR<n>` (IHI0048B 5.3), with and without a physical interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRegister(u64);

impl ListRegister {
    /// Not in use.
    pub const EMPTY: Self = Self(0);

    const PENDING: u64 = 1 << 62;
    const ACTIVE: u64 = 1 << 63;
    const HW: u64 = 1 << 61;
    const GROUP1: u64 = 1 << 60;
    const EOI: u64 = 1 << 41;

    /// An inactive interrupt, to be completed by the `with_` functions.
    pub const fn new(intid: u32, priority: u8) -> Self {
        Self((priority as u64) << 48 | intid as u64)
    }

    /// From the register.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For the register.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Pending, or pending again while active.
    pub const fn with_pending(self) -> Self {
        Self(self.0 | Self::PENDING)
    }

    /// Active.
    pub const fn with_active(self) -> Self {
        Self(self.0 | Self::ACTIVE)
    }

    /// In Group 1.
    pub const fn with_group1(self) -> Self {
        Self(self.0 | Self::GROUP1)
    }

    /// The guest's deactivation deactivates this physical interrupt too.
    pub const fn with_physical(self, pintid: u16) -> Self {
        Self(self.0 | Self::HW | (pintid as u64 & 0x1fff) << 32)
    }

    /// The guest's deactivation raises a maintenance interrupt; not together with a physical one.
    pub const fn with_eoi(self) -> Self {
        Self(self.0 | Self::EOI)
    }

    /// The CPU, 0 to 7, that requested this SGI of a GICv2 guest.
    pub const fn with_source(self, cpu: u8) -> Self {
        Self(self.0 | (cpu as u64 & 7) << 32)
    }

    /// The same interrupt when it is neither pending nor active any more.
    pub const fn ended(self) -> Self {
        Self(self.0 & !(Self::PENDING | Self::ACTIVE))
    }

    /// Virtual INTID.
    pub const fn intid(self) -> u32 {
        self.0 as u32
    }

    /// Priority, 0 the highest.
    pub const fn priority(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Whether the state includes pending.
    pub const fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// Whether the state includes active.
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// Whether it is in Group 1.
    pub const fn is_group1(self) -> bool {
        self.0 & Self::GROUP1 != 0
    }

    /// Whether a physical interrupt belongs to it.
    pub const fn is_physical(self) -> bool {
        self.0 & Self::HW != 0
    }

    /// Whether the guest's deactivation raises a maintenance interrupt.
    pub const fn has_eoi(self) -> bool {
        self.0 & (Self::HW | Self::EOI) == Self::EOI
    }

    /// The physical INTID, if [`Self::is_physical`].
    pub const fn pintid(self) -> u16 {
        ((self.0 >> 32) & 0x1fff) as u16
    }

    /// The requesting CPU of a GICv2 guest's SGI.
    pub const fn source(self) -> u8 {
        ((self.0 >> 32) & 7) as u8
    }

    /// The same in `GICH_LR<n>` (IHI0048B 5.3): State `[29:28]`, priority `[27:23]` without its three
    /// lowest bits, INTIDs of ten bits.
    pub const fn to_gich(self) -> u32 {
        let state = (self.0 >> 62) as u32;
        let hw = (self.0 >> 61 & 1) as u32;
        let group = (self.0 >> 60 & 1) as u32;
        let priority = (self.0 >> 51 & 0x1f) as u32;
        let physical = (self.0 >> 32 & 0x3ff) as u32;
        let intid = self.0 as u32 & 0x3ff;
        hw << 31 | group << 30 | state << 28 | priority << 23 | physical << 10 | intid
    }

    /// From `GICH_LR<n>`.
    pub const fn from_gich(lr: u32) -> Self {
        let lr = lr as u64;
        let state = lr >> 28 & 3;
        let hw = lr >> 31;
        let group = lr >> 30 & 1;
        let priority = lr >> 23 & 0x1f;
        let physical = lr >> 10 & 0x3ff;
        Self(state << 62 | hw << 61 | group << 60 | priority << 51 | physical << 32 | lr & 0x3ff)
    }
}

/// The system register by which a GICv3 guest requests an SGI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// ICC_SGI1R_EL1.
    Sgi1r,
    /// ICC_ASGI1R_EL1.
    Asgi1r,
    /// ICC_SGI0R_EL1.
    Sgi0r,
}

/// A write to ICC_SGI0R_EL1, ICC_SGI1R_EL1 or ICC_ASGI1R_EL1 (IHI0069H 12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgiRequest {
    /// 0 to 15.
    pub intid: u32,
    /// Of whom.
    pub targets: VcpuSet,
}

impl SgiRequest {
    /// IRM: every CPU but the one that asks; the fields below then mean nothing.
    const OTHERS: u64 = 1 << 40;
    /// Aff3, RS, Aff2 and all but the lowest bit of Aff1: 0 in the affinity of every vCPU, of which 16 have one Aff1.
    const NOBODY: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xfe << 16;

    /// Takes the value apart that vCPU `who` of `vcpus` has written; reserved bits are ignored.
    #[inline(always)]
    pub const fn decode(value: u64, who: VcpuId, vcpus: usize) -> Self {
        let all = VcpuSet::first(vcpus);
        let targets = if value & Self::OTHERS != 0 {
            all.without(who)
        } else if value & Self::NOBODY != 0 {
            VcpuSet::EMPTY
        } else {
            let list = (value & 0xffff) << (value >> 12 & 0x10);
            VcpuSet::from_bits(list as u32 & all.bits())
        };
        Self {
            intid: (value >> 24 & 0xf) as u32,
            targets,
        }
    }
}

// The layout that [`Mpidr::of_vcpu`] gives the vCPUs is the one that is taken apart above.
const _: () = assert!(MAX_VCPUS <= 32 && Mpidr::of_vcpu(VcpuId::new(31)).affinity() == 0x10f);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_register_has_its_fields_where_the_manual_puts_them() {
        let lr = ListRegister::new(27, 0xa0)
            .with_pending()
            .with_group1()
            .with_physical(27);
        assert_eq!(lr.bits(), 0x70a0_001b_0000_001b);
        assert_eq!((lr.intid(), lr.priority(), lr.pintid()), (27, 0xa0, 27));
        assert!(lr.is_pending() && !lr.is_active() && lr.is_group1() && lr.is_physical());
        let lr = ListRegister::new(33, 0).with_active().with_eoi();
        assert_eq!(lr.bits(), 0x8000_0200_0000_0021);
        assert!(lr.has_eoi() && lr.is_active() && !lr.is_pending() && !lr.is_group1());
    }

    #[test]
    fn bit_41_belongs_to_the_physical_intid_when_there_is_one() {
        assert!(!ListRegister::new(40, 0).with_physical(0x200).has_eoi());
    }

    #[test]
    fn a_gicv2_list_register_says_the_same() {
        // HW, Group 1, pending, priority 0xa0 >> 3 = 0x14, physical 27, virtual 27.
        let lr = ListRegister::new(27, 0xa0)
            .with_pending()
            .with_group1()
            .with_physical(27);
        assert_eq!(lr.to_gich(), 0xda00_6c1b);
        // EOI is bit 19, the CPU of an SGI is in `[12:10]`.
        let sgi = ListRegister::new(3, 0x08).with_active().with_eoi();
        assert_eq!(sgi.to_gich(), 0x2088_0003);
        assert_eq!(sgi.with_source(5).to_gich(), 0x2088_1403);
        for lr in [lr, sgi, sgi.with_source(5), ListRegister::EMPTY] {
            assert_eq!(ListRegister::from_gich(lr.to_gich()), lr);
        }
    }

    #[test]
    fn an_sgi_request_names_a_cluster_and_sixteen_cpus() {
        let targets = |value, vcpus| {
            SgiRequest::decode(value, VcpuId::new(1), vcpus)
                .targets
                .bits()
        };
        assert_eq!(SgiRequest::decode(0x0500_0000, VcpuId::new(0), 1).intid, 5);
        assert_eq!(targets(0x0000_8003, 32), 0x8003);
        assert_eq!(targets(0x0000_8003, 4), 0x0003);
        // Aff1 = 1.
        assert_eq!(targets(0x0001_8003, 32), 0x8003_0000);
        assert_eq!(targets(0x0001_8003, 17), 0x0001_0000);
        // Aff1 = 2, Aff2 = 1, RS = 1, Aff3 = 1: no vCPU.
        for nobody in [0x2_0001, 1 << 32 | 1, 1 << 44 | 1, 1 << 48 | 1] {
            assert_eq!(targets(nobody, 32), 0, "{nobody:#x}");
        }
        // IRM, whatever else.
        assert_eq!(targets(1 << 40, 4), 0b1101);
        assert_eq!(targets(0xff_0100_ff00_ffff, 32), !0b10);
    }

    #[test]
    fn vtr_of_a_gic400_and_of_qemu() {
        assert_eq!(ich_vtr::list_registers(0x9000_0003), 4);
        assert_eq!(ich_vtr::priority_bits(0x9000_0003), 5);
    }
}
