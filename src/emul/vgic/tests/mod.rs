//! The architecture's rules, one test each. Offsets and values are typed from the manuals.

mod machine;
mod model;
mod pair;
mod reference;

use machine::{Machine, REDISTRIBUTORS, TIMER, private, v};
use std::vec;

use super::{Found, ListRegs, Place, Vgic};
use crate::spec::gic::{GicVersion, SgiRegister};
use crate::types::{Op, VcpuSet, Width};

/// A machine as Linux leaves it: all in Group 1 at priority 0xa0, both groups on, SPIs to vCPU 0,
/// nothing enabled.
fn linux(vcpus: usize, lrs: usize) -> Machine {
    let mut m = Machine::v3(vcpus, lrs);
    m.write(0, 0x0000, 0x3);
    for n in 1..4 {
        m.write(0, 0x0080 + 4 * n, u32::MAX);
    }
    for n in 8..32 {
        m.write(0, 0x0400 + 4 * n, 0xa0a0_a0a0);
    }
    for cpu in 0..vcpus {
        m.write(cpu, private(cpu, 0x0080), u32::MAX);
        for n in 0..8 {
            m.write(cpu, private(cpu, 0x0400 + 4 * n), 0xa0a0_a0a0);
        }
        m.write(cpu, REDISTRIBUTORS + 0x2_0000 * cpu as u64 + 0x14, 0);
    }
    m
}

fn enable(m: &mut Machine, intid: u64) {
    m.write(0, 0x0100 + intid / 32 * 4, 1 << (intid % 32));
}

const SELF: u64 = 1;

#[test]
fn an_sgi_to_self_is_delivered() {
    let mut m = linux(1, 4);
    m.write(0, private(0, 0x0100), 0xffff);
    m.sgi(0, SgiRegister::Sgi1r, 5 << 24 | SELF);
    assert_eq!(m.acknowledge(0), 5);
    m.eoi(0, 5);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn a_disabled_interrupt_is_not_delivered_and_stays_pending() {
    let mut m = linux(1, 4);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 1023);
    assert_eq!(m.read(0, 0x0204), 1 << 1);
    enable(&mut m, 33);
    assert_eq!(m.acknowledge(0), 33);
}

#[test]
fn disabling_takes_a_pending_interrupt_out_of_the_list_registers() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    m.write(0, 0x0184, 1 << 1);
    assert_eq!(m.acknowledge(0), 1023);
    assert_eq!(m.read(0, 0x0204), 1 << 1);
}

#[test]
fn disabling_an_active_interrupt_leaves_it_active_until_eoi() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    m.write(0, 0x0184, 1 << 1);
    assert_eq!(m.read(0, 0x0304), 1 << 1);
    m.eoi(0, 33);
    assert_eq!(m.read(0, 0x0304), 0);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn a_level_that_stays_high_comes_again_after_eoi() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    assert_eq!(m.acknowledge(0), 1023);
    m.eoi(0, 33);
    assert_eq!(m.acknowledge(0), 33);
    m.line(33, 0, false);
    let before = m.cpus[0].maintenance;
    m.eoi(0, 33);
    assert_eq!(m.acknowledge(0), 1023);
    assert_eq!(
        m.cpus[0].maintenance, before,
        "a level that fell needs no maintenance"
    );
}

