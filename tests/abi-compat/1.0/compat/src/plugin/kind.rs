//! The five kinds of plugin.

use std::fmt;
use std::str::FromStr;

/// What a plugin instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// Takes frames from guests and gives frames to them.
    Capture,
    /// Carries frames between nodes.
    Link,
    /// Turns counts into the topology.
    Infer,
    /// Plans the overlay.
    Adapt,
    /// Speaks to a reservation system.
    Reserve,
}

/// A kind's name is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKind;

impl PluginKind {
    /// Every kind, in the order of a frame's way through the system.
    pub const ALL: [PluginKind; 5] =
        [PluginKind::Capture, PluginKind::Link, PluginKind::Infer, PluginKind::Adapt, PluginKind::Reserve];

    /// The kind's name, as tables of the configuration and plugins' metadata have it.
    pub const fn name(self) -> &'static str {
        match self {
            PluginKind::Capture => "capture",
            PluginKind::Link => "link",
            PluginKind::Infer => "infer",
            PluginKind::Adapt => "adapt",
            PluginKind::Reserve => "reserve",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PluginKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(UnknownKind)
    }
}

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kind of plugin")
    }
}

impl std::error::Error for UnknownKind {}
