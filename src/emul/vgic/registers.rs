//! The memory-mapped registers: one table, looked up by offset.
//!
//! Offsets in no row are reserved and RES0 at any width (IHI0069H 12.1). A width that the register
//! at an offset does not have is to be answered by an abort, as GIC implementations may (IHI0069H 12.1
//! leaves it open): a guest that does so is wrong, and finds out where.

use super::bank::Bank;
use super::{At, Reply, Vgic, control, interrupts, legacy};
use crate::spec::gic::{GicVersion, gicd, gicr};
use crate::spec::machine::GICR_STRIDE;
use crate::types::{Access, Op, VcpuId, VcpuSet, Width};

/// A register, or a series of them that is counted by INTID.
struct Register {
    read: Read,
    write: Write,
    /// Offset in its frame; of a series, where INTID 0's bits are or would be.
    offset: u16,
    /// Bytes of the whole series.
    bytes: u16,
    /// Bytes that are read or written at once, less one.
    unit: u8,
    /// Widths of access, a bit each by their log2.
    widths: u8,
    /// Bits per interrupt as a power of two; [`SINGLE`] for a single register.
    per_intid: u8,
    /// Frames that have it, a bit each.
    frames: u8,
    /// It looks at or changes pending or active bits, which list registers may hold.
    is_state: bool,
}

type Read = fn(&Vgic, Site) -> Reply;
type Write = fn(&mut Vgic, Site, Written) -> VcpuSet;

/// Where registers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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
        read,
        write,
        offset: offset as u16,
        bytes: 4,
        unit: 3,
        widths: WORD,
        per_intid: SINGLE,
        frames,
        is_state: false,
    }
}

