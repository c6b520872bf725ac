//! The header of an arm64 Linux Image (Linux, Documentation/arch/arm64/booting.rst, section 4).

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// What images from before Linux 3.17 mean, whose `image_size` is 0 and whose `text_offset` has no
/// defined byte order.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

const TEXT_OFFSET: usize = 8;
const IMAGE_SIZE: usize = 16;
const FLAGS: usize = 24;
const MAGIC: usize = 56;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Bytes from a 2 MiB boundary to where the image has to be loaded; it is entered at its start.
    pub text_offset: u64,
    /// Bytes from there that are the kernel's, its BSS included; `None` in an old image, which wants
    /// as much as there is.
    pub image_size: Option<u64>,
    /// The kernel runs big-endian. It switches itself; the header and the boot protocol stay
    /// little-endian.
    pub big_endian: bool,
}

impl ImageHeader {
    /// Reads the header at the start of `image`; `None` when there is none.
    pub fn parse(image: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = image.first_chunk()?;
        if header.get(MAGIC..MAGIC + 4)? != b"ARM\x64" {
            return None;
        }
        let double = |at| {
            let bytes = header.get(at..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let (text_offset, image_size) = match double(IMAGE_SIZE)? {
            0 => (OLD_TEXT_OFFSET, None),
            size => (double(TEXT_OFFSET)?, Some(size)),
        };
        Some(Self {
            text_offset,
            image_size,
            big_endian: double(FLAGS)? & 1 != 0,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    /// An image of `bytes` bytes with these header fields.
    pub(crate) fn image(text_offset: u64, image_size: u64, flags: u64, bytes: usize) -> Vec<u8> {
        let mut image = vec![0x5a; bytes.max(64)];
        image[8..16].copy_from_slice(&text_offset.to_le_bytes());
        image[16..24].copy_from_slice(&image_size.to_le_bytes());
        image[24..32].copy_from_slice(&flags.to_le_bytes());
        image[56..60].copy_from_slice(&0x644d_5241u32.to_le_bytes());
        image
    }

    #[test]
    fn fields_are_where_booting_rst_puts_them() {
        let header = ImageHeader::parse(&image(0x1000, 0x20_0000, 0xa, 64));
        assert_eq!(
            header,
            Some(ImageHeader {
                text_offset: 0x1000,
                image_size: Some(0x20_0000),
                big_endian: false,
            })
        );
        let header = ImageHeader::parse(&image(0, 1, 1, 64));
        assert!(header.is_some_and(|header| header.big_endian));
    }

    #[test]
    fn an_old_image_is_at_0x80000_whatever_it_says() {
        let header = ImageHeader::parse(&image(0x0800_0000_0000, 0, 0, 64)).unwrap();
        assert_eq!((header.text_offset, header.image_size), (0x8_0000, None));
    }

    #[test]
    fn no_magic_no_header() {
        let good = image(0, 1, 0, 64);
        assert_eq!(ImageHeader::parse(&good[..63]), None);
        for at in 56..60 {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            assert_eq!(ImageHeader::parse(&bad), None);
        }
    }
}
