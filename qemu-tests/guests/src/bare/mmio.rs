//! Device accesses, each one explicit load or store without writeback, so that a hypervisor gets a complete syndrome.

use core::arch::asm;

macro_rules! accessors {
    ($($read:ident $write:ident $type:ty, $load:literal, $store:literal, $register:literal;)*) => {$(
        /// Reads.
        pub fn $read(address: u64) -> $type {
            let value: u64;
            // SAFETY: devices and unmapped space do not overlap memory that Rust uses.
            unsafe { asm!(concat!($load, " {0:", $register, "}, [{1}]"), out(reg) value, in(reg) address) };
            value as $type
        }

        /// Writes.
        pub fn $write(address: u64, value: $type) {
            // SAFETY: devices and unmapped space do not overlap memory that Rust uses.
            unsafe { asm!(concat!($store, " {0:", $register, "}, [{1}]"), in(reg) value as u64, in(reg) address) };
        }
    )*};
}

accessors! {
    read8 write8 u8, "ldrb", "strb", "w";
    read16 write16 u16, "ldrh", "strh", "w";
    read32 write32 u32, "ldr", "str", "w";
    read64 write64 u64, "ldr", "str", "x";
}
