//! Everything that is simulated, and one step of it: take what happens next, let it happen, check the invariants.

mod lead;
mod nodes;
mod providers;
mod sessions;
mod weather;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vreserve_core::agent::Agent;
use vreserve_core::ids::LinkId;
use vreserve_core::lead::Record;
use vreserve_core::ledger::Change;
use vreserve_core::matrix::TrafficMatrix;
use vreserve_core::overlay::{NodeOverlay, OverlayLink, PairWay};
use vreserve_model::{RequestKey, Timestamp};

use crate::calls::{Answer, Fate};
use crate::checks::Checks;
use crate::frame::Frame;
use crate::outcome::{Broken, Counts};
use crate::parts::Observing;
use crate::queue::Queue;
use crate::scenario::Scenario;
use crate::session::{Letter, Session, SessionId};
use crate::shell::Shell;
use crate::topology::NetId;
use crate::trace::Trace;
use crate::worker::{News, Worker};
use providers::Line;
use wires::Wires;

pub(crate) use nodes::interface;

/// The hub of the star, where the lead is.
pub(crate) const HUB: usize = 0;

/// One thing that happens. A `boot` or `epoch` says to which run of a node or of the lead: to a later one it
/// means nothing.
pub(crate) enum Event {
    /// A node's daemon is started.
    Start {
        node: usize,
    },
    /// A frame arrives.
    Datagram {
        net: NetId,
        from: usize,
        to: usize,
        frame: Frame,
    },
    LinkTimer {
        node: usize,
        boot: u64,
        link: LinkId,
    },
    Cutovers {
        node: usize,
        boot: u64,
    },
    /// The worker tells the agent.
    News {
        node: usize,
        boot: u64,
        news: News,
    },
    Report {
        node: usize,
        boot: u64,
    },
    GuestsDue {
        node: usize,
        boot: u64,
    },
    /// A guest sends the next frame of a flow.
    Flow {
        flow: usize,
    },
    /// A guest says that it is there.
    Hello {
        node: usize,
        boot: u64,
        guest: usize,
    },
    /// A node tries to have a session.
    Dial {
        node: usize,
        boot: u64,
    },
    Joined {
        session: SessionId,
        in_force: Box<(Vec<OverlayLink>, Vec<PairWay>)>,
    },
    Letter {
        session: SessionId,
        letter: Letter,
    },
    /// A session that nobody answers any more ends, if it still is so.
    SessionEnds {
        session: SessionId,
        if_cut: bool,
    },
    /// An old report arrives once more.
    Replayed {
        node: usize,
        report: Vec<u8>,
    },
    LeadTimer {
        epoch: u32,
    },
    Infer {
        epoch: u32,
    },
    Clock {
        epoch: u32,
    },
    Health {
        epoch: u32,
        network: usize,
    },
    Written {
        epoch: u32,
        took: Duration,
    },
    /// A call arrives at its provider.
    Call {
        epoch: u32,
        network: usize,
        generation: u64,
        fate: Fate,
        action: Box<vreserve_core::lead::Action>,
    },
    Answer {
        epoch: u32,
        answer: Box<Answer>,
    },
    Blow(usize),
    Over(usize),
    /// Nothing happens but the checks.
    Look,
}

/// One node.
pub(crate) struct Node {
    pub(crate) is_up: bool,
    pub(crate) boot: u64,
    pub(crate) agent: Agent,
    pub(crate) worker: Worker,
    pub(crate) matrix: TrafficMatrix,
    observing: Observing,
    /// The star that it was told last, on its disk.
    kept: NodeOverlay,
    session: Option<SessionId>,
    retry_in: Duration,
    has_guests_due: bool,
    /// When its worker's last news reach its agent.
    last_news: Timestamp,
    cutovers_at: Option<Timestamp>,
    /// A report from before, for replays.
    old_report: Vec<u8>,
}

/// A stream of frames as it has fared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) sent: u64,
    /// The last that arrived in order.
    pub(crate) arrived: u64,
    /// Those for which a circuit had no room.
    excused: BTreeSet<u64>,
}

