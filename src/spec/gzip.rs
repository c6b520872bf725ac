//! gzip (RFC 1952): from slice to slice.

use super::crc32::{Crc32, crc32};
use core::fmt;
use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags},
};

/// ID1, ID2 and CM = deflate (RFC 1952 2.3.1).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// From ID1 to OS.
const FIXED_HEADER_BYTES: usize = 10;
/// CRC32 and ISIZE.
const TRAILER_BYTES: usize = 8;

const FLG: usize = 3;
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Why data cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GzipError {
    /// It does not begin as gzip data do.
    NotGzip,
    /// The header is damaged, or uses what RFC 1952 reserves.
    Header,
    /// It ends too early.
    CutOff,
    /// The compressed data make no sense.
    Damaged,
    /// What came out has another checksum or length than the trailer says.
    Checksum,
    /// More comes out than there is room for.
    TooLong {
        /// The room, in bytes.
        room: usize,
    },
}

impl fmt::Display for GzipError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::NotGzip => f.write_str("is not gzip data"),
            Self::Header => f.write_str("has a damaged gzip header"),
            Self::CutOff => f.write_str("is gzip data that are cut off"),
            Self::Damaged => f.write_str("is gzip data that are damaged"),
            Self::Checksum => f.write_str("does not match its gzip checksum"),
            Self::TooLong { room } => write!(f, "unpacks to more than {room} bytes"),
        }
    }
}

/// Whether `bytes` begin as gzip data do.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Unpacks all of `input` to the start of `out` and returns the number of bytes; `out` may have been
/// written to even when that fails.
///
/// Several members one after the other are what they contain, one after the other (RFC 1952 2.2);
/// other bytes behind a member are padding.
pub fn unpack(mut input: &[u8], out: &mut [u8], crc32: Crc32) -> Result<usize, GzipError> {
    let mut filled = 0;
    loop {
        let room = out.get_mut(filled..).unwrap_or_default();
        let (used, written) = member(input, room, crc32)?;
        filled += written;
        input = input.get(used..).unwrap_or_default();
        if !is_gzip(input) {
            return Ok(filled);
        }
    }
}

/// Unpacks as much of `input` as fits into `out`, which nothing vouches for, and returns the number
/// of bytes.
pub fn unpack_start(input: &[u8], out: &mut [u8]) -> Result<usize, GzipError> {
    let data = header_end(input)?;
    match inflate(input.get(data..).unwrap_or_default(), out) {
        (TINFLStatus::Done | TINFLStatus::HasMoreOutput, _, written) => Ok(written),
        (status, ..) => Err(failure(status, out.len())),
    }
}

/// Unpacks one member; returns the bytes that it took and gave.
fn member(input: &[u8], out: &mut [u8], crc32: Crc32) -> Result<(usize, usize), GzipError> {
    let room = out.len();
    let data = header_end(input)?;
    let input = input.get(data..).unwrap_or_default();
    let (status, used, written) = inflate(input, out);
    if status != TINFLStatus::Done {
        return Err(failure(status, room));
    }
    let trailer = input.get(used..).unwrap_or_default();
    let (crc, trailer) = trailer.split_first_chunk().ok_or(GzipError::CutOff)?;
    let (length, _) = trailer.split_first_chunk().ok_or(GzipError::CutOff)?;
    let result = out.get(..written).unwrap_or_default();
    // ISIZE is the length modulo 2^32.
    if u32::from_le_bytes(*length) != written as u32 || u32::from_le_bytes(*crc) != crc32(result) {
        return Err(GzipError::Checksum);
    }
    Ok((data + used + TRAILER_BYTES, written))
}

fn inflate(input: &[u8], out: &mut [u8]) -> (TINFLStatus, usize, usize) {
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    decompress(&mut DecompressorOxide::new(), input, out, 0, flags)
}

fn failure(status: TINFLStatus, room: usize) -> GzipError {
    match status {
        TINFLStatus::HasMoreOutput => GzipError::TooLong { room },
        TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => GzipError::CutOff,
        _ => GzipError::Damaged,
    }
}

/// Where the compressed data begin: behind the fields that FLG announces (RFC 1952 2.3).
fn header_end(input: &[u8]) -> Result<usize, GzipError> {
    if !is_gzip(input) {
        return Err(GzipError::NotGzip);
    }
    let flags = *input.get(FLG).ok_or(GzipError::CutOff)?;
    if flags & RESERVED != 0 {
        return Err(GzipError::Header);
    }
    let mut end = FIXED_HEADER_BYTES;
    if flags & FEXTRA != 0 {
        end += 2 + usize::from(half(input, end)?);
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let rest = input.get(end..).unwrap_or_default();
            let length = rest.iter().position(|byte| *byte == 0);
            end += length.ok_or(GzipError::CutOff)? + 1;
        }
    }
    if flags & FHCRC != 0 {
        let header = input.get(..end).ok_or(GzipError::CutOff)?;
        if half(input, end)? != crc32(header) as u16 {
            return Err(GzipError::Header);
        }
        end += 2;
    }
    (end <= input.len()).then_some(end).ok_or(GzipError::CutOff)
}

