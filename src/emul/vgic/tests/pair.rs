//! The machine beside the reference, and what is done to both.

use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use super::machine::{Machine, TIMER, private};
use super::reference::{Interrupt, Reference};
use crate::spec::gic::{GicVersion, SgiRegister};
use crate::types::{Op as Direction, Width};

/// Interrupts that the runs play with: few, so that they meet.
const SOME: [u32; 18] = [
    0, 1, 2, 15, TIMER, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40, 63, 64, 127,
];

#[derive(Clone, Debug)]
pub enum Op {
    /// A one-bit register of `owner`'s bank (or the VM's), written by `who`.
    Bit {
        who: usize,
        owner: usize,
        register: u64,
        intid: u32,
    },
    Groups {
        who: usize,
        owner: usize,
        intid: u32,
        one: bool,
    },
    Priority {
        who: usize,
        owner: usize,
        intid: u32,
        priority: u8,
    },
    Edge {
        who: usize,
        owner: usize,
        intid: u32,
        edge: bool,
    },
    Route {
        who: usize,
        intid: u32,
        to: usize,
    },
    Control {
        who: usize,
        value: u32,
    },
    Open {
        cpu: usize,
        groups: u64,
    },
    Line {
        cpu: usize,
        intid: u32,
        level: bool,
    },
    Sgi {
        who: usize,
        list: u64,
        intid: u32,
    },
    Acknowledge {
        cpu: usize,
    },
    End {
        cpu: usize,
    },
    Deactivate {
        cpu: usize,
        choice: usize,
    },
    Off {
        cpu: usize,
    },
    On {
        cpu: usize,
    },
    /// It sleeps and wakes without the state of its CPU interface.
    PowerDown {
        cpu: usize,
    },
}

pub fn op() -> impl Strategy<Value = Op> {
    let cpu = 0..3usize;
    let intid = || proptest::sample::select(&SOME[..]);
    let register = prop_oneof![
        6 => Just(0x0100u64),
        1 => Just(0x0180),
        6 => Just(0x0200),
        1 => Just(0x0280),
        1 => Just(0x0300),
        1 => Just(0x0380)
    ];
    prop_oneof![
        8 => (cpu.clone(), cpu.clone(), register, intid()).prop_map(|(who, owner, register, intid)| Op::Bit { who, owner, register, intid }),
        1 => (cpu.clone(), cpu.clone(), intid(), any::<bool>()).prop_map(|(who, owner, intid, one)| Op::Groups { who, owner, intid, one }),
        3 => (cpu.clone(), cpu.clone(), intid(), 0..6u8).prop_map(|(who, owner, intid, p)| Op::Priority { who, owner, intid, priority: p << 5 | 7 }),
        1 => (cpu.clone(), cpu.clone(), intid(), any::<bool>()).prop_map(|(who, owner, intid, edge)| Op::Edge { who, owner, intid, edge }),
        1 => (cpu.clone(), intid(), 0..4usize).prop_map(|(who, intid, to)| Op::Route { who, intid, to }),
        1 => (cpu.clone(), prop_oneof![4 => Just(3u32), 1 => 0..4u32]).prop_map(|(who, value)| Op::Control { who, value }),
        1 => (cpu.clone(), prop_oneof![4 => Just(3u64), 1 => 0..4u64]).prop_map(|(cpu, groups)| Op::Open { cpu, groups }),
        5 => (cpu.clone(), intid(), any::<bool>()).prop_map(|(cpu, intid, level)| Op::Line { cpu, intid, level }),
        4 => (cpu.clone(), 0..8u64, 0..4u32).prop_map(|(who, list, intid)| Op::Sgi { who, list, intid }),
        10 => cpu.clone().prop_map(|cpu| Op::Acknowledge { cpu }),
        7 => cpu.clone().prop_map(|cpu| Op::End { cpu }),
        3 => (cpu.clone(), any::<usize>()).prop_map(|(cpu, choice)| Op::Deactivate { cpu, choice }),
        1 => cpu.clone().prop_map(|cpu| Op::Off { cpu }),
        2 => cpu.clone().prop_map(|cpu| Op::On { cpu }),
        1 => cpu.prop_map(|cpu| Op::PowerDown { cpu }),
    ]
}

