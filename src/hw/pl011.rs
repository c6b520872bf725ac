//! The board's PL011 (DDI0183G). The rate that the firmware has set is kept.

use crate::mm::mmio::Mmio;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
const ICR: u64 = 0x44;

const FR_RXFE: u32 = 1 << 4;
const FR_BUSY: u32 = 1 << 3;
const FR_TXFF: u32 = 1 << 5;
const INT_RX: u32 = 1 << 4;
const INT_RT: u32 = 1 << 6;

/// How often a full transmitter is looked at before a character is given up: at 9600 baud a
/// character takes 1 ms, which no CPU polls a million times.
const TRANSMIT_POLLS: u32 = 1_000_000;

/// A PL011.
#[derive(Clone, Copy, Debug)]
pub struct Pl011 {
    registers: Mmio,
    /// The last byte was given up.
    stuck: bool,
}

impl Pl011 {
    /// The PL011 with these registers.
    pub const fn new(registers: Mmio) -> Self {
        Self {
            registers,
            stuck: false,
        }
    }

    /// Sends one byte; gives it up when the transmitter never gets room, and those behind it at once: others wait for
    /// the line meanwhile.
    pub fn put(&mut self, byte: u8) {
        let polls = if self.stuck { 1 } else { TRANSMIT_POLLS };
        for _ in 0..polls {
            if self.registers.read32(FR) & FR_TXFF == 0 {
                self.registers.write32(DR, u32::from(byte));
                self.stuck = false;
                return;
            }
            core::hint::spin_loop();
        }
        self.stuck = true;
    }

    /// Waits until everything is on the wire.
    pub fn flush(&mut self) {
        let polls = if self.stuck { 1 } else { TRANSMIT_POLLS };
        let _ = (0..polls).find(|_| self.registers.read32(FR) & FR_BUSY == 0);
    }

    /// Takes a received byte, if there is one.
    pub fn get(&mut self) -> Option<u8> {
        if self.registers.read32(FR) & FR_RXFE != 0 {
            return None;
        }
        Some(self.registers.read32(DR) as u8)
    }

    /// Raises the interrupt for every received byte (receive at 1/8 full, and receive time-out) until it is taken.
    pub fn enable_receive_interrupt(&mut self) {
        self.registers.write32(IFLS, 0);
        // A byte that is there already keeps its interrupt: cleared, it would come back only with an empty FIFO.
        self.registers.write32(ICR, 0x7ff & !(INT_RX | INT_RT));
        self.registers.write32(IMSC, INT_RX | INT_RT);
    }
}
