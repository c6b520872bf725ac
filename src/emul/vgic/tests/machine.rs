//! The hardware around a [`Vgic`]: virtual CPU interfaces as IHI0069H 6 describes them, a
//! physical timer interrupt per CPU, and an EL2 that does what the head of the module asks for.

use std::vec::Vec;

use super::super::{Delivery, Found, ListRegs, Place, Reply, Vgic};
use crate::spec::gic::{GicVersion, MAX_LRS, SgiRegister, SgiRequest};
use crate::types::{Op, VcpuId, VcpuSet, Width};

pub const TIMER: u32 = 27;
const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HW: u64 = 1 << 61;
const GROUP1: u64 = 1 << 60;
const EOI: u64 = 1 << 41;

/// One pCPU.
pub struct Interface {
    /// What EL2 keeps of the registers.
    pub lrs: ListRegs,
    /// `ICH_LR<n>_EL2`.
    hardware: [u64; MAX_LRS],
    /// ICH_HCR_EL2 but for EOIcount.
    hcr: u64,
    /// ICH_VMCR_EL2.
    pub vmcr: u64,
    eoi_count: u8,
    /// The priorities of the Active Priorities registers, lowest priority first.
    pub running: Vec<u8>,
    /// The timer's line, and whether the physical interrupt is active.
    pub timer: (bool, bool),
    /// Refreshes that a maintenance interrupt asked for.
    pub maintenance: usize,
    /// Every refresh.
    pub refreshes: usize,
    pub writes: u32,
}

impl Interface {
    fn priority(lr: u64) -> u8 {
        (lr >> 48) as u8
    }

    fn used(&mut self) -> impl Iterator<Item = &mut u64> {
        self.hardware.iter_mut().take(self.lrs.count)
    }

    /// ICH_MISR_EL2.
    fn misr(&mut self) -> u64 {
        let hcr = self.hcr;
        let valid = self
            .used()
            .filter(|lr| **lr & (PENDING | ACTIVE) != 0)
            .count();
        let pending = self.used().any(|lr| *lr & (PENDING | ACTIVE) == PENDING);
        let eoi = self
            .used()
            .any(|lr| *lr & (PENDING | ACTIVE | HW | EOI) == EOI);
        let conditions = [
            (0x02, valid <= 1),
            (0x04, self.eoi_count != 0),
            (0x08, !pending),
            (0x10, self.vmcr & 1 != 0),
            (0x20, self.vmcr & 1 == 0),
            (0x40, self.vmcr & 2 != 0),
            (0x80, self.vmcr & 2 == 0),
        ];
        let asserted = conditions.iter().filter(|(_, holds)| *holds);
        asserted.map(|(bit, _)| hcr & bit).sum::<u64>() | u64::from(eoi)
    }

    /// ICH_ELRSR_EL2.
    fn elrsr(&mut self) -> u16 {
        let is_empty = |lr: &u64| lr & (PENDING | ACTIVE) == 0 && lr & (HW | EOI) != EOI;
        (0..)
            .zip(self.used())
            .fold(0, |all, (n, lr)| all | u16::from(is_empty(lr)) << n)
    }

    /// Reads ICC_IAR0/1_EL1, whichever has the interrupt: its INTID with the source of an SGI.
    fn acknowledge(&mut self) -> Option<(u32, u8)> {
        let open = self.vmcr;
        let limit = self
            .running
            .last()
            .copied()
            .unwrap_or(0xff)
            .min((open >> 24) as u8);
        let lr = self
            .used()
            .filter(|lr| **lr & (PENDING | ACTIVE) == PENDING)
            .filter(|lr| open & if **lr & GROUP1 != 0 { 2 } else { 1 } != 0)
            .min_by_key(|lr| (Self::priority(**lr), **lr as u32))?;
        let (intid, source, priority) = (*lr as u32, (*lr >> 32) as u8 & 7, Self::priority(*lr));
        if priority >= limit {
            return None;
        }
        *lr = *lr & !PENDING | ACTIVE;
        self.running.push(priority);
        Some((intid, source))
    }

    fn deactivate(&mut self, intid: u32) {
        let lr = self
            .used()
            .find(|lr| **lr & ACTIVE != 0 && **lr as u32 == intid);
        match lr {
            Some(lr) => {
                *lr &= !ACTIVE;
                if *lr & HW != 0 {
                    assert_eq!(*lr >> 32 & 0x1fff, u64::from(TIMER));
                    assert!(self.timer.1, "a physical interrupt is deactivated once");
                    self.timer.1 = false;
                }
            }
            None => self.eoi_count = (self.eoi_count + 1) % 32,
        }
    }
}