impl Op {
    /// Who does it, where somebody must.
    fn actor(&mut self) -> &mut usize {
        match self {
            Self::Bit { who, .. }
            | Self::Groups { who, .. }
            | Self::Priority { who, .. }
            | Self::Edge { who, .. }
            | Self::Route { who, .. }
            | Self::Control { who, .. }
            | Self::Sgi { who, .. } => who,
            Self::Open { cpu, .. }
            | Self::Line { cpu, .. }
            | Self::Acknowledge { cpu }
            | Self::End { cpu }
            | Self::Deactivate { cpu, .. }
            | Self::Off { cpu }
            | Self::On { cpu }
            | Self::PowerDown { cpu } => cpu,
        }
    }

    /// Whose private interrupt it is about.
    fn owner(&self) -> Option<usize> {
        match *self {
            Self::Bit { owner, intid, .. }
            | Self::Groups { owner, intid, .. }
            | Self::Priority { owner, intid, .. }
            | Self::Edge { owner, intid, .. } => (intid < 32).then_some(owner),
            _ => None,
        }
    }
}

/// Both, and what the guest remembers.
pub struct Pair {
    version: GicVersion,
    pub machine: Machine,
    reference: Reference,
    split: bool,
    /// By CPU, acknowledged and not ended; and with EOImode 1, not deactivated.
    begun: Vec<Vec<u32>>,
    undone: Vec<(usize, u32)>,
    is_off: Vec<bool>,
}

impl Pair {
    pub fn new((version, vcpus, lrs, split): (GicVersion, usize, usize, bool)) -> Self {
        let mut machine = Machine::new(version, vcpus, lrs);
        if split {
            machine.cpus.iter_mut().for_each(|c| c.vmcr |= 0x200);
        }
        let mut pair = Self {
            version,
            machine,
            reference: Reference::new(vcpus),
            split,
            begun: vec![Vec::new(); vcpus],
            undone: Vec::new(),
            is_off: vec![false; vcpus],
        };
        pair.apply(&Op::Control { who: 0, value: 3 });
        // After reset, SPIs of a GICv2 go to nobody, of a GICv3 to vCPU 0.
        for intid in SOME {
            pair.apply(&Op::Route {
                who: 0,
                intid,
                to: 0,
            });
        }
        pair
    }

    fn is_v2(&self) -> bool {
        self.version == GicVersion::V2
    }

    /// Who accesses registers of an interrupt of `owner`'s: with a GICv2 nobody else can, of private ones.
    fn by(&self, who: usize, owner: usize, intid: u32) -> usize {
        match self.is_v2() && intid < 32 {
            true => owner,
            false => who,
        }
    }

    pub fn vcpus(&self) -> usize {
        self.machine.cpus.len()
    }

    /// Where a register of series `register` is for `intid`, `bits` bits per interrupt.
    fn place(&self, owner: usize, register: u64, intid: u32, bits: u32) -> u64 {
        let offset = register + u64::from(intid * bits / 32 * 4);
        if intid < 32 && !self.is_v2() {
            private(owner, offset)
        } else {
            offset
        }
    }

    fn apply(&mut self, op: &Op) {
        let n = self.vcpus();
        match *op {
            Op::Bit {
                who,
                owner,
                register,
                intid,
            } => self.bit(who % n, owner % n, register, intid),
            Op::Acknowledge { cpu } => self.acknowledge(cpu % n),
            Op::End { cpu } => self.end(cpu % n),
            Op::Deactivate { cpu, choice } => self.deactivate(cpu % n, choice),
            Op::Open { .. } | Op::Line { .. } | Op::Sgi { .. } => self.signal(op),
            // Off and on: see `apply_if_on`.
            _ => self.configure(op),
        }
    }

