//! The link plugin `link-udp`: frames in UDP datagrams, sealed between nodes or in the VXLAN format of RFC 7348.
//!
//! `endpoint` drives a frame's way. Out: a wire format (`sealed` over the protocol core in [`secure`], or `vxlan`)
//! makes datagrams of it, `outgoing` joins those to messages, one `sendmmsg` in `mmsg` sends them. In: one
//! `recvmmsg`, the format makes frames of the datagrams, `incoming` puts them into slots and joins those that
//! continue one another. `config` is what an operator may write, `socket` how the endpoint is opened, `steering`
//! how the kernel spreads datagrams over workers.

mod config;
mod drops;
mod endpoint;
mod frames;
mod incoming;
mod link;
mod mmsg;
mod outgoing;
mod sealed;
pub mod secure;
mod socket;
mod steering;
mod vxlan;
mod wire;

pub use config::{Config, Format};
pub use link::UdpLink;
pub use vxlan::DatagramDrop;

vreserve_sdk::export_plugin!(name = "link-udp", link = UdpLink);
