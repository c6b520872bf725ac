//! The virtual interrupt controller: a GICv3 (IHI0069H) with one Security state and no LPIs, or the
//! distributor of a GICv2 (IHI0048B), on one state.
//!
//! [`Vgic`] is all of a VM's interrupt state, as plain data under the VM's one vGIC lock. The guest
//! works on it through registers ([`Vgic::access`], [`Vgic::request_sgi`]),
//! devices through [`Vgic::set_line`], and the hardware's virtual CPU interface through list
//! registers, which [`Vgic::fold`] and [`Vgic::fill`] exchange with the state.
//!
//! # What EL2 does, and when
//!
//! An exit that touches no interrupt touches nothing in here. Otherwise a method answers with the
//! vCPUs whose list registers are out of date ("kick"). Each of them, on its own pCPU (`run::irq`, settle):
//!
//! 1. reads ICH_LR0 to ICH_LR<used - 1>, ICH_VMCR_EL2 and EOIcount into its [`ListRegs`],
//! 2. calls `fill` under the lock, which folds first, and kicks whom it names,
//! 3. writes the list registers of `dirty`, writes `hcr` to ICH_HCR_EL2 (which zeroes EOIcount), and
//!    deactivates the physical INTIDs in `release`.
//!
//! A kick is a flag and an interrupt to that pCPU; giving it twice is giving it once. When what happens:
//!
//! - Kicked, or a maintenance interrupt: these steps.
//! - An interrupt that the vCPU itself has caused or taken: [`Vgic::set_own_line`] and
//!   [`Vgic::request_own_sgi`] do without them for most.
//! - A guest's access to a register with [`State::is_volatile`], and [`Vgic::deactivate`]: the vCPU folds
//!   before, so that it sees what it did itself a moment ago.
//! - Trapped ICC_SGI0R, SGI1R, ASGI1R: `request_sgi`. Trapped ICC_DIR_EL1 (EOImode 1 only): `deactivate`. A
//!   CPU without ICH_VTR_EL2.TDS (Cortex-A53, A57, A72) does not trap it: with EOImode 1 and several vCPUs
//!   none can deactivate there what another one has acknowledged.
//! - A board interrupt that was [linked](Vgic::link): drop its priority, leave it active, and call
//!   `set_line(.., true)`; `false` takes it back, should its source have fallen before the guest took it.
//! - CPU_OFF (quiesce): fold, [`Vgic::reset_vcpu`], fill. CPU_ON (begin): the virtual CPU interface is reset,
//!   then [`ListRegs::renew`] and fill. A power-down that ends (resume): fold, then as CPU_ON.
//! - Asleep in CPU_SUSPEND and kicked: these steps; it wakes if [`ListRegs::any_pending`].
//! - GICv2: only the first 4 KiB of GICV are mapped. GICC_DIR comes after them; it traps: `deactivate`.
//!
//! # What is exact, and what is not
//!
//! A vCPU sees its own interrupts exactly. Another vCPU's pending and active bits are as of that
//! vCPU's last fold: between exits only its list registers know. A read that meets such an interrupt
//! kicks its vCPU, so that whoever polls gets the truth in finite time and nobody waits in EL2.
//! Likewise a change to it takes effect when its vCPU folds; GICD_CTLR.RWP and GICR_CTLR.RWP read as 1
//! until then (IHI0069H 12.9). A request that comes while the same interrupt is pending in another
//! vCPU's list register may or may not have come before it was taken: it is delivered again rather than
//! lost. Of an active interrupt with a physical one behind it, only the board knows whether the line
//! is still high; it does not read as pending.

mod bank;
mod control;
mod interrupts;
mod legacy;
mod lists;
mod registers;
mod routing;
#[cfg(test)]
mod tests;
mod view;

use arrayvec::ArrayVec;
use bank::{Bank, Groups};

use crate::spec::gic::{GicVersion, SgiRegister, SgiRequest};
use crate::spec::machine::{INTIDS, SPI_BASE};
use crate::types::{MAX_VCPUS, VcpuId, VcpuSet};

pub use control::{Fixed, Identity};
use legacy::Requests;
pub use lists::{Delivery, ListRegs};
pub use registers::{Found, Hit, Place, State};

/// Banks of 32 interrupts: a vCPU's own, and the VM's SPIs.
const BANKS: usize = INTIDS as usize / 32;
const SPIS: usize = (INTIDS - SPI_BASE) as usize;
/// The most board interrupts that a VM's interrupts can be linked to.
pub const MAX_LINKS: usize = 16;