    /// What a driver writes once.
    fn configure(&mut self, op: &Op) {
        let n = self.vcpus();
        match *op {
            Op::Groups {
                who,
                owner,
                intid,
                one,
            } => {
                let owner = owner % n;
                let who = self.by(who % n, owner, intid);
                let place = self.place(owner, 0x0080, intid, 1);
                let old = self.machine.read(who, place);
                let bit = 1 << (intid % 32);
                self.machine
                    .write(who, place, if one { old | bit } else { old & !bit });
                self.reference.of(owner, intid).group1 = one;
            }
            Op::Priority {
                who,
                owner,
                intid,
                priority,
            } => {
                let owner = owner % n;
                let who = self.by(who % n, owner, intid);
                let place = self.place(owner, 0x0400, intid, 8) + u64::from(intid % 4);
                self.machine.write_byte(who, place, priority);
                self.reference.of(owner, intid).priority = priority & 0xf8;
            }
            Op::Edge {
                who,
                owner,
                intid,
                edge,
            } if intid >= 16 && intid != TIMER => {
                let owner = owner % n;
                let who = self.by(who % n, owner, intid);
                let place = self.place(owner, 0x0c00, intid, 2);
                let old = self.machine.read(who, place);
                let bit = 2 << (intid % 16 * 2);
                self.machine
                    .write(who, place, if edge { old | bit } else { old & !bit });
                self.reference.of(owner, intid).edge = edge;
            }
            Op::Route { who, intid, to } if intid >= 32 && self.is_v2() => {
                let targets = if to < n { 1 << to } else { 0 };
                let place = 0x0800 + u64::from(intid);
                self.machine.write_byte(who % n, place, targets);
                // With one CPU everything goes there.
                self.reference.of(0, intid).route = if n == 1 { 0 } else { to };
            }
            Op::Route { who, intid, to } if intid >= 32 => {
                let place = 0x6000 + 8 * u64::from(intid);
                let affinity = if to < n { to as u64 } else { 0x7700 };
                let op = Direction::Write(affinity);
                self.machine.access(who % n, place, Width::Double, op);
                self.reference.of(0, intid).route = to;
            }
            Op::Control { who, value } => {
                self.machine.write(who % n, 0x0000, value);
                self.reference.enable0 = value & 1 != 0;
                self.reference.enable1 = value & 2 != 0;
            }
            _ => {}
        }
    }

    /// What comes to an interrupt from outside, and a CPU interface that opens for it.
    fn signal(&mut self, op: &Op) {
        let n = self.vcpus();
        match *op {
            Op::Open { cpu, groups } => {
                let cpu = cpu % n;
                self.machine.cpus[cpu].vmcr = self.machine.cpus[cpu].vmcr & !3 | groups;
                self.machine.run(cpu);
                self.reference.open[cpu] = groups;
            }
            Op::Line { cpu, intid, level } if intid >= 16 => {
                let cpu = cpu % n;
                if intid == TIMER {
                    self.machine.timer(cpu, level);
                } else {
                    self.machine.line(intid, cpu, level);
                }
                self.reference.line(cpu, intid, level);
            }
            Op::Sgi { who, list, intid } if self.is_v2() => {
                let who = who % n;
                let value = (list as u32) << 16 | intid;
                self.machine.write(who, 0x0f00, value);
                for cpu in (0..n).filter(|c| list & (1 << c) != 0) {
                    self.reference.request(cpu, intid, 1 << who);
                }
            }
            Op::Sgi { who, list, intid } => {
                let value = u64::from(intid) << 24 | list;
                self.machine.sgi(who % n, SgiRegister::Sgi1r, value);
                for cpu in (0..n).filter(|c| list & (1 << c) != 0) {
                    self.reference.of(cpu, intid).latch = true;
                }
            }
            _ => {}
        }
    }

    /// The same, by a vCPU that is on, if one can do it.
    pub fn apply_if_on(&mut self, op: &Op) {
        let n = self.vcpus();
        let mut op = op.clone();
        match op {
            Op::Off { cpu } => return self.off(cpu % n),
            Op::On { cpu } => return self.on(cpu % n),
            Op::PowerDown { cpu } => return self.power_down(cpu % n),
            _ => {}
        }
        let is_own = op.owner().is_some_and(|owner| {
            // With a GICv2, the owner alone can.
            self.is_v2() && self.is_off[owner % n]
        });
        if !is_own && !self.is_off[*op.actor() % n] {
            self.apply(&op);
        }
    }

