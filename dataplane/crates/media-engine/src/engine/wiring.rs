use sans_io::Timestamp;

use super::Engine;
use crate::format::Formats;

impl Engine {
    /// Ties line *n* of one leg to line *n* of the other after a command: what each copies from its peer.
    pub(super) fn wire(&mut self, now: Timestamp, call: u32) {
        let [first, second] = &self.call(call).legs;
        let pairs: Vec<(u32, u32)> = first
            .lines
            .iter()
            .copied()
            .zip(second.lines.iter().copied())
            .collect();
        for (a, b) in pairs {
            for (key, peer) in [(a, b), (b, a)] {
                let formats = Formats::of(&self.line(peer).own_formats, &self.line(key).own_formats);
                let (receives, secured) = (self.line(peer).party_receives, self.line(peer).is_secured);
                let line = self.line_mut(key);
                line.peer = peer;
                line.peer_receives = receives;
                line.peer_is_secured = secured;
                for stream in &mut line.streams {
                    stream.reformat(&formats);
                }
                line.formats = formats;
                self.undecide(key);
            }
            for (line, peer) in [(a, b), (b, a)] {
                self.route(line, peer);
            }
            for line in [a, b] {
                self.expect_media(now, line);
            }
        }
        self.sweep.begin(now);
    }

    /// Copies the way out through `peer` into `line`, whose packets take it. Does not allocate.
    pub(super) fn route(&mut self, line: u32, peer: u32) {
        let (rtp, rtcp) = (self.line(peer).rtp_way(), self.line(peer).rtcp_way());
        let state = self.line_mut(line);
        if (state.rtp_egress, state.rtcp_egress) != (rtp, rtcp) {
            (state.rtp_egress, state.rtcp_egress) = (rtp, rtcp);
            self.undecide(line);
        }
    }

    /// Whether media should flow from the party of `line`: it may send, the other wants it, and both have said (or
    /// shown) where they are.
    pub(super) fn expect_media(&mut self, now: Timestamp, line: u32) {
        let line = self.line_mut(line);
        let expects =
            line.party_sends && line.peer_receives && line.rtp_way().is_some() && line.rtp_egress.is_some();
        if expects && !line.expects_media {
            line.expects_since = now;
            line.timed_out = false;
        }
        line.expects_media = expects;
    }
}
