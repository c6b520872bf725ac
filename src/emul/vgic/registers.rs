//! The memory-mapped registers: one table, looked up by offset.
//!
//! Offsets in no row are reserved and RES0 at any width (IHI0069H 12.1). A width that the register
//! at an offset does not have is to be answered by an abort, as GIC implementations may (IHI0069H 12.1
//! leaves it open): a guest that does so is wrong, and finds out where.

use super::bank::Bank;
use super::{At, Fixed, Reply, Vgic, control, interrupts, legacy};
use crate::spec::gic::{GicVersion, gicd, gicr};
use crate::spec::machine::GICR_STRIDE;
use crate::types::{Abort, Op, VcpuId, VcpuSet, Width};

/// A register, or a series of them that is counted by INTID.
struct Register {
    kind: Kind,
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
    is_volatile: bool,
}

/// What is behind it.
#[derive(Clone, Copy)]
enum Kind {
    /// A value that never changes.
    Fixed(Fixed),
    /// State of the controller.
    State(Read, Write),
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
    word(frames, offset, Kind::State(read, write))
}

const fn fixed(frames: u8, offset: u64, which: Fixed) -> Register {
    word(frames, offset, Kind::Fixed(which))
}

const fn word(frames: u8, offset: u64, kind: Kind) -> Register {
    Register {
        kind,
        offset: offset as u16,
        bytes: 4,
        unit: 3,
        widths: WORD,
        per_intid: SINGLE,
        frames,
        is_volatile: false,
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

    const fn volatile(self) -> Self {
        Self {
            is_volatile: true,
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

    /// An offset in it; `None` when it is outside.
    #[inline(always)]
    fn hit(&'static self, offset: u64) -> Option<Hit> {
        let within = offset.wrapping_sub(self.offset.into());
        (within < self.bytes.into()).then_some(Hit { row: self, within })
    }

    /// Whether it is there in a frame for the interrupts of bank `word`: with affinity routing private ones have theirs in
    /// the redistributor alone.
    #[inline(always)]
    const fn is_in(&self, frame: Frame, word: u8) -> bool {
        const OF_PRIVATE: u8 = V2 | RD | 1 << Frame::Private as u8;
        const OF_SPIS: u8 = V2 | V3;
        let frames = if word == 0 { OF_PRIVATE } else { OF_SPIS };
        self.per_intid == SINGLE || frames & 1 << frame as u8 != 0
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
        fixed(V2 | V3, gicd::TYPER, Fixed::Typer),
        fixed(V2 | V3, gicd::IIDR, Fixed::Iidr),
        register(ALL, gicd::IGROUPR, i::read_group, i::write_group).series(0),
        register(ALL, gicd::ISENABLER, i::read_enabled, i::enable).series(0),
        register(ALL, gicd::ICENABLER, i::read_enabled, i::disable).series(0),
        register(ALL, gicd::ISPENDR, i::read_pending, i::set_pending)
            .series(0)
            .volatile(),
        register(ALL, gicd::ICPENDR, i::read_pending, i::clear_pending)
            .series(0)
            .volatile(),
        register(ALL, gicd::ISACTIVER, i::read_active, i::set_active)
            .series(0)
            .volatile(),
        register(ALL, gicd::ICACTIVER, i::read_active, i::clear_active)
            .series(0)
            .volatile(),
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
            .volatile(),
        register(V2, gicd::SPENDSGIR, l::read_sources, l::set_sources)
            .series(3)
            .of_sgis()
            .bytewise()
            .volatile(),
        fixed(V2, gicd::PIDR2_V2, Fixed::Pidr2),
        register(RD, gicr::CTLR, c::read_redistributor_ctlr, ignore),
        fixed(RD, gicr::IIDR, Fixed::Iidr),
        register(RD, gicr::TYPER, c::read_redistributor_typer, ignore).double(),
        register(RD, gicr::WAKER, c::read_waker, c::write_waker),
        register(V3, gicd::IROUTER, c::read_router, c::write_router)
            .series(6)
            .double(),
        fixed(V3 | RD, gicd::PIDR2, Fixed::Pidr2),
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

/// A register, and how many bytes into it a place is.
#[derive(Clone, Copy)]
pub struct Hit {
    row: &'static Register,
    within: u64,
}

/// What an access finds.
#[derive(Clone, Copy)]
pub enum Found {
    /// Nothing: RES0.
    Reserved,
    /// What reads as the controller's [identity](super::Identity) says, and cannot be written.
    Fixed(Fixed),
    /// What the [`Vgic`] knows.
    State(State),
}

/// A register of the [`Vgic`]'s, and what of it is accessed.
#[derive(Clone, Copy)]
pub struct State {
    read: Read,
    write: Write,
    is_volatile: bool,
    site: Site,
    /// Bytes of its unit in front of the access.
    skipped: u8,
    width: Width,
}

impl Hit {
    /// An access of `width` to a fixed register, as a driver does it: all of these are words.
    #[inline(always)]
    pub fn fixed(self, width: Width) -> Option<Fixed> {
        match self.row.kind {
            Kind::Fixed(which) if self.within == 0 && width == Width::Word => Some(which),
            _ => None,
        }
    }

    /// What `who` finds with an access of `width`, which the register may not have.
    #[inline(always)]
    pub fn found(self, place: Place, who: VcpuId, width: Width) -> Result<Found, Abort> {
        let Self { row, within } = self;
        let skipped = within as u8 & row.unit;
        let intid = ((within - u64::from(skipped)) << 3 >> (row.per_intid & SINGLE)) as u16;
        let word = (intid / 32) as u8;
        if !row.is_in(place.frame, word) {
            return Ok(Found::Reserved);
        }
        if row.widths & 1 << width as u8 == 0 {
            return Err(Abort);
        }
        let (read, write) = match row.kind {
            Kind::Fixed(which) => return Ok(Found::Fixed(which)),
            Kind::State(read, write) => (read, write),
        };
        let at = At {
            who,
            vcpu: place.vcpu,
            word,
        };
        Ok(Found::State(State {
            read,
            write,
            is_volatile: row.is_volatile,
            site: Site { at, intid },
            skipped,
            width,
        }))
    }
}

impl State {
    /// Whether the access looks at or changes pending or active bits, which list registers may hold: fold first.
    #[inline(always)]
    pub const fn is_volatile(&self) -> bool {
        self.is_volatile
    }
}

impl Place {
    /// The register there, if it is the first in its block: most of the lower ones are.
    #[inline(always)]
    pub fn look_up(self) -> Option<Hit> {
        let offset = u64::from(self.offset);
        if offset >= NEAR {
            return None;
        }
        let places = FIRST.get(self.frame as usize)?;
        let number = *places.get(place_of(offset) as usize % PLACES)?;
        REGISTERS
            .get(usize::from(number) % REGISTERS.len())?
            .hit(offset)
    }

    /// The register there; what has none is RES0.
    #[inline(always)]
    pub fn hit(self) -> Option<Hit> {
        self.look_up().or_else(|| self.search())
    }

    #[cold]
    fn search(self) -> Option<Hit> {
        let frame = 1 << self.frame as u8;
        let mut rows = REGISTERS.iter().filter(|row| row.frames & frame != 0);
        rows.find_map(|row| row.hit(self.offset.into()))
    }

    /// Whether an access of `width` is aligned there.
    #[inline(always)]
    pub const fn is_aligned(self, width: Width) -> bool {
        (self.offset as u64).is_multiple_of(width.bytes())
    }
}

impl Vgic {
    /// Reads or writes the accessed part of a register. The controller is of the version that the place was made for.
    #[inline(always)]
    pub fn access(&mut self, state: &State, op: Op) -> Reply {
        let shift = 8 * u32::from(state.skipped);
        match op {
            Op::Read => {
                let Reply { value, kick } = (state.read)(self, state.site);
                Reply {
                    value: value >> shift,
                    kick,
                }
            }
            Op::Write(value) => {
                let mask = state.width.mask();
                let written = Written {
                    value: (value & mask) << shift,
                    mask: mask << shift,
                };
                Reply {
                    value: 0,
                    kick: (state.write)(self, state.site, written),
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
