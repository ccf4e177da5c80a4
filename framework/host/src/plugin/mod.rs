//! Opened plugin instances as safe values: the host's side of the plugin boundary.
//!
//! [`CaptureInstance`], [`LinkInstance`], [`InferInstance`], [`AdaptInstance`] and [`ReserveInstance`] each
//! own one instance and close it when dropped. What an instance returns is treated as hostile: lengths are
//! clamped, documents bounded and read with care, and every breach of the contract is counted. All unsafe
//! code is in `boundary.rs` and `pool.rs`. Finding and loading plugins is [`loader`](crate::loader)'s part.

mod adapt;
mod backend;
mod boundary;
mod counters;
mod documents;
mod error;
mod faults;
mod infer;
mod kind;
mod pool;
mod ports;
mod reserve;
mod services;
mod slots;

pub use adapt::AdaptInstance;
pub use backend::Backend;
pub use counters::CounterReading;
pub(crate) use documents::answer;
pub use error::InstanceError;
pub use faults::{Chance, Fault, FaultPlan, FaultyBackend, MemoryBackend, Rule, VERBS, When};
pub use infer::InferInstance;
pub use kind::{PluginKind, UnknownKind};
pub use pool::PoolRegion;
pub use ports::{CaptureInstance, LinkInstance};
pub use reserve::ReserveInstance;
pub use services::{HostServices, InstanceHost};
pub use slots::MAX_BATCH;
