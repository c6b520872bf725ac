use super::*;
use crate::types::Width;
use proptest::prelude::*;
use std::vec::Vec;

const DR: u64 = 0x000;
const FR: u64 = 0x018;
const LCR_H: u64 = 0x02c;
const CR: u64 = 0x030;
const IMSC: u64 = 0x038;
const RIS: u64 = 0x03c;
const MIS: u64 = 0x040;
const ICR: u64 = 0x044;

impl Uart {
    fn load(&mut self, offset: u64) -> u64 {
        self.load_width(offset, Width::Word)
    }

    fn load_width(&mut self, offset: u64, width: Width) -> u64 {
        let access = Access {
            offset,
            width,
            op: Op::Read,
        };
        Uart::access(self, access).unwrap().value & width.mask()
    }

    /// What leaves by the transmitter.
    fn store(&mut self, offset: u64, value: u64) -> Option<u8> {
        let access = Access {
            offset,
            width: Width::Word,
            op: Op::Write(value),
        };
        let before = self.line();
        let effect = Uart::access(self, access).unwrap();
        assert_eq!(effect.line, (self.line() != before).then_some(!before));
        effect.transmit
    }

    /// The level of the interrupt after a store.
    fn line_after(&mut self, offset: u64, value: u64) -> bool {
        self.store(offset, value);
        self.line()
    }

    /// A byte comes that does not wait for room; whether there was some.
    fn take(&mut self, byte: u8) -> bool {
        let accepted = self.has_room();
        self.receive(byte);
        self.advance();
        accepted
    }
}

/// FIFOs enabled, 8 bits; receive, receive timeout and overrun unmasked.
fn opened() -> Uart {
    let mut uart = Uart::new();
    uart.store(LCR_H, 0x70);
    uart.store(CR, 0x301);
    uart.store(IMSC, 0x450);
    uart
}

#[test]
fn reset_values_are_those_of_the_manual() {
    // DDI0183G table 3-1; UARTFR 0b-10010---.
    let mut uart = Uart::new();
    for (offset, value) in [
        (0x004, 0),
        (0x020, 0),
        (0x024, 0),
        (0x028, 0),
        (0x02c, 0),
        (0x030, 0x300),
        (0x034, 0x12),
        (0x038, 0),
        (0x03c, 0),
        (0x040, 0),
        (0x048, 0),
    ] {
        assert_eq!(uart.load(offset), value, "{offset:#x}");
    }
    assert_eq!(uart.load(FR) & 0xf8, 0x90);
}

