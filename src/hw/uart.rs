//! The board's serial port, whichever kind it is: `spec::uart` has a row for each.

use crate::{
    mm::mmio::{Mmio, Register},
    spec::uart::{self, Bits},
};

/// How often a full transmitter is looked at before a character is given up: at 9600 baud a
/// character takes 1 ms, which no CPU polls a million times.
const POLLS: u32 = 1_000_000;

/// A serial port.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    kind: &'static uart::Uart,
    registers: Mmio,
    /// `kind.room`, where it is looked for with each byte.
    status: Register,
    mask: u32,
    value: u32,
    /// `kind.transmit`.
    transmit: Register,
    /// 1 if the last byte was given up. No bool, so that `None` of a port is all zeros, which take no room in the image.
    given_up: u8,
}

impl Uart {
    /// The port of that kind with these registers, ready to send and to receive.
    pub fn open(kind: &'static uart::Uart, registers: Mmio) -> Option<Self> {
        let uart = Self {
            kind,
            registers,
            status: registers.register(kind.room.register.into())?,
            mask: kind.room.mask,
            value: kind.room.value,
            transmit: registers.register(kind.transmit.into())?,
            given_up: 0,
        };
        uart.make(kind.open);
        Some(uart)
    }

    /// Sends one byte; gives it up when the transmitter never gets room, and those behind it at once: others wait for
    /// the line meanwhile.
    pub fn put(&mut self, byte: u8) {
        if !self.put_at_once(byte) && self.gets_room() {
            self.transmit.write(byte.into());
        }
    }

    /// Sends one byte if there is room for it.
    #[inline(always)]
    pub fn put_at_once(&mut self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.transmit.write(byte.into());
            self.given_up = 0;
        }
        room
    }

    fn has_room(&self) -> bool {
        self.status.read() & self.mask == self.value
    }

    /// Waits for room, unless there was none for the byte before.
    #[cold]
    fn gets_room(&mut self) -> bool {
        let room = self.given_up == 0 && self.wait(&self.kind.room);
        self.given_up = u8::from(!room);
        room
    }

    /// Waits until everything is on the wire.
    pub fn flush(&self) {
        if self.given_up == 0 {
            self.wait(&self.kind.idle);
        }
    }

    /// Takes a received byte, if there is one.
    pub fn get(&self) -> Option<u8> {
        if !self.is(&self.kind.filled) {
            // Never with a byte left, which might not raise the interrupt again. One that came meanwhile is seen now.
            self.make(self.kind.acknowledge);
            if !self.is(&self.kind.filled) {
                return None;
            }
        }
        Some(self.registers.read32(self.kind.receive.into()) as u8)
    }

    /// Raises the interrupt while there are received bytes.
    pub fn enable_receive_interrupt(&self) {
        self.make(self.kind.listen);
    }

    /// Whether these bits get to be so in time.
    fn wait(&self, wanted: &Bits) -> bool {
        (0..POLLS).any(|_| {
            self.is(wanted) || {
                core::hint::spin_loop();
                false
            }
        })
    }

    fn is(&self, bits: &Bits) -> bool {
        self.registers.read32(bits.register.into()) & bits.mask == bits.value
    }

    fn make(&self, changes: &[Bits]) {
        for bits in changes {
            // What is replaced as a whole may be a register that cannot be read.
            let kept = match bits.mask {
                u32::MAX => 0,
                mask => self.registers.read32(bits.register.into()) & !mask,
            };
            self.registers
                .write32(bits.register.into(), kept | bits.value);
        }
    }
}
