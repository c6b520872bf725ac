//! List registers: how pending interrupts reach the virtual CPU interface, and what comes back.
//!
//! # When everything fits
//!
//! Every interrupt that is deliverable to the vCPU or active on it gets a list register, in no
//! particular order (the CPU interface finds the highest priority itself), and no maintenance
//! interrupt is asked for but one: EOI on an interrupt that would be pending again once deactivated
//! and cannot be marked so in its list register. That is a level whose line is still high, and a second
//! requester of a GICv2 SGI. When the line falls while the interrupt is listed, the list register
//! is rewritten without EOI, so that the usual interrupt of an emulated device costs no maintenance.
//!
//! # When there are more than list registers
//!
//! A GIC-400 has four. What is left out must come in when its turn is, and the guest must not be
//! entered with a maintenance condition already true: that would be a storm.
//!
//! - *Pending* ones are handed over by priority. As long as one of them is left in a list register, none
//!   of those outside is next; when the last has been acknowledged, NPIE says so. NPIE is only asked
//!   for when an interrupt in the pending state is listed, so it is false on entry. Meanwhile no active one is
//!   marked pending as well: it might come back before a better one that is outside.
//! - One list register is therefore kept for a pending interrupt even when active ones could fill all.
//!   Active ones are evicted from the lowest priority upwards: what runs at the highest priority ends
//!   first, and ends without an exit.
//! - The guest's EOI of an *evicted* active interrupt finds no list register and counts in EOIcount; LRENPIE
//!   turns that into a maintenance interrupt, and on entry EOIcount is 0. EOIs come in the order of
//!   running priorities, so the count names its interrupts: the ones outside with the highest.
//! - With EOImode 1, deactivation is free of order and may be on another vCPU than acknowledgement: no
//!   count could name the interrupt. ICC_DIR_EL1 is trapped instead, by TDIR, whenever an
//!   active interrupt may be outside this vCPU's list registers: when some were evicted, or when
//!   there are other vCPUs. A guest with EOImode 0, as nearly all are, never notices.
//! - A group that the guest has not enabled at its CPU interface must not occupy the list registers while
//!   interrupts of the other wait: its interrupts come last. `VGrp<n>EIE` and `VGrp<n>DIE` tell when the guest
//!   changes its mind; each is asked for only while false.
//!
//! UIE is not used: it would call earlier than anything can be done.

use arrayvec::ArrayVec;

use super::bank::{Bank, Groups, bit, each};
use super::{At, BANKS, Cpu, MAX_LINKS, Vgic};
use crate::spec::gic::{ListRegister, MAX_LRS, ich_hcr, ich_vmcr};
use crate::spec::machine::SPI_BASE;
use crate::types::{VcpuId, VcpuSet};

/// One vCPU's list registers and what goes with them, between the hardware and the state.
#[derive(Clone, Debug)]
pub struct ListRegs {
    /// `ICH_LR<n>_EL2` as last read or written.
    pub lr: [u64; MAX_LRS],
    /// How many the pCPU has.
    pub count: usize,
    /// Those below hold what [`Vgic::fill`] handed over; they are to be read before the next fold.
    pub used: usize,
    /// Those below may be other than 0; folded, but still in the hardware.
    stale: usize,
    /// What the vCPU's former list registers held, if there were any, is still to be recalled.
    fresh: bool,
    /// Those that [`Vgic::fill`] changed and that are to be written, one bit each; the caller clears
    /// it.
    pub dirty: u16,
    /// ICH_VMCR_EL2, as read with them.
    pub vmcr: u64,
    /// ICH_HCR_EL2.EOIcount, as read with them.
    pub eoi_count: u8,
    /// ICH_HCR_EL2, to be written after [`Vgic::fill`].
    pub hcr: u64,
    /// Physical INTIDs to be deactivated on this pCPU; the caller empties it.
    pub release: ArrayVec<u16, MAX_LINKS>,
}

impl ListRegs {
    /// Empty list registers, of a pCPU that has `count` of them. To be filled, and all of them
    /// written, before the vCPU first runs. Others that the vCPU had before count as lost: what they
    /// held is at the distributor again, as [`Vgic::fill`] had found it.
    pub const fn new(count: usize) -> Self {
        let mut lrs = Self {
            lr: [0; MAX_LRS],
            count: 1,
            used: 0,
            stale: 0,
            fresh: true,
            dirty: 0,
            vmcr: 0,
            eoi_count: 0,
            hcr: ich_hcr::EN,
            release: ArrayVec::new_const(),
        };
        lrs.move_to(count);
        lrs
    }

