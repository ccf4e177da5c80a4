//! The link plugin `link-udp`: frames in UDP datagrams, in the VXLAN format of RFC 7348.
//!
//! A frame's way out is `endpoint`'s `send` (`vxlan` header into the headroom, one `sendmmsg` in
//! `mmsg`), its way in `recv` (one `recvmmsg` into the slots, `admission`, `partial` checksums). `fars`
//! says who is admitted, `config` what an operator may write, `socket` how the endpoint is opened.
#![forbid(unsafe_code)]

mod admission;
mod config;
mod endpoint;
mod fars;
mod link;
mod mmsg;
mod outgoing;
mod partial;
pub mod secure;
mod socket;
mod vxlan;

pub use admission::DatagramDrop;
pub use config::{Config, Format};
pub use link::UdpLink;

vreserve_sdk::export_plugin!(name = "link-udp", link = UdpLink);