/// A VM on as many pCPUs.
pub struct Machine {
    version: GicVersion,
    pub gic: Vgic,
    pub cpus: Vec<Interface>,
    /// vCPUs that were kicked and have not refreshed yet; only if `lazy`.
    pub kicked: VcpuSet,
    /// Kicks of others wait for [`Machine::settle`].
    pub lazy: bool,
    /// How many interrupts went the short way.
    pub short_ways: usize,
}

pub fn v(index: usize) -> VcpuId {
    VcpuId::new(index as u8)
}

impl Machine {
    /// Priorities of five bits; every group enabled at the CPU interfaces, none masked, EOImode 0.
    pub fn new(version: GicVersion, vcpus: usize, lrs: usize) -> Self {
        let mut gic = Vgic::new(version, vcpus, 5);
        gic.link(TIMER, TIMER as u16).unwrap();
        let cpus = (0..vcpus)
            .map(|_| Interface {
                lrs: ListRegs::new(lrs),
                hardware: [0; MAX_LRS],
                hcr: 0,
                vmcr: 0xff00_0003,
                eoi_count: 0,
                running: Vec::new(),
                timer: (false, false),
                maintenance: 0,
                refreshes: 0,
                writes: 0,
            })
            .collect();
        let mut machine = Self {
            version,
            gic,
            cpus,
            kicked: VcpuSet::EMPTY,
            lazy: false,
            short_ways: 0,
        };
        (0..vcpus).for_each(|cpu| machine.refresh(cpu));
        machine
    }

    pub fn v3(vcpus: usize, lrs: usize) -> Self {
        Self::new(GicVersion::V3, vcpus, lrs)
    }

    fn load(&mut self, cpu: usize) {
        let cpu = &mut self.cpus[cpu];
        let used = cpu.lrs.used;
        cpu.lrs.lr[..used].copy_from_slice(&cpu.hardware[..used]);
        cpu.lrs.vmcr = cpu.vmcr;
        cpu.lrs.eoi_count = cpu.eoi_count;
    }

    /// Own accesses to pending and active bits fold first.
    pub fn fold(&mut self, cpu: usize) {
        self.load(cpu);
        let kick = self.gic.fold(v(cpu), &mut self.cpus[cpu].lrs);
        self.kicked = self.kicked.union(kick);
    }

    /// `irq::sample`: the timer's line may have fallen unseen.
    fn sample(&mut self, cpu: usize) -> VcpuSet {
        match self.gic.is_high(v(cpu), TIMER) && !self.cpus[cpu].timer.0 {
            true => self.gic.set_line(TIMER, v(cpu), false),
            false => VcpuSet::EMPTY,
        }
    }

    /// The steps of the module's head.
    pub fn refresh(&mut self, cpu: usize) {
        let sampled = self.sample(cpu);
        self.kicked = self.kicked.union(sampled);
        self.load(cpu);
        let kick = self.gic.fill(v(cpu), &mut self.cpus[cpu].lrs);
        assert!(!kick.contains(v(cpu)), "a refreshed vCPU is up to date");
        self.kicked = self.kicked.union(kick).without(v(cpu));
        let interface = &mut self.cpus[cpu];
        interface.refreshes += 1;
        for (slot, lr) in interface.lrs.lr.iter().enumerate() {
            if interface.lrs.dirty >> slot & 1 != 0 {
                interface.hardware[slot] = *lr;
                interface.writes += 1;
            }
        }
        interface.lrs.dirty = 0;
        interface.hcr = interface.lrs.hcr;
        interface.eoi_count = 0;
        for pintid in interface.lrs.release.drain(..) {
            assert_eq!(u32::from(pintid), TIMER);
            interface.timer.1 = false;
        }
        self.check(cpu);
    }

    /// The vCPU goes off: `irq::quiesce`.
    pub fn off(&mut self, cpu: usize) {
        self.fold(cpu);
        let kick = self.gic.reset_vcpu(v(cpu));
        self.kicked = self.kicked.union(kick);
        self.refresh(cpu);
        self.cpus[cpu].running.clear();
        self.settle();
    }

    /// It comes on again: `irq::begin`. Its CPU interface is as after reset.
    pub fn on(&mut self, cpu: usize) {
        let interface = &mut self.cpus[cpu];
        interface.hardware = [0; MAX_LRS];
        interface.hcr = 0;
        interface.vmcr = 0;
        interface.eoi_count = 0;
        interface.lrs.renew();
        self.refresh(cpu);
        self.settle();
    }