    /// Without its last vCPU a VM ends.
    fn off(&mut self, cpu: usize) {
        let on = self.is_off.iter().filter(|off| !**off);
        if self.is_off[cpu] || on.count() == 1 {
            return;
        }
        self.is_off[cpu] = true;
        self.machine.timer(cpu, false);
        self.reference.line(cpu, TIMER, false);
        self.machine.off(cpu);
        for (intid, i) in (0..).zip(&mut self.reference.private[cpu]) {
            *i = Interrupt {
                edge: intid < 16,
                line: i.line,
                ..Interrupt::default()
            };
        }
        self.reference.sources[cpu] = [0; 16];
        self.reference.running[cpu].clear();
        // An SPI that was active stays so. With EOImode 1, whoever will can deactivate it.
        self.begun[cpu].clear();
        self.undone
            .retain(|&(owner, intid)| owner != cpu || intid >= 32);
    }

    pub fn on(&mut self, cpu: usize) {
        if !self.is_off[cpu] {
            return;
        }
        self.is_off[cpu] = false;
        self.begin(cpu);
    }

    /// Nobody does so within a handler.
    fn power_down(&mut self, cpu: usize) {
        let is_busy = self.undone.iter().any(|&(owner, _)| owner == cpu);
        if !self.is_off[cpu] && self.begun[cpu].is_empty() && !is_busy {
            self.machine.fold(cpu);
            self.begin(cpu);
        }
    }

    fn begin(&mut self, cpu: usize) {
        self.machine.on(cpu);
        self.machine.cpus[cpu].vmcr = 0xff00_0003 | if self.split { 0x200 } else { 0 };
        self.machine.run(cpu);
        self.reference.open[cpu] = 3;
    }

    /// Of an operation, what asks for an interrupt that is not pending. What another vCPU takes away
    /// may have been taken before the kick; and a request for what was pending in a list register may
    /// have come after it was taken.
    pub fn apply_if_it_adds(&mut self, op: &Op) {
        let n = self.vcpus();
        match *op {
            Op::Bit {
                register: 0x0100, ..
            }
            | Op::Acknowledge { .. }
            | Op::End { .. } => {
                self.apply(op);
            }
            Op::Bit {
                owner,
                register: 0x0200,
                intid,
                ..
            } if !self.reference.of(owner % n, intid).pending() => {
                self.apply(op);
            }
            Op::Sgi { who, list, intid } => {
                let new = |c: &usize| !self.reference.of(*c, intid).pending();
                let new: u64 = (0..n).filter(new).map(|c| 1 << c).sum();
                let list = list & new;
                self.apply(&Op::Sgi { who, list, intid });
            }
            Op::Line { cpu, intid, .. }
                if intid != TIMER && !self.reference.of(cpu % n, intid).pending() =>
            {
                self.apply(&Op::Edge {
                    who: cpu,
                    owner: cpu,
                    intid,
                    edge: true,
                });
                self.apply(&Op::Line {
                    cpu,
                    intid,
                    level: false,
                });
                self.apply(&Op::Line {
                    cpu,
                    intid,
                    level: true,
                });
            }
            _ => {}
        }
    }

    fn bit(&mut self, who: usize, owner: usize, register: u64, intid: u32) {
        // With EOImode 0 an EOI names what it ends by order alone: software that clears and sets
        // active bits meanwhile gets what it asks for (IHI0069H 4.1).
        if register >= 0x0300 && !self.split {
            return;
        }
        if self.is_v2() && intid < 16 && matches!(register, 0x0200 | 0x0280) {
            return self.source(who, owner, register, intid);
        }
        let place = self.place(owner, register, intid, 1);
        let by = self.by(who, owner, intid);
        self.machine.write(by, place, 1 << (intid % 32));
        let i = self.reference.of(owner, intid);
        match register {
            0x0100 => i.enabled = true,
            0x0180 => i.enabled = false,
            0x0200 => i.latch = true,
            0x0280 => i.latch = false,
            0x0300 => i.active = true,
            _ => i.active = false,
        }
    }

