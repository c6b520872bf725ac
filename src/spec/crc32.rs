//! CRC-32 (ISO 3309): what gzip, FIT images and saved states are checked by.

/// A function that computes the CRC-32 of bytes: [`crc32`], or a CPU's own.
pub type Crc32 = fn(&[u8]) -> u32;

/// The generator polynomial, its highest power in bit 0; x^32 is implied.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The CRC-32 of `bytes` on any CPU, bit by bit: small, and some thirty instructions a byte.
pub fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc))
    })
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn every_byte_value_counts_as_in_zlib() {
        let bytes: [u8; 256] = core::array::from_fn(|n| n as u8);
        // python3 -c 'import zlib; print(hex(zlib.crc32(bytes(range(256)))))'
        assert_eq!(crc32(&bytes), 0x2905_8c73);
    }
}
