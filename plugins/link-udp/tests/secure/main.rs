//! The secure format between nodes in memory, with a clock of the test's own.
//!
//! ```text
//!   node 0 ──Secure──▶ wire: 20 ms, loss, size limit ──Secure──▶ node 1     time jumps from event to event
//! ```

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod handshake;
mod hostile;
mod lanes;
mod path;
mod sessions;
mod sim;
