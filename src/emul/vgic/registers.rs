//! The memory-mapped registers: one table, looked up by offset.
//!
//! Offsets in no row are reserved and RES0 at any width (IHI0069H 12.1). A width that the register
//! at an offset does not have is answered by an abort, as GIC implementations may (IHI0069H 12.1
//! leaves it open): a guest that does so is wrong, and finds out where.

use super::bank::Bank;
use super::{At, Reply, Vgic, control, interrupts, legacy};
use crate::spec::gic::{GicVersion, gicd, gicr};
use crate::spec::machine::{GICR_STRIDE, SPI_BASE};
use crate::types::{Abort, Access, Op, VcpuId, VcpuSet, Width};

/// A register, or a series of them that is counted by INTID.
struct Register {
    /// Offset in its frame; of a series, where INTID 0's bits are or would be.
    offset: u64,
    /// Bytes of the whole series.
    bytes: u64,
    /// Bytes that are read or written at once, less one.
    unit: u64,
    /// Widths of access, a bit each by their log2.
    widths: u8,
    /// Bits per interrupt as a power of two; [`SINGLE`] for a single register.
    per_intid: u8,
    /// Frames that have it, a bit each.
    frames: u8,
    read: Read,
    write: Write,
}

type Read = fn(&Vgic, Site) -> Reply;
type Write = fn(&mut Vgic, Site, Written) -> VcpuSet;

/// Where registers lie.
#[derive(Clone, Copy)]
enum Frame {
    /// The distributor of a GICv2; private interrupts are banked.
    Legacy,
    /// The distributor of a GICv3. With affinity routing, what it has of private interrupts is RES0
    /// (IHI0069H 12.9).
    Distributor,
    /// RD_base of a redistributor.
    Redistributor,
    /// SGI_base of a redistributor: the distributor's series for INTIDs 0 to 31.
    Private,
}

const FRAMES: usize = 4;
const V2: u8 = 1 << Frame::Legacy as u8;
const V3: u8 = 1 << Frame::Distributor as u8;
const RD: u8 = 1 << Frame::Redistributor as u8;
const ALL: u8 = V2 | V3 | 1 << Frame::Private as u8;

/// So many that every offset within belongs to number 0.
const SINGLE: u8 = 63;

const WORD: u8 = 1 << Width::Word as u8;
const BYTES: u8 = WORD | 1 << Width::Byte as u8;
const DOUBLE: u8 = WORD | 1 << Width::Double as u8;

/// Where an access lands.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub at: At,
    /// The first interrupt of the unit.
    pub intid: u16,
}

/// What a write brings: bits outside `mask` were not accessed and are 0.
#[derive(Clone, Copy)]
pub(super) struct Written {
    value: u64,
    mask: u64,
}

impl Site {
    /// The unit's first interrupt within its bank.
    pub const fn first(self) -> usize {
        (self.intid % 32) as usize
    }
}

impl Written {
    /// Of a 32-bit register.
    pub const fn bits(self) -> u32 {
        self.value as u32
    }

    /// `old`, with what was accessed replaced.
    pub const fn over(self, old: u64) -> u64 {
        old & !self.mask | self.value
    }

    /// The bytes that were written to a 32-bit unit, by their place in it.
    pub fn bytes(self) -> impl Iterator<Item = (usize, u8)> {
        let values = self.bits().to_le_bytes().into_iter().enumerate();
        let masks = (self.mask as u32).to_le_bytes();
        values
            .zip(masks)
            .filter(|&(_, mask)| mask != 0)
            .map(|(value, _)| value)
    }
}

const fn register(frames: u8, offset: u64, read: Read, write: Write) -> Register {
    Register {
        offset,
        bytes: 4,
        unit: 3,
        widths: WORD,
        per_intid: SINGLE,
        frames,
        read,
        write,
    }
}

impl Register {
    /// A series for INTIDs 0 to 1023, `1 << bits` bits each.
    const fn series(self, bits: u8) -> Self {
        Self {
            bytes: 1024 << bits >> 3,
            per_intid: bits,
            ..self
        }
    }

    /// Of that series, only INTIDs 0 to 15.
    const fn of_sgis(self) -> Self {
        Self {
            bytes: self.bytes / 64,
            ..self
        }
    }

