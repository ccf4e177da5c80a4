//! The link plugin `link-vxlan`: frames handed to a VXLAN device of the kernel (RFC 7348, clear text), super-frames whole.
//!
//! A frame's way out (`outgoing`): its far node's IPv4 address becomes the frame's mark, an AF_PACKET socket gives it to the
//! device, and a program at the device's exit makes a tunnel key of the mark (`programs`). Its way in (`incoming`): a
//! program at the device's entrance makes a mark of the tunnel key and sends the frame through the entrance again,
//! where a socket takes what has a mark; the kernel's own stack gets nothing. `device` makes and removes the device,
//! `attach` binds the programs to it through `bpf`, `fars` knows far nodes by their marks, `limit` how large a frame may be.

mod attach;
mod bpf;
mod config;
mod device;
mod drops;
mod fars;
mod incoming;
mod limit;
mod link;
mod outgoing;
mod programs;

pub use config::Config;
pub use drops::FrameDrop;
pub use link::VxlanLink;

vreserve_sdk::export_plugin!(name = "link-vxlan", link = VxlanLink);
