//! The PL011 (DDI0183) of the machine, polled.

use core::fmt::{self, Write as _};

use super::mmio;

const BASE: u64 = 0x0900_0000;
const DR: u64 = BASE;
const FR: u64 = BASE + 0x18;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;

struct Uart;

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while mmio::read32(FR) & FR_TXFF != 0 {}
            mmio::write32(DR, byte.into());
        }
        Ok(())
    }
}

/// Prints.
pub fn print(text: fmt::Arguments) {
    let _ = Uart.write_fmt(text);
}

/// A key, if one was typed.
pub fn poll() -> Option<u8> {
    (mmio::read32(FR) & FR_RXFE == 0).then(|| mmio::read32(DR) as u8)
}

/// Where the image is, for whoever reads an address in a message.
pub fn image_base() -> u64 {
    unsafe extern "C" {
        static _head: u8;
    }
    &raw const _head as u64
}
