//! The VRESERVE host: the thin shell around the core.
//!
//! Loads plugins ([`loader`], [`plugin`]), reads the node's configuration ([`config`]), runs the data plane
//! on threads of its own and the control plane on tokio.

pub mod config;
pub mod control;
pub mod keys;
pub mod loader;
pub mod plugin;
