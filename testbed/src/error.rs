//! The one error type of the testbed library.

use std::io;
use std::path::PathBuf;

/// What an operator, the kernel or a lab file can cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lab file is wrong; `line` and `column` count from 1.
    #[error("{}:{line}:{column}: {message}", file.display())]
    File {
        /// The file as the operator named it.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, and a suggestion where there is one.
        message: String,
    },
    /// The lab file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// The file as the operator named it.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A system call on a file, a namespace or a process failed.
    #[error("{operation} {object}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// What it was done to.
        object: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Only root may make namespaces.
    #[error("a lab needs root: network namespaces cannot be made as an ordinary user")]
    NotRoot,
    /// A lab of this name is up.
    #[error("lab {lab} is up already: `vreserve-lab down {lab}` first")]
    AlreadyUp {
        /// Name of the lab.
        lab: String,
    },
    /// No lab of this name is up.
    #[error("lab {lab} is not up")]
    NotUp {
        /// Name of the lab.
        lab: String,
    },
    /// A namespace of the wanted name exists and no state file says that it is ours.
    #[error("namespace {namespace} exists and belongs to no recorded lab: remove it, or rename the lab")]
    ForeignNamespace {
        /// Name of the namespace.
        namespace: String,
    },
    /// The lab has no member of this name.
    #[error("lab {lab} has no member {member}{}", hint(suggestion))]
    UnknownMember {
        /// Name of the lab.
        lab: String,
        /// The name asked for.
        member: String,
        /// A name that looks like it.
        suggestion: Option<String>,
    },
    /// A state file is not one.
    #[error("state file {} cannot be read", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What the parser met.
        source: serde_json::Error,
    },
    /// `ip`, `tc` or `bridge` refused a command.
    #[error("{tool} in {place}: {message}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// The namespace it ran in.
        place: String,
        /// The offending command and the program's own words.
        message: String,
    },
    /// The GARA server could not start, or cannot go on.
    #[error("gara server: {reason}")]
    Gara {
        /// One line.
        reason: String,
    },
    /// The ODIN server could not start.
    #[error("odin server: {reason}")]
    Odin {
        /// One line.
        reason: String,
    },
}

impl Error {
    /// Whether the operator's lab file is to blame, for which programs exit with 2.
    pub fn is_wrong_file(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Unreadable { .. })
    }
}

/// Result of the testbed library.
pub type Result<T> = std::result::Result<T, Error>;

/// `map_err` argument that names the operation and the object of an I/O failure.
pub(crate) fn io_error(
    operation: &'static str,
    object: impl std::fmt::Display,
) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, object: object.to_string(), source }
}

/// ": did you mean …?" or nothing.
pub(crate) fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

/// The candidate that looks most like `word`, if any looks like it at all.
pub(crate) fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
