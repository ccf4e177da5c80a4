//! The link plugin `link-udp`: frames in UDP datagrams, in the VXLAN format of RFC 7348.
//!
//! A frame's way out is `endpoint`'s `send`: `vxlan_out` makes datagrams of it, `outgoing` messages of those, one
//! `sendmmsg` in `mmsg` sends them. Its way in is `recv`: one `recvmmsg`, `admission`, `partial` checksums, and
//! `incoming` puts it into a slot. `fars` says who is admitted, `config` what an operator may write, `socket` how
//! the endpoint is opened.

mod admission;
mod config;
mod endpoint;
mod fars;
mod incoming;
mod link;
mod mmsg;
mod outgoing;
mod partial;
mod socket;
mod vxlan;
mod vxlan_out;

pub use admission::DatagramDrop;
pub use config::{Config, Format};
pub use link::UdpLink;

vreserve_sdk::export_plugin!(name = "link-udp", link = UdpLink);
