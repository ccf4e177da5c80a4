//! The pure core of VRESERVE: what happens to a frame, and what the lead decides.
//!
//! No I/O, no clock, no thread, no unsafe code: time comes in as a [`Timestamp`](vreserve_model::Timestamp),
//! effects go out as values. The host is the thin shell around it.
//!
//! Data plane, in the order a frame meets it: `frame`, `forward`, `cache`, `rules`, [`drops`];
//! at a planned cut-over `switch`; between two nodes `signal` and `liveness`.
//! Control plane: `matrix`, [`overlay`], [`plan`], [`reservation`], [`lead`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod drops;
pub mod ids;
pub mod lead;
pub mod overlay;
pub mod plan;
pub mod reservation;