impl Register {
    /// A series for INTIDs 0 to 1023, `1 << bits` bits each.
    const fn series(self, bits: u8) -> Self {
        Self {
            bytes: (1024 << bits >> 3) as u16,
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

    const fn of_state(self) -> Self {
        Self {
            is_state: true,
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

    /// How far an offset is from its start; `None` when it is outside.
    #[inline(always)]
    const fn reach(&self, offset: u64) -> Option<u64> {
        let within = offset.wrapping_sub(self.offset as u64);
        if within < self.bytes as u64 {
            Some(within)
        } else {
            None
        }
    }

    /// Whether it is there in a frame for the interrupts of bank `word`: with affinity routing private ones have theirs in
    /// the redistributor alone.
    #[inline(always)]
    const fn is_in(&self, frame: Frame, word: u8) -> bool {
        const OF_PRIVATE: u8 = V2 | RD | 1 << Frame::Private as u8;
        const OF_SPIS: u8 = V2 | V3;
        let frames = if word == 0 { OF_PRIVATE } else { OF_SPIS };
        frames & 1 << frame as u8 != 0 || self.per_intid == SINGLE
    }
}

/// What is at an offset that no row has.
const RESERVED: Register = Register {
    bytes: 0,
    ..register(0, 0, zero, ignore)
};

/// Every register of every frame, behind a row for the rest. There are as many rows as five bits count, so that every number
/// of five bits is one's.
static REGISTERS: [Register; 32] = {
    use {control as c, interrupts as i, legacy as l};
    [
        RESERVED,
        register(V2 | V3, gicd::CTLR, c::read_ctlr, c::write_ctlr),
        register(V2 | V3, gicd::TYPER, c::read_typer, ignore),
        register(V2 | V3, gicd::IIDR, c::read_iidr, ignore),
        register(ALL, gicd::IGROUPR, i::read_group, i::write_group).series(0),
        register(ALL, gicd::ISENABLER, i::read_enabled, i::enable).series(0),
        register(ALL, gicd::ICENABLER, i::read_enabled, i::disable).series(0),
        register(ALL, gicd::ISPENDR, i::read_pending, i::set_pending)
            .series(0)
            .of_state(),
        register(ALL, gicd::ICPENDR, i::read_pending, i::clear_pending)
            .series(0)
            .of_state(),
        register(ALL, gicd::ISACTIVER, i::read_active, i::set_active)
            .series(0)
            .of_state(),
        register(ALL, gicd::ICACTIVER, i::read_active, i::clear_active)
            .series(0)
            .of_state(),
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
            .bytewise()
            .of_state(),
        register(V2, gicd::SPENDSGIR, l::read_sources, l::set_sources)
            .series(3)
            .of_sgis()
            .bytewise()
            .of_state(),
        register(V2, gicd::PIDR2_V2, c::read_pidr2, ignore),
        register(RD, gicr::CTLR, c::read_redistributor_ctlr, ignore),
        register(RD, gicr::IIDR, c::read_iidr, ignore),
        register(RD, gicr::TYPER, c::read_redistributor_typer, ignore).double(),
        register(RD, gicr::WAKER, c::read_waker, c::write_waker),
        register(V3, gicd::IROUTER, c::read_router, c::write_router)
            .series(6)
            .double(),
        register(V3 | RD, gicd::PIDR2, c::read_pidr2, ignore),
        RESERVED,
        RESERVED,
        RESERVED,
        RESERVED,
        RESERVED,
        RESERVED,
        RESERVED,
        RESERVED,
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
/// first register with bytes in there. Nearly all are found at once.
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
        row -= 1;
        let Register { offset, bytes, .. } = REGISTERS[row];
        let (mut offset, end) = (offset as u64, offset as u64 + bytes as u64);
        while REGISTERS[row].frames & 1 << frame as u8 != 0 && offset < NEAR && offset < end {
            first[place_of(offset) as usize] = row as u8;
            offset += 4;
        }
    }
    first
}

/// Where [`FIRST`] has an offset below [`NEAR`].
#[inline(always)]
const fn place_of(offset: u64) -> u64 {
    if offset < BLOCK {
        offset / 4
    } else {
        WORDS + offset / BLOCK
    }
}

/// Where a guest accesses a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    frame: Frame,
    /// Whose private interrupts are meant.
    vcpu: VcpuId,
    /// From the start of the frame.
    offset: u32,
}

impl Place {
    /// `who` accesses the distributor at an offset from GICD_base.
    #[inline(always)]
    pub const fn in_distributor(version: GicVersion, who: VcpuId, offset: u64) -> Self {
        Self {
            frame: match version {
                GicVersion::V2 => Frame::Legacy,
                GicVersion::V3 => Frame::Distributor,
            },
            vcpu: who,
            offset: offset as u32,
        }
    }

    /// The guest accesses the redistributors of its `vcpus` vCPUs at an offset from the first one's RD_base. There is nothing
    /// behind the last one's.
    #[inline(always)]
    pub const fn in_redistributors(vcpus: usize, offset: u64) -> Option<Self> {
        let number = offset / GICR_STRIDE;
        if number >= vcpus as u64 {
            return None;
        }
        Some(Self {
            frame: match offset & gicr::SGI_BASE {
                0 => Frame::Redistributor,
                _ => Frame::Private,
            },
            vcpu: VcpuId::new(number as u8),
            offset: (offset % gicr::SGI_BASE) as u32,
        })
    }
}

/// A register, and a place in it.
#[derive(Clone, Copy)]
pub struct Found {
    row: &'static Register,
    site: Site,
    /// Bytes of its unit in front of the access.
    skipped: u8,
}

impl Found {
    /// What `who` finds in a place; `None` is reserved, RES0 at any width.
    #[inline(always)]
    pub fn at(place: Place, who: VcpuId) -> Option<Self> {
        let Place {
            frame,
            vcpu,
            offset,
        } = place;
        let (row, within) = look_up(frame, offset.into())?;
        let skipped = within as u8 & row.unit;
        let intid = ((within - u64::from(skipped)) << 3 >> (row.per_intid & SINGLE)) as u16;
        let word = (intid / 32) as u8;
        let at = At { who, vcpu, word };
        let site = Site { at, intid };
        row.is_in(frame, word)
            .then_some(Self { row, site, skipped })
    }

    /// Whether it can be accessed at that width.
    #[inline(always)]
    pub const fn has(&self, width: Width) -> bool {
        self.row.widths & 1 << width as u8 != 0
    }

    /// Whether the access looks at or changes pending or active bits, which list registers may hold: fold first.
    #[inline(always)]
    pub const fn is_state(&self) -> bool {
        self.row.is_state
    }
}

/// The register at an offset of a frame, and how far in it that is.
#[inline(always)]
fn look_up(frame: Frame, offset: u64) -> Option<(&'static Register, u64)> {
    if offset >= NEAR {
        return look_up_far(frame, offset);
    }
    let places = FIRST.get(frame as usize)?;
    let number = usize::from(*places.get(place_of(offset) as usize % PLACES)?) % REGISTERS.len();
    let row = REGISTERS.get(number)?;
    match row.reach(offset) {
        Some(within) => Some((row, within)),
        None => search(frame, offset, number),
    }
}

/// The few above.
#[cold]
fn look_up_far(frame: Frame, offset: u64) -> Option<(&'static Register, u64)> {
    let far = REGISTERS.iter().position(|row| row.offset >= NEAR as u16)?;
    search(frame, offset, far)
}

/// Of the rows from number `from` on, the one at an offset of a frame.
#[cold]
fn search(frame: Frame, offset: u64, from: usize) -> Option<(&'static Register, u64)> {
    let rows = REGISTERS.get(from..)?.iter();
    let mut rows = rows.filter(|row| row.frames & 1 << frame as u8 != 0);
    rows.find_map(|row| Some((row, row.reach(offset)?)))
}

impl Vgic {
    /// Reads or writes the accessed part of a unit. The register [has](Found::has) the width, and the controller is of the
    /// version that the place was made for.
    #[inline(always)]
    pub fn access(&mut self, found: &Found, access: Access) -> Reply {
        let shift = 8 * u32::from(found.skipped);
        match access.op {
            Op::Read => {
                let Reply { value, kick } = (found.row.read)(self, found.site);
                Reply {
                    value: value >> shift,
                    kick,
                }
            }
            Op::Write(value) => {
                let mask = access.width.mask();
                let written = Written {
                    value: (value & mask) << shift,
                    mask: mask << shift,
                };
                Reply {
                    value: 0,
                    kick: (found.row.write)(self, found.site, written),
                }
            }
        }
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