#[test]
fn a_level_that_falls_before_acknowledgement_is_gone() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    m.line(33, 0, false);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn an_edge_is_remembered_when_the_line_falls() {
    let mut m = linux(1, 4);
    m.write(0, 0x0c08, 2 << 2);
    enable(&mut m, 33);
    m.line(33, 0, true);
    m.line(33, 0, false);
    assert_eq!(m.acknowledge(0), 33);
    m.eoi(0, 33);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn an_edge_while_active_is_delivered_after_eoi() {
    let mut m = linux(1, 4);
    m.write(0, 0x0c08, 2 << 2);
    enable(&mut m, 33);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    m.line(33, 0, false);
    m.line(33, 0, true);
    assert_eq!(m.read(0, 0x0204), 1 << 1);
    assert_eq!(m.read(0, 0x0304), 1 << 1);
    assert_eq!(m.acknowledge(0), 1023);
    m.eoi(0, 33);
    assert_eq!(m.acknowledge(0), 33);
}

#[test]
fn an_sgi_sent_while_the_same_sgi_is_active_is_not_lost() {
    let mut m = linux(2, 4);
    m.write(1, private(1, 0x0100), 0xffff);
    m.sgi(0, SgiRegister::Sgi1r, 3 << 24 | 0b10);
    assert_eq!(m.acknowledge(1), 3);
    m.sgi(0, SgiRegister::Sgi1r, 3 << 24 | 0b10);
    m.sgi(0, SgiRegister::Sgi1r, 3 << 24 | 0b10);
    m.eoi(1, 3);
    assert_eq!(m.drain(1), vec![3]);
}

#[test]
fn clearing_pending_clears_the_latch_and_not_a_level() {
    let mut m = linux(1, 4);
    m.line(33, 0, true);
    m.write(0, 0x0204, 1 << 1 | 1 << 2);
    assert_eq!(m.read(0, 0x0204), 1 << 1 | 1 << 2);
    m.write(0, 0x0284, u32::MAX);
    assert_eq!(m.read(0, 0x0284), 1 << 1);
    m.line(33, 0, false);
    assert_eq!(m.read(0, 0x0204), 0);
}

#[test]
fn pending_set_by_software_is_consumed_by_acknowledgement() {
    let mut m = linux(1, 4);
    enable(&mut m, 40);
    m.write(0, 0x0204, 1 << 8);
    assert_eq!(m.drain(0), vec![40]);
}

#[test]
fn a_pending_interrupt_in_a_list_register_is_cleared_by_icpendr() {
    let mut m = linux(1, 4);
    m.write(0, private(0, 0x0100), 0xffff);
    m.sgi(0, SgiRegister::Sgi1r, 1 << 24 | SELF);
    assert_eq!(m.read(0, private(0, 0x0200)), 1 << 1);
    m.write(0, private(0, 0x0280), 1 << 1);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn the_highest_priority_comes_first_and_preempts() {
    let mut m = linux(1, 4);
    for intid in 33..36 {
        enable(&mut m, intid);
    }
    m.write_byte(0, 0x0400 + 34, 0x40);
    m.write_byte(0, 0x0400 + 35, 0x20);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    m.line(34, 0, true);
    m.line(35, 0, true);
    assert_eq!(m.acknowledge(0), 35);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn priorities_have_five_bits() {
    let mut m = linux(1, 4);
    m.write(0, 0x0420, 0xffff_ffff);
    assert_eq!(m.read(0, 0x0420), 0xf8f8_f8f8);
    m.write_byte(0, 0x0421, 0x17);
    assert_eq!(m.read(0, 0x0420), 0xf8f8_10f8);
    assert_eq!(m.access(0, 0x0421, Width::Byte, Op::Read), Some(0x10));
}

#[test]
fn a_group_that_the_distributor_disables_is_not_delivered() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    enable(&mut m, 34);
    m.write(0, 0x0084, !(1 << 2));
    m.line(33, 0, true);
    m.line(34, 0, true);
    m.write(0, 0x0000, 0x1);
    assert_eq!(m.drain_one_by_one(0), vec![34]);
    m.write(0, 0x0000, 0x2);
    assert_eq!(m.drain_one_by_one(0), vec![33]);
}

#[test]
fn distributor_identification() {
    let mut m = linux(2, 4);
    assert_eq!(m.read(0, 0x0000), 0x53);
    assert_eq!(m.read(0, 0x0004), 0x0148_0003);
    assert_eq!(m.read(0, 0x0008) & 0xfff, 0x43b);
    assert_eq!(m.read(0, 0xffe8), 0x3b);
    assert_eq!(m.read(0, 0x0010), 0);
    m.write(0, 0x0004, u32::MAX);
    assert_eq!(m.read(0, 0x0004), 0x0148_0003);
}

#[test]
fn redistributor_identification() {
    let mut m = linux(17, 4);
    let typer = |m: &mut Machine, cpu: u64| {
        let offset = REDISTRIBUTORS + 0x2_0000 * cpu + 8;
        let both = (m.read(0, offset), m.read(0, offset + 4));
        let whole = m.access(0, offset, Width::Double, Op::Read);
        assert_eq!(whole, Some(u64::from(both.1) << 32 | u64::from(both.0)));
        both
    };
    assert_eq!(typer(&mut m, 0), (0, 0));
    assert_eq!(typer(&mut m, 15), (0xf00, 0x0f));
    assert_eq!(typer(&mut m, 16), (0x1010, 0x100));
    assert_eq!(m.read(0, REDISTRIBUTORS + 0xffe8), 0x3b);
}

#[test]
fn a_redistributor_wakes_when_asked() {
    let mut m = Machine::v3(1, 4);
    let waker = REDISTRIBUTORS + 0x14;
    assert_eq!(m.read(0, waker), 0x6);
    m.write(0, waker, 0);
    assert_eq!(m.read(0, waker), 0);
    m.write(0, waker, 2);
    assert_eq!(m.read(0, waker), 0x6);
}

#[test]
fn private_interrupts_are_not_the_distributors() {
    let mut m = linux(1, 4);
    for offset in [0x0080, 0x0100, 0x0200, 0x0300, 0x0400, 0x0c00] {
        m.write(0, offset, u32::MAX);
        assert_eq!(m.read(0, offset), 0, "{offset:#x}");
    }
}

#[test]
fn sgis_are_edge_triggered_for_good() {
    let mut m = linux(1, 4);
    assert_eq!(m.read(0, private(0, 0x0c00)), 0xaaaa_aaaa);
    m.write(0, private(0, 0x0c00), 0);
    assert_eq!(m.read(0, private(0, 0x0c00)), 0xaaaa_aaaa);
    m.write(0, private(0, 0x0c04), 0xffff_ffff);
    assert_eq!(m.read(0, private(0, 0x0c04)), 0xaaaa_aaaa);
    m.write(0, 0x0c08, 0x0000_0008);
    assert_eq!(m.read(0, 0x0c08), 0x0000_0008);
}

#[test]
fn no_interrupt_beyond_127() {
    let mut m = linux(1, 4);
    for offset in [0x0090, 0x0110, 0x0210, 0x0310, 0x0480, 0x0c20] {
        m.write(0, offset, u32::MAX);
        assert_eq!(m.read(0, offset), 0, "{offset:#x}");
    }
    assert_eq!(
        m.access(0, 0x6000 + 8 * 128, Width::Double, Op::Write(1)),
        Some(0)
    );
    assert_eq!(
        m.access(0, 0x6000 + 8 * 128, Width::Double, Op::Read),
        Some(0)
    );
    m.line(128, 0, true);
    m.line(u32::MAX, 0, true);
}

/// The timer of vCPU 0 enabled, as a level-sensitive PPI.
fn with_timer(vcpus: usize, lrs: usize) -> Machine {
    let mut m = linux(vcpus, lrs);
    m.write(0, private(0, 0x0100), 1 << TIMER | 0xffff);
    m
}

#[test]
fn the_timers_eoi_deactivates_the_physical_interrupt_without_an_exit() {
    let mut m = with_timer(1, 4);
    m.timer(0, true);
    assert!(m.cpus[0].timer.1);
    assert_eq!(m.acknowledge(0), TIMER);
    m.timer(0, false);
    let before = m.cpus[0].refreshes;
    m.eoi(0, TIMER);
    assert!(!m.cpus[0].timer.1);
    assert_eq!(m.cpus[0].refreshes, before);
    m.timer(0, true);
    assert_eq!(m.acknowledge(0), TIMER);
}

#[test]
fn a_timer_that_stays_asserted_comes_again() {
    let mut m = with_timer(1, 4);
    m.timer(0, true);
    for _ in 0..3 {
        assert_eq!(m.acknowledge(0), TIMER);
        assert_eq!(m.acknowledge(0), 1023);
        m.eoi(0, TIMER);
    }
}

#[test]
fn a_timer_that_falls_unseen_is_given_back() {
    let mut m = with_timer(1, 4);
    m.timer(0, true);
    m.timer(0, false);
    assert!(!m.cpus[0].timer.1);
    assert_eq!(m.acknowledge(0), 1023);
    m.timer(0, true);
    assert_eq!(m.acknowledge(0), TIMER);
}

/// As kvm-unit-tests look at the virtual timer: a level that has fallen is not pending, whatever was enabled meanwhile.
#[test]
fn a_timer_that_the_guest_turns_off_is_not_pending() {
    for enabled in [false, true] {
        let mut m = with_timer(1, 4);
        let enable = |m: &mut Machine, register| m.write(0, private(0, register), 1 << TIMER);
        if !enabled {
            enable(&mut m, 0x180);
        }
        m.timer(0, true);
        assert_eq!(m.read(0, private(0, 0x200)), 1 << TIMER, "ISPENDR");
        m.cpus[0].timer.0 = false;
        if !enabled {
            enable(&mut m, 0x100);
        }
        assert_eq!(m.read(0, private(0, 0x200)), 0, "ISPENDR");
        assert_eq!(m.acknowledge(0), 1023);
        assert!(!m.cpus[0].timer.1, "the physical interrupt went back");
        m.timer(0, true);
        assert_eq!(m.acknowledge(0), TIMER);
    }
}

/// ISACTIVER of what is active already has no effect (IHI0069H 12.9): the EOI ends it.
#[test]
fn an_interrupt_that_is_active_elsewhere_is_not_activated_twice() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(1));
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(1), 33);
    m.line(33, 0, false);
    m.write(0, 0x300 + 4, 1 << 1);
    m.eoi(1, 33);
    m.refresh(1);
    assert_eq!(m.read(0, 0x300 + 4), 0, "ISACTIVER");
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(1), 33);
}

