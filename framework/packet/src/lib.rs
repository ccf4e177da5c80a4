//! Frames of a kernel interface in the host's slots: what plugins that use AF_PACKET have in common.
//!
//! `socket` opens the sockets, each frame with a virtio-net header before it; `receive` reads a frame into a slot, with
//! what the kernel says beside it (`control`); `arrived` checks it and fills a batch; `send` writes a batch, each frame
//! with a mark of its own; `frame` is the check of metadata against their frame, in both directions; `ifreq` asks for
//! an interface's MTU and state, `mtu` says when, `limit` keeps the largest frame by it; `netns` is for opening things in another
//! network namespace. What an interface is for, which frames are too large for it, and what is counted, is
//! the plugins' own.
#![deny(missing_docs)]

mod arrived;
mod control;
mod frame;
pub mod ifreq;
mod limit;
mod mtu;
pub mod netns;
mod receive;
mod send;
pub mod socket;

pub use arrived::{Arrived, RECV_BYTES, accept, behind_header, fill};
pub use control::{AUXILIARY_SPACE, tag_in};
pub use frame::{Checked, Tag, Unusable, check, put_header, refuse};
pub use limit::Limit;
pub use mtu::MtuWatch;
pub use receive::PacketReader;
pub use send::{BATCH, MarkedSender};
