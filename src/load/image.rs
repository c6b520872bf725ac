//! Where a guest's images go, and how the kernel gets there (Linux,
//! Documentation/arch/arm64/booting.rst, sections 2 to 4).

use crate::{
    config::vm::Kernel,
    spec::{
        crc32::Crc32,
        gzip::{self, GzipError},
        image::{HEADER_BYTES, ImageHeader},
        machine::RAM_BASE,
        translation::PAGE,
    },
    types::IpaRange,
};
use core::fmt;

const MIB: u64 = 1 << 20;
/// Kernels stand at an offset to a multiple of this, and map the device tree in blocks of it.
const BLOCK: u64 = 2 * MIB;
/// Linux before 4.2 looks for the device tree no further than this behind the kernel's base.
const OLD_DTB_REACH: u64 = 512 * MIB;
/// Kernel and RAM disk lie in a window of this size that begins at a multiple of 1 GiB.
const WINDOW: u64 = 32 << 30;

const _: () = assert!(RAM_BASE.is_aligned(1 << 30));

/// Why a kernel cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It has no arm64 Image header.
    NoHeader,
    /// It is compressed, but its image node does not say so.
    Compressed,
    /// It cannot be unpacked.
    Gzip(GzipError),
    /// It wants to be this far from a block, in bytes, and so to begin within a page.
    TextOffset(u64),
    /// It does not fit where it should go.
    TooLong {
        /// Its size in bytes.
        bytes: usize,
        /// The room there, in bytes.
        room: usize,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoHeader => {
                f.write_str("kernel is no arm64 Image: it has no \"ARM\\x64\" at offset 56")
            }
            Self::Compressed => f.write_str(
                "kernel is gzip data, for which its image node needs compression = \"gzip\"",
            ),
            Self::Gzip(error) => write!(f, "kernel {error}"),
            Self::TextOffset(offset) => {
                write!(
                    f,
                    "kernel has text_offset {offset:#x}, allowed: multiples of 0x1000"
                )
            }
            Self::TooLong { bytes, room } => {
                write!(f, "kernel has {bytes} bytes, allowed: {room}")
            }
        }
    }
}

/// The header of `kernel`, which is unpacked for it no further than necessary. Its text_offset is whole pages in every Linux, where
/// it was random (before 5.8) too: code that reaches its data by the page (ADRP) runs nowhere else.
pub fn header(kernel: &Kernel) -> Result<ImageHeader, ImageError> {
    let header = match kernel {
        Kernel::Plain(image) if gzip::is_gzip(image) => return Err(ImageError::Compressed),
        Kernel::Plain(image) => ImageHeader::parse(image),
        Kernel::Gzip(file) => {
            let mut start = [0; HEADER_BYTES];
            gzip::unpack_start(file, &mut start).map_err(ImageError::Gzip)?;
            ImageHeader::parse(&start)
        }
    };
    let header = header.ok_or(ImageError::NoHeader)?;
    match header.text_offset.is_multiple_of(PAGE) {
        true => Ok(header),
        false => Err(ImageError::TextOffset(header.text_offset)),
    }
}

/// Unpacks a compressed kernel to the start of `dst`, which is the memory of [`Placement::kernel`]; one that is not is still to be copied
/// there. Returns how many bytes have been written, and those that are to follow. When that fails, `dst` may have been written to.
pub fn unpack<'a>(
    kernel: &Kernel<'a>,
    dst: &mut [u8],
    crc32: Crc32,
) -> Result<(usize, &'a [u8]), ImageError> {
    match *kernel {
        Kernel::Plain(image) if image.len() > dst.len() => Err(ImageError::TooLong {
            bytes: image.len(),
            room: dst.len(),
        }),
        Kernel::Plain(image) => Ok((0, image)),
        Kernel::Gzip(file) => match gzip::unpack(file, dst, crc32) {
            Ok(bytes) => Ok((bytes, &[])),
            Err(error) => Err(ImageError::Gzip(error)),
        },
    }
}

/// Where in the guest's RAM its images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The kernel with its BSS; it is entered at the start.
    pub kernel: IpaRange,
    /// Room for the device tree; within one block of 2 MiB.
    pub dtb: IpaRange,
    /// The RAM disk.
    pub ramdisk: Option<IpaRange>,
}