/// The simulation of one seed.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Timestamp,
    queue: Queue<Event>,
    pub(crate) trace: Trace,
    rng: fastrand::Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) shell: Option<Shell>,
    epoch: u32,
    lead_timer: Option<Timestamp>,
    /// The lead's disk, what is on its way there, and whether it takes anything.
    pub(crate) disk: BTreeMap<RequestKey, Record>,
    writing: Option<Vec<Change>>,
    is_disk_full: bool,
    is_replaying: bool,
    pub(crate) lines: Vec<Line>,
    sessions: BTreeMap<SessionId, Session>,
    last_session: u64,
    pub(crate) wires: Wires,
    pub(crate) checks: Checks,
    pub(crate) counts: Counts,
    /// Something has changed that an invariant is about.
    pub(crate) is_changed: bool,
    broken: Option<Broken>,
}

/// How often the checks look when nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario, is_told: bool) -> Self {
        let lines = scenario.settings.providers.iter().map(Line::new).collect();
        let nodes = scenario.topology.nodes.iter().map(Node::down).collect();
        let mut world = World {
            now: Timestamp::ZERO,
            queue: Queue::new(),
            trace: Trace::new(is_told),
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed_0f1a_b5c0_ffee),
            nodes,
            streams: vec![Stream::default(); scenario.flows.len()],
            shell: None,
            epoch: 0,
            lead_timer: None,
            disk: BTreeMap::new(),
            writing: None,
            is_disk_full: false,
            is_replaying: false,
            lines,
            sessions: BTreeMap::new(),
            last_session: 0,
            wires: Wires::new(&scenario.topology),
            checks: Checks::default(),
            counts: Counts::default(),
            is_changed: false,
            broken: None,
            scenario,
        };
        world.plan();
        world
    }

    /// Puts into the queue what the scenario has decided.
    fn plan(&mut self) {
        let nodes = self.nodes.len();
        for node in 0..nodes {
            let at = if node == HUB { 0 } else { self.rng.u64(0..800) };
            self.queue.push(Timestamp::from_millis(at), Event::Start { node });
        }
        for flow in 0..self.scenario.flows.len() {
            if let Some((from, _)) = self.scenario.flows[flow].times.first() {
                self.queue.push(*from, Event::Flow { flow });
            }
        }
        for (number, blow) in self.scenario.blows.iter().enumerate() {
            self.queue.push(blow.at, Event::Blow(number));
            self.queue.push(blow.until, Event::Over(number));
        }
        self.queue.push(Timestamp::ZERO, Event::Look);
    }

    /// Runs to the end, or to the first invariant that is broken.
    pub(crate) fn run(&mut self) -> Result<(), Broken> {
        while self.step()? && !self.is_over() {}
        self.check_end();
        self.broken.take().map_or(Ok(()), Err)
    }

    /// The next thing happens; false if it would be after the end.
    pub(crate) fn step(&mut self) -> Result<bool, Broken> {
        let Some((at, event)) = self.queue.pop().filter(|(at, _)| *at <= self.scenario.end_at) else {
            return Ok(false);
        };
        self.now = at;
        self.handle(event);
        self.check();
        self.broken.take().map_or(Ok(true), Err)
    }

    /// An invariant is broken; the first one counts.
    pub(crate) fn break_down(&mut self, invariant: &'static str, what: String) {
        self.trace.note(self.now, &format!("BROKEN {invariant}: {what}"));
        if self.broken.is_none() {
            let (at, step) = (self.now, self.trace.steps());
            self.broken = Some(Broken { invariant, what, at, step, last: self.trace.lines() });
        }
    }

    fn handle(&mut self, event: Event) {
        let (kind, with) = event.mark();
        self.trace.step(self.now, kind, with);
        let is_of_lead = event.is_of_lead();
        match event {
            Event::Start { node } => self.start(node),
            Event::Datagram { net, from, to, frame } => self.handle_datagram(net, from, to, frame),
            Event::LinkTimer { node, boot, link } if self.is_run(node, boot) => {
                self.at_node(node, |node, now, out| node.worker.handle_timer(link, now, out));
            }
            Event::Cutovers { node, boot } if self.is_run(node, boot) => {
                self.nodes[node].cutovers_at = None;
                self.at_node(node, |node, now, out| node.worker.poll_cutovers(now, out));
            }
            Event::News { node, boot, news } if self.is_run(node, boot) => self.handle_news(node, news),
            Event::Report { node, boot } if self.is_run(node, boot) => self.report(node),
            Event::GuestsDue { node, boot } if self.is_run(node, boot) => self.announce_guests(node),
            Event::Flow { flow } => self.send_of_flow(flow),
            Event::Hello { node, boot, guest } if self.is_run(node, boot) => self.say_hello(node, guest),
            Event::Dial { node, boot } if self.is_run(node, boot) => self.dial(node),
            Event::Joined { session, in_force } => self.handle_joined(session, &in_force),
            Event::Letter { session, letter } => self.handle_letter(session, letter),
            Event::SessionEnds { session, if_cut } => self.end_session(session, if_cut),
            Event::Replayed { node, report } => self.handle_replay(node, &report),
            Event::LeadTimer { epoch } if self.is_term(epoch) => self.handle_lead_timer(),
            Event::Infer { epoch } if self.is_term(epoch) => self.infer(),
            Event::Clock { epoch } if self.is_term(epoch) => self.tell_clock(),
            Event::Health { epoch, network } if self.is_term(epoch) => self.ask_health(network),
            Event::Written { epoch, took } if self.is_term(epoch) => self.handle_written(took),
            Event::Call { epoch, network, generation, fate, action } => {
                self.handle_call(epoch, network, generation, fate, *action);
            }
            Event::Answer { epoch, answer } if self.is_term(epoch) => self.handle_answer(*answer),
            Event::Blow(number) => self.blow(number),
            Event::Over(number) => self.end_blow(number),
            Event::Look => {
                self.is_changed = true;
                self.later(LOOK_EVERY, Event::Look);
            }
            _ => {}
        }
        if is_of_lead {
            self.carry_out_lead();
        }
    }

    fn is_run(&self, node: usize, boot: u64) -> bool {
        self.nodes[node].is_up && self.nodes[node].boot == boot
    }

    fn is_term(&self, epoch: u32) -> bool {
        self.shell.as_ref().is_some_and(|shell| shell.epoch == epoch)
    }

    fn later(&mut self, delay: Duration, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.rng.u64(from * 1000..=to * 1000))
    }

    /// True with this probability.
    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.f64() < share
    }
}

