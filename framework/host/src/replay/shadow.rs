//! What stands around the lead in a replay: nodes that do what they are told, and providers that grant what is asked
//! for after their set-up time. Everybody answers in the capture's time; nobody is asked anything.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use vreserve_core::ids::LinkId;
use vreserve_core::lead::{Action, Call, CircuitId, Lead, PairOutcome, ProbeOutcome};
use vreserve_core::overlay::{NodeOverlay, PairWay};
use vreserve_model::{
    BitsPerSecond, Capabilities, DataPlane, MacAddr, Observed, Request, RequestKey, ReservationState,
    Timestamp,
};

/// A node sets up its part, proves a link, switches a pair. On a local network these take tens of milliseconds, next
/// to seconds of a provider.
const APPLYING: Duration = Duration::from_millis(50);
const PROVING: Duration = Duration::from_millis(200);
const SWITCHING: Duration = Duration::from_millis(20);
/// Links that a frame crosses beside the star, at most.
const MAX_HOPS: usize = 8;

/// A pair of guests at a node of this number.
type PairAt = (usize, MacAddr, MacAddr);

/// All nodes and providers.
pub(super) struct Shadow {
    /// Names to numbers, in order.
    numbers: BTreeMap<String, usize>,
    applied: Vec<NodeOverlay>,
    /// The circuit links that pairs take out of nodes, with the node at the far end.
    ways: HashMap<PairAt, (LinkId, usize)>,
    providers: BTreeMap<String, Capabilities>,
    held: BTreeMap<RequestKey, Observed>,
    /// What will be answered when; the second number keeps answers of one moment in order.
    due: BTreeMap<(Timestamp, u64), Answer>,
    last: u64,
}

enum Answer {
    Submitted(CircuitId, Observed),
    Cancelled(CircuitId, RequestKey),
    Modified(CircuitId, Observed),
    Found(CircuitId, RequestKey),
    Stepped(Step, Call),
    Listed(String),
    Collected(String),
    Applied(usize, NodeOverlay),
    Probed(CircuitId),
    Switched { node: usize, revision: u64, source: MacAddr, destination: MacAddr, onto: Option<LinkId> },
}

/// Steps of backends that do not switch through by themselves.
#[derive(Clone, Copy)]
enum Step {
    Commit,
    Abort,
    Activate,
    Deactivate,
}

/// What a backend with these capabilities comes to when nothing can go wrong: one request, and it carries.
pub(super) fn capabilities_of(backend: Capabilities) -> Capabilities {
    Capabilities {
        two_phase: false,
        fused_activation: true,
        advance: false,
        list: false,
        find: true,
        events: false,
        hold_time: None,
        ..backend
    }
}

