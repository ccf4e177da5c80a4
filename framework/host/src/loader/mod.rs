//! Finds, checks and loads plugins, and keeps book of their instances' states.
//!
//! The way of a plugin: a name is resolved to a file (`resolve`), the file's owner, mode and place are
//! checked (`file`), its metadata is read without running any of it (`metadata`), kind, ABI version, panic
//! strategy and pin are checked, and only then is it loaded and its tables' layout compared with the host's
//! (`library`). Every reason not to load one is a [`LoadError`] of one line. Nothing is ever unloaded.

mod error;
mod file;
mod library;
mod metadata;
mod pin;
mod registry;
mod resolve;

pub use error::LoadError;
pub use file::{hexadecimal, sha256};
pub use metadata::Metadata;
pub use pin::digest_of;
pub use registry::{Plugin, PluginState, PluginStatus, Registry, StartError};