    /// As [`ListRegs::new`], on the same pCPU, whose list registers are empty already.
    pub fn renew(&mut self) {
        let stale = self.stale.max(self.used);
        self.lr.iter_mut().take(stale).for_each(|lr| *lr = 0);
        self.used = 0;
        self.stale = 0;
        self.fresh = true;
        self.dirty = 0;
        self.vmcr = 0;
        self.eoi_count = 0;
        self.hcr = ich_hcr::EN;
        self.release.clear();
    }

    /// The vCPU, whose list registers are folded, moves to a pCPU that has `count` of them, holding
    /// something else yet: all are to be written.
    const fn move_to(&mut self, count: usize) {
        self.count = match count {
            0 => 1,
            1..MAX_LRS => count,
            _ => MAX_LRS,
        };
        self.lr = [0; MAX_LRS];
        self.stale = 0;
        self.dirty = u16::MAX >> (MAX_LRS - self.count);
    }

    /// Whether one of them is pending, whatever the CPU interface thinks of it: the redistributor's
    /// WakeRequest (IHI0069H 11.1). That is what wakes a CPU from its firmware: Linux closes its
    /// interface before CPU_SUSPEND, from standby to power-down.
    pub fn any_pending(&self) -> bool {
        self.lr
            .iter()
            .take(self.used)
            .any(|&lr| ListRegister::from_bits(lr).is_pending())
    }

    /// Whether all that the vCPU could take is in them, so that no maintenance interrupt is asked for (see the head of this
    /// file).
    const fn everything_fits(&self) -> bool {
        !self.fresh && self.used == self.stale && self.hcr & !(ich_hcr::EN | ich_hcr::TDIR) == 0
    }

    /// Where an interrupt that has come may go, when those in `empty` hold none any more: the register that has had it,
    /// or any. `None` when it is not done yet, or all are taken.
    #[inline(always)]
    fn slot_for(&self, intid: u32, is_listed: bool, empty: u16) -> Option<usize> {
        if is_listed {
            for (slot, lr) in self.lr.iter().take(self.used).enumerate() {
                if *lr as u32 == intid {
                    return (empty >> slot & 1 != 0).then_some(slot);
                }
            }
            return None;
        }
        let slot = (empty.trailing_zeros() as usize).min(self.used);
        (slot < self.count).then_some(slot)
    }

    /// Puts `lr` into register `slot`.
    fn put(&mut self, slot: usize, lr: u64) {
        if let Some(at) = self.lr.get_mut(slot)
            && *at != lr
        {
            *at = lr;
            self.dirty |= 1 << slot;
        }
    }
}

/// In place of what a list register has held, once that has been taken back: an INTID that no interrupt has, in no state.
const TAKEN_BACK: u64 = 1023;

/// How a vCPU comes by an interrupt of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In this list register, which is to be written.
    Listed(usize),
    /// By looking, if it is among these.
    Kick(VcpuSet),
}

/// Interrupts of one vCPU, by bank.
type Set = [u32; BANKS];

impl Vgic {
    /// Takes over what list registers say: what the guest acknowledged and deactivated since. Answers
    /// whom to kick: what this vCPU no longer holds may be due elsewhere.
    pub fn fold(&mut self, who: VcpuId, lrs: &mut ListRegs) -> VcpuSet {
        let Some(cpu) = self.cpus.get_mut(who.index()) else {
            return VcpuSet::EMPTY;
        };
        cpu.outdated = false;
        self.outdated = self.outdated.without(who);
        let fresh = core::mem::take(&mut lrs.fresh);
        // Once folded, EOIcount has been seen, although the register still says so.
        let eoi_count = core::mem::take(&mut lrs.eoi_count);
        if fresh {
            let [_, a, b, c] = cpu.home;
            return match cpu.private.listed | a | b | c {
                0 => VcpuSet::EMPTY,
                _ => self.recall_all(who),
            };
        }
        match lrs.used {
            0 => VcpuSet::EMPTY,
            _ => self.take_back(who, lrs, eoi_count),
        }
    }