impl Shadow {
    pub(super) fn new<'a>(
        nodes: impl Iterator<Item = &'a str>,
        providers: BTreeMap<String, Capabilities>,
    ) -> Self {
        let numbers: BTreeMap<_, _> = nodes.map(str::to_owned).zip(0..).collect();
        Shadow {
            applied: vec![NodeOverlay::default(); numbers.len()],
            numbers,
            ways: HashMap::new(),
            providers,
            held: BTreeMap::new(),
            due: BTreeMap::new(),
            last: 0,
        }
    }

    /// What each network's provider can do.
    pub(super) fn providers(&self) -> &BTreeMap<String, Capabilities> {
        &self.providers
    }

    /// When the next answer comes.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// True if nothing is held and nobody owes an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.held.is_empty()
    }

    /// The circuit links that a frame of this pair takes from `node` on, in order.
    pub(super) fn way(&self, mut node: usize, source: MacAddr, destination: MacAddr) -> Vec<LinkId> {
        let mut links = Vec::new();
        while let Some((link, far)) = self.ways.get(&(node, source, destination)) {
            links.push(*link);
            node = *far;
            if links.len() == MAX_HOPS {
                break;
            }
        }
        links
    }

    /// Takes what the lead wants done.
    pub(super) fn handle_action(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::Submit { circuit, network, request } => {
                let provider = self.providers.get(&network);
                let wait =
                    provider.map_or(Duration::ZERO, |provider| provider.lead_time + provider.setup_time);
                let observed = granted(&request);
                self.held.insert(request.key, observed.clone());
                self.answer(now + wait, Answer::Submitted(circuit, observed));
            }
            Action::Cancel(call) => {
                let wait = self.providers.get(&call.network).map_or(Duration::ZERO, |p| p.teardown_time);
                self.answer(now + wait, Answer::Cancelled(call.circuit, call.key));
            }
            Action::Modify { call, request } => {
                let observed = granted(&request);
                self.held.insert(request.key, observed.clone());
                self.answer(now + APPLYING, Answer::Modified(call.circuit, observed));
            }
            Action::Find(call) => self.answer(now + APPLYING, Answer::Found(call.circuit, call.key)),
            Action::Commit(call) => self.answer(now + APPLYING, Answer::Stepped(Step::Commit, call)),
            Action::Abort(call) => self.answer(now + APPLYING, Answer::Stepped(Step::Abort, call)),
            Action::Activate { call, .. } => {
                self.answer(now + APPLYING, Answer::Stepped(Step::Activate, call));
            }
            Action::Deactivate(call) => self.answer(now + APPLYING, Answer::Stepped(Step::Deactivate, call)),
            Action::Configure { node, overlay } => {
                if let Some(&node) = self.numbers.get(&node) {
                    self.answer(now + APPLYING, Answer::Applied(node, overlay));
                }
            }
            Action::Probe { circuit, .. } => self.answer(now + PROVING, Answer::Probed(circuit)),
            Action::ListOwned { network, .. } => self.answer(now + APPLYING, Answer::Listed(network)),
            Action::Gc { network, .. } => self.answer(now + APPLYING, Answer::Collected(network)),
            // Nothing outlives a replay, nothing is held that was not asked for, and events are the account's.
            Action::Record(_) | Action::Forget(_) | Action::Rewrite(_) => {}
            Action::CancelOrphan { .. } | Action::Publish { .. } => {}
        }
    }

    fn answer(&mut self, at: Timestamp, answer: Answer) {
        self.last += 1;
        self.due.insert((at, self.last), answer);
    }

    /// Gives the lead the first answer that is due by `now`, if there is one.
    pub(super) fn give_answer(&mut self, now: Timestamp, lead: &mut Lead) {
        let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) else { return };
        match first.remove() {
            Answer::Submitted(circuit, observed) => lead.handle_submitted(now, circuit, Ok(observed)),
            Answer::Cancelled(circuit, key) => {
                self.held.remove(&key);
                lead.handle_cancelled(now, circuit, Ok(()));
            }
            Answer::Modified(circuit, observed) => lead.handle_modified(now, circuit, Ok(observed)),
            Answer::Found(circuit, key) => {
                let found = self.held.get(&key).cloned();
                lead.handle_found(now, circuit, Ok(found.into_iter().collect()));
            }
            Answer::Stepped(step, call) => self.step(now, lead, step, &call),
            Answer::Listed(network) => {
                lead.handle_listed(now, &network, Ok(self.held.values().cloned().collect()));
            }
            Answer::Collected(network) => lead.handle_collected(now, &network, Ok(Vec::new())),
            Answer::Applied(node, overlay) => self.apply(now, lead, node, overlay),
            Answer::Probed(circuit) => {
                let rtt = Some(Duration::from_millis(1));
                let outcome = ProbeOutcome { passed: true, rtt, loss: 0.0, reason: String::new() };
                lead.handle_probed(now, circuit, outcome);
            }
            Answer::Switched { node, revision, source, destination, onto } => {
                self.set_way(node, source, destination, onto);
                let outcome = PairOutcome {
                    source,
                    destination,
                    aborted: None,
                    held_frames: 0,
                    held_bytes: 0,
                    held_for: Duration::ZERO,
                    dropped_frames: 0,
                };
                lead.handle_switched(now, &self.name(node), revision, &[outcome]);
            }
        }
    }

    fn step(&mut self, now: Timestamp, lead: &mut Lead, step: Step, call: &Call) {
        let held = self.held.get(&call.key).cloned();
        let held = held.ok_or_else(|| vreserve_model::Failure::refused("nothing is held under this key"));
        match step {
            Step::Commit => lead.handle_committed(now, call.circuit, held),
            Step::Activate => lead.handle_activated(now, call.circuit, held),
            Step::Deactivate => lead.handle_deactivated(now, call.circuit, held),
            Step::Abort => {
                self.held.remove(&call.key);
                lead.handle_aborted(now, call.circuit, Ok(()));
            }
        }
    }

    /// A node has set up its part. A pair whose old link is still there switches behind a barrier; any other is
    /// on its new way at once.
    fn apply(&mut self, now: Timestamp, lead: &mut Lead, node: usize, overlay: NodeOverlay) {
        let old = std::mem::replace(&mut self.applied[node], overlay.clone());
        let gone = old.pairs.iter().filter(|pair| link_of(&overlay.pairs, pair).is_none());
        let pairs: Vec<PairWay> = overlay.pairs.iter().chain(gone).cloned().collect();
        for pair in pairs {
            let (before, onto) = (link_of(&old.pairs, &pair), link_of(&overlay.pairs, &pair));
            let PairWay { source, destination, .. } = pair;
            let is_link_there =
                |link: Option<LinkId>| link.is_none_or(|link| overlay.links.iter().any(|l| l.id == link));
            if before == onto {
                continue;
            } else if is_link_there(before) {
                let revision = overlay.revision;
                let switched = Answer::Switched { node, revision, source, destination, onto };
                self.answer(now + SWITCHING, switched);
            } else {
                self.set_way(node, source, destination, onto);
            }
        }
        for relay in &old.relays {
            self.set_way(node, relay.source, relay.destination, None);
        }
        for relay in &overlay.relays {
            self.set_way(node, relay.source, relay.destination, Some(relay.to));
        }
        lead.handle_applied(now, &self.name(node), overlay.revision, Ok(()));
    }

    fn set_way(&mut self, node: usize, source: MacAddr, destination: MacAddr, onto: Option<LinkId>) {
        let links = &self.applied[node].links;
        let far = onto.and_then(|link| {
            let link = links.iter().find(|known| known.id == link)?;
            Some((link.id, *self.numbers.get(&link.far_node)?))
        });
        match far {
            Some(far) => drop(self.ways.insert((node, source, destination), far)),
            None => drop(self.ways.remove(&(node, source, destination))),
        }
    }

    fn name(&self, node: usize) -> String {
        let named = self.numbers.iter().find(|(_, number)| **number == node);
        named.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

fn link_of(pairs: &[PairWay], pair: &PairWay) -> Option<LinkId> {
    let same = |known: &&PairWay| (known.source, known.destination) == (pair.source, pair.destination);
    pairs.iter().find(same).map(|known| known.link)
}

fn granted(request: &Request) -> Observed {
    Observed {
        key: request.key.clone(),
        native_id: None,
        state: ReservationState::Active,
        native_state: "would be active".to_owned(),
        rate: Some(request.rate).filter(|rate| *rate > BitsPerSecond(0)),
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        data_plane: DataPlane::Up,
        labels: BTreeMap::new(),
    }
}
