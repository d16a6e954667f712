use crate::Binding;

/// What has to be kept, so that bindings outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The binding is there, new or refreshed.
    Put {
        /// The user whose it is.
        user: Box<str>,
        /// All of it.
        binding: Binding,
    },
    /// The binding with that id is gone.
    Remove {
        /// [`Binding::id`].
        id: u64,
    },
}