fn half(input: &[u8], at: usize) -> Result<u16, GzipError> {
    let half = input.get(at..).and_then(<[u8]>::first_chunk);
    half.map(|half| u16::from_le_bytes(*half))
        .ok_or(GzipError::CutOff)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// A member around `data`, with the fields of `flags` in the header.
    pub(crate) fn packed_with(data: &[u8], flags: u8) -> Vec<u8> {
        let mut file = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
        if flags & 4 != 0 {
            file.extend([3, 0, b'x', 0, b'y']);
        }
        if flags & 8 != 0 {
            file.extend(b"name\0");
        }
        if flags & 16 != 0 {
            file.extend(b"comment\0");
        }
        if flags & 2 != 0 {
            let crc = crc32(&file) as u16;
            file.extend(crc.to_le_bytes());
        }
        file.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
        file.extend(crc32(data).to_le_bytes());
        file.extend((data.len() as u32).to_le_bytes());
        file
    }

    /// A plain member around `data`.
    pub(crate) fn packed(data: &[u8]) -> Vec<u8> {
        packed_with(data, 0)
    }

    fn sample() -> Vec<u8> {
        (0..10_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect()
    }

    #[test]
    fn every_combination_of_header_fields_is_passed_over() {
        let data = sample();
        let mut out = vec![0; data.len()];
        for flags in 0..0x20 {
            let file = packed_with(&data, flags);
            assert_eq!(unpack(&file, &mut out, crc32), Ok(data.len()), "{flags:#x}");
            assert_eq!(out, data);
        }
        for flags in [0x20, 0x40, 0x80] {
            let file = packed_with(&data, flags);
            assert_eq!(unpack(&file, &mut out, crc32), Err(GzipError::Header));
        }
    }

    #[test]
    fn the_file_of_the_gzip_program_is_read() {
        // printf abc | gzip -n
        let file = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x4c, 0x4a, 6, 0, 0xc2, 0x41, 0x24, 0x35, 3,
            0, 0, 0,
        ];
        let mut out = [0; 3];
        assert_eq!(unpack(&file, &mut out, crc32), Ok(3));
        assert_eq!(&out, b"abc");
    }

    #[test]
    fn nothing_is_written_beyond_the_room() {
        let data = sample();
        let file = packed(&data);
        let mut exact = vec![0; data.len()];
        assert_eq!(unpack(&file, &mut exact, crc32), Ok(data.len()));
        for room in [0, 1, data.len() - 1] {
            let mut out = vec![0; room];
            assert_eq!(
                unpack(&file, &mut out, crc32),
                Err(GzipError::TooLong { room })
            );
        }
        assert_eq!(unpack(&packed(b""), &mut [], crc32), Ok(0));
    }

    #[test]
    fn members_follow_each_other_and_padding_ends_them() {
        let mut file = packed(b"one ");
        file.extend(packed(b"two"));
        file.extend([0; 512]);
        let mut out = [0; 100];
        assert_eq!(unpack(&file, &mut out, crc32), Ok(7));
        assert_eq!(&out[..7], b"one two");
    }

    #[test]
    fn the_start_comes_out_without_the_rest() {
        let data = sample();
        let file = packed(&data);
        let mut out = [0; 64];
        assert_eq!(unpack_start(&file[..file.len() / 2], &mut out), Ok(64));
        assert_eq!(out, data[..64]);
        assert_eq!(unpack_start(&packed(b"abc"), &mut out), Ok(3));
    }

    #[test]
    fn damage_is_noticed() {
        let data = sample();
        let file = packed(&data);
        let mut out = vec![0; data.len()];
        for length in (0..file.len()).step_by(197) {
            assert!(
                unpack(&file[..length], &mut out, crc32).is_err(),
                "{length}"
            );
        }
        assert_eq!(
            unpack(&file[..file.len() - 1], &mut out, crc32),
            Err(GzipError::CutOff)
        );
        for at in [file.len() - 1, file.len() - 8] {
            let mut file = file.clone();
            file[at] ^= 1;
            assert_eq!(unpack(&file, &mut out, crc32), Err(GzipError::Checksum));
        }
        assert_eq!(
            unpack(b"\x1f\x8b\x09rest of it", &mut out, crc32),
            Err(GzipError::NotGzip)
        );
        let mut file = packed_with(&data, 2);
        file[10] ^= 1;
        assert_eq!(unpack(&file, &mut out, crc32), Err(GzipError::Header));
    }

    proptest! {
        #[test]
        fn no_input_fails_otherwise_than_by_an_error(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length in any::<prop::sample::Index>(),
            flags in 0u8..0x20,
        ) {
            let data: Vec<_> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
            let mut file = packed_with(&data, flags);
            for (at, byte) in edits {
                let at = at.index(file.len());
                file[at] = byte;
            }
            file.truncate(length.index(file.len() + 1));
            let mut out = [0; 3000];
            let _ = unpack_start(&file, &mut out);
            let _ = unpack(&file, &mut out, crc32);
        }
    }
}
