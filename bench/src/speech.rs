//! Real speech for the endpoints to send: the A-law recording that SIPp ships as a packet capture.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::g711;

/// Media time of one packet.
pub const PTIME_MS: u64 = 20;
/// Samples, and in G.711 bytes, of one packet at 8 kHz.
pub const FRAME_BYTES: usize = 160;

/// The two laws of G.711, with their static payload types (RFC 3551 table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMA, payload type 8.
    A,
    /// PCMU, payload type 0.
    Mu,
}

impl Law {
    /// The static payload type.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::A => 8,
            Self::Mu => 0,
        }
    }

    /// The encoding name in `a=rtpmap`.
    pub const fn encoding(self) -> &'static str {
        match self {
            Self::A => "PCMA",
            Self::Mu => "PCMU",
        }
    }
}

/// A recording cut into frames of 20 ms, in both laws.
#[derive(Debug)]
pub struct Speech {
    alaw: Vec<u8>,
    ulaw: Vec<u8>,
}

impl Speech {
    /// The recording of Debian's sip-tester, or the capture that `RINGPATH_SPEECH` names.
    pub fn load() -> anyhow::Result<Self> {
        let path = match std::env::var_os("RINGPATH_SPEECH") {
            Some(path) => PathBuf::from(path),
            None => ["/usr/share/sip-tester/g711a.pcap", "/usr/share/sip-tester/pcap/g711a.pcap"]
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
                .context("no g711a.pcap of the package sip-tester; run `make bootstrap`, or name a capture of PCMA in RINGPATH_SPEECH")?,
        };
        Self::from_capture(&path).with_context(|| format!("{}", path.display()))
    }

    /// The payload of a capture of one RTP stream of PCMA: a classic pcap file of Ethernet frames with IPv4.
    pub fn from_capture(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::read(path)?;
        Self::from_alaw(alaw_of_capture(&file)?)
    }

    /// Frames of A-law samples at 8 kHz; what does not fill the last frame is left out.
    pub fn from_alaw(mut alaw: Vec<u8>) -> anyhow::Result<Self> {
        alaw.truncate(alaw.len() / FRAME_BYTES * FRAME_BYTES);
        ensure!(!alaw.is_empty(), "less than 20 ms of speech");
        let ulaw = alaw.iter().map(|&byte| g711::alaw_to_ulaw(byte)).collect();
        Ok(Self { alaw, ulaw })
    }

    /// The payload of packet `number`; the recording repeats. [`FRAME_BYTES`] long. Does not allocate.
    pub fn frame(&self, law: Law, number: usize) -> &[u8] {
        let samples = match law {
            Law::A => &self.alaw,
            Law::Mu => &self.ulaw,
        };
        let start = number % self.frames() * FRAME_BYTES;
        &samples[start..start + FRAME_BYTES]
    }

    /// Frames before the recording repeats.
    pub fn frames(&self) -> usize {
        self.alaw.len() / FRAME_BYTES
    }
}

/// The RTP payloads of a little-endian pcap file of Ethernet frames, one after the other.
fn alaw_of_capture(file: &[u8]) -> anyhow::Result<Vec<u8>> {
    const ETHERNET: usize = 14;
    const UDP: usize = 8;
    const RTP: usize = 12;
    ensure!(
        file.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]),
        "not a little-endian pcap file"
    );
    ensure!(
        file.get(20..24) == Some(&[1, 0, 0, 0]),
        "not a capture of Ethernet"
    );
    let mut alaw = Vec::new();
    let mut rest = &file[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some((frame, after)) = after.split_at_checked(length) else {
            bail!("the last packet is cut off");
        };
        rest = after;
        let Some(&version) = frame.get(ETHERNET) else {
            continue;
        };
        if version >> 4 != 4 || frame.get(ETHERNET + 9) != Some(&17) {
            continue;
        }
        let payload = ETHERNET + usize::from(version & 0x0f) * 4 + UDP + RTP;
        if let Some(samples) = frame.get(payload..) {
            alaw.extend_from_slice(samples);
        }
    }
    Ok(alaw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_gives_its_payload_cut_into_frames() {
        let mut file = vec![
            0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
        ];
        for packet in 0..3u8 {
            let mut frame = vec![0u8; 14];
            frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
            frame.resize(14 + 20 + 8 + 12, 0);
            frame.extend([packet; 120]);
            file.extend([0; 8]);
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend(frame);
        }
        let speech = Speech::from_alaw(alaw_of_capture(&file).unwrap()).unwrap();
        assert_eq!(speech.frames(), 2, "360 bytes are two frames and a rest");
        assert_eq!(speech.frame(Law::A, 0)[119..121], [0, 1]);
        assert_eq!(speech.frame(Law::A, 3), speech.frame(Law::A, 1), "it repeats");
        assert_eq!(speech.frame(Law::Mu, 0).len(), FRAME_BYTES);
    }

    #[test]
    fn a_broken_capture_is_an_error() {
        assert!(alaw_of_capture(b"no capture").is_err());
        let mut cut = vec![
            0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
        ];
        cut.extend([0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 1]);
        assert!(alaw_of_capture(&cut).is_err());
        assert!(Speech::from_alaw(vec![0; 159]).is_err());
    }
}
