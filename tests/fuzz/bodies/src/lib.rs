//! What the fuzz targets do with their input. Each function takes any bytes, must not panic, and asserts what a
//! user relies on; `seeds/` holds inputs that reach deep, among them every one that ever failed.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod forwarding;
mod input;
mod merging;
mod offload;

pub use forwarding::{core_forward, core_signal};
pub use merging::offload_merge;
pub use offload::{offload_checksum, offload_segments, offload_vnet};

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("core_forward", core_forward),
    ("core_signal", core_signal),
    ("offload_checksum", offload_checksum),
    ("offload_merge", offload_merge),
    ("offload_segments", offload_segments),
    ("offload_vnet", offload_vnet),
];
