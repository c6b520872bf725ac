//! One interrupt's way into a list register and back.

use super::bank::{Bank, Groups, SGIS, bit};
use super::legacy::Requests;
use super::{Cpu, Vgic};
use crate::spec::gic::{GicVersion, ListRegister};
use crate::types::VcpuId;

/// A bank as one vCPU has it.
pub(super) struct View<'a> {
    pub bank: &'a mut Bank,
    /// Of its interrupts, those at home at this vCPU.
    home: &'a mut u32,
    /// Of its interrupts, those routed to this vCPU.
    routed: u32,
    /// The requests behind the bank's SGIs, if they have sources.
    requests: Option<&'a mut Requests>,
    /// INTID of the bank's first interrupt.
    first: u32,
    links: &'a [(u32, u16)],
}

impl Vgic {
    /// Bank `word` as `who` has it.
    #[inline(always)]
    pub(super) fn view(&mut self, who: VcpuId, word: usize) -> Option<View<'_>> {
        let Cpu {
            private,
            home,
            routed,
            requests,
            ..
        } = self.cpus.get_mut(who.index())?;
        let bank = match word {
            0 => private,
            n => self.spis.get_mut(n - 1)?,
        };
        Some(View {
            bank,
            home: home.get_mut(word)?,
            routed: *routed.get(word)?,
            requests: (word == 0 && self.version == GicVersion::V2).then_some(requests),
            first: word as u32 * 32,
            links: &self.links,
        })
    }
}

impl View<'_> {
    /// The physical INTID behind an interrupt.
    #[inline(always)]
    pub fn physical(&self, index: usize) -> Option<u16> {
        let intid = self.first + index as u32;
        let mut links = self.links.iter();
        links
            .find(|(linked, _)| *linked == intid)
            .map(|link| link.1)
    }

    /// A list register's interrupt returns; its bit. Ignored unless this vCPU holds it: the register
    /// may be from before a reset.
    #[inline(always)]
    pub fn take_back(&mut self, lr: ListRegister) -> u32 {
        let index = (lr.intid() % 32) as usize;
        let bit = bit(index);
        let bank = &mut *self.bank;
        if bank.listed & *self.home & bit == 0 {
            return 0;
        }
        if lr.is_pending() {
            if bank.lent & bit != 0 {
                bank.latch |= bit;
                if let Some(requests) = &mut self.requests {
                    requests.give_back(index, lr.source());
                }
            }
            if bank.lent_line & bit != 0 {
                bank.line |= bit;
                bank.held &= !bit;
            }
        }
        if lr.is_active() && bank.struck & bit == 0 {
            bank.active |= bit;
            if let Some(at) = bank.running_priority.get_mut(index) {
                *at = lr.priority();
            }
            if let Some(requests) = &mut self.requests {
                requests.set_active(index, lr.source());
            }
        }
        bank.unlist(bit);
        if bank.held & !bank.active & bit != 0 {
            // Deactivated. The CPU interface passed that on if the register named the physical
            // interrupt and was left to it; else it remains to be done.
            bank.held &= !bit;
            if !lr.is_physical() || lr.is_active() || lr.is_pending() {
                bank.release |= bit;
            }
        }
        if self.first > 0 && bank.active & bit == 0 {
            *self.home &= !bit;
        }
        bit
    }

    /// An interrupt's state moves into a list register. If it is active in one of the groups `again`, it may become pending
    /// again from there.
    #[inline(always)]
    pub fn hand_over(&mut self, index: usize, again: Groups) -> ListRegister {
        let bit = bit(index);
        *self.home |= bit;
        self.bank.listed |= bit;
        let mut lr = match self.bank.active & bit {
            0 => self.hand_over_pending(index),
            _ => self.hand_over_active(index, again),
        };
        let bank = &*self.bank;
        if bank.group1 & bit != 0 {
            lr = lr.with_group1();
        }
        if bank.waiting() & bit != 0 {
            // It will be pending when this one is done, and the register cannot say so.
            return lr.with_eoi();
        }
        if bank.held & bit != 0
            && let Some(pintid) = self.physical(index)
        {
            return lr.with_physical(pintid);
        }
        lr
    }

    #[inline(always)]
    fn hand_over_pending(&mut self, index: usize) -> ListRegister {
        let bit = bit(index);
        let bank = &mut *self.bank;
        let lr = ListRegister::new(self.first + index as u32, bank.priority(index)).with_pending();
        bank.lent |= bank.latch & bit;
        bank.latch &= !bit;
        let taken = bank.line & bank.linked & bit;
        bank.lent_line |= taken;
        bank.held |= taken;
        bank.line &= !taken;
        match &mut self.requests {
            Some(requests) if bit & SGIS != 0 => {
                let (source, more) = requests.take(index);
                bank.latch |= if more { bit } else { 0 };
                lr.with_source(source)
            }
            _ => lr,
        }
    }

    /// An active interrupt may be marked pending as well only if it may be delivered here right after,
    /// at the priority at which it runs; and never with a physical one (IHI0069H 12.4), nor an SGI
    /// of GICv2, whose next request may be another CPU's.
    fn hand_over_active(&mut self, index: usize, again: Groups) -> ListRegister {
        let bit = bit(index);
        let bank = &mut *self.bank;
        let priority = bank.running_priority(index);
        let lr = ListRegister::new(self.first + index as u32, priority).with_active();
        bank.active &= !bit;
        bank.running |= bit;
        if let Some(requests) = &self.requests
            && bit & SGIS != 0
        {
            return lr.with_source(requests.active(index));
        }
        let again = bank.latch & bank.edge & bank.allowed(again) & !bank.held & self.routed & bit;
        if again != 0 && priority == bank.priority(index) {
            bank.latch &= !bit;
            bank.lent |= bit;
            return lr.with_pending();
        }
        lr
    }
}