/// Why images cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// They need more RAM than there is.
    Memory {
        /// What they need, in bytes.
        needed: u64,
        /// What there is, in bytes.
        have: u64,
    },
    /// They do not fit into the window that Linux needs them in.
    Window {
        /// What they need, in bytes.
        needed: u64,
    },
    /// The device tree is too large.
    Dtb {
        /// Its size in bytes.
        bytes: u64,
    },
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        match *self {
            Self::Memory { needed, have } => write!(
                f,
                "memory-mib = <{}>, allowed: at least {} for these images",
                have / MIB,
                mib(needed)
            ),
            Self::Window { needed } => write!(
                f,
                "images take {} MiB of memory, allowed: {}",
                mib(needed),
                mib(WINDOW)
            ),
            Self::Dtb { bytes } => {
                write!(f, "device tree has {bytes} bytes, allowed: 1 to {BLOCK}")
            }
        }
    }
}

impl Placement {
    /// Places `kernel`, which has that `header`, a device tree of up to `dtb` bytes and a RAM disk of
    /// `ramdisk` bytes (0 for none) in `memory` bytes of RAM.
    ///
    /// The kernel is as low as can be, since Linux before 4.6 cannot use memory below it. The device
    /// tree follows, in the kernel's last block if that has room, and the RAM disk in a block of its own. Behind a kernel that
    /// does not know its size they are as far up as Linux finds them, to leave it the most room.
    pub fn new(
        kernel: &Kernel,
        header: &ImageHeader,
        dtb: u64,
        ramdisk: u64,
        memory: u64,
    ) -> Result<Self, PlacementError> {
        if !(1..=BLOCK).contains(&dtb) {
            return Err(PlacementError::Dtb { bytes: dtb });
        }
        // Offsets from the start of RAM; one that overflows is beyond any memory.
        let kernel_bytes = kernel_bytes(kernel, header);
        let kernel_end = header.text_offset.saturating_add(kernel_bytes);
        let up = |end: u64, to| end.checked_next_multiple_of(to).unwrap_or(u64::MAX);
        let blocks_end = up(kernel_end, BLOCK);
        let behind = match up(kernel_end, PAGE) {
            near if header.image_size.is_some() && near.saturating_add(dtb) <= blocks_end => near,
            _ => blocks_end,
        };
        let dtb_end = behind.saturating_add(dtb);
        let needed = match ramdisk {
            0 => dtb_end,
            _ => up(dtb_end, BLOCK).saturating_add(ramdisk),
        };
        if needed > memory {
            let have = memory;
            return Err(PlacementError::Memory { needed, have });
        }
        let too_far = PlacementError::Window { needed };
        let spare = memory.min(WINDOW).checked_sub(needed).ok_or(too_far)?;
        let reach = OLD_DTB_REACH.saturating_sub(behind + BLOCK);
        let dtb_at = match header.image_size {
            Some(_) => behind,
            None => behind + spare.min(reach) / BLOCK * BLOCK,
        };
        Ok(Self {
            kernel: range(header.text_offset, kernel_bytes).ok_or(too_far)?,
            dtb: range(dtb_at, dtb).ok_or(too_far)?,
            ramdisk: range(up(dtb_at + dtb, BLOCK), ramdisk),
        })
    }

    /// What the images take of the guest's RAM.
    pub fn ranges(&self) -> impl Iterator<Item = IpaRange> + use<> {
        let Self {
            kernel,
            dtb,
            ramdisk,
        } = *self;
        [Some(kernel), Some(dtb), ramdisk].into_iter().flatten()
    }
}

/// What the kernel takes from where it is loaded: what its header says, and in any case its file.
/// For a compressed file that is what the trailer says; should it lie, unpacking will tell.
fn kernel_bytes(kernel: &Kernel, header: &ImageHeader) -> u64 {
    let file = match kernel {
        Kernel::Plain(image) => image.len() as u64,
        Kernel::Gzip(_) if header.image_size.is_some() => 0,
        Kernel::Gzip(file) => file
            .last_chunk()
            .map_or(0, |isize| u32::from_le_bytes(*isize).into()),
    };
    file.max(header.image_size.unwrap_or(0))
        .max(HEADER_BYTES as u64)
}

