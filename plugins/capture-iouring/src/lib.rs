//! `capture-iouring`: frames of unmodified guests through io_uring, from a TAP or an existing interface.
//!
//! A frame's way in: the kernel fills a buffer that the ring provided (`ring::receive`), the frame is made a
//! plain wire frame if the guest left work to hardware (`wire`), and is copied once, into the host's slot
//! (`delivery`). Its way out: one submission entry per slot, one system call per batch (`ring::send`).
//! `capture` is the instance that drives both. What is opened, and in which namespace, is decided in `attach`.

mod attach;
mod capture;
mod config;
mod counters;
mod delivery;
mod ring;
mod wire;

pub use capture::IoUringCapture;
pub use config::{Config, Kind};

vreserve_sdk::export_plugin!(name = "capture-iouring", capture = IoUringCapture);
