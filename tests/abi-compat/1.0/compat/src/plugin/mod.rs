//! The kinds of plugin that a host of 1.0 knew.

mod kind;

pub use kind::PluginKind;