/// `bytes` bytes at an offset into RAM; `None` when they are none.
fn range(offset: u64, bytes: u64) -> Option<IpaRange> {
    IpaRange::new(RAM_BASE.checked_add(offset)?, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::{crc32::crc32, gzip::tests::packed, image::tests::image},
        types::Ipa,
    };
    use proptest::prelude::*;
    use std::{format, string::ToString, vec};

    fn span(start: u64, bytes: u64) -> IpaRange {
        IpaRange::new(Ipa::new(start), bytes).unwrap()
    }

    #[test]
    fn a_kernel_arrives_plain_or_compressed() {
        let image = image(0, 0x20_0000, 0, 5000);
        let file = packed(&image);
        for kernel in [Kernel::Plain(&image), Kernel::Gzip(&file)] {
            let header = header(&kernel).unwrap();
            assert_eq!(header.image_size, Some(0x20_0000));
            let mut memory = vec![0xee; 6000];
            let (bytes, plain) = unpack(&kernel, &mut memory, crc32).unwrap();
            assert_eq!([&memory[..bytes], plain].concat(), image);
            assert!(memory[bytes..].iter().all(|byte| *byte == 0xee));
            assert!(unpack(&kernel, &mut memory[..4999], crc32).is_err());
        }
    }

    #[test]
    fn what_is_no_kernel_is_one_line() {
        let image = image(0, 0x1000, 0, 100);
        let file = packed(&image);
        let nothing = packed(b"nothing");
        for (kernel, line) in [
            (
                Kernel::Plain(b"nothing"),
                "kernel is no arm64 Image: it has no \"ARM\\x64\" at offset 56",
            ),
            (
                Kernel::Gzip(&nothing),
                "kernel is no arm64 Image: it has no \"ARM\\x64\" at offset 56",
            ),
            (
                Kernel::Plain(&file),
                "kernel is gzip data, for which its image node needs compression = \"gzip\"",
            ),
            (Kernel::Gzip(&image), "kernel is not gzip data"),
            (
                Kernel::Gzip(&file[..20]),
                "kernel is gzip data that are cut off",
            ),
        ] {
            assert_eq!(header(&kernel).unwrap_err().to_string(), line);
        }
        for (text_offset, allowed) in [(1, false), (0x8_0800, false), (0x8_0000, true)] {
            let image = crate::spec::image::tests::image(text_offset, 0x1000, 0, 100);
            let line =
                format!("kernel has text_offset {text_offset:#x}, allowed: multiples of 0x1000");
            let line = Some(line).filter(|_| !allowed);
            let error = header(&Kernel::Plain(&image)).err();
            assert_eq!(error.map(|error| error.to_string()), line);
        }
        let long = unpack(&Kernel::Plain(&image), &mut [0; 10], crc32).unwrap_err();
        assert_eq!(long.to_string(), "kernel has 100 bytes, allowed: 10");
    }

    /// The placement of a plain image with that header.
    fn place(
        text_offset: u64,
        image_size: u64,
        file: usize,
        dtb: u64,
        ramdisk: u64,
        memory: u64,
    ) -> Result<Placement, PlacementError> {
        let image = image(text_offset, image_size, 0, file);
        let kernel = Kernel::Plain(&image);
        let header = header(&kernel).unwrap();
        Placement::new(&kernel, &header, dtb, ramdisk, memory)
    }

    #[test]
    fn a_debian_kernel_is_followed_by_its_device_tree_and_ramdisk() {
        let placement = place(0, 0x1aa_0000, 1000, 0x1_0000, 0x12_3456, 256 << 20);
        assert_eq!(
            placement,
            Ok(Placement {
                kernel: span(0x4000_0000, 0x1aa_0000),
                dtb: span(0x41aa_0000, 0x1_0000),
                ramdisk: Some(span(0x41c0_0000, 0x12_3456)),
            })
        );
        let placement = place(0, 0x1aa_0123, 1000, 0x15_f001, 0x12_3456, 256 << 20).unwrap();
        assert_eq!(placement.dtb, span(0x41c0_0000, 0x15_f001));
        assert_eq!(placement.ramdisk, Some(span(0x41e0_0000, 0x12_3456)));
    }

    #[test]
    fn an_old_kernel_has_the_room_behind_it_but_reaches_its_device_tree() {
        let placement = place(0, 0, 1000, 0x20_0000, 0x10_0000, 256 << 20).unwrap();
        assert_eq!(placement.kernel, span(0x4008_0000, 1000));
        // The last block is the RAM disk's.
        assert_eq!(placement.dtb, span(0x4fc0_0000, 0x20_0000));
        assert_eq!(placement.ramdisk, Some(span(0x4fe0_0000, 0x10_0000)));
        let placement = place(0, 0, 1000, 0x20_0000, 0x10_0000, 4 << 30).unwrap();
        assert_eq!(placement.dtb.end(), Ipa::new(0x6000_0000));
        let image = image(0, 0, 0, 3 << 20);
        let file = packed(&image);
        let kernel = Kernel::Gzip(&file);
        let header = header(&kernel).unwrap();
        let placement = Placement::new(&kernel, &header, 1, 0, 64 << 20).unwrap();
        assert_eq!(placement.kernel, span(0x4008_0000, 3 << 20));
    }

    #[test]
    fn too_little_memory_is_one_line_with_what_is_needed() {
        let line = |result: Result<Placement, PlacementError>| result.unwrap_err().to_string();
        assert_eq!(
            line(place(0, 0x1aa_0000, 0, 0x1_0000, 0x40_0001, 31 << 20)),
            "memory-mib = <31>, allowed: at least 33 for these images"
        );
        assert!(place(0, 0x1aa_0000, 0, 0x1_0000, 0x40_0000, 32 << 20).is_ok());
        assert!(place(0, 0x1e0_0000, 0, 0x20_0000, 0, 32 << 20).is_ok());
        assert!(place(0, 0x1e0_0001, 0, 0x20_0000, 0, 32 << 20).is_err());
        assert_eq!(
            line(place(0, 1, 0, 1, (32 << 30) + 1, 64 << 30)),
            "images take 32771 MiB of memory, allowed: 32768"
        );
        assert_eq!(
            line(place(0, 1, 0, 0x20_0001, 0, 64 << 30)),
            "device tree has 2097153 bytes, allowed: 1 to 2097152"
        );
        assert!(matches!(
            place(u64::MAX - 0xfff, u64::MAX, 0, 1, u64::MAX, u64::MAX),
            Err(PlacementError::Window { needed: u64::MAX })
        ));
    }

    proptest! {
        #[test]
        fn images_are_in_ram_apart_and_where_the_boot_protocol_wants_them(
            text_offset in prop_oneof![Just(0), Just(0x80), 0u64..0x1000, 0u64..1 << 52].prop_map(|pages| pages << 12),
            image_size in prop_oneof![Just(0), 1u64..0x1000_0000, any::<u64>()],
            file in 64usize..5000,
            dtb in 1u64..0x20_0001,
            ramdisk in prop_oneof![Just(0), 0u64..0x4000_0000, any::<u64>()],
            mib in prop_oneof![1u64..2048, 1u64..0x1_0000_0000],
        ) {
            let memory = mib << 20;
            let Ok(placed) = place(text_offset, image_size, file, dtb, ramdisk, memory) else {
                return Ok(());
            };
            let ram = span(0x4000_0000, memory);
            let old = image_size == 0;
            let text_offset = if old { 0x8_0000 } else { text_offset };
            prop_assert_eq!((placed.kernel.start().get() - text_offset) % 0x20_0000, 0);
            prop_assert!(placed.kernel.bytes() >= image_size.max(file as u64));
            prop_assert_eq!(placed.dtb.bytes(), dtb);
            prop_assert_eq!(placed.dtb.start().get() % 8, 0);
            prop_assert_eq!(
                placed.dtb.start().get() / 0x20_0000,
                (placed.dtb.end().get() - 1) / 0x20_0000
            );
            prop_assert!(!old || placed.dtb.end() <= Ipa::new(0x6000_0000));
            prop_assert_eq!(placed.ramdisk.map_or(0, IpaRange::bytes), ramdisk);
            let mut ranges = vec![placed.kernel, placed.dtb];
            ranges.extend(placed.ramdisk);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].end() <= pair[1].start());
            }
            for range in ranges {
                prop_assert!(ram.covers(range));
                prop_assert!(range.end() <= Ipa::new(0x8_4000_0000));
            }
        }

        #[test]
        fn no_kernel_fails_otherwise_than_by_an_error(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length in any::<prop::sample::Index>(),
            compressed in any::<bool>(),
        ) {
            let mut bytes = image(0x8_0000, 0x1000, 0, 3000);
            if compressed {
                bytes = packed(&bytes);
            }
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(length.index(bytes.len() + 1));
            for kernel in [Kernel::Plain(&bytes), Kernel::Gzip(&bytes)] {
                let _ = unpack(&kernel, &mut [0; 2500], crc32);
                if let Ok(header) = header(&kernel) {
                    let _ = Placement::new(&kernel, &header, 4096, 4096, 1 << 28);
                }
            }
        }
    }
}