#[test]
fn disabling_a_pending_timer_does_not_orphan_the_physical_interrupt() {
    let mut m = with_timer(1, 4);
    m.timer(0, true);
    m.write(0, private(0, 0x0180), 1 << TIMER);
    assert_eq!(m.acknowledge(0), 1023);
    m.write(0, private(0, 0x0100), 1 << TIMER);
    assert_eq!(m.acknowledge(0), TIMER);
    m.write(0, private(0, 0x0180), 1 << TIMER);
    m.timer(0, false);
    m.eoi(0, TIMER);
    assert!(!m.cpus[0].timer.1);
    m.write(0, private(0, 0x0100), 1 << TIMER);
    m.timer(0, true);
    assert_eq!(m.acknowledge(0), TIMER);
}

#[test]
fn clearing_the_active_timer_deactivates_the_physical_interrupt() {
    let mut m = with_timer(1, 4);
    m.timer(0, true);
    assert_eq!(m.acknowledge(0), TIMER);
    m.timer(0, false);
    m.write(0, private(0, 0x0380), 1 << TIMER);
    assert!(!m.cpus[0].timer.1);
    assert_eq!(m.read(0, private(0, 0x0300)), 0);
}

#[test]
fn a_reset_vcpu_gives_its_timer_back_and_has_nothing_pending() {
    let mut m = with_timer(2, 4);
    m.timer(0, true);
    m.sgi(1, SgiRegister::Sgi1r, 1);
    assert_eq!(m.acknowledge(0), 0);
    m.cpus[0].timer.0 = false;
    m.fold(0);
    let kick = m.gic.reset_vcpu(v(0));
    assert!(kick.is_empty());
    m.cpus[0].lrs = ListRegs::new(4);
    m.refresh(0);
    assert!(!m.cpus[0].timer.1);
    for offset in [0x0080, 0x0100, 0x0200, 0x0300, 0x0400] {
        assert_eq!(m.read(1, private(0, offset)), 0, "{offset:#x}");
    }
    assert_eq!(m.read(1, REDISTRIBUTORS + 0x14), 0x6);
    m.write(0, private(0, 0x0080), u32::MAX);
    m.write(0, private(0, 0x0100), u32::MAX);
    assert_eq!(m.acknowledge(0), 1023);
}