    /// What the vCPU's former list registers held, which are lost.
    #[cold]
    fn recall_all(&mut self, who: VcpuId) -> VcpuSet {
        let recalled = self.recall(who);
        self.owners_of(who, recalled).without(who)
    }

    /// The list registers as they were read.
    #[inline(never)]
    fn take_back(&mut self, who: VcpuId, lrs: &mut ListRegs, eoi_count: u8) -> VcpuSet {
        let mut changed = [0; BANKS];
        // First those outside: the ones that come back now were not, when the guest's EOI was counted.
        if eoi_count != 0 && lrs.vmcr & ich_vmcr::VEOIM == 0 {
            self.retire(who, eoi_count, &mut changed);
        }
        for &lr in lrs.lr.iter().take(lrs.used) {
            let lr = ListRegister::from_bits(lr);
            let word = lr.intid() / 32;
            if let Some(view) = &mut self.view(who, word as usize)
                && let Some(changed) = changed.get_mut(word as usize)
            {
                *changed |= view.take_back(lr);
            }
        }
        lrs.stale = lrs.stale.max(lrs.used);
        lrs.used = 0;
        match changed {
            [_, 0, 0, 0] => VcpuSet::EMPTY,
            _ => self.owners_of(who, changed).without(who),
        }
    }

    /// The guest's EOIs of `count` active interrupts without list register.
    #[cold]
    fn retire(&mut self, who: VcpuId, count: u8, changed: &mut Set) {
        for _ in 0..count {
            let outside = self.active_outside(who);
            let Some((word, index)) = self.best(who, &outside, Bank::running_priority) else {
                return;
            };
            let at = At {
                who,
                vcpu: who,
                word,
            };
            // Whom to kick is found out at the end of the fold.
            let _ = self.clear_active(at, bit(index));
            if let Some(changed) = changed.get_mut(usize::from(word)) {
                *changed |= bit(index);
            }
        }
    }

    /// Hands over what the vCPU is to see next, after [`Vgic::fold`], which it does first where it has
    /// not been done; answers like it.
    pub fn fill(&mut self, who: VcpuId, lrs: &mut ListRegs) -> VcpuSet {
        let kick = self.fold(who, lrs);
        let found = self.candidates(who);
        let hcr = match found.count == 0 && !found.released && lrs.stale == 0 {
            true => 0,
            false => self.list(who, lrs, &found),
        };
        lrs.hcr = ich_hcr::EN | hcr;
        if self.vcpus > 1 {
            lrs.hcr |= ich_hcr::TDIR;
        }
        kick
    }

    /// Puts what was found into list registers, as far as they go; what to be told of meanwhile: bits of ICH_HCR_EL2.
    #[inline(never)]
    fn list(&mut self, who: VcpuId, lrs: &mut ListRegs, found: &Candidates) -> u64 {
        if found.released {
            self.collect_released(who, lrs);
        }
        let (chosen, hcr) = match found.count <= lrs.count {
            true => (found.chosen, 0),
            false => self.choose(who, lrs),
        };
        let again = match hcr & ich_hcr::NPIE {
            0 => self.groups,
            _ => Groups::new(false, false),
        };
        let mut slot = 0;
        for (word, &chosen) in chosen.iter().enumerate() {
            if chosen != 0
                && let Some(view) = &mut self.view(who, word)
            {
                for index in each(chosen) {
                    lrs.put(slot, view.hand_over(index, again).bits());
                    slot += 1;
                }
            }
        }
        for stale in slot..lrs.stale {
            lrs.put(stale, 0);
        }
        lrs.used = slot;
        lrs.stale = slot;
        hcr
    }

    /// The input line of one of `who`'s own interrupts is at `level`. As [`Vgic::set_line`], but what the vCPU is to do
    /// about it is mostly done at once.
    #[inline(always)]
    pub fn set_own_line(
        &mut self,
        who: VcpuId,
        intid: u32,
        level: bool,
        lrs: &mut ListRegs,
        empty: u16,
    ) -> Delivery {
        let Some(cpu) = self.cpus.get_mut(who.index()).filter(|_| intid < SPI_BASE) else {
            return Delivery::Kick(VcpuSet::EMPTY);
        };
        let changed = cpu.private.drive(bit(intid as usize), level);
        self.deliver(who, intid, changed, lrs, empty)
    }

