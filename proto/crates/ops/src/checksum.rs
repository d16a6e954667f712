//! What detects damage in files that a process writes for the next one.

/// CRC-32 as in IEEE 802.3 (reflected polynomial 0xEDB88320): it detects every torn or bit-flipped record that a crash
/// can make, with odds of 2⁻³² for garbage. Not a defence against an attacker, who could write the file anyway.
///
/// Eight bytes a step: eight look-ups that do not wait for one another.
pub fn crc32(bytes: &[u8]) -> u32 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = !0;
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk) ^ u64::from(crc);
        crc = word
            .to_le_bytes()
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    !rest.iter().fold(crc, |crc, &byte| {
        (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)]
    })
}

/// The remainder of a byte, and of a byte with one to seven zero bytes behind it.
static TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xEDB8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut index = 0;
        while index < 256 {
            let before = tables[zeros - 1][index];
            tables[zeros][index] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            index += 1;
        }
        zeros += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn is_the_remainder_bit_by_bit_at_every_length() {
        let bytes: Vec<u8> = (0..100u32).map(|n| (n * 151 + 7) as u8).collect();
        for length in 0..bytes.len() {
            let expected = bytes[..length].iter().fold(!0u32, |crc, &byte| {
                (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                    (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
                })
            });
            assert_eq!(crc32(&bytes[..length]), !expected, "{length}");
        }
    }
}