    const fn bytewise(self) -> Self {
        Self {
            widths: BYTES,
            ..self
        }
    }

    const fn double(self) -> Self {
        Self {
            bytes: if self.bytes < 8 { 8 } else { self.bytes },
            unit: 7,
            widths: DOUBLE,
            ..self
        }
    }

    /// Whether it has an offset in a frame.
    #[inline(always)]
    const fn is_at(&self, frame: Frame, offset: u64) -> bool {
        let (start, end) = self.extent(frame);
        offset.wrapping_sub(start) < end - start
    }

    /// The offsets that it has in a frame.
    const fn extent(&self, frame: Frame) -> (u64, u64) {
        let end = self.offset + self.bytes;
        if self.frames & 1 << frame as u8 == 0 {
            return (0, 0);
        }
        let shared = match self.per_intid {
            SINGLE => return (self.offset, end),
            bits => self.offset + ((SPI_BASE as u64) << bits >> 3),
        };
        match frame {
            Frame::Distributor => (shared, end),
            Frame::Private => (self.offset, shared),
            Frame::Legacy | Frame::Redistributor => (self.offset, end),
        }
    }
}

/// Every register of every frame.
static REGISTERS: [Register; 23] = {
    use {control as c, interrupts as i, legacy as l};
    [
        register(V2 | V3, gicd::CTLR, c::read_ctlr, c::write_ctlr),
        register(V2 | V3, gicd::TYPER, c::read_typer, ignore),
        register(V2 | V3, gicd::IIDR, c::read_iidr, ignore),
        register(ALL, gicd::IGROUPR, i::read_group, i::write_group).series(0),
        register(ALL, gicd::ISENABLER, i::read_enabled, i::enable).series(0),
        register(ALL, gicd::ICENABLER, i::read_enabled, i::disable).series(0),
        register(ALL, gicd::ISPENDR, i::read_pending, i::set_pending).series(0),
        register(ALL, gicd::ICPENDR, i::read_pending, i::clear_pending).series(0),
        register(ALL, gicd::ISACTIVER, i::read_active, i::set_active).series(0),
        register(ALL, gicd::ICACTIVER, i::read_active, i::clear_active).series(0),
        register(ALL, gicd::IPRIORITYR, i::read_priority, i::write_priority)
            .series(3)
            .bytewise(),
        register(V2, gicd::ITARGETSR, l::read_targets, l::write_targets)
            .series(3)
            .bytewise(),
        register(ALL, gicd::ICFGR, i::read_config, i::write_config).series(1),
        register(V2, gicd::SGIR, zero, l::write_sgir),
        register(V2, gicd::CPENDSGIR, l::read_sources, l::clear_sources)
            .series(3)
            .of_sgis()
            .bytewise(),
        register(V2, gicd::SPENDSGIR, l::read_sources, l::set_sources)
            .series(3)
            .of_sgis()
            .bytewise(),
        register(V2, gicd::PIDR2_V2, c::read_pidr2, ignore),
        register(RD, gicr::CTLR, c::read_redistributor_ctlr, ignore),
        register(RD, gicr::IIDR, c::read_iidr, ignore),
        register(RD, gicr::TYPER, c::read_redistributor_typer, ignore).double(),
        register(RD, gicr::WAKER, c::read_waker, c::write_waker),
        register(V3, gicd::IROUTER, c::read_router, c::write_router)
            .series(6)
            .double(),
        register(V3 | RD, gicd::PIDR2, c::read_pidr2, ignore),
    ]
};

/// Offsets below are looked up by word, in the first block, or by block; the few registers above are the table's last.
const NEAR: u64 = 0x1000;
/// A bit for each of 1024 INTIDs takes so many bytes: every series begins at a multiple of it.
const BLOCK: u64 = 0x80;
/// Words of the first block, which no series is in.
const WORDS: u64 = BLOCK / 4;
const PLACES: usize = (WORDS + NEAR / BLOCK) as usize;

