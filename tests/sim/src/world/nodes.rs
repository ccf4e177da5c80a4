//! Nodes: started and killed; what their agents want done, what their guests send, what they report.

use std::time::Duration;

use vreserve_core::agent::{Action, Agent, CutoverSpec};
use vreserve_core::ids::InterfaceId;
use vreserve_core::lead::{NodeRole, ProbeOutcome};
use vreserve_core::matrix::TrafficMatrix;
use vreserve_core::overlay::{NodeOverlay, OverlayLink};
use vreserve_core::rules::StarRole;
use vreserve_core::switch::Path;
use vreserve_model::{MacAddr, Timestamp};

use super::{Event, HUB, Node, World};
use crate::frame::{Frame, Mark};
use crate::parts::Observing;
use crate::session::{Down, Up};
use crate::topology::{NetId, Place};
use crate::worker::{News, Outbox, Worker};

/// How long after a change of guests the list is sent.
const GUEST_DELAY: Duration = Duration::from_millis(20);
/// The first wait before a session is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// Pairs in a node's own matrix.
const MATRIX_PAIRS: usize = 100_000;
/// In larger overlays guests greet the hub's guest, not everybody.
const FEW: usize = 32;
/// Of frames that nobody looks for.
const UNMARKED: Mark = Mark { stream: u32::MAX, number: 0 };

impl Node {
    pub(super) fn down(place: &Place) -> Self {
        let role = match place.description.role {
            NodeRole::Proxy => StarRole::Hub,
            NodeRole::Spoke => StarRole::Leaf,
        };
        let interfaces = (0..place.guests.len()).map(interface).collect();
        Node {
            is_up: false,
            boot: 0,
            agent: Agent::new(role, interfaces, Vec::new()),
            worker: Worker::new(0),
            matrix: TrafficMatrix::new(MATRIX_PAIRS),
            observing: Observing::new(0),
            kept: NodeOverlay::default(),
            session: None,
            retry_in: RETRY,
            has_guests_due: false,
            last_news: Timestamp::ZERO,
            cutovers_at: None,
            old_report: Vec::new(),
        }
    }
}

/// The interface of a node's n-th guest.
pub(crate) fn interface(guest: usize) -> InterfaceId {
    InterfaceId(u16::try_from(guest).expect("guests of a node are few"))
}

