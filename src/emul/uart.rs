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

/// Register offsets (Table 3-1).
mod register {
    pub const DR: u64 = 0x000;
    pub const RSR_ECR: u64 = 0x004;
    pub const FR: u64 = 0x018;
    pub const ILPR: u64 = 0x020;
    pub const IBRD: u64 = 0x024;
    pub const FBRD: u64 = 0x028;
    pub const LCR_H: u64 = 0x02c;
    pub const CR: u64 = 0x030;
    pub const IFLS: u64 = 0x034;
    pub const IMSC: u64 = 0x038;
    pub const RIS: u64 = 0x03c;
    pub const MIS: u64 = 0x040;
    pub const ICR: u64 = 0x044;
    pub const DMACR: u64 = 0x048;
}

/// UARTDR.OE.
const DR_OE: u32 = 1 << 11;
/// UARTRSR.OE.
const RSR_OE: u32 = 1 << 3;

/// UARTFR: CTS, DSR and DCD, the terminal that is always there.
const FR_MODEM: u32 = 0b111;
const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_RXFF: u32 = 1 << 6;
const FR_TXFE: u32 = 1 << 7;

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
    /// The level of the interrupt afterwards.
    pub line: bool,
}

/// What becomes of a byte that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// It is in the FIFO; otherwise it is lost, and the guest is told of an overrun.
    pub accepted: bool,
    /// The level of the interrupt afterwards.
    pub line: bool,
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
    fifo: Fifo<FIFO_BYTES>,
    /// What has been sent and has not arrived yet; not part of the hardware.
    queue: Fifo<QUEUE_BYTES>,
    /// A byte was lost and none has been read since: UARTDR.OE of the next one.
    overrun: bool,
    /// UARTRSR.
    status: u32,
    ilpr: u32,
    ibrd: u32,
    fbrd: u32,
    lcr_h: u32,
    cr: u32,
    ifls: u32,
    imsc: u32,
    ris: u32,
    dmacr: u32,
    /// The backend takes no more bytes for now.
    tx_full: bool,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// A UART out of reset.
    pub const fn new() -> Self {
        Self {
            fifo: Fifo::new(),
            queue: Fifo::new(),
            overrun: false,
            status: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: 0x300,
            ifls: 0x12,
            imsc: 0,
            ris: 0,
            dmacr: 0,
            tx_full: false,
        }
    }

    /// Back to the state out of reset; whether the backend takes bytes is not the guest's to reset.
    pub fn reset(&mut self) {
        *self = Self {
            tx_full: self.tx_full,
            ..Self::new()
        };
    }

    /// A load or store of the guest.
    pub fn access(&mut self, access: Access) -> Result<Effect, Abort> {
        let lanes = Lanes::of(&access)?;
        let mut value = 0;
        let mut transmit = None;
        match access.op {
            Op::Read => value = lanes.load(self.read(lanes.register)),
            Op::Write(data) => {
                if let Some(data) = lanes.store(data) {
                    transmit = self.write(lanes.register, data);
                }
            }
        }
        self.advance();
        Ok(Effect {
            value,
            transmit,
            line: self.line(),
        })
    }

    /// A byte is sent to the guest; it arrives as soon as there is room. Returns whether it was taken,
    /// which it is unless the guest has left very much unread, and the level of the interrupt.
    pub fn send(&mut self, byte: u8) -> Received {
        let accepted = self.queue.push(byte);
        self.advance();
        Received {
            accepted,
            line: self.line(),
        }
    }

    /// Lets bytes that were sent arrive.
    fn advance(&mut self) {
        while self.queue.len > 0 && self.has_room() {
            if let Some(byte) = self.queue.pop() {
                let _ = self.receive(byte);
            }
        }
    }

    /// A byte arrives, whether or not there is room.
    pub fn receive(&mut self, byte: u8) -> Received {
        let accepted = self.has_room();
        if accepted {
            let _ = self.fifo.push(byte);
            // 32 bit periods without a further byte are over before the guest can look.
            self.ris |= RX | RT;
        } else {
            self.overrun = true;
            self.status |= RSR_OE;
            self.ris |= OE;
        }
        Received {
            accepted,
            line: self.line(),
        }
    }

    /// Whether a byte that arrives would be accepted.
    pub const fn has_room(&self) -> bool {
        self.fifo.len < self.capacity()
    }

    /// The backend says whether it takes bytes. While it does not, the guest sees a full transmit FIFO;
    /// when it does again the FIFO has drained past its level, which is what the interrupt reports.
    /// Returns the level of the interrupt.
    pub const fn set_transmit_full(&mut self, full: bool) -> bool {
        if self.tx_full && !full {
            self.ris |= TX;
        }
        self.tx_full = full;
        self.line()
    }

    /// The level of the interrupt.
    pub const fn line(&self) -> bool {
        self.ris & self.imsc != 0
    }

    const fn capacity(&self) -> usize {
        if self.lcr_h & LCR_H_FEN != 0 {
            FIFO_BYTES
        } else {
            1
        }
    }

    fn read(&mut self, register: u64) -> u32 {
        match register {
            register::DR => self.read_data(),
            register::FR => self.flags(),
            register::RSR_ECR => self.status,
            register::ILPR => self.ilpr,
            register::IBRD => self.ibrd,
            register::FBRD => self.fbrd,
            register::LCR_H => self.lcr_h,
            register::CR => self.cr,
            register::IFLS => self.ifls,
            register::IMSC => self.imsc,
            register::RIS => self.ris,
            register::MIS => self.ris & self.imsc,
            register::DMACR => self.dmacr,
            _ => primecell::identify(register, &ID),
        }
    }

    /// Yields the byte that leaves by the transmitter. Of each register the bits that exist are stored.
    fn write(&mut self, register: u64, value: u32) -> Option<u8> {
        match register {
            register::DR => return self.write_data(value as u8),
            register::RSR_ECR => self.status = 0,
            register::ILPR => self.ilpr = value & 0xff,
            register::IBRD => self.ibrd = value & 0xffff,
            register::FBRD => self.fbrd = value & 0x3f,
            register::LCR_H => self.write_line_control(value & 0xff),
            register::CR => self.cr = value & 0xff87,
            register::IFLS => self.ifls = value & 0x3f,
            register::IMSC => self.imsc = value & 0x7ff,
            register::ICR => self.ris &= !value,
            register::DMACR => self.dmacr = value & 0b111,
            _ => {}
        }
        None
    }

    fn flags(&self) -> u32 {
        let transmitter = if self.tx_full {
            FR_TXFF | FR_BUSY
        } else {
            FR_TXFE
        };
        let empty = if self.fifo.len == 0 { FR_RXFE } else { 0 };
        let full = if self.has_room() { 0 } else { FR_RXFF };
        FR_MODEM | transmitter | empty | full
    }

    fn read_data(&mut self) -> u32 {
        let Some(byte) = self.fifo.pop() else {
            return 0;
        };
        if self.fifo.len == 0 {
            self.ris &= !(RX | RT);
        }
        let overrun = if self.overrun { DR_OE } else { 0 };
        self.overrun = false;
        overrun | u32::from(byte)
    }

    /// The byte is gone at once, so the transmit FIFO is back below its level: that transition is what
    /// raises the interrupt, and nothing but UARTICR lowers it. A byte for a full FIFO is lost.
    fn write_data(&mut self, byte: u8) -> Option<u8> {
        if self.tx_full {
            return None;
        }
        self.ris |= TX;
        if self.cr & CR_LBE != 0 {
            let _ = self.receive(byte);
            return None;
        }
        Some(byte)
    }

    /// Enabling or disabling the FIFOs empties them.
    fn write_line_control(&mut self, value: u32) {
        if (self.lcr_h ^ value) & LCR_H_FEN != 0 {
            self.fifo = Fifo::new();
            self.overrun = false;
            self.ris &= !(RX | RT);
        }
        self.lcr_h = value;
    }
}

#[cfg(test)]
#[path = "uart_tests.rs"]
mod tests;
