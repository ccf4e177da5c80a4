//! The calls to a backend, of which a circuit has at most one outstanding.

/// A call to a backend that has not been answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Submit,
    Commit,
    Abort,
    Activate,
    Deactivate,
    Modify,
    Cancel,
    Find,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Submit => "submit",
            Verb::Commit => "commit",
            Verb::Abort => "abort",
            Verb::Activate => "activate",
            Verb::Deactivate => "deactivate",
            Verb::Modify => "modify",
            Verb::Cancel => "cancel",
            Verb::Find => "find",
        }
    }
}