/// A VM's interrupt controller. What exits ask for comes first, in reach of one instruction.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Vgic {
    version: GicVersion,
    /// The implemented bits of a priority.
    priority_mask: u8,
    /// GICD_CTLR's EnableGrp0 and EnableGrp1.
    ctlr: u32,
    vcpus: usize,
    groups: Groups,
    /// vCPUs that may still run with what a write to GICD_CTLR or GICD_ICENABLER took away.
    outdated: VcpuSet,
    spis: [Bank; BANKS - 1],
    /// Virtual INTIDs and the physical ones behind them.
    links: ArrayVec<(u32, u16), MAX_LINKS>,
    /// The SPIs whose route is 1 of N, a bit each.
    one_of_n: u128,
    cpus: [Cpu; MAX_VCPUS],
    /// GICD_IROUTER of each SPI; of a GICv2, GICD_ITARGETSR.
    routes: [u64; SPIS],
}

/// What belongs to one vCPU.
#[derive(Clone, Debug)]
struct Cpu {
    private: Bank,
    /// By bank, what is delivered here: of its own bank all, of SPIs those routed here.
    routed: [u32; BANKS],
    /// By bank, what this vCPU's list registers hold or what it has active. An SPI is at home at one
    /// vCPU at most: the one that must give it back.
    home: [u32; BANKS],
    /// GICR_WAKER.ProcessorSleep is 0.
    awake: bool,
    /// Like [`Vgic::outdated`], for GICR_ICENABLER0.
    outdated: bool,
    requests: Requests,
}

impl Cpu {
    const OWN: [u32; BANKS] = {
        let mut own = [0; BANKS];
        own[0] = u32::MAX;
        own
    };

    const RESET: Self = Self {
        private: Bank::PRIVATE,
        routed: Self::OWN,
        home: Self::OWN,
        awake: false,
        outdated: false,
        requests: Requests::NONE,
    };

    fn home(&self, word: u8) -> u32 {
        self.home.get(usize::from(word)).copied().unwrap_or(0)
    }

    fn routed(&self, word: u8) -> u32 {
        self.routed.get(usize::from(word)).copied().unwrap_or(0)
    }
}

/// The answer to an access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What a read reads, in the bits of its width.
    pub value: u64,
    /// vCPUs whose list registers must be refreshed, the accessing one perhaps among them.
    pub kick: VcpuSet,
}

/// There is no room for another link, or no such interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotLink;

impl Vgic {
    /// The controller of a machine with `vcpus` vCPUs (more than the version knows do not exist), as
    /// after reset. Priorities have `priority_bits` bits, 5 to 8, as ICH_VTR_EL2.PRIbits says of the
    /// board: a guest must not find bits that its list registers do not hold.
    pub const fn new(version: GicVersion, vcpus: usize, priority_bits: u32) -> Self {
        let most = version.max_vcpus();
        let unimplemented = match priority_bits {
            ..=5 => 3,
            6 => 2,
            7 => 1,
            _ => 0,
        };
        let mut gic = Self {
            version,
            vcpus: if vcpus < most { vcpus } else { most },
            priority_mask: 0xff << unimplemented,
            ctlr: 0,
            groups: Groups::new(false, false),
            cpus: [const { Cpu::RESET }; MAX_VCPUS],
            spis: [const { Bank::RESET }; BANKS - 1],
            routes: [0; SPIS],
            one_of_n: 0,
            outdated: VcpuSet::EMPTY,
            links: ArrayVec::new_const(),
        };
        gic.route_as_after_reset();
        gic
    }

    /// Affinity 0.0.0.0 is vCPU 0; a GICv2's ITARGETSR of 0 is nobody, unless there is but one.
    const fn route_as_after_reset(&mut self) {
        if matches!(self.version, GicVersion::V3) || self.vcpus == 1 {
            self.cpus[0].routed = [u32::MAX; BANKS];
        }
    }

    /// Puts the board's interrupt `pintid` behind `intid`: list registers name it, so that the guest's
    /// deactivation deactivates it without an exit. A private INTID is linked on every vCPU.
    pub fn link(&mut self, intid: u32, pintid: u16) -> Result<(), CannotLink> {
        if !(16..INTIDS).contains(&intid) {
            return Err(CannotLink);
        }
        self.links.try_push((intid, pintid)).or(Err(CannotLink))?;
        let (word, bit) = place(intid);
        match self.spis.get_mut(usize::from(word).wrapping_sub(1)) {
            Some(bank) => bank.linked |= bit,
            None => self.cpus.iter_mut().for_each(|c| c.private.linked |= bit),
        }
        Ok(())
    }

    /// What it says of itself.
    pub const fn identity(&self) -> Identity {
        Identity::new(self.version, self.vcpus)
    }

