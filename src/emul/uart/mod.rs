//! PL011 UART (DDI0183G), revision r1p5: 32-byte FIFOs.
//!
//! What leaves by the transmitter and what arrives are the caller's business; baud rate, frame format
//! and modem control are stored and have no effect. Two liberties are QEMU's: it transmits and receives
//! whether or not UARTCR enables it, because early consoles write to it untouched; and the receive
//! interrupt does not wait for the level in UARTIFLS but comes with the first byte, because guests
//! written for QEMU `virt` unmask it alone and would never see a single key.

use super::primecell::{self, Identification, Lanes};
use crate::types::{Abort, Access, Op};

/// UARTPeriphID and UARTPCellID of r1p5 (3.3.14 to 3.3.21).
const ID: Identification = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Bytes that the receive FIFO holds; without UARTLCR_H.FEN it is one.
const FIFO_BYTES: usize = 32;
/// Bytes that wait in front of a full FIFO, as they would at a sender that minds flow control.
const QUEUE_BYTES: usize = 1024;

/// Positions of the registers, four bytes each (Table 3-1).
mod register {
    pub const DR: usize = 0;
    pub const RSR_ECR: usize = 1;
    pub const FR: usize = 6;
    pub const ILPR: usize = 8;
    pub const IBRD: usize = 9;
    pub const FBRD: usize = 10;
    pub const LCR_H: usize = 11;
    pub const CR: usize = 12;
    pub const IFLS: usize = 13;
    pub const IMSC: usize = 14;
    pub const RIS: usize = 15;
    pub const MIS: usize = 16;
    pub const ICR: usize = 17;
    pub const DMACR: usize = 18;
    pub const COUNT: usize = 19;
}

/// UARTDR.OE.
const DR_OE: u32 = 1 << 11;
/// UARTRSR.OE.
const RSR_OE: u32 = 1 << 3;

/// UARTFR: CTS, DSR and DCD, the terminal that is always there, and TXFE, as what is sent is gone at once.
const FR_ALWAYS: u32 = 1 << 7 | 0b111;
const FR_RXFE: u32 = 1 << 4;
const FR_RXFF: u32 = 1 << 6;

const LCR_H_FEN: u32 = 1 << 4;
const CR_LBE: u32 = 1 << 7;

/// Receive interrupt.
const RX: u32 = 1 << 4;
/// Transmit interrupt.
const TX: u32 = 1 << 5;
/// Receive timeout interrupt.
const RT: u32 = 1 << 6;
/// Overrun error interrupt.
const OE: u32 = 1 << 10;

/// What an access comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What a load reads.
    pub value: u64,
    /// A byte that left by the transmitter.
    pub transmit: Option<u8>,
    /// The level of the interrupt, if it is another one now.
    pub line: Option<bool>,
}

impl Effect {
    const NONE: Self = Self {
        value: 0,
        transmit: None,
        line: None,
    };
}

/// Bytes on their way: a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fifo<const N: usize> {
    bytes: [u8; N],
    first: usize,
    len: usize,
}

impl<const N: usize> Fifo<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            first: 0,
            len: 0,
        }
    }

    /// Whether there was room.
    fn push(&mut self, byte: u8) -> bool {
        if self.len >= N {
            return false;
        }
        if let Some(slot) = self.bytes.get_mut((self.first + self.len) % N) {
            *slot = byte;
            self.len += 1;
        }
        true
    }

    fn pop(&mut self) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let byte = self.bytes.get(self.first).copied();
        self.first = (self.first + 1) % N;
        self.len -= 1;
        byte
    }
}

