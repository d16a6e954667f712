use super::short::word;
use crate::Ssrc;

/// Item types (RFC 3550 §12.2).
pub mod item {
    /// Canonical name of an endpoint: the same for all its streams.
    pub const CNAME: u8 = 1;
    /// User name.
    pub const NAME: u8 = 2;
    /// Name and version of the application.
    pub const TOOL: u8 = 6;
}

/// A source description (RFC 3550 §6.5).
#[derive(Clone, Copy, Debug)]
pub struct SourceDescription<'a>(pub(super) &'a [u8]);

impl<'a> SourceDescription<'a> {
    /// One chunk a source, at most 31. Ends early where the bytes contradict themselves.
    pub fn chunks(&self) -> Chunks<'a> {
        Chunks {
            left: self.0[0] & 0x1f,
            rest: &self.0[4..],
        }
    }
}

/// Iterator over the chunks of a [`SourceDescription`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    left: u8,
    rest: &'a [u8],
}

/// The items of one source.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The source.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        if self.left == 0 || self.rest.len() < 8 {
            return None;
        }
        self.left -= 1;
        let items = &self.rest[4..];
        let ssrc = Ssrc(word(self.rest, 0));
        let mut end = 0;
        while let Some(&kind) = items.get(end)
            && kind != 0
        {
            end += 2 + usize::from(*items.get(end + 1)?);
        }
        if end >= items.len() {
            // No end item: the last text runs out of the packet.
            self.left = 0;
            return None;
        }
        // The end item and zeros fill up to the next word.
        let next = (4 + end + 1).next_multiple_of(4);
        self.rest = self.rest.get(next..).unwrap_or(&[]);
        Some(Chunk {
            ssrc,
            items: &items[..end],
        })
    }
}

impl<'a> Chunk<'a> {
    /// The items in order.
    pub const fn items(&self) -> Items<'a> {
        Items(self.items)
    }
}

/// One item of a [`Chunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Type; see [`item`].
    pub kind: u8,
    /// UTF-8 according to the RFC; not checked.
    pub text: &'a [u8],
}

/// Iterator over the items of a [`Chunk`].
#[derive(Clone, Debug)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (&[kind, len], rest) = self.0.split_first_chunk::<2>()?;
        let (text, after) = rest.split_at_checked(usize::from(len))?;
        self.0 = after;
        Some(Item { kind, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_chunks_with_several_items_are_read() {
        let bytes = [
            [0x82, 202, 0, 6].as_slice(),
            &[0, 0, 0, 1, 1, 2, b'a', b'b', 6, 1, b't', 0],
            &[0, 0, 0, 2, 1, 3, b'x', b'y', b'z', 0, 0, 0],
        ]
        .concat();
        let chunks: Vec<_> = SourceDescription(&bytes).chunks().collect();
        let first: Vec<_> = chunks[0].items().map(|i| (i.kind, i.text)).collect();
        let second: Vec<_> = chunks[1].items().map(|i| (i.kind, i.text)).collect();
        assert_eq!(first, [(item::CNAME, &b"ab"[..]), (item::TOOL, b"t")]);
        assert_eq!(
            (chunks[1].ssrc, second),
            (Ssrc(2), vec![(item::CNAME, &b"xyz"[..])])
        );
    }

    #[test]
    fn a_text_that_runs_out_of_the_packet_ends_the_walk() {
        for len in [3u8, 200] {
            let bytes = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, len, b'a', b'b'];
            assert_eq!(SourceDescription(&bytes).chunks().count(), 0, "length {len}");
        }
        let no_end_item = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b'];
        assert_eq!(SourceDescription(&no_end_item).chunks().count(), 0);
    }
}