    /// The machine's reset: everything as from [`Vgic::new`], except that lines keep their level and
    /// links stay. Every vCPU needs new list registers.
    pub fn reset(&mut self) {
        for cpu in &mut self.cpus {
            cpu.private.reset(Bank::PRIVATE);
            let private = cpu.private.clone();
            *cpu = Cpu {
                private,
                ..Cpu::RESET
            };
        }
        self.spis.iter_mut().for_each(|b| b.reset(Bank::RESET));
        self.routes = [0; SPIS];
        self.one_of_n = 0;
        self.route_as_after_reset();
        self.ctlr = 0;
        self.groups = Groups::new(false, false);
        self.outdated = VcpuSet::EMPTY;
    }

    /// A vCPU goes off or comes on: its own interrupts are as after reset, none pending, and the
    /// redistributor asleep. Its list registers count as empty. An SPI that was pending in one is
    /// pending again at the distributor; one that was active stays active, as it does in hardware
    /// when a CPU loses power before its EOI, until somebody writes ICACTIVER.
    pub fn reset_vcpu(&mut self, vcpu: VcpuId) -> VcpuSet {
        let Some(cpu) = self.cpus.get_mut(vcpu.index()) else {
            return VcpuSet::EMPTY;
        };
        cpu.private.reset(Bank::PRIVATE);
        cpu.awake = false;
        cpu.outdated = false;
        cpu.requests = Requests::NONE;
        self.outdated = self.outdated.without(vcpu);
        let recalled = self.recall(vcpu);
        // What stays active is nobody's: an EOI of the vCPU's next life is for another one.
        if let Some(cpu) = self.cpus.get_mut(vcpu.index()) {
            cpu.home = Cpu::OWN;
        }
        let kick = self.resolve_one_of_n();
        match recalled {
            [0, 0, 0, 0] => kick,
            _ => kick.union(self.owners_of(vcpu, recalled)),
        }
    }

    /// Takes back what list registers of `vcpu` hold that nobody will read any more; which it was.
    #[cold]
    fn recall(&mut self, vcpu: VcpuId) -> [u32; BANKS] {
        let mut recalled = [0; BANKS];
        let Some(Cpu { private, home, .. }) = self.cpus.get_mut(vcpu.index()) else {
            return recalled;
        };
        let [own, shared @ ..] = &mut recalled;
        *own = private.listed;
        if *own != 0 {
            private.recall(*own);
        }
        for ((bank, home), recalled) in self.spis.iter_mut().zip(&mut home[1..]).zip(shared) {
            if *home != 0 {
                *recalled = bank.listed & *home;
                bank.recall(*recalled);
                *home &= bank.active;
            }
        }
        recalled
    }

    /// The input line of `intid` changed, of `vcpu` if it is a PPI; whom to kick. SGIs have no line.
    pub fn set_line(&mut self, intid: u32, vcpu: VcpuId, level: bool) -> VcpuSet {
        let (word, bit) = place(intid);
        if intid < 16 {
            return VcpuSet::EMPTY;
        }
        let at = At {
            who: vcpu,
            vcpu,
            word,
        };
        let changed = self.bank_mut(at).map_or(0, |bank| bank.drive(bit, level));
        match changed {
            0 => VcpuSet::EMPTY,
            _ => self.owners(at, changed),
        }
    }

    /// Whether the input of `intid`, a PPI of `vcpu`, counts as high because the physical interrupt behind it was taken and the
    /// guest, as far as is known, has not acknowledged it. It may have fallen meanwhile: [`Vgic::set_line`] says so.
    #[inline(always)]
    pub fn is_high(&self, vcpu: VcpuId, intid: u32) -> bool {
        let (word, bit) = place(intid);
        let cpu = self.cpus.get(vcpu.index()).filter(|_| word == 0);
        cpu.is_some_and(|cpu| (cpu.private.line | cpu.private.lent_line) & bit != 0)
    }

    /// The guest wrote an SGI request register (IHI0069H 12.2); whom to kick.
    ///
    /// With one Security state, ICC_SGI1R_EL1 requests SGIs of either group, the other two those of
    /// Group 0 only: ICC_ASGI1R_EL1 asks for "the other" state's Group 1, which does not exist.
    pub fn request_sgi(&mut self, register: SgiRegister, request: SgiRequest) -> VcpuSet {
        let bit = 1 << (request.intid & 0xf);
        let groups = self.groups;
        let mut kick = VcpuSet::EMPTY;
        for vcpu in request.targets {
            if let Some(Cpu { private, .. }) = self.cpus.get_mut(vcpu.index())
                && (register == SgiRegister::Sgi1r || private.group1 & bit == 0)
            {
                let changed = private.set_pending(bit);
                if changed & (private.listed | private.ready(groups)) != 0 {
                    kick.insert(vcpu);
                }
            }
        }
        kick
    }