/// The UART of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    /// What a load reads, but for UARTDR.
    registers: [u32; register::COUNT],
    fifo: Fifo<FIFO_BYTES>,
    /// What has been sent and has not arrived yet; not part of the hardware.
    queue: Fifo<QUEUE_BYTES>,
    /// A byte was lost and none has been read since: UARTDR.OE of the next one.
    overrun: bool,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// A UART out of reset.
    pub const fn new() -> Self {
        let mut registers = [0; register::COUNT];
        registers[register::FR] = FR_ALWAYS | FR_RXFE;
        registers[register::CR] = 0x300;
        registers[register::IFLS] = 0x12;
        Self {
            registers,
            fifo: Fifo::new(),
            queue: Fifo::new(),
            overrun: false,
        }
    }

    /// Back to the state out of reset.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// What a load of the register at `offset` yields, where that is all there is to it.
    #[inline(always)]
    pub fn peek(&self, offset: u64) -> Option<u32> {
        let register = (offset / 4) as usize;
        let stored = offset.is_multiple_of(4) && register != register::DR;
        self.registers.get(register).copied().filter(|_| stored)
    }

    /// Whether a byte that is stored to UARTDR just leaves.
    #[inline(always)]
    pub const fn is_sending(&self) -> bool {
        self.registers[register::RIS] & TX != 0 && self.registers[register::CR] & CR_LBE == 0
    }

    /// A load or store of the guest.
    pub fn access(&mut self, access: Access) -> Result<Effect, Abort> {
        let lanes = Lanes::of(&access)?;
        let before = self.line();
        let mut effect = Effect::NONE;
        match access.op {
            Op::Read => effect.value = lanes.load(self.read(lanes.register)),
            Op::Write(data) => {
                if let Some(data) = lanes.store(data) {
                    effect.transmit = self.write(lanes.register, data);
                }
            }
        }
        self.advance();
        effect.line = (self.line() != before).then_some(!before);
        Ok(effect)
    }

    /// A byte is sent to the guest; it arrives as soon as there is room. Returns whether it was taken,
    /// which it is unless the guest has left very much unread.
    pub fn send(&mut self, byte: u8) -> bool {
        let taken = self.queue.push(byte);
        self.advance();
        taken
    }

    /// Lets bytes that were sent arrive, and shows what has become of the rest.
    fn advance(&mut self) {
        while self.has_room()
            && let Some(byte) = self.queue.pop()
        {
            self.receive(byte);
        }
        let empty = if self.fifo.len == 0 { FR_RXFE } else { 0 };
        let full = if self.has_room() { 0 } else { FR_RXFF };
        self.registers[register::FR] = FR_ALWAYS | empty | full;
        self.registers[register::MIS] =
            self.registers[register::RIS] & self.registers[register::IMSC];
    }

    /// A byte arrives, whether or not there is room.
    fn receive(&mut self, byte: u8) {
        if self.has_room() {
            let _ = self.fifo.push(byte);
            // 32 bit periods without a further byte are over before the guest can look.
            self.registers[register::RIS] |= RX | RT;
        } else {
            self.overrun = true;
            self.registers[register::RSR_ECR] |= RSR_OE;
            self.registers[register::RIS] |= OE;
        }
    }

    /// Whether a byte that arrives would be accepted.
    const fn has_room(&self) -> bool {
        let fifo = self.registers[register::LCR_H] & LCR_H_FEN != 0;
        self.fifo.len < if fifo { FIFO_BYTES } else { 1 }
    }

    /// The level of the interrupt.
    pub const fn line(&self) -> bool {
        self.registers[register::MIS] != 0
    }

    fn read(&mut self, register: usize) -> u32 {
        match register {
            register::DR => self.read_data(),
            _ => match self.registers.get(register) {
                Some(stored) => *stored,
                None => primecell::identify(register, &ID),
            },
        }
    }

    /// Yields the byte that leaves by the transmitter. Of each register the bits that exist are stored.
    fn write(&mut self, register: usize, value: u32) -> Option<u8> {
        let stored = match register {
            register::DR => return self.write_data(value as u8),
            register::RSR_ECR => {
                self.registers[register::RSR_ECR] = 0;
                return None;
            }
            register::ICR => {
                self.registers[register::RIS] &= !value;
                return None;
            }
            register::LCR_H => {
                self.switch_fifos(value);
                0xff
            }
            register::ILPR => 0xff,
            register::IBRD => 0xffff,
            register::FBRD | register::IFLS => 0x3f,
            register::CR => 0xff87,
            register::IMSC => 0x7ff,
            register::DMACR => 0b111,
            _ => return None,
        };
        if let Some(register) = self.registers.get_mut(register) {
            *register = value & stored;
        }
        None
    }

    fn read_data(&mut self) -> u32 {
        let Some(byte) = self.fifo.pop() else {
            return 0;
        };
        if self.fifo.len == 0 {
            self.registers[register::RIS] &= !(RX | RT);
        }
        let overrun = if self.overrun { DR_OE } else { 0 };
        self.overrun = false;
        overrun | u32::from(byte)
    }

    /// The byte is gone at once, so the transmit FIFO is back below its level: that transition is what
    /// raises the interrupt, and nothing but UARTICR lowers it.
    fn write_data(&mut self, byte: u8) -> Option<u8> {
        self.registers[register::RIS] |= TX;
        if self.registers[register::CR] & CR_LBE != 0 {
            self.receive(byte);
            return None;
        }
        Some(byte)
    }

    /// Enabling or disabling the FIFOs, by a store of `value` to UARTLCR_H, empties them.
    fn switch_fifos(&mut self, value: u32) {
        if (self.registers[register::LCR_H] ^ value) & LCR_H_FEN != 0 {
            self.fifo = Fifo::new();
            self.overrun = false;
            self.registers[register::RIS] &= !(RX | RT);
        }
    }
}

#[cfg(test)]
mod tests;
