//! All workers as the control plane has them: one to talk to, one that answers, one that tells.
//!
//! A command goes to every worker, answers are added up, and what several workers tell of one thing is told
//! once. Nothing here is on a frame's way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;
use vreserve_core::drops::DropReason;
use vreserve_core::ids::{Ingress, LinkId, SwitchId};
use vreserve_core::learn::LearnEvent;
use vreserve_core::rules::RuleSet;
use vreserve_core::signal::Signal;
use vreserve_core::switch::{SwitchEnd, SwitchOutcome};
use vreserve_model::{BitsPerSecond, MacAddr};

use super::mailbox::{Collected, Command, CutoverSpec, Event, LinkSpec, MailboxSender};

/// The worker that probes links: what a link is like does not depend on who asks.
pub(super) const PROBER: usize = 0;

/// Workers answer between two turns. One that does not within this time is held up by a plugin, and what is known of it
/// must do.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The same where there is nothing else that would do: a plugin may take its time to open an instance.
const LINK_TIME: Duration = Duration::from_secs(10);

/// The way to tell all workers something. Cheap to copy.
#[derive(Clone)]
pub struct Workers {
    mailboxes: Arc<[MailboxSender]>,
}

impl Workers {
    /// All workers, in order.
    pub fn new(mailboxes: Vec<MailboxSender>) -> Self {
        Workers { mailboxes: mailboxes.into() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Adds a link at all workers, or at none.
    ///
    /// # Errors
    /// The first reason for which an endpoint refuses it.
    pub async fn add_link(&self, link: &LinkSpec) -> Result<(), String> {
        let answers = self.ask(|reply| Command::AddLink { link: link.clone(), reply });
        let mut outcome = Ok(());
        for answer in answers {
            let added = match timeout(LINK_TIME, answer).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err("the data plane has ended".to_owned())),
                Err(_) => Err("a worker of the data plane does not answer".to_owned()),
            };
            outcome = outcome.and(added);
        }
        if outcome.is_err() {
            self.remove_link(link.id);
        }
        outcome
    }

    /// Removes a link; unknown ones are ignored.
    pub fn remove_link(&self, link: LinkId) {
        self.tell_all(|| Command::RemoveLink(link));
    }

    /// Puts rules in force, begins cut-overs and forgets ended ones; see [`Command::Install`].
    pub fn install(&self, rules: &Arc<RuleSet>, begin: &[CutoverSpec], retire: &[SwitchId]) {
        let (begin, retire) = (|| begin.to_vec(), || retire.to_vec());
        self.tell_all(|| Command::Install { rules: rules.clone(), begin: begin(), retire: retire() });
    }

    /// The old path of a cut-over is dead.
    pub fn release(&self, switch: SwitchId) {
        self.tell_all(|| Command::Release(switch));
    }

    /// The new path of a cut-over is dead.
    pub fn abandon(&self, switch: SwitchId) {
        self.tell_all(|| Command::Abandon(switch));
    }

    /// Proves a link at this rate, zero if none is known; the outcome comes as an event.
    pub fn prove(&self, link: LinkId, rate: BitsPerSecond) {
        self.mailboxes[PROBER].send(Command::Prove(link, rate));
    }

    /// Tells the worker that watches links what another has carried over one.
    pub(super) fn tell_carried(&self, worker: usize, link: LinkId, sent: u64, received: u64) {
        self.mailboxes[PROBER].send(Command::Carried { worker, link, sent, received });
    }

    /// Forgets a guest that is elsewhere now.
    pub fn forget_guest(&self, guest: MacAddr) {
        self.tell_all(|| Command::ForgetGuest(guest));
    }

    /// What all workers have counted since the last time; none if the data plane has ended, or a worker does not
    /// answer in time.
    pub async fn collect(&self) -> Option<Collected> {
        timeout(ANSWER_TIME, self.collect_all()).await.ok()?
    }

