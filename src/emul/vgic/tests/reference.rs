//! A GIC without list registers, written interrupt by interrupt as the manual describes it.

use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub edge: bool,
    pub priority: u8,
    pub line: bool,
    pub latch: bool,
    pub active: bool,
    pub route: usize,
}

impl Interrupt {
    pub fn pending(&self) -> bool {
        self.latch || self.line && !self.edge
    }
}

pub struct Reference {
    pub enable0: bool,
    pub enable1: bool,
    pub private: Vec<Vec<Interrupt>>,
    pub shared: Vec<Interrupt>,
    /// By CPU and SGI, who has requested it, a bit each; of a GICv2.
    pub sources: Vec<[u8; 16]>,
    pub running: Vec<Vec<u8>>,
    pub open: Vec<u64>,
}

impl Reference {
    pub fn new(vcpus: usize) -> Self {
        let mut private = vec![vec![Interrupt::default(); 32]; vcpus];
        for bank in &mut private {
            bank.iter_mut().take(16).for_each(|i| i.edge = true);
        }
        Self {
            enable0: false,
            enable1: false,
            private,
            shared: vec![Interrupt::default(); 96],
            sources: vec![[0; 16]; vcpus],
            running: vec![Vec::new(); vcpus],
            open: vec![3; vcpus],
        }
    }

    pub fn of(&mut self, cpu: usize, intid: u32) -> &mut Interrupt {
        match intid {
            0..32 => &mut self.private[cpu][intid as usize],
            _ => &mut self.shared[intid as usize - 32],
        }
    }

    pub fn line(&mut self, cpu: usize, intid: u32, level: bool) {
        let i = self.of(cpu, intid);
        if level && !i.line && i.edge {
            i.latch = true;
        }
        i.line = level;
    }

    /// Every interrupt that could be acknowledged by `cpu`, best first.
    pub fn deliverable(&mut self, cpu: usize) -> Vec<u32> {
        let limit = self.running[cpu].last().copied().unwrap_or(0xff);
        let (enable0, enable1, open) = (self.enable0, self.enable1, self.open[cpu]);
        let mut found = Vec::new();
        for intid in 0..128 {
            let i = self.of(cpu, intid);
            let group = if i.group1 {
                enable1 && open & 2 != 0
            } else {
                enable0 && open & 1 != 0
            };
            let here = intid < 32 || i.route == cpu;
            if i.enabled && group && here && i.pending() && !i.active && i.priority < limit {
                found.push((i.priority, intid));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, intid)| intid).collect()
    }

    /// `sources` request an SGI of a GICv2.
    pub fn request(&mut self, cpu: usize, sgi: u32, sources: u8) {
        let pending = &mut self.sources[cpu][sgi as usize];
        *pending |= sources;
        self.of(cpu, sgi).latch = true;
    }

    /// They do so no more.
    pub fn withdraw(&mut self, cpu: usize, sgi: u32, sources: u8) {
        let pending = &mut self.sources[cpu][sgi as usize];
        *pending &= !sources;
        let left = *pending != 0;
        self.of(cpu, sgi).latch = left;
    }

    pub fn acknowledge(&mut self, cpu: usize, intid: u32) {
        let i = self.of(cpu, intid);
        i.latch = false;
        i.active = true;
        let priority = i.priority;
        self.running[cpu].push(priority);
    }
}
