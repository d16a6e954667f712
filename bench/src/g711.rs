//! G.711 between its two laws, through 16-bit linear samples (ITU-T G.711 tables 1a and 2a). For preparing speech
//! before a run; the product has its own codec.

/// The linear sample of an A-law byte, scaled to 16 bits.
pub fn alaw_to_linear(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let mantissa = i16::from(code & 0x0f) << 4;
    let magnitude = match (code & 0x70) >> 4 {
        0 => mantissa + 8,
        segment => (mantissa + 0x108) << (segment - 1),
    };
    // In A-law the set sign bit is the positive half.
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// The µ-law byte nearest to a linear sample.
pub fn linear_to_ulaw(sample: i16) -> u8 {
    const BIAS: u16 = 0x84;
    const CLIP: u16 = 32_635;
    let biased = sample.unsigned_abs().min(CLIP) + BIAS;
    // The bias makes bit 7 or a higher one set, so the segment is 0 to 7.
    let segment = 8 - biased.leading_zeros() as u16;
    let mantissa = (biased >> (segment + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (segment << 4) | mantissa) as u8
}

/// The µ-law byte for an A-law byte.
pub fn alaw_to_ulaw(byte: u8) -> u8 {
    linear_to_ulaw(alaw_to_linear(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alaw_decodes_as_the_recommendation_says() {
        // The quietest and the loudest step of each half.
        assert_eq!(alaw_to_linear(0xd5), 8);
        assert_eq!(alaw_to_linear(0x55), -8);
        assert_eq!(alaw_to_linear(0xaa), 32_256);
        assert_eq!(alaw_to_linear(0x2a), -32_256);
    }

    #[test]
    fn ulaw_encodes_as_the_recommendation_says() {
        assert_eq!(linear_to_ulaw(0), 0xff);
        assert_eq!(linear_to_ulaw(-1), 0x7f);
        assert_eq!(linear_to_ulaw(i16::MAX), 0x80);
        assert_eq!(linear_to_ulaw(i16::MIN), 0x00);
    }

    #[test]
    fn the_laws_keep_order_through_each_other() {
        let mut levels: Vec<(i16, u8)> = (0..=255u8)
            .map(|byte| (alaw_to_linear(byte), alaw_to_ulaw(byte)))
            .collect();
        levels.sort_unstable();
        for pair in levels.windows(2) {
            let [(low, a), (high, b)] = pair else {
                unreachable!()
            };
            // Louder positive samples have smaller µ-law codes (all bits are inverted), negative ones likewise.
            let ordered = if *low >= 0 { a >= b } else { *high >= 0 || a <= b };
            assert!(ordered, "{low} -> {a:02x}, {high} -> {b:02x}");
        }
    }
}
