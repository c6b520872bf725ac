//! Serial ports, by the name that device trees have for them: a row says all that there is to driving one.
//!
//! The rate and the frame that the firmware has set are kept.

/// Bits of a 32-bit register: what they have to be for an answer of yes, or are to become.
#[derive(Debug)]
pub struct Bits {
    /// Offset of the register.
    pub register: u32,
    /// Which bits.
    pub mask: u32,
    /// Their value.
    pub value: u32,
}

/// How a kind of serial port is driven.
#[derive(Debug)]
pub struct Uart {
    /// What a device tree calls it.
    pub compatible: &'static str,
    /// The register that takes a byte to send.
    pub transmit: u32,
    /// The register that has the byte received first.
    pub receive: u32,
    /// There is room for a byte to send.
    pub room: Bits,
    /// Everything is on the wire.
    pub idle: Bits,
    /// A byte has been received.
    pub filled: Bits,
    /// Turns transmitter and receiver on, where firmware that prints nothing may have left them off.
    pub open: &'static [Bits],
    /// From here on the interrupt is raised while there are received bytes, and for nothing else.
    pub listen: &'static [Bits],
    /// Ends the interrupt where it stays once the bytes have been taken.
    pub acknowledge: &'static [Bits],
}

/// Every kind that is known.
pub static KINDS: [Uart; 5] = [
    // Arm PL011 (DDI0183G 3.3).
    Uart {
        compatible: "arm,pl011",
        transmit: 0x00,                               // UARTDR
        receive: 0x00,                                // UARTDR
        room: clear(0x18, 1 << 5),                    // UARTFR.TXFF
        idle: clear(0x18, 1 << 3),                    // UARTFR.BUSY
        filled: clear(0x18, 1 << 4),                  // UARTFR.RXFE
        open: &[set(0x30, 1 << 9 | 1 << 8 | 1 << 0)], // UARTCR: RXE, TXE, UARTEN
        listen: &[
            whole(0x34, 0), // UARTIFLS: received at 1/8 full
            // UARTICR. A byte that is there already keeps its interrupts (RTIC, RXIC): cleared, they would come back
            // only with an empty FIFO.
            whole(0x44, 0x7ff & !(1 << 6 | 1 << 4)),
            whole(0x38, 1 << 6 | 1 << 4), // UARTIMSC: RTIM, RXIM
        ],
        acknowledge: &[],
    },
    // The mini-UART among the BCM2835's auxiliary peripherals (BCM2835 ARM Peripherals, chapter 2, with its errata).
    Uart {
        compatible: "brcm,bcm2835-aux-uart",
        // AUX_MU_IER_REG: receive interrupt; the errata want bits 2 and 3 with it.
        listen: &[whole(0x04, 1 << 0 | 3 << 2)],
        ..UART_16550
    },
    Uart {
        compatible: "nuvoton,npcm750-uart",
        ..UART_16550
    },
    // Cadence UART of the Zynq UltraScale+ (UG1087, module UART).
    Uart {
        compatible: "cdns,uart-r1p12",
        transmit: 0x30,            // FIFO
        receive: 0x30,             // FIFO
        room: clear(0x2c, 1 << 4), // Channel_sts.TXFULL
        idle: Bits {
            register: 0x2c, // Channel_sts: TXEMPTY without TACTIVE
            mask: 1 << 11 | 1 << 3,
            value: 1 << 3,
        },
        filled: clear(0x2c, 1 << 1), // Channel_sts.RXEMPTY
        open: &[Bits {
            register: 0x00, // Control: TXEN and RXEN, without TXDIS and RXDIS
            mask: 0xf << 2,
            value: 1 << 4 | 1 << 2,
        }],
        listen: &[
            whole(0x0c, 0x1fff), // Intrpt_dis
            whole(0x20, 1),      // Rcvr_FIFO_trigger_level
            whole(0x08, 1 << 0), // Intrpt_en.RTRIG
        ],
        acknowledge: &[whole(0x14, 1 << 0)], // Chnl_int_sts.RTRIG
    },
    // i.MX UART (IMX8MPRM, Universal Asynchronous Receiver/Transmitter).
    Uart {
        compatible: "fsl,imx6q-uart",
        transmit: 0x40,            // UTXD
        receive: 0x00,             // URXD
        room: clear(0xb4, 1 << 4), // UTS.TXFULL
        idle: set(0x98, 1 << 3),   // USR2.TXDC
        filled: set(0x98, 1 << 0), // USR2.RDR
        open: &[
            set(0x80, 1 << 0),          // UCR1.UARTEN
            set(0x84, 1 << 2 | 1 << 1), // UCR2.TXEN, RXEN
        ],
        listen: &[
            Bits {
                register: 0x90, // UFCR.RXTL: with the first byte
                mask: 0x3f,
                value: 1,
            },
            whole(0x80, 1 << 9 | 1 << 0), // UCR1: RRDYEN, UARTEN
        ],
        acknowledge: &[],
    },
];

/// A 16550 with its registers four bytes apart.
const UART_16550: Uart = Uart {
    compatible: "",
    transmit: 0x00,            // THR
    receive: 0x00,             // RBR
    room: set(0x14, 1 << 5),   // LSR.THRE
    idle: set(0x14, 1 << 6),   // LSR.TEMT
    filled: set(0x14, 1 << 0), // LSR.DR
    open: &[],
    listen: &[whole(0x04, 1 << 0)], // IER.ERBFI
    acknowledge: &[],
};

const fn set(register: u32, mask: u32) -> Bits {
    Bits {
        register,
        mask,
        value: mask,
    }
}

const fn clear(register: u32, mask: u32) -> Bits {
    Bits {
        register,
        mask,
        value: 0,
    }
}

const fn whole(register: u32, value: u32) -> Bits {
    Bits {
        register,
        mask: u32::MAX,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_kind_of_its_own_and_can_come_true() {
        for (index, kind) in KINDS.iter().enumerate() {
            let name = kind.compatible;
            assert!(name.contains(','), "row {index}: {name}");
            let namesakes = KINDS.iter().filter(|other| other.compatible == name);
            assert_eq!(namesakes.count(), 1, "{name}");
            let questions = [&kind.room, &kind.idle, &kind.filled];
            let commands = [kind.open, kind.listen, kind.acknowledge];
            for bits in questions.into_iter().chain(commands.into_iter().flatten()) {
                let at = bits.register;
                assert!(at.is_multiple_of(4), "{name}: {at:#x}");
                assert_eq!(bits.value & !bits.mask, 0, "{name}: {at:#x}");
            }
            assert!(!kind.listen.is_empty(), "{name}: no input");
        }
    }
}