    async fn collect_all(&self) -> Option<Collected> {
        let mut total: Option<Collected> = None;
        for answer in self.ask(Command::Collect) {
            let collected = answer.await.ok()?;
            match &mut total {
                Some(total) => total.add(collected),
                None => total = Some(collected),
            }
        }
        total
    }

    /// Ends all workers.
    pub(super) fn stop(&self) {
        self.tell_all(|| Command::Stop);
    }

    /// Hands a signal to the worker whose question it answers; false if there is no such worker.
    pub(super) fn pass_answer(&self, worker: usize, link: LinkId, signal: Signal, length: usize) -> bool {
        let mailbox = self.mailboxes.get(worker);
        mailbox.inspect(|mailbox| mailbox.send(Command::Answer { link, signal, length })).is_some()
    }

    fn tell_of_guest(&self, worker: usize, guest: MacAddr, at: Ingress) {
        self.mailboxes[worker].send(Command::TellOfGuest { guest, at });
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(command()));
    }

    fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<oneshot::Receiver<T>> {
        let ask = |mailbox: &MailboxSender| {
            let (reply, answer) = oneshot::channel();
            mailbox.send(question(reply));
            answer
        };
        self.mailboxes.iter().map(ask).collect()
    }
}

impl Collected {
    /// Adds what another worker has counted.
    fn add(&mut self, other: Collected) {
        self.cells.extend(other.cells);
        self.other += other.other;
        self.too_big.answered += other.too_big.answered;
        self.too_big.withheld += other.too_big.withheld;
        other.drops.iter().for_each(|(reason, frames)| self.drops.count(reason, frames));
        self.cache.misses += other.cache.misses;
        self.cache.evictions += other.cache.evictions;
        self.cache.cached += other.cache.cached;
        self.cache.fan_outs += other.cache.fan_outs;
        for link in other.links {
            // Health is the first worker's word.
            if let Some(known) = self.links.iter_mut().find(|known| known.id == link.id) {
                known.sent += link.sent;
                known.received += link.received;
            }
        }
        for port in other.ports {
            if let Some(known) = self.ports.iter_mut().find(|known| known.name == port.name) {
                known.received += port.received;
                known.sent += port.sent;
                known.failure = known.failure.take().or(port.failure);
                // One cell counts for all instances of a name.
                known.violations = known.violations.max(port.violations);
            }
        }
        for guest in other.guests {
            if !self.guests.iter().any(|known| known.0 == guest.0) {
                self.guests.push(guest);
            }
        }
    }
}

/// One worker's way to tell the control plane something. Dropping it tells that the worker has ended.
pub struct Teller {
    worker: usize,
    events: UnboundedSender<Told>,
}

/// What a worker tells; no event if it has ended.
struct Told {
    worker: usize,
    event: Option<Event>,
}

impl Teller {
    /// Tells it. The control plane is gone only when the daemon stops.
    pub fn tell(&self, event: Event) {
        drop(self.events.send(Told { worker: self.worker, event: Some(event) }));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.events.send(Told { worker: self.worker, event: None }));
    }
}

/// What all workers tell, as if they were one.
pub struct Events {
    told: UnboundedReceiver<Told>,
    merge: Merge,
}

/// What was told by some workers and is awaited of the others.
struct Merge {
    workers: Workers,
    /// Local guests with the workers that have seen them.
    guests: BTreeMap<MacAddr, Seen>,
    ended: BTreeMap<SwitchId, Vec<SwitchOutcome>>,
    dropped: BTreeSet<DropReason>,
}

struct Seen {
    at: Ingress,
    by: BTreeSet<usize>,
}

/// The ends of a channel from every worker to the control plane.
pub fn events(workers: &Workers) -> (Vec<Teller>, Events) {
    let (sender, told) = unbounded_channel();
    let teller = |worker| Teller { worker, events: sender.clone() };
    let tellers = (0..workers.count()).map(teller).collect();
    let merge = Merge {
        workers: workers.clone(),
        guests: BTreeMap::new(),
        ended: BTreeMap::new(),
        dropped: BTreeSet::new(),
    };
    (tellers, Events { told, merge })
}

