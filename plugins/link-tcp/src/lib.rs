//! The link plugin `link-tcp`: frames in TCP connections, one to each far node, sealed by TLS 1.3 or in clear text.
//!
//! A frame's way out: `endpoint` checks it and puts it behind a header (`record`) into its far node's queue (`outbox`),
//! and `channel` writes what the socket takes, sealed or not. Its way in: `channel` reads into an `inbox`, out of which
//! `connection` takes record after record into slots.
//!
//! How a connection comes about: `socket` opens and dials, `introduction` leads it through TLS (`tls`, with `knock` in
//! front of it) and the proof of both nodes' keys (`proof`), or through a greeting in clear text. `fars` knows who may
//! come and who dials, `endpoint` drives everything from one epoll descriptor, `config` is what an operator may write.
#![forbid(unsafe_code)]

mod channel;
mod config;
mod connection;
mod counters;
mod deliver;
mod endpoint;
mod fars;
mod inbox;
mod introduction;
mod knock;
mod link;
mod outbox;
mod proof;
mod record;
mod socket;
mod tls;

pub use config::{Config, Dial, Format};
pub use counters::{Ended, FrameDrop};
pub use link::TcpLink;

vreserve_sdk::export_plugin!(name = "link-tcp", link = TcpLink);
