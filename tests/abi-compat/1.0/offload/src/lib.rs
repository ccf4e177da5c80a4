//! Checksums, segmentation and coalescing of frames: what hardware offload would do, in software.
//!
//! A guest with offload hands over super-frames whose checksum is partial. They cross the overlay whole;
//! whoever needs wire frames (a kernel VXLAN device, a link without segmentation) gets them from here.
//! Nothing in this crate allocates, does I/O or panics on what a guest may send.
//!
//! * [`parse`]: where the headers of a frame stand, checked.
//! * [`checksum`]: one's complement sums, completing partial checksums, verifying whole ones.
//! * [`segment`]: a super-frame as wire frames.
//! * [`merge`]: wire frames joined into a super-frame again.
//! * [`partial`]: what a kernel left to hardware, seen in the frame alone.
//! * [`vnet`]: the metadata of a super-frame and the 10 bytes in which the kernel passes it.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bytes;
pub mod checksum;
mod crc32c;
mod error;
mod ipv6;
pub mod merge;
pub mod parse;
pub mod partial;
pub mod segment;
pub mod vnet;

pub use checksum::{Integrity, Sum};
pub use error::{Malformed, OffloadError};
pub use merge::{ChecksumPolicy, Merge, NotMergeable};
pub use parse::{Ip, IpVersion, Layout, Transport};
pub use segment::{Segment, Segments};
pub use vnet::{Offload, OffloadKind, VnetHeader};