#[test]
fn an_spi_that_a_cpu_takes_with_it_is_not_lost() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    enable(&mut m, 34);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    m.write(0, 0x0204, 1 << 2);
    // Off without EOI, one active, one pending; even without a fold.
    let _ = m.gic.reset_vcpu(v(0));
    m.cpus[0] = Machine::v3(1, 4).cpus.remove(0);
    assert_eq!(m.read(1, 0x0304), 1 << 1);
    assert_eq!(m.read(1, 0x0204) & 1 << 2, 1 << 2);
    for intid in [33, 34] {
        m.access(1, 0x6000 + 8 * intid, Width::Double, Op::Write(1));
    }
    assert_eq!(m.acknowledge(1), 34);
    m.eoi(1, 34);
    m.write(1, 0x0384, 1 << 1);
    assert_eq!(m.acknowledge(1), 33);
}

#[test]
fn an_spi_follows_its_route() {
    let mut m = linux(17, 4);
    enable(&mut m, 33);
    let router = 0x6000 + 8 * 33;
    m.line(33, 0, true);
    // While it is pending at vCPU 0: to 0.0.1.0, which is vCPU 16, by two halves.
    m.write(0, router, 0x100);
    m.write(0, router + 4, 0);
    assert_eq!(m.access(0, router, Width::Double, Op::Read), Some(0x100));
    assert_eq!(m.acknowledge(0), 1023);
    assert_eq!(m.acknowledge(16), 33);
    // While it is active at vCPU 16, back again: the next one goes to vCPU 0.
    m.write(0, router, 0);
    m.eoi(16, 33);
    assert_eq!(m.acknowledge(16), 1023);
    assert_eq!(m.acknowledge(0), 33);
}

#[test]
fn an_spi_that_is_routed_to_nobody_waits() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(0xff_0000_0000));
    m.line(33, 0, true);
    assert_eq!((m.acknowledge(0), m.acknowledge(1)), (1023, 1023));
    assert_eq!(m.read(0, 0x0204), 1 << 1);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(1));
    assert_eq!(m.acknowledge(1), 33);
}

#[test]
fn one_of_n_goes_to_a_vcpu_that_is_awake() {
    let mut m = linux(3, 4);
    m.write(0, REDISTRIBUTORS + 0x14, 2);
    enable(&mut m, 33);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(1 << 31));
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 1023);
    m.write(1, REDISTRIBUTORS + 0x2_0014, 2);
    assert_eq!(m.acknowledge(1), 1023);
    assert_eq!(m.acknowledge(2), 33);
}

#[test]
fn sgi_targets() {
    let mut m = linux(18, 4);
    for cpu in 0..18 {
        m.write(cpu, private(cpu, 0x0100), 0xffff);
    }
    let reached = |m: &mut Machine| {
        let all: std::vec::Vec<usize> = (0..18).filter(|&c| m.drain(c) == [7]).collect();
        all
    };
    m.sgi(0, SgiRegister::Sgi1r, 7 << 24 | 0x8005);
    assert_eq!(reached(&mut m), [0, 2, 15]);
    m.sgi(0, SgiRegister::Sgi1r, 7 << 24 | 1 << 16 | 0xffff);
    assert_eq!(reached(&mut m), [16, 17]);
    m.sgi(5, SgiRegister::Sgi1r, 7 << 24 | 1 << 40 | 0xffff);
    assert_eq!(reached(&mut m).len(), 17);
    // Aff2, Aff3 or a range that no vCPU has.
    for nobody in [1 << 32, 1 << 48, 1 << 44] {
        m.sgi(0, SgiRegister::Sgi1r, 7 << 24 | nobody | 0xffff);
        assert_eq!(reached(&mut m), [0usize; 0]);
    }
}

#[test]
fn sgi_registers_and_groups_with_one_security_state() {
    let mut m = linux(1, 4);
    m.write(0, private(0, 0x0100), 0xffff);
    m.write(0, private(0, 0x0080), !(1 << 2));
    let mut sent = |register, sgi: u64| {
        m.sgi(0, register, sgi << 24 | SELF);
        m.drain(0)
    };
    assert_eq!(sent(SgiRegister::Sgi1r, 1), [1]);
    assert_eq!(sent(SgiRegister::Sgi1r, 2), [2]);
    assert_eq!(sent(SgiRegister::Sgi0r, 1), [0u32; 0]);
    assert_eq!(sent(SgiRegister::Sgi0r, 2), [2]);
    assert_eq!(sent(SgiRegister::Asgi1r, 1), [0u32; 0]);
    assert_eq!(sent(SgiRegister::Asgi1r, 2), [2]);
}

#[test]
fn a_write_for_another_vcpu_reaches_that_vcpu() {
    let mut m = linux(3, 4);
    m.write(0, private(2, 0x0100), 1 << 30);
    m.write(0, private(2, 0x0200), 1 << 30);
    assert_eq!(
        (m.acknowledge(0), m.acknowledge(1), m.acknowledge(2)),
        (1023, 1023, 30)
    );
}

#[test]
fn rwp_reads_1_until_the_holder_has_let_go() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(1));
    m.line(33, 0, true);
    m.lazy = true;
    m.write(0, 0x0184, 1 << 1);
    assert_eq!(m.read(0, 0x0000), 0x8000_0053);
    m.settle();
    assert_eq!(m.read(0, 0x0000), 0x0000_0053);
    // An interrupt that nobody holds waits for nobody.
    m.write(0, 0x0184, 1 << 2);
    assert_eq!(m.read(0, 0x0000), 0x0000_0053);
    m.write(1, private(1, 0x0100), 1 << 5);
    m.sgi(1, SgiRegister::Sgi1r, 5 << 24 | 2);
    m.write(0, private(1, 0x0180), 1 << 5);
    assert_eq!(m.read(0, REDISTRIBUTORS + 0x2_0000), 0x8);
    m.settle();
    assert_eq!(m.read(0, REDISTRIBUTORS + 0x2_0000), 0);
}