impl Events {
    /// The next event; none once a worker has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let Told { worker, event } = self.told.recv().await?;
            if let Some(event) = self.merge.handle(worker, event?) {
                return Some(event);
            }
        }
    }
}

impl Merge {
    fn handle(&mut self, worker: usize, event: Event) -> Option<Event> {
        match event {
            Event::Guest(event) => self.handle_guest(worker, event).map(Event::Guest),
            Event::CutoverEnded(id, outcome) => self.handle_end(id, outcome),
            Event::FirstDrop(reason) => self.dropped.insert(reason).then_some(Event::FirstDrop(reason)),
            event => Some(event),
        }
    }

    /// A guest is known to all workers as long as one of them sees it: else frames to it from where it has
    /// not been seen would be flooded.
    fn handle_guest(&mut self, worker: usize, event: LearnEvent) -> Option<LearnEvent> {
        match event {
            LearnEvent::Learned { guest, at } => match self.guests.get_mut(&guest) {
                Some(seen) if seen.at == at => {
                    seen.by.insert(worker);
                    None
                }
                Some(seen) => {
                    let from = std::mem::replace(&mut seen.at, at);
                    seen.by = BTreeSet::from([worker]);
                    self.tell_others(worker, guest, at);
                    Some(LearnEvent::Moved { guest, from, to: at })
                }
                None => {
                    self.guests.insert(guest, Seen { at, by: BTreeSet::from([worker]) });
                    self.tell_others(worker, guest, at);
                    Some(event)
                }
            },
            LearnEvent::Moved { guest, to, .. } => {
                self.guests.insert(guest, Seen { at: to, by: BTreeSet::from([worker]) });
                self.tell_others(worker, guest, to);
                Some(event)
            }
            LearnEvent::Expired { guest, at } => {
                let seen = self.guests.get_mut(&guest)?;
                seen.by.remove(&worker);
                if seen.by.is_empty() {
                    self.guests.remove(&guest);
                    if self.workers.count() > 1 {
                        self.workers.forget_guest(guest);
                    }
                    return Some(LearnEvent::Expired { guest, at });
                }
                self.workers.tell_of_guest(worker, guest, seen.at);
                None
            }
            LearnEvent::LimitReached { .. } => Some(event),
        }
    }

    fn tell_others(&self, worker: usize, guest: MacAddr, at: Ingress) {
        let others = (0..self.workers.count()).filter(|other| *other != worker);
        others.for_each(|other| self.workers.tell_of_guest(other, guest, at));
    }

    /// A cut-over has ended when every worker's part has.
    fn handle_end(&mut self, id: SwitchId, outcome: SwitchOutcome) -> Option<Event> {
        let ended = self.ended.entry(id).or_default();
        ended.push(outcome);
        if ended.len() < self.workers.count() {
            return None;
        }
        let ended = self.ended.remove(&id)?;
        ended.into_iter().reduce(add_outcomes).map(|outcome| Event::CutoverEnded(id, outcome))
    }
}

/// The account of two workers' parts of one cut-over. If one is back on the old path, the pair is.
fn add_outcomes(one: SwitchOutcome, other: SwitchOutcome) -> SwitchOutcome {
    let end = match (one.end, other.end) {
        (aborted @ SwitchEnd::Aborted(_), _) | (_, aborted @ SwitchEnd::Aborted(_)) => aborted,
        (SwitchEnd::Released, _) | (_, SwitchEnd::Released) => SwitchEnd::Released,
        _ => SwitchEnd::Completed,
    };
    SwitchOutcome {
        end,
        held_frames: one.held_frames + other.held_frames,
        held_bytes: one.held_bytes + other.held_bytes,
        held_for: one.held_for.max(other.held_for),
        barriers: one.barriers + other.barriers,
        dropped: one.dropped + other.dropped,
    }
}
