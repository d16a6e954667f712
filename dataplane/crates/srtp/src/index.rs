use crate::Error;

/// The highest rollover counter.
const ROC_MAX: u64 = u32::MAX as u64;

/// The index that a packet of sequence number `seq` most likely has, given the highest so far (RFC 3711 §3.3.1 and
/// appendix A).
///
/// A guess before the very first index is none: nothing was sent before it, so the packet counts as a jump ahead.
/// An error tells that the rollover counter has come to its end.
#[inline]
pub(crate) fn estimate(highest: Option<u64>, seq: u16) -> Result<u64, Error> {
    let seq = u64::from(seq);
    let Some(highest) = highest else {
        return Ok(seq);
    };
    let (roc, last) = (highest >> 16, highest & 0xffff);
    let roc = if last < 0x8000 {
        if seq > last + 0x8000 {
            roc.saturating_sub(1)
        } else {
            roc
        }
    } else if seq < last - 0x8000 {
        roc + 1
    } else {
        roc
    };
    if roc > ROC_MAX {
        return Err(Error::IndexExhausted);
    }
    Ok((roc << 16) | seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_follows_the_sequence_across_its_wrap() {
        let at = |roc: u64, seq: u64| (roc << 16) | seq;
        let cases = [
            (None, 40_000, at(0, 40_000)),
            (Some(at(0, 65_535)), 0, at(1, 0)),
            (Some(at(0, 65_000)), 900, at(1, 900)),
            (Some(at(1, 3)), 65_534, at(0, 65_534)),
            (Some(at(1, 3)), 4, at(1, 4)),
            (Some(at(0, 3)), 65_534, at(0, 65_534)),
            (Some(at(7, 0x7fff)), 0xffff, at(7, 0xffff)),
            (Some(at(7, 0x8000)), 0, at(7, 0)),
            (Some(at(7, 0x8001)), 0, at(8, 0)),
        ];
        for (highest, seq, index) in cases {
            assert_eq!(estimate(highest, seq), Ok(index), "{highest:?} then {seq}");
        }
    }

    #[test]
    fn index_ends_after_48_bits() {
        let last = (1 << 48) - 1;
        assert_eq!(estimate(Some(last), 65_535), Ok(last));
        assert_eq!(estimate(Some(last), 0), Err(Error::IndexExhausted));
    }
}
