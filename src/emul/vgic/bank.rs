//! The state of 32 consecutive interrupts, one bit each.

/// Configuration and state of INTIDs 32n to 32n + 31; bit i of every word belongs to INTID 32n + i.
///
/// An interrupt that a list register holds keeps nothing but its configuration here: what was handed
/// over is noted (`listed`, `lent`, `running`) and comes back when the list register is read. So
/// whatever is set meanwhile is new, and neither is lost nor counted twice.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// Forwarded by the distributor (ISENABLER).
    pub enabled: u32,
    /// In Group 1, else in Group 0 (IGROUPR).
    pub group1: u32,
    /// Edge-triggered, else level-sensitive (ICFGR).
    pub edge: u32,
    /// A physical interrupt stands behind it and stays active while `line` or `held` is set: `line` is
    /// then no wire but that one interrupt, taken from the GIC and not yet handed over.
    pub linked: u32,

    /// The input line.
    pub line: u32,
    /// Pending whatever the line says: an edge that was seen, an SGI, a write to ISPENDR.
    pub latch: u32,
    /// Active.
    pub active: u32,
    /// Handed over together with its physical interrupt, which deactivation must deactivate.
    pub held: u32,
    /// Physical interrupts that nobody needs to stay active any more.
    pub release: u32,

    /// A list register holds it.
    pub listed: u32,
    /// ... as pending by `latch`.
    pub lent: u32,
    /// ... as pending by the physical interrupt behind it; then `held` as well.
    pub lent_line: u32,
    /// ... as active.
    pub running: u32,
    /// Deactivated by ICACTIVER or DIR while a list register held it.
    pub struck: u32,

    /// IPRIORITYR, unimplemented bits 0.
    pub priority: [u8; 32],
    /// The priority at which an active interrupt was acknowledged: a priority drop at the CPU
    /// interface names no interrupt, only this (IHI0069H 4.8).
    pub running_priority: [u8; 32],
}

/// INTIDs 0 to 15 in bank 0.
pub(super) const SGIS: u32 = 0xffff;

impl Bank {
    /// A bank without any interrupt asserted.
    pub const RESET: Self = Self {
        enabled: 0,
        group1: 0,
        edge: 0,
        linked: 0,
        line: 0,
        latch: 0,
        active: 0,
        held: 0,
        release: 0,
        listed: 0,
        lent: 0,
        lent_line: 0,
        running: 0,
        struck: 0,
        priority: [0; 32],
        running_priority: [0; 32],
    };

    /// INTIDs 0 to 31: an SGI is edge-triggered, for good (GICR_ICFGR0 is RAO/WI).
    pub const PRIVATE: Self = Self {
        edge: SGIS,
        ..Self::RESET
    };

    /// The state after reset, which is `fresh`. What is wired stays wired: lines keep their level. A
    /// physical interrupt that was taken goes back; it comes again if it is still asserted.
    pub fn reset(&mut self, fresh: Self) {
        *self = Self {
            linked: self.linked,
            line: self.line & !self.linked,
            release: self.release | self.line & self.linked | self.held,
            ..fresh
        };
    }

    /// Pending, as far as no list register holds it.
    #[inline(always)]
    pub const fn waiting(&self) -> u32 {
        self.latch | self.line & (!self.edge | self.linked)
    }

    /// ISPENDR, with list registers as they were last written.
    pub const fn pending(&self) -> u32 {
        self.waiting() | self.lent | self.lent_line
    }

    /// ISACTIVER, with list registers as they were last written.
    pub const fn activated(&self) -> u32 {
        self.active | self.running
    }

    /// What may be handed to a CPU when these groups are enabled.
    #[inline(always)]
    pub const fn ready(&self, groups: Groups) -> u32 {
        self.waiting() & self.allowed(groups) & !self.active & !self.listed
    }

    /// Enabled, in an enabled group.
    #[inline(always)]
    pub const fn allowed(&self, groups: Groups) -> u32 {
        self.enabled & self.in_groups(groups)
    }

    /// In one of these groups.
    #[inline(always)]
    pub const fn in_groups(&self, groups: Groups) -> u32 {
        self.group1 & groups.one | !self.group1 & groups.zero
    }