    /// The guest wrote `intid` to ICC_DIR_EL1 or GICC_DIR with EOImode 1 (trapped): deactivates it,
    /// whoever acknowledged it (IHI0069H 4.1). The vCPU has folded.
    pub fn deactivate(&mut self, who: VcpuId, intid: u32) -> VcpuSet {
        let (word, bit) = place(intid);
        let at = At {
            who,
            vcpu: who,
            word,
        };
        self.clear_active(at, bit)
    }
}

/// A bank as seen by an access.
#[derive(Clone, Copy, Debug)]
struct At {
    /// Who accesses.
    who: VcpuId,
    /// Whose private bank is meant, if one is.
    vcpu: VcpuId,
    /// INTID / 32.
    word: u8,
}

/// The bank and the bit of an INTID; no bank has the number when the INTID does not exist.
const fn place(intid: u32) -> (u8, u32) {
    let word = if intid < INTIDS { intid / 32 } else { 0xff };
    (word as u8, 1 << (intid % 32))
}

/// Banks, and who must know when one changes.
impl Vgic {
    #[inline(always)]
    fn bank(&self, at: At) -> Option<&Bank> {
        match at.word {
            0 => self.cpus.get(at.vcpu.index()).map(|c| &c.private),
            n => self.spis.get(usize::from(n) - 1),
        }
    }

    #[inline(always)]
    fn bank_mut(&mut self, at: At) -> Option<&mut Bank> {
        match at.word {
            0 => self.cpus.get_mut(at.vcpu.index()).map(|c| &mut c.private),
            n => self.spis.get_mut(usize::from(n) - 1),
        }
    }

    /// Changes a bank; `f` says which of its interrupts changed. Answers whom to kick.
    fn change(&mut self, at: At, f: impl FnOnce(&mut Bank) -> u32) -> VcpuSet {
        let Some(bank) = self.bank_mut(at) else {
            return VcpuSet::EMPTY;
        };
        let changed = f(bank);
        self.owners(at, changed)
    }

    /// Whose list registers are out of date because these interrupts changed: those that hold one,
    /// and those that could now take one. Whatever was neither deliverable nor held stays so and
    /// disturbs nobody.
    fn owners(&self, at: At, changed: u32) -> VcpuSet {
        let Some(bank) = self.bank(at) else {
            return VcpuSet::EMPTY;
        };
        let held = changed & bank.listed;
        let ready = changed & bank.ready(self.groups);
        let mut kick = VcpuSet::EMPTY;
        if at.word == 0 {
            if held | ready | bank.release != 0 {
                kick.insert(at.vcpu);
            }
            return kick;
        }
        if bank.release != 0 {
            kick.insert(at.who);
        }
        if held | ready != 0 {
            for (index, cpu) in self.cpus.iter().take(self.vcpus).enumerate() {
                if cpu.home(at.word) & held | cpu.routed(at.word) & ready != 0 {
                    kick.insert(VcpuId::new(index as u8));
                }
            }
        }
        kick
    }

    /// [`Self::owners`] of changes in several banks.
    fn owners_of(&self, vcpu: VcpuId, changed: [u32; BANKS]) -> VcpuSet {
        let at = |word| At {
            who: vcpu,
            vcpu,
            word,
        };
        (0..)
            .zip(changed)
            .fold(VcpuSet::EMPTY, |kick, (word, changed)| match changed {
                0 => kick,
                _ => kick.union(self.owners(at(word), changed)),
            })
    }

    /// ICACTIVER and DIR.
    fn clear_active(&mut self, at: At, bits: u32) -> VcpuSet {
        let Some(bank) = self.bank_mut(at) else {
            return VcpuSet::EMPTY;
        };
        let cleared = bank.clear_active(bits);
        let (listed, active) = (bank.listed, bank.active);
        if at.word > 0 {
            for cpu in &mut self.cpus {
                if let Some(home) = cpu.home.get_mut(usize::from(at.word)) {
                    *home &= listed | active;
                }
            }
        }
        self.owners(at, cleared)
    }

    /// ISACTIVER. An SPI becomes active at the vCPU that says so: somebody must be able to deactivate
    /// it, and no CPU interface has acknowledged it.
    fn set_active(&mut self, at: At, bits: u32) -> VcpuSet {
        let Some(bank) = self.bank_mut(at) else {
            return VcpuSet::EMPTY;
        };
        let changed = bank.set_active(bits);
        let homeless = changed & !bank.listed;
        if let Some(home) = self
            .cpus
            .get_mut(at.who.index())
            .and_then(|c| c.home.get_mut(usize::from(at.word)))
        {
            *home |= homeless;
        }
        self.owners(at, changed)
    }
}