/// For each word of the first block and for each block of each frame, where in the table to begin: the number of the
/// first register with bytes in there, from 1 on; 0 is none. Nearly all are found at once.
static FIRST: [[u8; PLACES]; FRAMES] = [
    first(Frame::Legacy),
    first(Frame::Distributor),
    first(Frame::Redistributor),
    first(Frame::Private),
];

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn first(frame: Frame) -> [u8; PLACES] {
    let mut first = [0; PLACES];
    let mut row = REGISTERS.len();
    while row > 0 {
        let (start, end) = REGISTERS[row - 1].extent(frame);
        let mut offset = start & !3;
        while offset < NEAR && offset < end {
            if offset < BLOCK {
                first[(offset / 4) as usize] = row as u8;
            } else {
                first[(WORDS + offset / BLOCK) as usize] = row as u8;
            }
            offset += 4;
        }
        row -= 1;
    }
    first
}

/// The register at an offset.
#[inline(always)]
fn look_up(frame: Frame, offset: u64) -> Option<&'static Register> {
    if offset >= NEAR {
        let mut far = REGISTERS.iter().rev().take_while(|row| row.offset >= NEAR);
        return far.find(|row| row.is_at(frame, offset));
    }
    let place = match offset {
        0..BLOCK => offset / 4,
        _ => WORDS + offset / BLOCK,
    };
    let number = *FIRST.get(frame as usize)?.get(place as usize)?;
    let rows = REGISTERS.get(usize::from(number).checked_sub(1)?..)?;
    rows.iter().find(|row| row.is_at(frame, offset))
}

impl Vgic {
    /// The guest accesses the distributor at an offset from GICD_base.
    pub fn distributor(&mut self, who: VcpuId, access: Access) -> Result<Reply, Abort> {
        let frame = match self.version {
            GicVersion::V2 => Frame::Legacy,
            GicVersion::V3 => Frame::Distributor,
        };
        self.access(frame, who, who, access)
    }

    /// The guest accesses a redistributor at an offset from the first one's RD_base. There is nothing
    /// behind the last vCPU's, nor in a GICv2.
    pub fn redistributor(&mut self, who: VcpuId, access: Access) -> Result<Reply, Abort> {
        let number = access.offset / GICR_STRIDE;
        if self.version == GicVersion::V2 || number >= self.vcpus as u64 {
            return Err(Abort);
        }
        let frame = match access.offset & gicr::SGI_BASE {
            0 => Frame::Redistributor,
            _ => Frame::Private,
        };
        let offset = access.offset % gicr::SGI_BASE;
        let vcpu = VcpuId::new(number as u8);
        self.access(frame, who, vcpu, Access { offset, ..access })
    }

    /// Reads or writes the accessed part of a unit.
    fn access(
        &mut self,
        frame: Frame,
        who: VcpuId,
        vcpu: VcpuId,
        access: Access,
    ) -> Result<Reply, Abort> {
        let Some(row) = look_up(frame, access.offset) else {
            return Ok(Reply::default());
        };
        let within = access.offset.wrapping_sub(row.offset);
        let width = access.width;
        if row.widths & 1 << width as u8 == 0 || within & (width.bytes() - 1) != 0 {
            return Err(Abort);
        }
        let unit = within & !row.unit;
        let intid = (unit << 3 >> (row.per_intid & SINGLE)) as u16;
        let word = (intid / 32) as u8;
        let site = Site {
            at: At { who, vcpu, word },
            intid,
        };
        let shift = 8 * (within & row.unit);
        let mask = width.mask();
        Ok(match access.op {
            Op::Read => {
                let Reply { value, kick } = (row.read)(self, site);
                Reply {
                    value: value >> shift & mask,
                    kick,
                }
            }
            Op::Write(value) => {
                let written = Written {
                    value: (value & mask) << shift,
                    mask: mask << shift,
                };
                Reply {
                    value: 0,
                    kick: (row.write)(self, site, written),
                }
            }
        })
    }

    /// A word of bits, one per interrupt.
    pub(super) fn word(&self, site: Site, f: impl Fn(&Bank) -> u32) -> Reply {
        value(self.bank(site.at).map_or(0, f).into())
    }
}

/// What a read reads, when nobody has to be kicked for it.
pub(super) const fn value(value: u64) -> Reply {
    Reply {
        value,
        kick: VcpuSet::EMPTY,
    }
}

fn zero(_: &Vgic, _: Site) -> Reply {
    value(0)
}

/// Read-only registers.
fn ignore(_: &mut Vgic, _: Site, _: Written) -> VcpuSet {
    VcpuSet::EMPTY
}
