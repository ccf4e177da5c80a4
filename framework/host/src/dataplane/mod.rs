//! The data plane: one worker thread that owns capture instances, endpoints, slots, the forwarding cache
//! and the counters, and shares nothing with anybody on a frame's way.
//!
//! A frame's way: `worker` takes a batch from every port (capture instance or endpoint) that `readiness` says
//! is due into slots of the [`pool`]; `forwarding` asks the core's `forward` once per frame and queues it in the
//! `outbox`, from where the queues of the [`egress`] leave as batches. Signals of other nodes turn off into
//! `signals`, pairs in a cut-over into `cutover`. When nothing is left, `spin` says whether to look again or to
//! sleep.
//! The control plane talks to the worker through the [`mailbox`]; `commands` carries out what it says between
//! turns, `upkeep` does what time asks for.

mod commands;
mod cutover;
pub mod egress;
mod forwarding;
mod links;
pub mod mailbox;
mod nonces;
mod outbox;
mod plane;
pub mod pool;
pub mod ports;
mod readiness;
mod signals;
mod spin;
mod upkeep;
mod worker;

pub use mailbox::{
    Collected, Command, CutoverSpec, Event, LinkSpec, LinkStatus, Mailbox, MailboxSender, PortStatus,
};
pub use plane::{DataPlane, WorkerConfig};
pub use ports::{CapturePort, EndpointPort};
