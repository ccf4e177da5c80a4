//! A stand-in for GARA (HPDC 1999, IWQoS 2000), the manager of advance reservations, for one routed network.
//!
//! What is original: RSL requests, create / modify / cancel / status / bind / unbind with callbacks, a slot table,
//! marking at the edge router and a class at the bottleneck from start to end. What is ours: the wire protocol
//! ([`protocol`]), TLS with certificates where the original had GSI.
//!
//! [`plant`] knows the network, [`slots`] admits, [`book`] holds the reservations; all three are pure. [`journal`]
//! keeps the book on disk, `kernel` enforces it in the routers, `manager` does one request after the other,
//! [`server`] serves it over TLS, [`admin`] over a unix socket, [`certificates`] makes what TLS needs.

pub mod admin;
pub mod book;
pub mod certificates;
pub mod journal;
mod kernel;
mod manager;
pub mod plant;
pub mod protocol;
pub mod server;
pub mod slots;