impl Event {
    /// True if the lead may hear of it.
    fn is_of_lead(&self) -> bool {
        !matches!(
            self,
            Event::Datagram { .. }
                | Event::LinkTimer { .. }
                | Event::Cutovers { .. }
                | Event::News { .. }
                | Event::Report { .. }
                | Event::GuestsDue { .. }
                | Event::Flow { .. }
                | Event::Hello { .. }
                | Event::Dial { .. }
                | Event::Call { .. }
                | Event::Look
        )
    }

    /// What it is and with whom, for the digest.
    fn mark(&self) -> (u8, u64) {
        let node = |node: &usize| *node as u64;
        match self {
            Event::Start { node: n } => (0, node(n)),
            Event::Datagram { net, from, to, frame } => {
                (1, (net.0 << 48 | from << 32 | to << 16) as u64 ^ frame.length as u64)
            }
            Event::LinkTimer { link, .. } => (2, link.0),
            Event::Cutovers { node: n, .. } => (3, node(n)),
            Event::News { node: n, .. } => (4, node(n)),
            Event::Report { node: n, .. } => (5, node(n)),
            Event::GuestsDue { node: n, .. } => (6, node(n)),
            Event::Flow { flow } => (7, node(flow)),
            Event::Hello { node: n, .. } => (8, node(n)),
            Event::Dial { node: n, .. } => (9, node(n)),
            Event::Joined { session, .. } => (10, session.0),
            Event::Letter { session, .. } => (11, session.0),
            Event::SessionEnds { session, .. } => (12, session.0),
            Event::Replayed { node: n, .. } => (13, node(n)),
            Event::LeadTimer { epoch } => (14, u64::from(*epoch)),
            Event::Infer { epoch } => (15, u64::from(*epoch)),
            Event::Clock { epoch } => (16, u64::from(*epoch)),
            Event::Health { network, .. } => (17, node(network)),
            Event::Written { epoch, .. } => (18, u64::from(*epoch)),
            Event::Call { network, .. } => (19, node(network)),
            Event::Answer { epoch, .. } => (20, u64::from(*epoch)),
            Event::Blow(number) => (21, node(number)),
            Event::Over(number) => (22, node(number)),
            Event::Look => (23, 0),
        }
    }
}
