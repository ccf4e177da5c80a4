//! `capture-iouring`: frames of unmodified guests, from a TAP or an existing interface, at the speed of offload.
//!
//! A frame's way in: the kernel writes it straight into a slot of the host, its virtio-net header just before it
//! (`read`); what the header asks for is checked and becomes the slot's offload metadata. Super-frames
//! stay whole and partial checksums partial. Its way out is the same backwards: the metadata are checked, the
//! header is written into the headroom just before the frame, and both leave in one write (`write`). `ring` is what
//! io_uring takes to do either for a whole batch with one system call. `capture` is the instance that drives both. What is opened, and in which namespace, is decided in `attach`.

mod attach;
mod capture;
mod config;
mod counters;
mod read;
mod ring;
mod write;

pub use capture::IoUringCapture;
pub use config::{Calls, Config, Kind};

vreserve_sdk::export_plugin!(name = "capture-iouring", capture = IoUringCapture);