    /// What must hold of list registers whenever a guest is entered.
    fn check(&mut self, cpu: usize) {
        let interface = &mut self.cpus[cpu];
        let lrs = interface.hardware;
        let listed: Vec<u32> = lrs
            .iter()
            .filter(|lr| **lr & (PENDING | ACTIVE) != 0)
            .map(|lr| *lr as u32)
            .collect();
        let mut once = listed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), listed.len(), "an INTID in two list registers");
        assert!(
            lrs.iter()
                .all(|lr| lr & HW == 0 || lr & (PENDING | ACTIVE) != PENDING | ACTIVE),
            "a hardware interrupt is never pending and active"
        );
        assert_eq!(
            interface.misr(),
            0,
            "the guest is entered with a maintenance interrupt"
        );
    }

    /// What becomes of an interrupt of the CPU's own.
    fn deliver(&mut self, cpu: usize, delivery: Delivery) {
        match delivery {
            Delivery::Listed(slot) => {
                let interface = &mut self.cpus[cpu];
                assert!(slot < interface.lrs.used);
                interface.hardware[slot] = interface.lrs.lr[slot];
                self.short_ways += 1;
                self.check(cpu);
            }
            Delivery::Kick(kick) => self.kicked = self.kicked.union(kick),
        }
    }

    /// The input of a private interrupt.
    fn own_line(&mut self, cpu: usize, intid: u32, level: bool) {
        let empty = self.cpus[cpu].elrsr();
        let lrs = &mut self.cpus[cpu].lrs;
        let delivery = self.gic.set_own_line(v(cpu), intid, level, lrs, empty);
        self.deliver(cpu, delivery);
    }

    /// What `cpu` does on its way out of EL2, and the interrupts that follow.
    fn after(&mut self, cpu: usize, kick: VcpuSet) {
        self.kicked = self.kicked.union(kick);
        if self.kicked.contains(v(cpu)) {
            self.refresh(cpu);
        }
        self.hardware(cpu);
        if !self.lazy {
            self.settle();
        }
    }

    /// Maintenance and physical interrupts of one CPU, until there is none.
    fn hardware(&mut self, cpu: usize) {
        for _ in 0..4 {
            if self.cpus[cpu].timer == (true, false) {
                self.cpus[cpu].timer.1 = true;
                self.own_line(cpu, TIMER, true);
                if self.kicked.contains(v(cpu)) {
                    self.refresh(cpu);
                }
            } else if self.cpus[cpu].misr() != 0 {
                self.cpus[cpu].maintenance += 1;
                self.refresh(cpu);
            } else {
                return;
            }
        }
        panic!("interrupts of CPU {cpu} do not end");
    }

    /// Every kicked vCPU refreshes.
    pub fn settle(&mut self) {
        for _ in 0..64 {
            let Some(cpu) = self.kicked.into_iter().next() else {
                return;
            };
            self.kicked = self.kicked.without(cpu);
            self.refresh(cpu.index());
            self.hardware(cpu.index());
        }
        panic!("kicks do not end");
    }

    /// Register accesses of a guest. Offsets from 0x100_0000 on are the redistributors'.
    pub fn access(&mut self, cpu: usize, offset: u64, width: Width, op: Op) -> Option<u64> {
        let place = match offset.checked_sub(REDISTRIBUTORS) {
            Some(offset) => Place::in_redistributors(self.cpus.len(), offset)?,
            None => Place::in_distributor(self.version, v(cpu), offset),
        };
        let Some(hit) = place.hit() else {
            return Some(0);
        };
        let state = match hit.found(place, v(cpu), width).ok()? {
            Found::Reserved => return Some(0),
            Found::Fixed(which) if op == Op::Read => {
                return Some(self.gic.identity().get(which).into());
            }
            Found::Fixed(_) => return Some(0),
            Found::State(state) => state,
        };
        let fold = state.is_volatile();
        if fold {
            self.fold(cpu);
        }
        let sampled = self.sample(cpu);
        let Reply { value, kick } = self.gic.access(&state, op);
        let mut kick = kick.union(sampled);
        if fold {
            kick.insert(v(cpu));
        }
        self.after(cpu, kick);
        Some(value & width.mask())
    }

    pub fn read(&mut self, cpu: usize, offset: u64) -> u32 {
        self.access(cpu, offset, Width::Word, Op::Read).unwrap() as u32
    }

    pub fn write(&mut self, cpu: usize, offset: u64, value: u32) {
        self.access(cpu, offset, Width::Word, Op::Write(value.into()))
            .unwrap();
    }

    pub fn write_byte(&mut self, cpu: usize, offset: u64, value: u8) {
        self.access(cpu, offset, Width::Byte, Op::Write(value.into()))
            .unwrap();
    }

    /// Timers fall as the others' lines do, which `irq::set_timer_lines` sees to.
    pub fn line(&mut self, intid: u32, cpu: usize, level: bool) {
        let is_own = (16..32).contains(&intid);
        let is_timer = matches!(intid, TIMER | 30);
        let kick = match is_own && (level || !is_timer) {
            true => {
                self.own_line(cpu, intid, level);
                VcpuSet::EMPTY
            }
            false => self.gic.set_line(intid, v(cpu), level),
        };
        self.after(cpu, kick);
    }

    /// The guest did something that EL2 does not see.
    pub fn run(&mut self, cpu: usize) {
        self.after(cpu, VcpuSet::EMPTY);
    }

    /// The timer's line, and EL2 that looks at it.
    pub fn timer(&mut self, cpu: usize, level: bool) {
        self.cpus[cpu].timer.0 = level;
        if !level {
            self.line(TIMER, cpu, false);
        }
        self.after(cpu, VcpuSet::EMPTY);
    }

    pub fn sgi(&mut self, cpu: usize, register: SgiRegister, value: u64) {
        let request = SgiRequest::decode(value, v(cpu), self.cpus.len());
        if register == SgiRegister::Sgi1r && request.targets == VcpuSet::one(v(cpu)) {
            let empty = self.cpus[cpu].elrsr();
            let lrs = &mut self.cpus[cpu].lrs;
            let delivery = self.gic.request_own_sgi(v(cpu), request.intid, lrs, empty);
            self.deliver(cpu, delivery);
            return self.after(cpu, VcpuSet::EMPTY);
        }
        let kick = self.gic.request_sgi(register, request);
        self.after(cpu, kick);
    }

    /// IAR: 1023 when there is none.
    pub fn acknowledge(&mut self, cpu: usize) -> u32 {
        let got = self.cpus[cpu].acknowledge();
        self.after(cpu, VcpuSet::EMPTY);
        got.map_or(1023, |(intid, _)| intid)
    }

    /// GICC_IAR of a GICv2: the source of an SGI in [12:10].
    pub fn acknowledge_v2(&mut self, cpu: usize) -> u32 {
        let got = self.cpus[cpu].acknowledge();
        self.after(cpu, VcpuSet::EMPTY);
        got.map_or(1023, |(intid, source)| {
            intid
                | if intid < 16 {
                    u32::from(source) << 10
                } else {
                    0
                }
        })
    }

    /// EOIR.
    pub fn eoi(&mut self, cpu: usize, intid: u32) {
        let interface = &mut self.cpus[cpu];
        interface.running.pop();
        if interface.vmcr & 0x200 == 0 {
            interface.deactivate(intid);
        }
        self.after(cpu, VcpuSet::EMPTY);
    }

    /// DIR.
    pub fn dir(&mut self, cpu: usize, intid: u32) {
        assert!(self.cpus[cpu].vmcr & 0x200 != 0);
        // A GICv2's GICC_DIR always traps.
        if self.version == GicVersion::V3 && self.cpus[cpu].hcr & 1 << 14 == 0 {
            self.cpus[cpu].deactivate(intid);
            self.after(cpu, VcpuSet::EMPTY);
        } else {
            self.fold(cpu);
            let mut kick = self.gic.deactivate(v(cpu), intid);
            kick.insert(v(cpu));
            self.after(cpu, kick);
        }
    }

    /// As [`Self::drain`], of lines that stay high: each once, without ending it.
    pub fn drain_one_by_one(&mut self, cpu: usize) -> Vec<u32> {
        let mut seen = Vec::new();
        loop {
            match self.acknowledge(cpu) {
                1023 => break,
                intid => seen.push(intid),
            }
        }
        for &intid in seen.iter().rev() {
            self.eoi(cpu, intid);
        }
        seen
    }

    /// Acknowledges and ends everything that `cpu` has, in the order in which it comes.
    pub fn drain(&mut self, cpu: usize) -> Vec<u32> {
        let mut seen = Vec::new();
        while seen.len() < 200 {
            match self.acknowledge(cpu) {
                1023 => break,
                intid => {
                    seen.push(intid);
                    self.eoi(cpu, intid);
                }
            }
        }
        seen
    }
}

pub const REDISTRIBUTORS: u64 = 0x100_0000;

/// The offset of a register in the SGI_base frame of `cpu`.
pub fn private(cpu: usize, offset: u64) -> u64 {
    REDISTRIBUTORS + 0x2_0000 * cpu as u64 + 0x1_0000 + offset
}