    /// ISPENDR and ICPENDR of an SGI in a GICv2, whose place SPENDSGIR and CPENDSGIR take: the request of `who`.
    fn source(&mut self, who: usize, owner: usize, register: u64, intid: u32) {
        let source = 1 << who;
        let at = u64::from(intid);
        match register {
            0x0200 => {
                self.machine.write_byte(owner, 0x0f20 + at, source);
                self.reference.request(owner, intid, source);
            }
            _ => {
                self.machine.write_byte(owner, 0x0f10 + at, source);
                self.reference.withdraw(owner, intid, source);
            }
        }
    }

    fn acknowledge(&mut self, cpu: usize) {
        let want = self.reference.deliverable(cpu);
        let got = self.machine.acknowledge_v2(cpu);
        let (got, source) = (got & 0x3ff, got >> 10);
        if self.machine.lazy {
            assert!(
                got == 1023 || want.contains(&got),
                "{got} is none of {want:?}"
            );
        } else {
            assert_eq!(got, want.first().copied().unwrap_or(1023), "of {want:?}");
        }
        if got != 1023 {
            self.reference.acknowledge(cpu, got);
            if self.is_v2() && got < 16 {
                let sources = self.reference.sources[cpu][got as usize];
                assert!(
                    sources >> source & 1 != 0,
                    "{source} has not requested {got}"
                );
                self.reference.withdraw(cpu, got, 1 << source);
            }
            self.begun[cpu].push(got);
        }
    }

    fn end(&mut self, cpu: usize) {
        let Some(intid) = self.begun[cpu].pop() else {
            return;
        };
        self.machine.eoi(cpu, intid);
        self.reference.running[cpu].pop();
        if self.split {
            self.undone.push((cpu, intid));
        } else {
            self.reference.of(cpu, intid).active = false;
        }
    }

    fn deactivate(&mut self, cpu: usize, choice: usize) {
        if self.undone.is_empty() {
            return;
        }
        let (owner, intid) = self.undone.remove(choice % self.undone.len());
        // A private interrupt is deactivated where it is, an SPI anywhere.
        let cpu = if intid < 32 { owner } else { cpu };
        self.machine.dir(cpu, intid);
        self.reference.of(owner, intid).active = false;
    }

    /// ISPENDR and ISACTIVER of every bank say what the reference says.
    pub fn compare(&mut self) {
        for cpu in 0..self.vcpus() {
            self.machine.fold(cpu);
            self.machine.refresh(cpu);
        }
        self.machine.settle();
        for cpu in 0..self.vcpus() {
            for intid in SOME {
                let pending = self.machine.read(cpu, self.place(cpu, 0x0200, intid, 1));
                let active = self.machine.read(cpu, self.place(cpu, 0x0300, intid, 1));
                let i = self.reference.of(cpu, intid);
                // Whether the line behind an active physical interrupt is still high only the board
                // knows.
                let known = intid != TIMER || !i.active;
                let pending = pending >> (intid % 32) & 1 != 0;
                assert!(!known || pending == i.pending(), "{intid} pending at {cpu}");
                assert_eq!(
                    active >> (intid % 32) & 1 != 0,
                    i.active,
                    "{intid} active at {cpu}"
                );
            }
        }
    }

    /// Ends everything, and then takes everything that is left.
    pub fn finish(&mut self) {
        self.machine.lazy = false;
        self.machine.settle();
        for cpu in 0..self.vcpus() {
            while !self.begun[cpu].is_empty() {
                self.end(cpu);
            }
        }
        while !self.undone.is_empty() {
            self.deactivate(0, 0);
        }
        self.compare();
        // Lines fall, so that this comes to an end.
        for cpu in 0..self.vcpus() {
            for intid in SOME {
                self.apply(&Op::Line {
                    cpu,
                    intid,
                    level: false,
                });
            }
        }
        for cpu in 0..self.vcpus() {
            for _ in 0..40 {
                self.acknowledge(cpu);
                self.end(cpu);
                while !self.undone.is_empty() {
                    self.deactivate(0, 0);
                }
            }
        }
        self.compare();
        for cpu in &self.machine.cpus {
            assert!(!cpu.timer.1, "an orphaned physical interrupt");
        }
    }
}
