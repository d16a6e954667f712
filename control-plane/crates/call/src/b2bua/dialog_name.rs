use std::hash::{BuildHasher, RandomState};

/// Names a dialog by its `Call-ID` and our tag, in 16 bytes, however long these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DialogName(u64, u64);

/// Makes the names. By two secrets, so that nobody outside can find two dialogs of one name, or names that crowd a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct DialogNames {
    halves: [RandomState; 2],
}

impl DialogNames {
    /// Does not allocate.
    pub(super) fn of(&self, call_id: &str, tag: &str) -> DialogName {
        let [one, other] = &self.halves;
        let id = (call_id, tag);
        DialogName(one.hash_one(id), other.hash_one(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_and_where_it_ends_makes_another_name() {
        let names = DialogNames::default();
        let name = names.of("call", "tag");
        assert_eq!(name, names.clone().of("call", "tag"));
        for (call_id, tag) in [
            ("call", "tah"),
            ("cal", "ltag"),
            ("callt", "ag"),
            ("tag", "call"),
            ("", "calltag"),
        ] {
            assert_ne!(name, names.of(call_id, tag), "{call_id} {tag}");
        }
        assert_ne!(name, DialogNames::default().of("call", "tag"), "another secret");
    }
}