impl World {
    /// A node's daemon is started: what it still knows is the star that it was told last.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].is_up {
            return;
        }
        let (kept, boot) = (std::mem::take(&mut self.nodes[node].kept), self.nodes[node].boot + 1);
        let mut fresh = Node::down(&self.scenario.topology.nodes[node]);
        let seed = self.rng.u64(..);
        fresh.worker = Worker::new(seed);
        fresh.observing = Observing::new(seed);
        (fresh.is_up, fresh.boot, fresh.kept, fresh.last_news) = (true, boot, kept.clone(), self.now);
        fresh.agent.handle_overlay(kept);
        self.nodes[node] = fresh;
        self.note(format!("{} starts", self.name(node)));
        if node == HUB {
            self.take_office();
        }
        self.at_node(node, |_, _, _| {});
        let report = self.scenario.settings.report_interval;
        self.later(report, Event::Report { node, boot });
        let dial = self.millis(1, 20);
        self.later(dial, Event::Dial { node, boot });
        for guest in 0..self.scenario.topology.nodes[node].guests.len() {
            let at = self.millis(5, 600);
            self.later(at, Event::Hello { node, boot, guest });
        }
    }

    /// A node's daemon dies.
    pub(super) fn kill(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        self.note(format!("{} dies", self.name(node)));
        self.nodes[node].is_up = false;
        self.is_changed = true;
        let silent = self.sessions.iter().filter(|(_, session)| session.node == node || node == HUB);
        let silent: Vec<_> = silent.map(|(id, _)| *id).collect();
        for session in silent {
            let noticed = self.millis(50, 2_000);
            self.later(noticed, Event::SessionEnds { session, if_cut: false });
        }
        if node == HUB {
            self.leave_office();
        }
    }

    /// Does something at a node, then all that follows from it there.
    pub(super) fn at_node(&mut self, node: usize, work: impl FnOnce(&mut Node, Timestamp, &mut Outbox)) {
        let mut out = Outbox::default();
        work(&mut self.nodes[node], self.now, &mut out);
        while let Some(action) = self.nodes[node].agent.poll_action() {
            self.carry_out_agent(node, action, &mut out);
        }
        self.flush(node, out);
    }

    fn carry_out_agent(&mut self, number: usize, action: Action, out: &mut Outbox) {
        let now = self.now;
        let node = &mut self.nodes[number];
        match action {
            Action::Install { rules, begin, retire } => {
                self.is_changed = true;
                self.counts.cut_overs += begin.len() as u64;
                let onto_two =
                    |spec: &&CutoverSpec| spec.switch.circuit.is_none() && spec.switch.new != Path::Star;
                self.counts.relayed += begin.iter().filter(onto_two).count() as u64;
                node.worker.install(rules, begin, &retire, now, out);
            }
            Action::NotInstalled(error) => {
                let what = format!("{}: {error}", self.name(number));
                self.break_down("rules can be built", what);
            }
            Action::AddLink(link) => {
                let id = link.id;
                let outcome = self.add_link(number, link, out);
                self.nodes[number].agent.handle_link_added(id, outcome);
            }
            Action::RemoveLink(link) => {
                self.is_changed = true;
                node.worker.remove_link(link);
            }
            Action::Release(switch) => node.worker.release(switch, now, out),
            Action::Abandon(switch) => node.worker.abandon(switch, now, out),
            Action::Keep => node.kept = node.agent.overlay().star(),
            Action::Applied { revision, error } => self.tell_lead(number, Up::Applied { revision, error }),
            Action::Switched { revision, outcome } => {
                let to = if outcome.aborted.is_some() { "stays" } else { "has moved" };
                let pair = format!("{} to {}", outcome.source, outcome.destination);
                self.note(format!("{}: {pair} {to}", self.name(number)));
                self.tell_lead(number, Up::Switched { revision, outcome });
            }
            Action::LinkState { link, up } => {
                let state = if up { "up" } else { "down" };
                self.note(format!("{}: link {link} is {state}", self.name(number)));
                self.tell_lead(number, Up::LinkState { link, up });
            }
            Action::LinkDegraded { link, reason } => {
                self.note(format!("{}: link {link} is degraded: {reason}", self.name(number)));
                self.counts.degraded += 1;
                self.tell_lead(number, Up::LinkDegraded { link, reason });
            }
        }
    }

    fn add_link(&mut self, number: usize, link: OverlayLink, out: &mut Outbox) -> Result<(), String> {
        self.is_changed = true;
        let net = self.scenario.topology.net_of(&link.endpoint);
        let net = net.ok_or_else(|| format!("this node has no endpoint {}", link.endpoint))?;
        let far = self.wires.node_at(net, &link.far_address);
        let far = far.ok_or_else(|| format!("nobody is at {}", link.far_address))?;
        let now = self.now;
        self.nodes[number].worker.add_link(link.id, link.class, (net, far), now, out)
    }

    /// Passes on what a node's worker has left to be sent, delivered and told.
    fn flush(&mut self, node: usize, out: Outbox) {
        let boot = self.nodes[node].boot;
        for sent in out.sent {
            self.transmit(node, sent);
        }
        for (interface, frame) in out.delivered {
            self.handle_delivered(node, interface, &frame);
        }
        for (link, at) in out.timers {
            self.queue.push(at, Event::LinkTimer { node, boot, link });
        }
        for news in out.news {
            // Another thread hears of it a little later, and in order.
            let delay = Duration::from_micros(self.rng.u64(10..1_000));
            let at = self.nodes[node].last_news.max(self.now + delay);
            self.nodes[node].last_news = at;
            self.queue.push(at, Event::News { node, boot, news });
        }
        if let Some(at) = self.nodes[node].worker.next_cutover() {
            // Never twice at one time: what was due then has been done.
            let at = at.max(self.now + Duration::from_micros(1));
            if self.nodes[node].cutovers_at.is_none_or(|set| at < set) {
                self.nodes[node].cutovers_at = Some(at);
                self.queue.push(at, Event::Cutovers { node, boot });
            }
        }
    }

    pub(super) fn handle_datagram(&mut self, net: NetId, from: usize, to: usize, frame: Frame) {
        if self.nodes[to].is_up {
            self.at_node(to, |node, now, out| node.worker.handle_datagram((net, from), frame, now, out));
        }
    }

    pub(super) fn handle_news(&mut self, node: usize, news: News) {
        let mut is_new_list = false;
        let mut proved = None;
        self.at_node(node, |node, _, _| match news {
            News::Guest(event) => is_new_list = node.agent.handle_learned(event),
            News::Health(link, health) => node.agent.handle_health(link, health),
            News::Degraded(link, why) => node.agent.handle_degraded(link, why),
            News::CutoverEnded(id, outcome) => node.agent.handle_cutover_ended(id, &outcome),
            News::Proof(link, outcome) => proved = Some((link, outcome)),
        });
        if is_new_list && !self.nodes[node].has_guests_due {
            self.nodes[node].has_guests_due = true;
            let boot = self.nodes[node].boot;
            self.later(GUEST_DELAY, Event::GuestsDue { node, boot });
        }
        if let Some((link, outcome)) = proved {
            let outcome = match outcome {
                Some(outcome) => ProbeOutcome {
                    passed: outcome.is_proven(),
                    rtt: outcome.rtt_median,
                    loss: outcome.loss,
                    reason: if outcome.is_proven() { String::new() } else { outcome.to_string() },
                },
                None => ProbeOutcome {
                    passed: false,
                    rtt: None,
                    loss: 1.0,
                    reason: "the node has no such link".to_owned(),
                },
            };
            self.tell_lead(node, Up::Proved { link, outcome });
        }
    }

    pub(super) fn announce_guests(&mut self, node: usize) {
        self.nodes[node].has_guests_due = false;
        let guests: Vec<MacAddr> = self.nodes[node].agent.guests().collect();
        self.tell_lead(node, Up::Guests(guests));
    }

    /// The lead tells a node.
    pub(super) fn handle_down(&mut self, node: usize, message: Down) {
        match message {
            Down::Welcome => {
                self.nodes[node].agent.handle_welcome();
                self.announce_guests(node);
            }
            Down::Overlay(overlay) => self.at_node(node, |node, _, _| node.agent.handle_overlay(overlay)),
            Down::Prove { link, rate } => {
                self.at_node(node, |node, now, out| node.worker.prove(link, rate, now, out));
            }
            Down::ForgetGuest(guest) => {
                self.at_node(node, |node, now, out| node.worker.forget_guest(guest, now, out));
            }
        }
    }

    /// Collects what guests have sent, and reports it.
    pub(super) fn report(&mut self, number: usize) {
        let now = self.now;
        let mut report = None;
        self.at_node(number, |node, now, out| {
            let (cells, other) = node.worker.collect(now, out);
            node.matrix.merge(&cells, other);
            let delta = node.matrix.take_delta();
            report = Some(node.observing.observe(now, &delta.cells));
        });
        self.check_matrix(number);
        if let Some((report, is_whole)) = report {
            if !is_whole {
                let what = format!("{}: a report leaves out what guests have sent", self.name(number));
                self.break_down("the matrix conserves bytes", what);
            }
            self.keep_for_replay(number, &report, now);
            self.tell_lead(number, Up::Report(report));
        }
        let (boot, interval) = (self.nodes[number].boot, self.scenario.settings.report_interval);
        self.later(interval, Event::Report { node: number, boot });
    }

    /// Old reports come again, late or torn, while that is what goes wrong.
    fn keep_for_replay(&mut self, node: usize, report: &[u8], _: Timestamp) {
        if self.is_replaying && self.rng.bool() {
            let mut old = self.nodes[node].old_report.clone();
            if self.rng.bool() && !old.is_empty() {
                let keep = self.rng.usize(..old.len());
                old.truncate(keep);
            }
            let delay = self.millis(1, 3_000);
            self.later(delay, Event::Replayed { node, report: old });
        }
        if self.nodes[node].old_report.is_empty() || self.rng.u32(0..8) == 0 {
            self.nodes[node].old_report = report.to_vec();
        }
    }

    /// Sends the next frame of a flow, if it is its time.
    pub(super) fn send_of_flow(&mut self, number: usize) {
        let flow = &self.scenario.flows[number];
        let now = self.now;
        let next = match flow.times.iter().find(|(from, until)| *from <= now && now < *until) {
            Some(_) => Some(now + flow.every),
            None => flow.times.iter().map(|(from, _)| *from).find(|from| *from > now),
        };
        let is_sending = flow.times.iter().any(|(from, until)| *from <= now && now < *until);
        let (node, source) = (flow.from, flow.source);
        if is_sending && self.nodes[node].is_up {
            let stream = u32::try_from(number).expect("flows are few");
            let mark = Mark { stream, number: self.streams[number].sent + 1 };
            let frame = Frame::of_guest(source, flow.destination, mark, flow.octets);
            self.streams[number].sent += 1;
            self.counts.frames += 1;
            let guest = self.guest_at(node, source);
            self.at_node(node, |node, now, out| {
                node.worker.handle_guest(interface(guest), frame, now, out);
            });
        }
        if let Some(at) = next {
            self.queue.push(at, Event::Flow { flow: number });
        }
    }

    /// The position of a guest among its node's.
    pub(crate) fn guest_at(&self, node: usize, guest: MacAddr) -> usize {
        let guests = &self.scenario.topology.nodes[node].guests;
        guests.iter().position(|known| *known == guest).unwrap_or_default()
    }

    /// A guest sends something small, so that its node learns it.
    pub(super) fn say_hello(&mut self, node: usize, guest: usize) {
        let source = self.scenario.topology.nodes[node].guests[guest];
        let hub = self.scenario.topology.nodes[HUB].guests.first().copied();
        let is_few = self.nodes.len() <= FEW || node == HUB;
        let destination = hub.filter(|_| !is_few).unwrap_or(MacAddr::BROADCAST);
        let frame = Frame::of_guest(source, destination, UNMARKED, 64);
        self.at_node(node, |node, now, out| node.worker.handle_guest(interface(guest), frame, now, out));
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.scenario.topology.nodes[node].description.name
    }

    pub(crate) fn note(&mut self, what: String) {
        self.trace.note(self.now, &what);
    }
}
