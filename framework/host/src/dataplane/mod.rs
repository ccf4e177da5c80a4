//! The data plane: worker threads, each of which owns capture instances, endpoints, slots, a forwarding cache
//! and counters, and shares nothing with anybody on a frame's way.
//!
//! A frame's way: `worker` takes a batch from every port (capture instance or endpoint) that `readiness` says
//! is due into slots of the [`pool`]; `forwarding` asks the core's `forward` once per frame and queues it in the
//! `outbox`, from where the queues of the [`egress`] leave as batches. Signals of other nodes turn off into
//! `signals`, pairs in a cut-over into `cutover`. When nothing is left, `spin` says whether to look again or to
//! sleep.
//! The control plane talks to all of them as one (`workers`), through a [`mailbox`] each; `commands` carries out what it says between
//! turns, `upkeep` does what time asks for. The `watchdog` notices a worker that a plugin does not give back.

mod commands;
mod cutover;
mod dispatch;
pub mod egress;
mod forwarding;
mod ingress;
mod links;
pub mod mailbox;
mod nonces;
mod outbox;
mod plane;
pub mod pool;
pub mod ports;
mod proofs;
mod readiness;
mod signals;
mod software;
mod spin;
mod too_big;
mod upkeep;
mod watchdog;
mod worker;
mod workers;

pub use mailbox::{
    Collected, Command, CutoverSpec, Event, LinkSpec, LinkStatus, Mailbox, MailboxSender, PortStatus,
};
pub use nonces::MAX_WORKERS;
pub use plane::{DataPlane, DataPlaneConfig, WorkerConfig};
pub use ports::{CapturePort, EndpointPort};
pub use workers::{Events, Teller, Workers, events};
