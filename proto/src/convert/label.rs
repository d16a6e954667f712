use std::sync::Mutex;

/// How many different labels one process takes from its peers.
const LABELS_MAX: usize = 512;
/// The longest label that is kept, in bytes.
const LABEL_LEN_MAX: usize = 200;

/// Every label that was taken so far.
static LABELS: Mutex<Labels> = Mutex::new(Labels(Vec::new()));

/// The `'static` twin of a label that came over the wire: drop reasons, path reasons, refusal texts. The plain types
/// have these as `&'static str`, since where they are made they are literals and a packet path uses them.
///
/// A node has a few dozen of them, so each is kept for the life of the process. What a broken peer can make us keep is
/// bounded: past [`LABELS_MAX`] labels, or for one longer than [`LABEL_LEN_MAX`], the answer is `other`.
///
/// Takes a lock: for the control plane, never for a packet path.
pub(super) fn label(text: &str, other: &'static str) -> &'static str {
    // A panic while the lock is held leaves a list that is whole: `push` is the last thing done.
    LABELS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .label(text, other)
}

struct Labels(Vec<&'static str>);

impl Labels {
    fn label(&mut self, text: &str, other: &'static str) -> &'static str {
        if text.is_empty() {
            return "";
        }
        if let Some(known) = self.0.iter().find(|known| **known == text) {
            return known;
        }
        if text.len() > LABEL_LEN_MAX || self.0.len() >= LABELS_MAX {
            return other;
        }
        let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
        self.0.push(kept);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_gives_the_same_label() {
        assert!(std::ptr::eq(
            label("no_source", "other"),
            label("no_source", "other")
        ));
        assert_eq!(label("", "other"), "");
    }

    #[test]
    fn a_flood_of_labels_is_bounded() {
        let mut labels = Labels(Vec::new());
        assert_eq!(labels.label(&"x".repeat(LABEL_LEN_MAX + 1), "other"), "other");
        assert_eq!(labels.label("no_source", "other"), "no_source");
        for n in 0..2 * LABELS_MAX {
            let text = format!("flood-{n}");
            let kept = labels.label(&text, "other");
            assert_eq!(kept, if n < LABELS_MAX - 1 { &text } else { "other" });
        }
        assert_eq!(labels.label("no_source", "other"), "no_source");
        assert_eq!(labels.0.len(), LABELS_MAX);
    }
}
