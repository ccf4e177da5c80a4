//! Whole-daemon scenarios on real namespaces: the harness that the files in `tests/` share.
//!
//! [`World`] is a lab with running daemons; [`Setup`] says which. [`wait`], [`sniff`], [`gauge`], [`traffic`] and
//! [`raw`] are what the scenarios look and push with. Nothing here builds anything, and nothing sleeps to be
//! right: whatever takes time is asked for until it is so or a generous bound has passed.

#![allow(clippy::missing_panics_doc, reason = "a harness fails a test by panicking with what it saw")]

mod binaries;
mod daemon;
mod gara_server;
pub mod gauge;
mod node_config;
mod ping;
pub mod raw;
mod reload;
mod setup;
pub mod skip;
pub mod sniff;
pub mod traffic;
pub mod wait;
mod world;

pub use binaries::{directory, fixture, frozen, program};
pub use gara_server::GaraServer;
pub use node_config::Keys;
pub use ping::Ping;
pub use reload::reload;
pub use setup::{Client, Format, PAIR, Setup, pair_on_veth};
pub use world::World;
