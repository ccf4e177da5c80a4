//! The control plane: what nodes tell each other, and what each does about it. Seconds, not frames.
//!
//! [`agent`] keeps one node's data plane as its part of the overlay says; [`uplink`] joins it to the proxy;
//! [`admission`] lets nodes in at the proxy; [`lead`] is the shell of the core's lead. All run on tokio, own
//! their state and talk through channels.

pub mod admission;
pub mod agent;
pub mod events;
pub mod lead;
pub mod messages;
pub mod revive;
pub mod session;
pub mod uplink;
