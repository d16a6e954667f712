use bytes::Bytes;

/// The input, read as decisions. At its end every decision is 0.
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `end`, which is at most 256.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of these.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// The message, now and then with some bytes changed.
    pub(super) fn damaged(&mut self, bytes: Bytes) -> Bytes {
        if self.below(8) != 7 || bytes.is_empty() {
            return bytes;
        }
        let mut copy = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = (usize::from(self.byte()) * 256 + usize::from(self.byte())) % copy.len();
            match self.below(3) {
                0 => copy[at] = self.byte(),
                1 => {
                    copy.remove(at);
                }
                _ => copy.insert(at, self.byte()),
            }
            if copy.is_empty() {
                break;
            }
        }
        copy.into()
    }
}
