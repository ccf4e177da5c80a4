//! The lab in network namespaces, and the reservation services that stand in for a network.
//!
//! Real namespaces, real queues, real switching; nothing here is simulated. What lives elsewhere: the
//! framework itself, of which this crate knows nothing. It hands out namespaces, addresses and a socket.

mod batch;
pub mod error;
pub mod gara;
pub mod lab;
mod link_state;
pub mod mac;
pub mod netns;
pub mod odin;
pub mod program;
pub mod units;

pub use error::{Error, Result};
pub use lab::Lab;
pub use lab::spec::{Core, GUEST_MTU, Guest, GuestInterface, Host, LabSpec, Network, Role};
pub use mac::Mac;
pub use units::{BitsPerSecond, Bytes};