#[test]
fn a_read_of_what_another_vcpu_holds_becomes_true_in_finite_time() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    m.access(0, 0x6000 + 8 * 33, Width::Double, Op::Write(1));
    m.line(33, 0, true);
    m.lazy = true;
    assert_eq!(m.acknowledge(1), 33);
    assert_eq!(m.read(0, 0x0304), 0, "as of the last fold");
    assert!(m.kicked.contains(v(1)));
    m.settle();
    assert_eq!(m.read(0, 0x0304), 1 << 1);
}

#[test]
fn an_interrupt_that_is_neither_held_nor_deliverable_disturbs_nobody() {
    let mut m = linux(2, 4);
    m.lazy = true;
    let before = (m.cpus[0].refreshes, m.cpus[1].refreshes);
    enable(&mut m, 33);
    m.write(0, 0x0420, 0);
    m.line(34, 0, true);
    m.write(0, 0x0c08, 0);
    assert!(m.kicked.is_empty());
    assert_eq!((m.cpus[0].refreshes, m.cpus[1].refreshes), before);
}

#[test]
fn more_interrupts_than_list_registers_all_arrive_by_priority() {
    for lrs in [1, 2, 4, 16] {
        let mut m = linux(1, lrs);
        for n in 0..20 {
            m.write_byte(0, 0x0400 + 40 + n, (0xf0 - 8 * n) as u8);
            m.write(0, 0x0c00 + (40 + n) / 16 * 4, u32::MAX);
            enable(&mut m, 40 + n);
        }
        m.write(0, 0x0204, 0xffff_ff00);
        let want: std::vec::Vec<u32> = (0..20).rev().map(|n| 40 + n).collect();
        assert_eq!(
            m.drain(0).get(..20),
            Some(want.get(..20).unwrap()),
            "{lrs} list registers"
        );
    }
}

#[test]
fn all_list_registers_active_and_one_pending_is_no_storm() {
    for lrs in [1, 2, 4] {
        let mut m = linux(1, lrs);
        for n in 0..8u64 {
            m.write_byte(0, 0x0400 + 40 + n, (0xa0 - 8 * n) as u8);
            enable(&mut m, 40 + n);
        }
        // Each preempts the one before.
        for n in 0..8 {
            m.write(0, 0x0204, 1 << (8 + n));
            assert_eq!(m.acknowledge(0), 40 + n);
        }
        m.write(0, 0x0204, 1 << 8);
        let before = m.cpus[0].maintenance;
        assert_eq!(m.acknowledge(0), 1023);
        assert_eq!(m.cpus[0].maintenance, before);
        for n in (0..8).rev() {
            m.eoi(0, 40 + n);
        }
        assert_eq!(m.read(0, 0x0304), 0);
        assert_eq!(m.drain(0), [40]);
    }
}

#[test]
fn a_group_that_the_cpu_interface_masks_does_not_block_the_other() {
    // Eight interrupts of one group at the highest priority, two of the other; two list registers.
    for (group1, masked) in [(0xffff_0000, 0xff00_0002), (0x0000_ffff, 0xff00_0001)] {
        let mut m = linux(1, 2);
        m.write(0, 0x0084, group1);
        m.write(0, 0x0104, u32::MAX);
        m.write(0, 0x0428, 0);
        m.write(0, 0x042c, 0);
        m.cpus[0].vmcr = masked;
        m.write(0, 0x0204, 0x0030_ff00);
        assert_eq!(m.acknowledge(0), 52);
        m.eoi(0, 52);
        // The guest unmasks the group, which EL2 does not see, while 53 is listed.
        m.cpus[0].vmcr = 0xff00_0003;
        m.run(0);
        assert_eq!(m.acknowledge(0), 40);
        m.eoi(0, 40);
        // It masks the group again, whose interrupts are listed and 53 is not.
        m.cpus[0].vmcr = masked;
        m.run(0);
        assert_eq!(m.acknowledge(0), 53);
    }
}

#[test]
fn an_active_interrupt_does_not_come_again_before_a_better_one_without_room() {
    let mut m = linux(1, 4);
    m.cpus[0].vmcr |= 0x200; // EOImode 1
    m.write(0, private(0, 0x0100), 0b11);
    m.write_byte(0, private(0, 0x0401), 0xc0); // SGI 1 below all others
    enable(&mut m, 33);
    m.write(0, private(0, 0x0300), 1 << 2 | 1 << 15); // two list registers are taken
    let sgi = |m: &mut Machine, intid: u64| m.sgi(0, SgiRegister::Sgi1r, intid << 24 | SELF);
    sgi(&mut m, 1);
    assert_eq!(m.acknowledge(0), 1);
    m.eoi(0, 1);
    sgi(&mut m, 0);
    m.write(0, 0x0204, 1 << 1); // ISPENDR: 33 finds no room
    sgi(&mut m, 1);
    m.dir(0, 1);
    for intid in [0, 33, 1] {
        assert_eq!(m.acknowledge(0), intid);
        m.eoi(0, intid);
        m.dir(0, intid);
    }
}

