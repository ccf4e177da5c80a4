//! The reservation plugin `reserve-gara`: bandwidth from a GARA server, asked for in RSL over mutual TLS.
//!
//! GARA finds a reservation by the label that it was made with, lists, changes and tells of changes, so the
//! server is the truth and this plugin keeps little: which keys it has asked for, and which of them are
//! leases that it must renew. `backend` serves the host, `gara` decides, `terms` turns requests into RSL and
//! answers into what the host reads, `client` keeps the one connection, `line` reads what comes (hostile
//! input), `events` keeps what the server tells by itself, `lease` renews, `record` is what survives a
//! restart, `tls` reads certificates, `config` is what an operator may write.
#![forbid(unsafe_code)]

mod backend;
mod client;
mod config;
mod connection;
mod events;
mod gara;
mod lease;
mod line;
mod record;
mod terms;
mod tls;

pub use backend::GaraReserve;
pub use config::Config;

vreserve_sdk::export_plugin!(name = "reserve-gara", reserve = GaraReserve);
