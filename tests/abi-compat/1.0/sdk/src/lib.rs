//! What a plugin author uses.
//!
//! Implement one of the traits [`Capture`], [`Link`], [`Infer`], [`Adapt`] or [`Reserve`], and export it
//! with [`export_plugin!`]. A plugin crate needs no unsafe code: this crate writes the C tables, catches
//! panics, reads the configuration and names the key that is wrong.
//!
//! A plugin never touches the host's async runtime: reservation backends get one of their own, all other
//! kinds are plain calls from threads of the host.
#![deny(missing_docs)]

mod adapt;
mod batch;
mod blocking;
mod capture;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod export;
mod host;
mod infer;
mod lent;
mod link;
mod logging;
mod reserve;
#[allow(unsafe_code, reason = "the C side of every table: raw pointers become safe references here only")]
pub mod shim;

pub use adapt::Adapt;
pub use batch::{Batch, FrameSlot, Refusal};
pub use blocking::{Blocking, BlockingReserve};
pub use capture::{Capture, InterfaceInfo};
pub use host::{Counter, Host};
pub use infer::Infer;
pub use lent::LentSlots;
pub use link::{EndpointInfo, FarId, FarNode, Link};
pub use reserve::{Handle, Reserve, Verb, dispatch};

pub use async_trait::async_trait;
pub use schemars::JsonSchema;
pub use serde;
pub use serde_json;
pub use tracing;
pub use vreserve_abi as abi;
pub use vreserve_abi::{Cell, Identity, Offload, Queue};
pub use vreserve_model as model;
pub use vreserve_model::{Failure, FailureKind};

/// Reads a plugin's configuration from JSON text, naming the key that is wrong.
pub use config::read as read_config;