#[test]
fn what_has_left_its_list_register_does_not_leave_it_again() {
    let mut m = linux(1, 4);
    m.write(0, private(0, 0x0100), 1 << 30 | 1);
    m.write(0, private(0, 0x0c04), 2 << (2 * 14)); // 30 is edge-triggered
    m.sgi(0, SgiRegister::Sgi1r, SELF);
    m.line(30, 0, true);
    for _ in 0..2 {
        let intid = m.acknowledge(0);
        m.eoi(0, intid);
    }
    m.line(30, 0, false);
    m.line(30, 0, true);
    m.sgi(0, SgiRegister::Sgi1r, SELF);
    m.fold(0);
    m.refresh(0);
    assert_eq!(m.drain(0), [0, 30]);
}

#[test]
fn with_eoimode_1_any_vcpu_may_deactivate_in_any_order() {
    for lrs in [1, 2, 4] {
        let mut m = linux(2, lrs);
        for cpu in &mut m.cpus {
            cpu.vmcr |= 0x200;
        }
        for n in 40..46 {
            enable(&mut m, n);
            m.write_byte(0, 0x0400 + n, (0xa0 - 8 * (n - 40)) as u8);
            m.write(0, 0x0204, 1 << (n - 32));
            assert_eq!(u64::from(m.acknowledge(0)), n);
        }
        for n in (40..46).rev() {
            m.eoi(0, n);
        }
        for (cpu, n) in [(1, 42), (0, 45), (1, 40), (0, 41)] {
            m.dir(cpu, n);
            assert_eq!(m.read(0, 0x0304) & 1 << (n - 32), 0, "{n} by vCPU {cpu}");
        }
        assert_eq!(m.read(1, 0x0304), 1 << 11 | 1 << 12);
        m.write(1, 0x0204, u32::MAX);
        assert_eq!(m.acknowledge(0), 45);
    }
}

#[test]
fn widths_that_a_register_does_not_have_abort() {
    let mut m = linux(1, 4);
    for (offset, width) in [
        (0x0000, Width::Byte),
        (0x0000, Width::Double),
        (0x0104, Width::Byte),
        (0x0104, Width::Half),
        (0x0104, Width::Double),
        (0x0420, Width::Half),
        (0x0420, Width::Double),
        (0x6108, Width::Byte),
        (REDISTRIBUTORS + 0x14, Width::Byte),
    ] {
        assert_eq!(
            m.access(0, offset, width, Op::Read),
            None,
            "{offset:#x} {width:?}"
        );
        assert_eq!(
            m.access(0, offset, width, Op::Write(0)),
            None,
            "{offset:#x} {width:?}"
        );
    }
}

#[test]
fn reserved_offsets_read_as_zero() {
    let mut m = linux(1, 4);
    for offset in [
        0x0040, 0x0068, 0x0800, 0x0d04, 0x0e08, 0x0f00, 0x1000, 0x8000, 0xc000, 0xfff0,
    ] {
        m.write(0, offset, u32::MAX);
        assert_eq!(m.read(0, offset), 0, "{offset:#x}");
    }
    for offset in [
        0x0040, 0x0070, 0x0078, 0x00c0, 0x1_0084, 0x1_0420, 0x1_0800, 0x1_0d00, 0x1_6000, 0x1_ffe8,
    ] {
        m.write(0, REDISTRIBUTORS + offset, u32::MAX);
        assert_eq!(m.read(0, REDISTRIBUTORS + offset), 0, "{offset:#x}");
    }
}

#[test]
fn there_is_no_redistributor_behind_the_last() {
    let mut m = linux(2, 4);
    assert_eq!(
        m.access(0, REDISTRIBUTORS + 0x4_0008, Width::Double, Op::Read),
        None
    );
}

#[test]
fn reset_keeps_lines_and_forgets_the_rest() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    m.write(0, 0x0204, 1 << 2);
    m.write(0, private(0, 0x0100), 1 << TIMER);
    m.timer(0, true);
    m.gic.reset();
    for cpu in 0..2 {
        m.cpus[cpu].lrs = ListRegs::new(4);
        m.refresh(cpu);
    }
    assert!(!m.cpus[0].timer.1);
    assert_eq!(m.read(0, 0x0000), 0x50);
    assert_eq!(m.read(0, 0x0104), 0);
    assert_eq!(m.read(0, 0x0204), 1 << 1);
    assert_eq!(m.read(0, private(0, 0x0c00)), 0xaaaa_aaaa);
}

#[test]
fn cpu_suspend_ends_with_what_is_pending_whatever_the_interface_says() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    assert!(!m.cpus[0].lrs.any_pending());
    m.line(33, 0, true);
    assert!(m.cpus[0].lrs.any_pending());
    // Masked by priority 0xa0, and by the group.
    m.cpus[0].vmcr = 0xa000_0001;
    m.refresh(0);
    assert!(m.cpus[0].lrs.any_pending());
    m.cpus[0].vmcr = 0xff00_0003;
    assert_eq!(m.acknowledge(0), 33);
    m.refresh(0);
    assert!(!m.cpus[0].lrs.any_pending());
}

#[test]
fn an_eoi_is_not_for_what_a_former_life_has_left_active() {
    let mut m = linux(2, 1);
    let take = |m: &mut Machine, intid: u64| {
        enable(m, intid);
        m.line(intid as u32, 0, true);
        assert_eq!(m.acknowledge(0), intid as u32);
    };
    take(&mut m, 36);
    m.off(0);
    m.on(0);
    m.cpus[0].vmcr = 0xff00_0003;
    take(&mut m, 40);
    enable(&mut m, 33);
    m.line(33, 0, true); // takes the only list register: the EOI is counted
    m.eoi(0, 40);
    assert_eq!(m.read(0, 0x0304), 1 << 4);
}

