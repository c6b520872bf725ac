//! The mini-UART among the BCM2835's auxiliary peripherals (BCM2835 ARM Peripherals, chapter 2, with its errata): the
//! Raspberry Pi's console unless configured otherwise. The rate that the firmware has set is kept.

use crate::mm::mmio::Mmio;

const IO: u64 = 0x00;
const IER: u64 = 0x04;
const LSR: u64 = 0x14;

/// Interrupt while the receive FIFO has a byte; the errata want bits 2 and 3 with it.
const IER_RECEIVE: u32 = 1 << 0 | 3 << 2;
const LSR_DATA_READY: u32 = 1 << 0;
const LSR_TRANSMIT_ROOM: u32 = 1 << 5;
const LSR_TRANSMIT_IDLE: u32 = 1 << 6;

/// How often a full transmitter is looked at before a character is given up; see the PL011.
const TRANSMIT_POLLS: u32 = 1_000_000;

/// A mini-UART.
#[derive(Clone, Copy, Debug)]
pub struct MiniUart {
    registers: Mmio,
    /// The last byte was given up.
    stuck: bool,
}

impl MiniUart {
    /// The mini-UART with these registers, AUX_MU_IO_REG the first.
    pub const fn new(registers: Mmio) -> Self {
        Self {
            registers,
            stuck: false,
        }
    }

    /// Sends one byte; gives it up when the transmitter never gets room, and those behind it at once.
    pub fn put(&mut self, byte: u8) {
        self.stuck = !self.wait(LSR_TRANSMIT_ROOM, self.stuck);
        if !self.stuck {
            self.registers.write32(IO, u32::from(byte));
        }
    }

    /// Waits until everything is on the wire.
    pub fn flush(&mut self) {
        self.wait(LSR_TRANSMIT_IDLE, self.stuck);
    }

    /// Takes a received byte, if there is one.
    pub fn get(&mut self) -> Option<u8> {
        match self.registers.read32(LSR) & LSR_DATA_READY {
            0 => None,
            _ => Some(self.registers.read32(IO) as u8),
        }
    }

    /// Raises the interrupt while there are received bytes.
    pub fn enable_receive_interrupt(&mut self) {
        self.registers.write32(IER, IER_RECEIVE);
    }

    /// Whether LSR gets to say `wanted` in time.
    fn wait(&self, wanted: u32, hopeless: bool) -> bool {
        let polls = if hopeless { 1 } else { TRANSMIT_POLLS };
        (0..polls).any(|_| {
            core::hint::spin_loop();
            self.registers.read32(LSR) & wanted != 0
        })
    }
}
