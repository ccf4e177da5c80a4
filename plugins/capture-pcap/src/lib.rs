//! `capture-pcap`: frames of unmodified guests through libpcap, from an interface that exists or from a capture file.
//!
//! `live` captures and injects: libpcap's ring of the kernel in immediate mode, non-blocking. `file` plays a file in pcap
//! or pcapng format in its own time. Frames come without metadata, so `frames` sees by the frame alone what its kernel
//! left to hardware. `capture` is the instance, `config` what an operator may write.
#![forbid(unsafe_code)]

mod capture;
mod config;
mod counters;
mod file;
mod frames;
mod live;

pub use capture::PcapCapture;
pub use config::{Config, Kind};

vreserve_sdk::export_plugin!(name = "capture-pcap", capture = PcapCapture);