#[test]
fn a_refresh_without_change_writes_nothing() {
    let mut m = linux(1, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    let before = m.cpus[0].writes;
    m.refresh(0);
    m.refresh(0);
    assert_eq!(m.cpus[0].writes, before);
}

/// What stands in a place, in a word.
fn kind_of(place: Place) -> &'static str {
    let Some(hit) = place.hit() else {
        return "reserved";
    };
    let widths = [Width::Word, Width::Double].into_iter();
    match widths
        .filter_map(|width| hit.found(place, v(1), width).ok())
        .next()
    {
        None => "inaccessible",
        Some(Found::Reserved) => "reserved",
        Some(Found::Fixed(_)) => "fixed",
        Some(Found::State(state)) if state.is_volatile() => "volatile",
        Some(Found::State(_)) => "state",
    }
}

#[test]
fn only_pending_and_active_bits_are_volatile() {
    // In a distributor of GICv2, and of GICv3, where private interrupts have theirs in the redistributor.
    for (offset, v2, v3) in [
        (0x0000, "state", "state"),
        (0x0004, "fixed", "fixed"),
        (0x0008, "fixed", "fixed"),
        (0x0080, "state", "reserved"),
        (0x0104, "state", "state"),
        (0x01fc, "state", "state"),
        (0x0200, "volatile", "reserved"),
        (0x0204, "volatile", "volatile"),
        (0x02fc, "volatile", "volatile"),
        (0x0384, "volatile", "volatile"),
        (0x03fc, "volatile", "volatile"),
        (0x0424, "state", "state"),
        (0x0f00, "state", "reserved"),
        (0x0f10, "volatile", "reserved"),
        (0x0f2c, "volatile", "reserved"),
        (0x0fe8, "fixed", "reserved"),
        (0x6200, "reserved", "state"),
        (0xffe8, "reserved", "fixed"),
    ] {
        let kind = |version| kind_of(Place::in_distributor(version, v(1), offset));
        assert_eq!(kind(GicVersion::V2), v2, "{offset:#x}");
        assert_eq!(kind(GicVersion::V3), v3, "{offset:#x}");
    }
    for (offset, kind) in [
        (0x0_0000, "state"),
        (0x0_0004, "fixed"),
        (0x0_0008, "state"),
        (0x0_0014, "state"),
        (0x0_ffe8, "fixed"),
        (0x1_0084, "reserved"),
        (0x1_0100, "state"),
        (0x1_0200, "volatile"),
        (0x1_0380, "volatile"),
        (0x3_0300, "volatile"),
    ] {
        let place = Place::in_redistributors(2, offset).unwrap();
        assert_eq!(kind_of(place), kind, "{offset:#x}");
    }
}

#[test]
fn an_interrupt_of_ones_own_goes_the_short_way() {
    let mut m = linux(2, 4);
    m.write(0, private(0, 0x100), 1); // ISENABLER0
    let sgi = |m: &mut Machine| m.sgi(0, SgiRegister::Sgi1r, 1);
    for way in 1..4 {
        let refreshes = m.cpus[0].refreshes;
        sgi(&mut m);
        assert_eq!((m.short_ways, m.cpus[0].refreshes), (way, refreshes));
        assert_eq!(m.drain(0), [0]);
    }
    // Again while it is pending, or active: the list register is not free.
    sgi(&mut m);
    sgi(&mut m);
    assert_eq!(m.acknowledge(0), 0);
    let ways = m.short_ways;
    sgi(&mut m);
    assert_eq!(m.short_ways, ways);
    m.eoi(0, 0);
    assert_eq!(m.drain(0), [0]);
}

/// As Linux leaves a GICv2: everything in Group 0.
fn linux_v2(vcpus: usize, lrs: usize) -> Machine {
    let mut m = Machine::new(GicVersion::V2, vcpus, lrs);
    m.write(0, 0x0000, 1);
    for cpu in 0..vcpus {
        m.write(cpu, 0x0100, 0xffff);
    }
    m
}

#[test]
fn gicv2_identification() {
    let mut m = linux_v2(4, 4);
    assert_eq!(m.read(0, 0x0000), 1);
    assert_eq!(m.read(0, 0x0004), 0x63);
    assert_eq!(m.read(0, 0x0fe8) & 0xf0, 0x20);
    assert_eq!(m.read(0, 0xffe8), 0);
    assert_eq!(m.read(0, 0x6108), 0);
}

#[test]
fn gicv2_private_registers_are_banked() {
    let mut m = linux_v2(2, 4);
    m.write(1, 0x0100, 1 << 30);
    assert_eq!(m.read(0, 0x0100), 0xffff);
    assert_eq!(m.read(1, 0x0100), 1 << 30 | 0xffff);
    assert_eq!(m.read(0, 0x0800), 0x0101_0101);
    assert_eq!(m.read(1, 0x081c), 0x0202_0202);
}

#[test]
fn gicv2_targets() {
    let mut m = linux_v2(2, 4);
    enable(&mut m, 33);
    m.line(33, 0, true);
    assert_eq!((m.acknowledge(0), m.acknowledge(1)), (1023, 1023));
    m.write_byte(0, 0x0800 + 33, 0xfe);
    assert_eq!(m.read(0, 0x0820), 0x0000_0200);
    assert_eq!(m.acknowledge(1), 33);
    m.write(0, 0x0800, 0);
    assert_eq!(m.read(0, 0x0800), 0x0101_0101);
}

