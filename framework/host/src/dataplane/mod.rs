//! The data plane: one worker thread that owns capture instances, endpoints, slots, the forwarding cache
//! and the counters, and shares nothing with anybody on a frame's way.
//!
//! A frame's way: [`worker`] takes a batch from a capture instance or an endpoint into slots of the
//! [`pool`], asks the core's `forward` once per frame, and queues it at the [`egress`]; the queues leave as
//! batches. Signals of other nodes turn off into `signals`, pairs in a cut-over into `cutover`.
//! The control plane talks to the worker through the [`mailbox`]; `commands` carries out what it says between
//! batches.

mod commands;
mod cutover;
mod dispatch;
pub mod egress;
mod ingress;
mod links;
pub mod mailbox;
mod nonces;
pub mod pool;
pub mod ports;
mod signals;
mod sleep;
mod software;
mod too_big;
pub mod worker;

pub use mailbox::{
    Collected, Command, CutoverSpec, Event, LinkSpec, LinkStatus, Mailbox, MailboxSender, PortStatus,
};
pub use ports::{CapturePort, EndpointPort};
pub use worker::{DataPlane, DataPlaneConfig};
