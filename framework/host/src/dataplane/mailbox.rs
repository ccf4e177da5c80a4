//! What the control plane tells a worker, and what the worker tells back.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;
use vreserve_core::counters::{Cell, Weight};
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_core::forward::ForwarderStats;
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId, SwitchId};
use vreserve_core::learn::LearnEvent;
use vreserve_core::liveness::{Degradation, LinkHealth};
use vreserve_core::probe::ProofOutcome;
use vreserve_core::rules::RuleSet;
use vreserve_core::signal::Signal;
use vreserve_core::switch::SwitchOutcome;
use vreserve_model::{BitsPerSecond, MacAddr};

use crate::keys::PublicKey;

pub use vreserve_core::agent::CutoverSpec;

/// A link to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Its identity.
    pub id: LinkId,
    /// What it is for.
    pub class: LinkClass,
    /// The endpoint, by its name in the configuration.
    pub endpoint: String,
    /// The far endpoint's address, in the plugin's own terms.
    pub far_address: String,
    /// The far node's public key; a device outside the overlay may have none.
    pub far_key: Option<PublicKey>,
}

/// What the control plane tells the worker.
pub enum Command {
    /// Adds a link; answers with the reason if the endpoint refuses it.
    AddLink {
        /// The link.
        link: LinkSpec,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Removes a link; unknown ones are ignored.
    RemoveLink(LinkId),
    /// Puts rules in force, begins the cut-overs that they refer to, and forgets ended ones. One step
    /// between two batches.
    Install {
        /// The rules.
        rules: Arc<RuleSet>,
        /// Cut-overs to begin.
        begin: Vec<CutoverSpec>,
        /// Cut-overs that no rule refers to any more.
        retire: Vec<SwitchId>,
    },
    /// The old path of a cut-over is dead: go to the new one at once.
    Release(SwitchId),
    /// The new path of a cut-over is dead: go back to the old one.
    Abandon(SwitchId),
    /// Proves that a link answers, carries full frames and delivers this rate (zero: whatever it does); the
    /// outcome comes as an event.
    Prove(LinkId, BitsPerSecond),
    /// What another worker has sent and received over a link, ever, in octets.
    Carried {
        /// The worker.
        worker: usize,
        /// The link.
        link: LinkId,
        /// Octets sent.
        sent: u64,
        /// Octets received.
        received: u64,
    },
    /// Forgets a guest that is elsewhere now.
    ForgetGuest(MacAddr),
    /// Another worker has seen a local guest.
    TellOfGuest {
        /// The guest.
        guest: MacAddr,
        /// Where it is.
        at: Ingress,
    },
    /// A signal that another worker received, and that answers this one's question.
    Answer {
        /// The link it came over.
        link: LinkId,
        /// The signal.
        signal: Signal,
        /// Bytes of its frame.
        length: usize,
    },
    /// Hands over counts since the last time.
    Collect(oneshot::Sender<Collected>),
    /// Ends the worker.
    Stop,
}

/// What the worker counted.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Traffic of local guests since the last call.
    pub cells: Vec<Cell>,
    /// Traffic that kept no pair.
    pub other: Weight,
    /// Frames dropped, ever, by reason.
    pub drops: DropCounters,
    /// What guests were told whose frames were too large, ever.
    pub too_big: TooBigCounts,
    /// How the forwarding cache does.
    pub cache: ForwarderStats,
    /// Every link.
    pub links: Vec<LinkStatus>,
    /// Every capture instance and endpoint.
    pub ports: Vec<PortStatus>,
    /// Every local guest that has been learned, and its interface (none: behind a static link).
    pub guests: Vec<(MacAddr, Option<InterfaceId>)>,
}

/// Answers to guests whose frames were too large for their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TooBigCounts {
    /// Made and handed to the guest's interface.
    pub answered: u64,
    /// Not made, because the same guest or too many others had just been answered.
    pub withheld: u64,
}

/// The state of one link as its endpoint's worker sees it.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The link.
    pub id: LinkId,
    /// What its probes say.
    pub health: LinkHealth,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Loss among the last probes.
    pub loss: Option<f64>,
    /// Frames and bytes sent.
    pub sent: Weight,
    /// Frames and bytes received.
    pub received: Weight,
}

/// The state of one plugin instance on the data path.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// Its name in the configuration, `capture.guests` or `link.internet`.
    pub name: String,
    /// Why it is down, if it is.
    pub failure: Option<String>,
    /// Times its plugin broke the contract.
    pub violations: u64,
    /// Frames and bytes in.
    pub received: Weight,
    /// Frames and bytes out.
    pub sent: Weight,
}

/// What the worker tells the control plane.
#[derive(Clone, Debug)]
pub enum Event {
    /// A local guest was learned, moved or forgotten.
    Guest(LearnEvent),
    /// A link's health changed.
    Health(LinkId, LinkHealth),
    /// A circuit that was proven is no longer worth its place, and why. It may rise again.
    Degraded(LinkId, Degradation),
    /// A cut-over ended.
    CutoverEnded(SwitchId, SwitchOutcome),
    /// A link was proved, or not. None: there is no such link.
    Proof(LinkId, Option<ProofOutcome>),
    /// A plugin instance failed and will be reopened.
    PortFailed {
        /// Its name in the configuration.
        name: String,
        /// Why.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A plugin instance is back.
    PortReopened(String),
    /// Frames were dropped for a reason for the first time.
    FirstDrop(DropReason),
}

/// The worker's end: commands, and a bell that wakes it.
pub struct Mailbox {
    commands: mpsc::Receiver<Command>,
    bell: Arc<Bell>,
}

/// The control plane's end.
#[derive(Clone)]
pub struct MailboxSender {
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
}

struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

/// Makes the two ends.
///
/// # Errors
/// If the system gives no event descriptor.
pub fn mailbox() -> std::io::Result<(MailboxSender, Mailbox)> {
    let (sender, receiver) = mpsc::channel();
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let bell = Arc::new(Bell { event, rung: AtomicBool::new(false) });
    Ok((MailboxSender { commands: sender, bell: bell.clone() }, Mailbox { commands: receiver, bell }))
}

impl MailboxSender {
    /// Hands a command to the worker and wakes it. To one that has ended it makes no difference: its end is
    /// noticed where its events are read.
    pub fn send(&self, command: Command) {
        drop(self.commands.send(command));
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            // A full event counter rings as well.
            let _ = self.bell.event.write(1);
        }
    }
}

impl Mailbox {
    /// The next command, if the bell has rung. One relaxed load when it has not.
    pub fn poll(&mut self) -> Option<Command> {
        if !self.bell.rung.load(Ordering::Relaxed) {
            return None;
        }
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(_) => {
                let _ = self.bell.event.read();
                self.bell.rung.store(false, Ordering::Release);
                // A command that came between the two lines above rang a bell that was still up.
                self.commands.try_recv().ok().inspect(|_| self.bell.rung.store(true, Ordering::Release))
            }
        }
    }

    /// Polls readable while commands wait.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_arrive_in_order_and_none_is_left_behind() {
        let (sender, mut mailbox) = mailbox().unwrap();
        assert!(mailbox.poll().is_none());
        let sending = std::thread::spawn(move || {
            for id in 0..10_000 {
                sender.send(Command::RemoveLink(LinkId(id)));
            }
        });
        let mut next = 0;
        while next < 10_000 {
            if let Some(Command::RemoveLink(id)) = mailbox.poll() {
                assert_eq!(id, LinkId(next));
                next += 1;
            }
        }
        sending.join().unwrap();
        assert!(mailbox.poll().is_none());
    }
}
