//! The pure core of VRESERVE: what happens to a frame, and what the lead decides.
//!
//! No I/O, no clock, no thread, no unsafe code: time comes in as a [`Timestamp`](vreserve_model::Timestamp),
//! effects go out as values. The host is the thin shell around it.
//!
//! Data plane, in the order a frame meets it: [`frame`], [`forward`], `cache`, [`rules`], [`learn`],
//! [`counters`], [`drops`]; at a planned cut-over [`switch`]; for a frame too large for its way [`too_big`]; between two nodes [`signal`], [`liveness`] and
//! [`probe`].
//! Control plane: [`key`], [`matrix`], [`overlay`], [`agent`], [`plan`], [`route`], [`reservation`], [`lead`],
//! [`ledger`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod agent;
mod cache;
pub mod counters;
pub mod drops;
pub mod forward;
pub mod frame;
pub mod ids;
pub mod key;
pub mod lead;
pub mod learn;
pub mod ledger;
pub mod liveness;
pub mod matrix;
pub mod overlay;
pub mod plan;
pub mod probe;
pub mod reservation;
pub mod route;
pub mod rules;
pub mod signal;
pub mod switch;
pub mod too_big;