    /// `who` requests an SGI of itself alone, by a register that may request it. As [`Vgic::request_sgi`] else.
    #[inline(always)]
    pub fn request_own_sgi(
        &mut self,
        who: VcpuId,
        sgi: u32,
        lrs: &mut ListRegs,
        empty: u16,
    ) -> Delivery {
        let Some(cpu) = self.cpus.get_mut(who.index()).filter(|_| sgi < 16) else {
            return Delivery::Kick(VcpuSet::EMPTY);
        };
        let changed = cpu.private.set_pending(bit(sgi as usize));
        self.deliver(who, sgi, changed, lrs, empty)
    }

    /// An interrupt of the vCPU's own has changed, which may have become deliverable.
    #[inline(always)]
    fn deliver(
        &mut self,
        who: VcpuId,
        intid: u32,
        changed: u32,
        lrs: &mut ListRegs,
        empty: u16,
    ) -> Delivery {
        if changed == 0 {
            return Delivery::Kick(VcpuSet::EMPTY);
        }
        match self.hand_over_one(who, intid, lrs, empty) {
            Some(slot) => Delivery::Listed(slot),
            None => {
                let at = At {
                    who,
                    vcpu: who,
                    word: 0,
                };
                Delivery::Kick(self.owners(at, changed))
            }
        }
    }

    /// The short way of one private interrupt, without fold and fill, if it is deliverable: into an empty list register, of
    /// which `empty` has a bit each (ICH_ELRSR_EL2). Which one is to be written.
    ///
    /// Fill would come to the same, for nothing else has changed: the rest stays in its list registers, and nothing
    /// waits outside of them.
    fn hand_over_one(
        &mut self,
        who: VcpuId,
        intid: u32,
        lrs: &mut ListRegs,
        empty: u16,
    ) -> Option<usize> {
        if !lrs.everything_fits() {
            return None;
        }
        let groups = self.groups;
        let mut view = self.view(who, 0)?;
        let bit = bit(intid as usize);
        let slot = lrs.slot_for(intid, view.bank.listed & bit != 0, empty)?;
        let at = lrs.lr.get_mut(slot)?;
        if slot < lrs.used && *at != TAKEN_BACK {
            // What it has held is over. An SPI may be due elsewhere now, which fill finds out.
            let ended = ListRegister::from_bits(*at).ended();
            if ended.intid() >= SPI_BASE {
                return None;
            }
            view.take_back(ended);
            // It may be in another one next, and must not be taken back from here then. The register itself still names it;
            // but fold, which reads them in order, comes to the other one first: the lowest empty one is taken.
            *at = TAKEN_BACK;
        }
        if view.bank.ready(groups) & bit == 0 || view.bank.release != 0 {
            return None;
        }
        *at = view.hand_over(intid as usize, groups).bits();
        lrs.used = lrs.used.max(slot + 1);
        lrs.stale = lrs.used;
        Some(slot)
    }

    /// What this vCPU could take: active on it or deliverable to it.
    #[inline(always)]
    fn candidates(&self, who: VcpuId) -> Candidates {
        let mut found = Candidates {
            chosen: [0; BANKS],
            count: 0,
            released: false,
        };
        if let Some(cpu) = self.cpus.get(who.index()) {
            found.add(0, &cpu.private, cpu, self.groups);
            for (word, bank) in (1..).zip(&self.spis) {
                found.add(word, bank, cpu, self.groups);
            }
        }
        found
    }

    /// Of each bank of `who`, what `f` says.
    fn per_bank(&self, who: VcpuId, f: impl Fn(&Bank, &Cpu, u8) -> u32) -> Set {
        let mut set = [0; BANKS];
        if let Some(cpu) = self.cpus.get(who.index()) {
            let banks = core::iter::once(&cpu.private).chain(&self.spis);
            for (word, (set, bank)) in (0..).zip(set.iter_mut().zip(banks)) {
                *set = f(bank, cpu, word);
            }
        }
        set
    }

    /// Active on this vCPU, in no list register.
    fn active_outside(&self, who: VcpuId) -> Set {
        self.per_bank(who, |bank, cpu, word| {
            bank.active & !bank.listed & cpu.home(word)
        })
    }

