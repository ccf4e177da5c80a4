//! The plain vocabulary types that plugins, core and host share.
//!
//! What lives here: values with a name and a unit, their text forms, and the documents that cross the
//! plugin boundary as JSON on cold paths (adaptation snapshots, reservation requests). What does not:
//! decisions, tables, I/O, a clock. A document may gain optional fields within a major version; readers
//! ignore fields they do not know.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod addresses;
pub mod duration;
mod explanation;
mod failure;
mod overlay;
mod rate;
mod reservation;
mod time;
mod topology;

pub use addresses::{MacAddr, MacParseError};
pub use explanation::{BudgetUse, CandidateLink, Decision, Explanation, PairQuestion};
pub use failure::{Failure, FailureKind};
pub use overlay::{
    BackendView, CircuitView, Guest, NodeView, Snapshot, Wanted, WantedLink, WantedRule, link_key,
};
pub use rate::{BitsPerSecond, RateParseError};
pub use reservation::{
    Capabilities, Changes, DataPlane, Flow, Observed, Request, RequestKey, ReservationState, UnknownState,
};
pub use time::Timestamp;
pub use topology::{Demand, Pattern, TopologyReport};
