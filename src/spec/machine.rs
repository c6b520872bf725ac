//! The machine that every guest sees, on every board: a subset of QEMU's `virt`.

use crate::types::Ipa;

/// A device's registers: first address and size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub base: Ipa,
    /// Bytes.
    pub size: u64,
}

const fn window(base: u64, size: u64) -> Window {
    Window {
        base: Ipa::new(base),
        size,
    }
}

/// Where RAM begins.
pub const RAM_BASE: Ipa = Ipa::new(0x4000_0000);
/// GIC distributor.
pub const GICD: Window = window(0x0800_0000, 0x1_0000);
/// GICv2 CPU interface (the board's GICV is mapped here).
pub const GICC: Window = window(0x0801_0000, 0x1_0000);
/// GICv3 redistributors; one takes [`GICR_STRIDE`] bytes, vCPU 0's is the first.
pub const GICR: Window = window(0x080a_0000, 0x00f6_0000);
/// RD_base and SGI_base frame of one redistributor (IHI0069H 12.10).
pub const GICR_STRIDE: u64 = 0x2_0000;
/// PL011.
pub const UART: Window = window(0x0900_0000, 0x1000);
/// PL031.
pub const RTC: Window = window(0x0901_0000, 0x1000);
/// Stolen time (DEN0057A), read-only memory: one page, 64 bytes for each vCPU. PV_TIME_ST tells a guest; no
/// device tree does.
pub const PV_TIME: Window = window(0x090a_0000, 0x1000);

/// Shared peripheral interrupt 0 has this INTID.
pub const SPI_BASE: u32 = 32;
/// INTIDs 0 to 127: 32 private ones and 96 SPIs.
pub const INTIDS: u32 = 128;
/// The UART's INTID (SPI 1).
pub const UART_INTID: u32 = SPI_BASE + 1;
/// The RTC's INTID (SPI 2).
pub const RTC_INTID: u32 = SPI_BASE + 2;
/// Non-secure EL2 physical timer (PPI 10), which a guest without EL2 never sees fire.
pub const HYP_TIMER_INTID: u32 = 16 + 10;
/// Virtual timer (PPI 11).
pub const VIRTUAL_TIMER_INTID: u32 = 16 + 11;
/// Secure physical timer (PPI 13).
pub const SECURE_TIMER_INTID: u32 = 16 + 13;
/// Non-secure EL1 physical timer (PPI 14).
pub const PHYSICAL_TIMER_INTID: u32 = 16 + 14;
/// Rate of the UART's and bus clocks, in Hz.
pub const APB_CLOCK_HZ: u32 = 24_000_000;