#[test]
fn an_amba_bus_driver_finds_a_pl011_r1p5() {
    let mut uart = Uart::new();
    let id: Vec<u64> = (0..8).map(|i| uart.load(0xfe0 + 4 * i)).collect();
    assert_eq!(id, [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn a_byte_is_sent_even_before_the_uart_is_enabled() {
    let mut uart = Uart::new();
    assert_eq!(uart.store(DR, 0x141), Some(b'A'));
    assert_eq!(uart.load(FR) & 0xa8, 0x80, "TXFE, not TXFF, not BUSY");
}

#[test]
fn the_transmit_interrupt_follows_a_byte_and_ends_by_icr_or_mask() {
    let mut uart = opened();
    assert!(!uart.line_after(IMSC, 0x20), "nothing sent yet");
    assert!(uart.line_after(DR, 0x41));
    assert_eq!(uart.load(MIS), 0x20);
    assert!(uart.line_after(DR, 0x42), "and stays");
    assert!(!uart.line_after(IMSC, 0));
    assert!(uart.line_after(IMSC, 0x20), "still pending");
    assert!(!uart.line_after(ICR, 0x20));
    assert_eq!(uart.load(RIS), 0);
    assert!(uart.line_after(DR, 0x43), "again");
}

#[test]
fn every_byte_is_sent_whether_or_not_it_changes_the_interrupt() {
    let mut uart = opened();
    for byte in [b'a', b'b', b'c'] {
        assert_eq!(uart.store(DR, byte.into()), Some(byte));
    }
    uart.store(ICR, 0x7ff);
    assert_eq!(uart.store(DR, 0x64), Some(b'd'));
    assert_eq!(uart.load(RIS), 0x20);
}

#[test]
fn one_byte_raises_both_receive_interrupts_until_it_is_read() {
    let mut uart = opened();
    assert!(uart.take(b'x'));
    assert!(uart.line());
    assert_eq!(uart.load(MIS), 0x50);
    assert_eq!(uart.load(FR) & 0x10, 0, "not empty");
    let effect = uart
        .access(Access {
            offset: DR,
            width: Width::Byte,
            op: Op::Read,
        })
        .unwrap();
    assert_eq!((effect.value, effect.line), (0x78, Some(false)));
    assert_eq!(uart.load(FR) & 0x10, 0x10, "empty");
}

#[test]
fn bytes_come_out_in_order_across_the_end_of_the_ring() {
    let mut uart = opened();
    for round in 0..5u8 {
        for i in 0..20 {
            assert!(uart.take(round * 20 + i));
        }
        for i in 0..20 {
            assert_eq!(uart.load(DR), u64::from(round * 20 + i));
        }
    }
}

#[test]
fn the_33rd_byte_is_lost_and_told() {
    let mut uart = opened();
    for i in 0..32 {
        assert!(uart.take(i));
    }
    assert!(!uart.has_room());
    assert_eq!(uart.load(FR) & 0x40, 0x40, "full");
    assert!(!uart.take(99));
    assert_eq!(uart.load(RIS) & 0x400, 0x400);
    assert_eq!(uart.load(0x004), 0x8, "UARTRSR.OE");
    assert_eq!(uart.load(DR), 0x800, "the oldest byte, with UARTDR.OE");
    assert_eq!(uart.load(DR), 1);
    uart.store(0x004, 0);
    assert_eq!(uart.load(0x004), 0);
    uart.store(ICR, 0x400);
    assert_eq!(uart.load(RIS) & 0x400, 0);
}

#[test]
fn without_fifos_one_byte_is_all() {
    let mut uart = Uart::new();
    assert!(uart.take(1));
    assert!(!uart.take(2));
    assert_eq!(uart.load(DR), 0x801);
    assert!(uart.take(3));
}

#[test]
fn switching_the_fifos_empties_them() {
    let mut uart = opened();
    uart.take(1);
    assert!(!uart.line_after(LCR_H, 0x60));
    assert_eq!(uart.load(FR) & 0x10, 0x10);
    uart.take(2);
    assert!(uart.line_after(LCR_H, 0x61), "other bits leave them alone");
    assert_eq!(uart.load(DR), 2);
}

#[test]
fn an_empty_receiver_reads_as_zero() {
    assert_eq!(opened().load(DR), 0);
}

#[test]
fn loopback_returns_what_is_sent() {
    let mut uart = opened();
    uart.store(CR, 0x381);
    for byte in [0x5a, 0x5b] {
        assert_eq!(uart.store(DR, byte), None);
        assert_eq!(uart.load(DR), byte);
    }
}

#[test]
fn narrow_accesses_see_their_lanes() {
    let mut uart = Uart::new();
    assert_eq!(uart.load_width(CR, Width::Byte), 0x00);
    assert_eq!(uart.load_width(CR + 1, Width::Byte), 0x03);
    assert_eq!(uart.load_width(CR, Width::Half), 0x300);
    assert_eq!(uart.load_width(CR + 2, Width::Half), 0);
    let upper = Access {
        offset: DR + 1,
        width: Width::Byte,
        op: Op::Write(0x41),
    };
    assert_eq!(uart.access(upper).unwrap().transmit, None);
}

#[test]
fn a_64_bit_access_gets_no_answer() {
    for op in [Op::Read, Op::Write(0x41)] {
        let access = Access {
            offset: DR,
            width: Width::Double,
            op,
        };
        assert_eq!(Uart::new().access(access), Err(Abort));
    }
}

#[test]
fn offsets_without_a_register_read_as_zero_and_ignore_writes() {
    let mut uart = Uart::new();
    for offset in [0x008, 0x01c, 0x04c, 0x080, 0x800, 0xfdc] {
        let before = uart.clone();
        assert_eq!(uart.load(offset), 0);
        assert_eq!(uart.store(offset, 0xffff_ffff), None);
        assert_eq!(uart, before);
    }
}

#[test]
fn reserved_bits_are_not_stored() {
    let mut uart = Uart::new();
    for (offset, stored) in [
        (0x020, 0xff),
        (0x024, 0xffff),
        (0x028, 0x3f),
        (0x02c, 0xff),
        (0x030, 0xff87),
        (0x034, 0x3f),
        (0x038, 0x7ff),
        (0x048, 0x7),
    ] {
        uart.store(offset, 0xffff_ffff);
        assert_eq!(uart.load(offset), stored, "{offset:#x}");
    }
}

#[test]
fn reset_forgets_everything() {
    let mut uart = opened();
    uart.take(1);
    uart.store(DR, 2);
    uart.reset();
    assert_eq!(uart, Uart::new());
}

fn any_access() -> impl Strategy<Value = Access> {
    let op = prop_oneof![Just(Op::Read), any::<u64>().prop_map(Op::Write)];
    let offset = prop_oneof![0u64..0x50, 0u64..0x1000, any::<u64>()];
    (offset, 0u64..4, op).prop_map(|(offset, sas, op)| Access {
        offset,
        width: Width::from_sas(sas),
        op,
    })
}

proptest! {
    #[test]
    fn no_access_panics_and_the_line_is_what_mis_says(
        steps in proptest::collection::vec((any_access(), any::<Option<u8>>()), 0..200)
    ) {
        let mut uart = Uart::new();
        for (access, input) in steps {
            if let Some(byte) = input {
                uart.take(byte);
            }
            let (before, whole) = (uart.line(), uart.clone());
            let peeked = uart.peek(access.offset);
            if let Ok(effect) = uart.access(access) {
                if let (Op::Read, Some(value)) = (access.op, peeked) {
                    prop_assert_eq!(effect.value, u64::from(value));
                    prop_assert_eq!(&uart, &whole);
                }
                if let (Op::Write(byte), DR, true) = (access.op, access.offset, whole.is_sending()) {
                    prop_assert_eq!(effect.transmit, Some(byte as u8));
                    prop_assert_eq!(&uart, &whole);
                }
                prop_assert_eq!(effect.line, (uart.line() != before).then_some(!before));
            }
            prop_assert_eq!(uart.line(), uart.load(RIS) & uart.load(IMSC) != 0);
            prop_assert_eq!(uart.line(), uart.load(MIS) != 0);
            prop_assert_eq!(uart.load(FR) & 0x10 != 0, uart.fifo.len == 0);
            prop_assert_eq!(uart.load(FR) & 0x40 == 0, uart.has_room());
            prop_assert!(uart.fifo.len <= 32);
        }
    }
}

#[test]
fn bytes_beyond_the_fifo_wait_and_arrive_in_order() {
    let mut uart = opened();
    for byte in 0..200 {
        assert!(uart.send(byte));
    }
    let read: Vec<u64> = (0..200).map(|_| uart.load(DR)).collect();
    assert!(read.iter().copied().eq(0..200), "{read:?}");
    assert!(!uart.line());
}

#[test]
fn what_nobody_reads_is_refused_in_the_end_and_overruns_nothing() {
    let mut uart = Uart::new();
    let taken = (0..2000).filter(|_| uart.send(b'x')).count();
    assert_eq!(taken, 1 + 1024);
    assert_eq!(uart.load(RIS) & 1 << 10, 0, "overrun");
}