    /// Chooses when there are more candidates than list registers, and what to be told of meanwhile:
    /// bits of ICH_HCR_EL2. See the head of this file.
    #[cold]
    fn choose(&self, who: VcpuId, lrs: &ListRegs) -> (Set, u64) {
        let open0 = lrs.vmcr & ich_vmcr::VENG0 != 0;
        let open1 = lrs.vmcr & ich_vmcr::VENG1 != 0;
        let open = Groups::new(open0, open1);
        let ready = |bank: &Bank, cpu: &Cpu, word| bank.ready(self.groups) & cpu.routed(word);
        let mut active = self.active_outside(who);
        let mut pending =
            self.per_bank(who, |b, cpu, word| ready(b, cpu, word) & b.in_groups(open));
        let mut closed =
            self.per_bank(who, |b, cpu, word| ready(b, cpu, word) & !b.in_groups(open));

        let reserved = usize::from(count(&pending) + count(&closed) > 0);
        let mut chosen = [0; BANKS];
        let mut room = lrs.count;
        room -= self.take(
            who,
            &mut active,
            &mut chosen,
            room.saturating_sub(reserved),
            Bank::running_priority,
        );
        room -= self.take(who, &mut pending, &mut chosen, room, Bank::priority);
        self.take(who, &mut closed, &mut chosen, room, Bank::priority);

        let mut hcr = 0;
        if count(&active) > 0 {
            hcr |= ich_hcr::LRENPIE | ich_hcr::TDIR;
        }
        if count(&pending) > 0 {
            hcr |= ich_hcr::NPIE;
        }
        if count(&pending) + count(&closed) > 0 {
            hcr |= if open0 {
                ich_hcr::VGRP0DIE
            } else {
                ich_hcr::VGRP0EIE
            };
            hcr |= if open1 {
                ich_hcr::VGRP1DIE
            } else {
                ich_hcr::VGRP1EIE
            };
        }
        (chosen, hcr)
    }

    /// The highest priority of a set and, among equals, the lowest INTID: its bank and its index.
    fn best(&self, who: VcpuId, set: &Set, priority: PriorityOf) -> Option<(u8, usize)> {
        let mut best: Option<(u8, u8, usize)> = None;
        for (word, &bits) in (0..).zip(set) {
            let Some(bank) = self.bank(At {
                who,
                vcpu: who,
                word,
            }) else {
                continue;
            };
            for index in each(bits) {
                let this = priority(bank, index);
                if best.is_none_or(|(best, ..)| this < best) {
                    best = Some((this, word, index));
                }
            }
        }
        best.map(|(_, word, index)| (word, index))
    }

    /// Moves the `most` best ones from one set to another; how many there were.
    fn take(
        &self,
        who: VcpuId,
        from: &mut Set,
        to: &mut Set,
        most: usize,
        priority: PriorityOf,
    ) -> usize {
        for taken in 0..most {
            let Some((word, index)) = self.best(who, from, priority) else {
                return taken;
            };
            let word = usize::from(word);
            if let (Some(from), Some(to)) = (from.get_mut(word), to.get_mut(word)) {
                *from &= !bit(index);
                *to |= bit(index);
            }
        }
        most
    }

    /// Physical interrupts to give back: this vCPU's own, and of SPIs whoever comes first.
    #[cold]
    fn collect_released(&mut self, who: VcpuId, lrs: &mut ListRegs) {
        for word in 0..BANKS {
            let Some(view) = self.view(who, word) else {
                return;
            };
            for index in each(view.bank.release) {
                if let Some(pintid) = view.physical(index)
                    && lrs.release.try_push(pintid).is_err()
                {
                    return;
                }
                view.bank.release &= !bit(index);
            }
        }
    }
}

type PriorityOf = fn(&Bank, usize) -> u8;

/// What a vCPU could take.
struct Candidates {
    chosen: Set,
    count: usize,
    /// There are physical interrupts to give back.
    released: bool,
}

impl Candidates {
    /// Most banks have nothing to tell; that is found out first.
    #[inline(always)]
    fn add(&mut self, word: u8, bank: &Bank, cpu: &Cpu, groups: Groups) {
        if bank.line | bank.latch | bank.active | bank.release == 0 {
            return;
        }
        self.released |= bank.release != 0;
        let active = bank.active & !bank.listed & cpu.home(word);
        let pending = bank.ready(groups) & cpu.routed(word);
        if let Some(chosen) = self.chosen.get_mut(usize::from(word)) {
            *chosen = active | pending;
            self.count += chosen.count_ones() as usize;
        }
    }
}

fn count(set: &Set) -> usize {
    set.iter().map(|bits| bits.count_ones() as usize).sum()
}