#[test]
fn gicv2_sgis_are_pending_once_per_source() {
    let mut m = linux_v2(3, 4);
    m.write(1, 0x0f00, 0x0001_0003);
    m.write(2, 0x0f00, 0x0001_0003);
    m.write(2, 0x0f00, 0x0001_0003);
    assert_eq!(m.read(0, 0x0f10), 0x0600_0000);
    assert_eq!(m.read(0, 0x0200), 1 << 3);
    assert_eq!(m.acknowledge_v2(0), 1 << 10 | 3);
    assert_eq!(m.read(0, 0x0f20), 0x0400_0000);
    assert_eq!(m.acknowledge_v2(0), 1023);
    m.eoi(0, 3);
    assert_eq!(m.acknowledge_v2(0), 2 << 10 | 3);
    m.eoi(0, 3);
    assert_eq!(m.acknowledge_v2(0), 1023);
}

#[test]
fn a_gicv2_source_that_waits_in_a_list_register_counts_once() {
    let mut m = linux_v2(3, 4);
    for source in [1, 2, 1] {
        m.write(source, 0x0f00, 0x0001_0003);
    }
    for source in [1, 2] {
        assert_eq!(m.acknowledge_v2(0), source << 10 | 3);
        m.eoi(0, 3);
    }
    assert_eq!(m.acknowledge_v2(0), 1023);
}

#[test]
fn gicv2_sgi_filters() {
    let mut m = linux_v2(3, 4);
    m.write(1, 0x0f00, 0x0100_0005);
    assert_eq!(
        (
            m.acknowledge_v2(0),
            m.acknowledge_v2(1),
            m.acknowledge_v2(2)
        ),
        (0x405, 1023, 0x405)
    );
    m.write(1, 0x0f00, 0x02ff_0006);
    assert_eq!(m.acknowledge_v2(1), 0x406);
    m.write(1, 0x0f00, 0x0301_0007);
    assert_eq!(m.read(0, 0x0200), 0);
}

#[test]
fn gicv2_sgi_requests_are_set_and_cleared_by_source() {
    let mut m = linux_v2(2, 4);
    m.write(0, 0x0180, 0xffff);
    m.write_byte(0, 0x0f22, 0b11);
    assert_eq!(m.read(0, 0x0f20), 0x0003_0000);
    m.write_byte(0, 0x0f12, 0b01);
    assert_eq!(m.read(0, 0x0f20), 0x0002_0000);
    // Not by ISPENDR and ICPENDR.
    m.write(0, 0x0200, 0xffff);
    m.write(0, 0x0280, 0xffff);
    assert_eq!(m.read(0, 0x0200), 1 << 2);
    m.write_byte(0, 0x0f12, 0b10);
    assert_eq!(m.read(0, 0x0200), 0);
}

#[test]
fn one_vcpu_needs_no_dir_trap_and_several_do() {
    let mut one = linux(1, 4);
    one.refresh(0);
    assert_eq!(one.cpus[0].lrs.hcr, 0x1);
    let mut two = linux(2, 4);
    two.refresh(0);
    assert_eq!(two.cpus[0].lrs.hcr, 0x4001);
}

#[test]
fn links_are_limited_and_sgis_have_none() {
    let mut gic = Vgic::new(GicVersion::V3, 1, 5);
    for intid in [0, 15, 128, u32::MAX] {
        assert!(gic.link(intid, 27).is_err());
    }
    for n in 0..16 {
        assert!(gic.link(32 + n, 32).is_ok());
    }
    assert!(gic.link(60, 60).is_err());
    assert_eq!(gic.set_line(15, v(0), true), VcpuSet::EMPTY);
}

#[test]
fn new_list_registers_find_what_the_former_ones_held() {
    let mut m = linux(2, 4);
    enable(&mut m, 33);
    enable(&mut m, 34);
    m.line(33, 0, true);
    assert_eq!(m.acknowledge(0), 33);
    m.fold(0);
    m.refresh(0);
    m.write(0, 0x0204, 1 << 2);
    m.cpus[0].lrs = ListRegs::new(4);
    m.refresh(0);
    assert_eq!(m.read(0, 0x0304), 1 << 1);
    m.cpus[0].running.clear();
    assert_eq!(m.acknowledge(0), 34);
}

#[test]
fn eoicount_counts_once() {
    let mut m = linux(1, 1);
    for n in 0..4u64 {
        m.write_byte(0, 0x0400 + 40 + n, (0xa0 - 8 * n) as u8);
        enable(&mut m, 40 + n);
        m.write(0, 0x0204, 1 << (8 + n));
        assert_eq!(u64::from(m.acknowledge(0)), 40 + n);
    }
    m.eoi(0, 43);
    assert_eq!(m.read(0, 0x0304), 0x0700);
    // The guest ends 42, which is in the list register, and 41 outside. A fold sees that, and EOIcount
    // is read again before it is written.
    m.cpus[0].lrs.eoi_count = 1;
    m.cpus[0].lrs.lr[0] &= !(3 << 62);
    for _ in 0..3 {
        let _ = m.gic.fold(v(0), &mut m.cpus[0].lrs);
        m.cpus[0].lrs.eoi_count = 1;
    }
    m.refresh(0);
    assert_eq!(m.read(0, 0x0304), 0x0100);
}