    /// Takes back what list registers held that nobody will read any more.
    pub fn recall(&mut self, bits: u32) {
        self.latch |= bits & self.lent;
        self.line |= bits & self.lent_line;
        self.active |= bits & self.running;
        self.held &= !(bits & self.lent_line);
        self.unlist(bits);
    }

    /// No list register holds these any more.
    #[inline(always)]
    pub fn unlist(&mut self, bits: u32) {
        self.listed &= !bits;
        self.lent &= !bits;
        self.lent_line &= !bits;
        self.running &= !bits;
        self.struck &= !bits;
    }

    /// The input of `bit` is at `level`; whether anything changed, as its bit.
    pub fn drive(&mut self, bit: u32, level: bool) -> u32 {
        if bit & self.linked != 0 && !level {
            // The physical line fell before the guest acknowledged.
            let unseen = bit & (self.line | self.lent_line);
            self.release |= unseen & self.line;
            self.line &= !unseen;
            self.lent_line &= !unseen;
            return unseen;
        }
        if (self.line & bit != 0) == level {
            return 0;
        }
        self.line ^= bit;
        if level {
            self.latch |= bit & self.edge & !self.linked;
        }
        bit
    }

    /// ISPENDR; the bits that changed.
    pub fn set_pending(&mut self, bits: u32) -> u32 {
        let new = bits & !self.latch;
        self.latch |= bits;
        new
    }

    /// ICPENDR: a level that is still asserted keeps the interrupt pending (IHI0069H 12.9). A
    /// physical interrupt is given back for the same effect: if asserted it comes again.
    pub fn clear_pending(&mut self, bits: u32) -> u32 {
        let cleared = bits & (self.latch | self.lent | self.lent_line | self.line & self.linked);
        self.release |= bits & self.line & self.linked;
        self.line &= !(bits & self.linked);
        self.latch &= !bits;
        self.lent &= !bits;
        self.lent_line &= !bits;
        cleared
    }

    /// ISACTIVER; the bits that changed.
    pub fn set_active(&mut self, bits: u32) -> u32 {
        let new = bits & !self.activated();
        for index in each(new) {
            if let (Some(at), Some(&priority)) = (
                self.running_priority.get_mut(index),
                self.priority.get(index),
            ) {
                *at = priority;
            }
        }
        // One that a list register holds as active is so there already, and ends there.
        self.active |= bits & !self.running;
        self.struck &= !bits;
        new
    }

    /// ICACTIVER and DIR; the bits that changed.
    pub fn clear_active(&mut self, bits: u32) -> u32 {
        // A list register's interrupt may have been acknowledged since, so each is struck.
        let cleared = bits & (self.activated() | self.listed);
        self.release |= bits & self.held & !self.listed;
        self.held &= !bits | self.listed;
        self.struck |= bits & self.listed;
        self.active &= !bits;
        self.running &= !bits;
        cleared
    }

    /// IPRIORITYR of interrupt `index`; whether it changed, as its bit.
    pub fn set_priority(&mut self, index: usize, priority: u8) -> u32 {
        match self.priority.get_mut(index) {
            Some(at) if *at != priority => {
                *at = priority;
                bit(index)
            }
            _ => 0,
        }
    }

    /// IPRIORITYR of interrupt `index`, of the bank's 32.
    pub fn priority(&self, index: usize) -> u8 {
        self.priority.get(index).copied().unwrap_or(0)
    }

    /// The priority at which interrupt `index` runs.
    pub fn running_priority(&self, index: usize) -> u8 {
        self.running_priority.get(index).copied().unwrap_or(0)
    }
}

/// Which groups are enabled: all ones or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    zero: u32,
    one: u32,
}

impl Groups {
    pub const fn new(zero: bool, one: bool) -> Self {
        Self {
            zero: if zero { u32::MAX } else { 0 },
            one: if one { u32::MAX } else { 0 },
        }
    }
}

/// The bit of interrupt `index` of a bank; 0 beyond its 32.
pub(super) const fn bit(index: usize) -> u32 {
    if index < 32 { 1 << index } else { 0 }
}

/// The indices of the bits that are set, lowest first.
pub(super) fn each(mut bits: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let index = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (index < 32).then_some(index as usize)
    })
}
