//! Nodes and backends around a lead: they note what they are asked, and answer at once where `auto` says so.
//! Every part of the overlay that is sent out is checked against the lead's invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vreserve_model::{
    BitsPerSecond, Capabilities, DataPlane, Failure, MacAddr, Observed, Request, RequestKey,
    ReservationState, Timestamp, Wanted, WantedLink, WantedRule,
};

use crate::ids::{LinkClass, LinkId};
use crate::key::PublicKey;
use crate::lead::*;
use crate::overlay::{NodeOverlay, OverlayLink, PairRelay, PairWay};

pub(super) const NET: &str = "omninet";

/// What is answered at once, and well.
#[derive(Clone, Copy)]
pub(super) struct Auto {
    pub(super) submit: bool,
    pub(super) cancel: bool,
    pub(super) apply: bool,
    pub(super) probe: bool,
    pub(super) switch: bool,
}

pub(super) struct World {
    pub(super) lead: Lead,
    pub(super) now: Timestamp,
    pub(super) auto: Auto,
    pub(super) events: Vec<Event>,
    pub(super) submits: Vec<(CircuitId, String, Request)>,
    pub(super) cancels: Vec<(CircuitId, String, RequestKey, Option<String>)>,
    pub(super) finds: Vec<(CircuitId, String, RequestKey)>,
    /// Commits, aborts, activations, deactivations and modifications that wait for an answer.
    pub(super) steps: Vec<Action>,
    pub(super) orphan_cancels: Vec<(RequestKey, Option<String>)>,
    /// What a backend lists; none lists just what the lead believes.
    pub(super) listed: Option<Vec<Observed>>,
    /// What is on disk, and whether the disk still takes anything.
    pub(super) disk: BTreeMap<RequestKey, Record>,
    pub(super) is_disk_full: bool,
    pub(super) epoch: u32,
    /// Whether the next lead books ahead of recurring demand.
    pub(super) recurring: Option<Recurring>,
    /// By how much the wall clock was set, in milliseconds.
    pub(super) wall_set_by: i64,
    pub(super) probes: Vec<CircuitId>,
    pub(super) configures: Vec<(String, NodeOverlay)>,
    /// Switches that nodes have begun: node, revision, pair as it was told, old link.
    pub(super) switches: Vec<(String, u64, PairWay, Option<LinkId>)>,
    /// What each node has set up.
    pub(super) applied: BTreeMap<String, NodeOverlay>,
    pub(super) keys: BTreeSet<RequestKey>,
    revisions: BTreeMap<String, u64>,
    passed: BTreeSet<LinkId>,
    ever_applied: BTreeSet<(String, LinkId)>,
    joined: BTreeSet<String>,
}

pub(super) fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

pub(super) fn odin() -> Capabilities {
    Capabilities { fused_activation: true, find: true, list: true, serial: true, ..Capabilities::default() }
}

/// Holds before it books, for 120 s, and is switched through at a call of its own.
pub(super) fn nsi() -> Capabilities {
    let hold_time = Some(Duration::from_secs(120));
    Capabilities { two_phase: true, find: true, list: true, hold_time, ..Capabilities::default() }
}

/// Books at once, also ahead of time, is switched through at a call of its own, and can be resized.
pub(super) fn gara() -> Capabilities {
    let granularity = BitsPerSecond(1_000);
    Capabilities {
        advance: true,
        modify: true,
        find: true,
        list: true,
        granularity,
        ..Capabilities::default()
    }
}

pub(super) fn wanted_link(a: &str, z: &str) -> WantedLink {
    let rate = BitsPerSecond(1_000_000_000);
    WantedLink { a: a.into(), z: z.into(), network: NET.into(), rate, reason: "test".into() }
}

/// Links between nodes `n1`, `n2`, … by number, with both pairs of guests (guest number = node number).
pub(super) fn want(links: &[(u8, u8)]) -> Wanted {
    let rule = |from: u8, to: u8| WantedRule {
        node: format!("n{from}"),
        source: mac(from),
        destination: mac(to),
        next: format!("n{to}"),
        network: NET.into(),
    };
    Wanted {
        links: links.iter().map(|(a, z)| wanted_link(&format!("n{a}"), &format!("n{z}"))).collect(),
        rules: links.iter().flat_map(|(a, z)| [rule(*a, *z), rule(*z, *a)]).collect(),
        notes: vec![],
        explanation: None,
    }
}

/// What the guests of `a` and `c` send each other goes over `b`, whose links to both are wanted.
pub(super) fn relay(wanted: &mut Wanted, [a, b, c]: [u8; 3]) {
    let rule = |from: u8, to: u8, at: u8, next: u8| WantedRule {
        node: format!("n{at}"),
        source: mac(from),
        destination: mac(to),
        next: format!("n{next}"),
        network: NET.into(),
    };
    wanted.rules.extend([rule(a, c, a, b), rule(a, c, b, c), rule(c, a, c, b), rule(c, a, b, a)]);
}

pub(super) fn describe(name: &str, role: NodeRole, last: u8, networks: &[&str]) -> NodeDescription {
    let at =
        |net: usize| Attachment { endpoint: format!("ep{net}"), address: format!("10.{net}.0.{last}:4789") };
    NodeDescription {
        name: name.into(),
        role,
        star: at(0),
        networks: networks.iter().enumerate().map(|(n, net)| ((*net).to_owned(), at(10 + n))).collect(),
    }
}

/// The key that a node proves: every name has another.
pub(super) fn key_of(name: &str) -> PublicKey {
    let mut key = [0; 32];
    key[..name.len()].copy_from_slice(name.as_bytes());
    PublicKey(key)
}

pub(super) fn observed(key: &RequestKey, state: ReservationState) -> Observed {
    Observed {
        key: key.clone(),
        native_id: Some(format!("path-{key}")),
        state,
        native_state: state.to_string(),
        rate: None,
        start_ms: None,
        end_ms: None,
        data_plane: DataPlane::Unknown,
        labels: BTreeMap::from([("lambda".into(), "2".into())]),
    }
}

impl World {
    /// A proxy and `n1` to `n<count>`, each with one guest, and a backend; everything answers well.
    pub(super) fn new(count: u8) -> Self {
        Self::with(count, odin())
    }

    pub(super) fn with(count: u8, capabilities: Capabilities) -> Self {
        let mut world = Self::empty();
        world.join("hub", NodeRole::Proxy, 100);
        for last in 1..=count {
            world.join(&format!("n{last}"), NodeRole::Spoke, last);
            world.lead.handle_guests(world.now, &format!("n{last}"), &[mac(last)]);
        }
        world.lead.handle_backend_up(world.now, NET, capabilities);
        world.run();
        world
    }

    pub(super) fn config(epoch: u32) -> LeadConfig {
        let mut config = LeadConfig::new("lab", epoch);
        config.back_off = BackOff { min: Duration::from_secs(1), max: Duration::from_secs(8) };
        config
    }

    pub(super) fn empty() -> Self {
        World {
            lead: Lead::new(Self::config(7)),
            now: Timestamp::from_millis(1_000),
            auto: Auto { submit: true, cancel: true, apply: true, probe: true, switch: true },
            events: vec![],
            submits: vec![],
            cancels: vec![],
            finds: vec![],
            steps: vec![],
            orphan_cancels: vec![],
            listed: None,
            disk: BTreeMap::new(),
            is_disk_full: false,
            epoch: 7,
            recurring: None,
            wall_set_by: 0,
            probes: vec![],
            configures: vec![],
            switches: vec![],
            applied: BTreeMap::new(),
            keys: BTreeSet::new(),
            revisions: BTreeMap::new(),
            passed: BTreeSet::new(),
            ever_applied: BTreeSet::new(),
            joined: BTreeSet::new(),
        }
    }

    pub(super) fn join(&mut self, name: &str, role: NodeRole, last: u8) {
        self.joined.insert(name.into());
        self.lead.handle_node_joined(self.now, describe(name, role, last, &[NET]), key_of(name));
    }

    pub(super) fn leave(&mut self, name: &str) {
        self.joined.remove(name);
        self.applied.remove(name);
        self.configures.retain(|(node, _)| node != name);
        self.switches.retain(|(node, ..)| node != name);
        self.lead.handle_node_left(self.now, name);
        self.run();
    }

    pub(super) fn want(&mut self, links: &[(u8, u8)]) {
        self.lead.handle_wanted(self.now, &want(links));
        self.run();
    }

    /// Lets time pass to the lead's own timeouts, one by one, for this long.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.lead.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now, "a timeout that has passed would spin");
            self.now = at;
            self.lead.tick(at);
            self.run();
        }
        self.now = end;
        self.lead.tick(end);
        self.run();
    }

    /// Carries out actions until there are none.
    pub(super) fn run(&mut self) {
        while let Some(action) = self.lead.poll_action() {
            self.carry_out(action);
        }
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Publish { at, event } => {
                assert!(at <= self.now);
                self.events.push(event);
            }
            Action::Record(record) => self.write(|disk| drop(disk.insert(record.key.clone(), record))),
            Action::Forget(key) => self.write(|disk| drop(disk.remove(&key))),
            Action::Rewrite(records) => {
                self.write(|disk| *disk = records.into_iter().map(|r| (r.key.clone(), r)).collect());
            }
            Action::Submit { circuit, request, .. } if self.is_disk_full => {
                self.keys.insert(request.key);
                let failure = Failure::unavailable("the record is not on disk");
                self.lead.handle_submitted(self.now, circuit, Err(failure));
            }
            Action::Submit { circuit, network, request } => {
                assert!(self.keys.insert(request.key.clone()), "a key is asked for only once");
                self.assert_on_record(&request.key);
                self.submits.push((circuit, network, request));
                if self.auto.submit {
                    self.answer_submit(ReservationState::Active);
                }
            }
            Action::Cancel(Call { circuit, network, key, native_id }) => {
                self.assert_on_record(&key);
                self.cancels.push((circuit, network, key, native_id));
                if self.auto.cancel {
                    self.answer_cancel(Ok(()));
                }
            }
            Action::Find(Call { circuit, network, key, .. }) => self.finds.push((circuit, network, key)),
            Action::Commit(ref call)
            | Action::Abort(ref call)
            | Action::Deactivate(ref call)
            | Action::Activate { ref call, .. }
            | Action::Modify { ref call, .. } => {
                self.assert_on_record(&call.key);
                self.steps.push(action);
            }
            Action::ListOwned { network, owner } => {
                assert_eq!(owner, "lab");
                let believed = self.lead.circuits().filter(|circuit| circuit.link.network == network);
                let believed = believed.filter_map(|circuit| Some(observed(&circuit.key?, circuit.state)));
                let listed = self.listed.clone().unwrap_or_else(|| believed.collect());
                self.lead.handle_listed(self.now, &network, Ok(listed));
            }
            Action::Gc { network, .. } => self.lead.handle_collected(self.now, &network, Ok(vec![])),
            Action::CancelOrphan { key, native_id, .. } => self.orphan_cancels.push((key, native_id)),
            Action::Probe { circuit, .. } => {
                self.probes.push(circuit);
                if self.auto.probe {
                    self.answer_probe(true);
                }
            }
            Action::Configure { node, overlay } => {
                self.check(&node, &overlay);
                self.configures.push((node, overlay));
                if self.auto.apply {
                    self.apply_next();
                }
            }
        }
    }

    fn write(&mut self, change: impl FnOnce(&mut BTreeMap<RequestKey, Record>)) {
        if self.is_disk_full {
            self.lead.handle_journal_failed(self.now, "no space left on device");
        } else {
            change(&mut self.disk);
        }
    }

    fn assert_on_record(&self, key: &RequestKey) {
        assert!(self.is_disk_full || self.disk.contains_key(key), "{key} is on record before its effect");
    }

    /// What the disk says of a circuit.
    pub(super) fn on_record(&self, key: &RequestKey) -> CircuitRecord {
        match &self.disk[key].body {
            RecordBody::Circuit(circuit) => (**circuit).clone(),
            RecordBody::Booking(_) | RecordBody::Demand(_) => panic!("{key} is no circuit"),
        }
    }

    /// The wall clock in the worlds that have one: a day into the epoch when the lead's time begins, and as it was set.
    pub(super) fn wall(&self) -> u64 {
        (86_400_000 + self.now.0 / 1_000_000).saturating_add_signed(self.wall_set_by)
    }

    /// The lead is gone with all that was not carried out, and another takes over with what is on disk. Nodes
    /// keep what they have set up.
    pub(super) fn crash(&mut self) {
        self.epoch += 1;
        self.lead = Lead::new(LeadConfig { recurring: self.recurring, ..Self::config(self.epoch) });
        (self.submits, self.cancels, self.finds, self.steps) = (vec![], vec![], vec![], vec![]);
        (self.configures, self.switches, self.probes) = (vec![], vec![], vec![]);
        self.orphan_cancels.clear();
        self.joined.clear();
        self.lead.handle_clock(self.now, self.wall());
        self.lead.restore(self.now, self.disk.values().cloned().collect());
        self.run();
    }

    /// A node's session is back, and the node says what it has in force.
    pub(super) fn come_back(&mut self, name: &str, role: NodeRole, last: u8) {
        self.join(name, role, last);
        let has = self.applied.get(name).cloned().unwrap_or_default();
        self.lead.handle_present(self.now, name, &has.links, &has.pairs);
        if role == NodeRole::Spoke {
            self.lead.handle_guests(self.now, name, &[mac(last)]);
        }
        self.run();
    }

    /// Answers the oldest outstanding commit, abort, activation, deactivation or modification.
    pub(super) fn answer_step(&mut self, answer: Result<ReservationState, Failure>) {
        let (now, lead) = (self.now, &mut self.lead);
        let seen = |call: &Call| answer.clone().map(|state| observed(&call.key, state));
        match self.steps.remove(0) {
            Action::Commit(call) => lead.handle_committed(now, call.circuit, seen(&call)),
            Action::Abort(call) => lead.handle_aborted(now, call.circuit, answer.map(|_| ())),
            Action::Activate { call, .. } => lead.handle_activated(now, call.circuit, seen(&call)),
            Action::Deactivate(call) => lead.handle_deactivated(now, call.circuit, seen(&call)),
            Action::Modify { call, .. } => lead.handle_modified(now, call.circuit, seen(&call)),
            other => panic!("{other:?} is no step"),
        }
        self.run();
    }

    /// The names of the steps that wait for an answer.
    pub(super) fn open_steps(&self) -> Vec<&'static str> {
        let name = |action: &Action| match action {
            Action::Commit(_) => "commit",
            Action::Abort(_) => "abort",
            Action::Activate { .. } => "activate",
            Action::Deactivate(_) => "deactivate",
            Action::Modify { .. } => "modify",
            _ => "none",
        };
        self.steps.iter().map(name).collect()
    }

    pub(super) fn answer_submit(&mut self, state: ReservationState) {
        let (id, _, request) = self.submits.remove(0);
        self.lead.handle_submitted(self.now, id, Ok(observed(&request.key, state)));
        self.run();
    }

    pub(super) fn refuse_submit(&mut self, failure: Failure) {
        let (id, ..) = self.submits.remove(0);
        self.lead.handle_submitted(self.now, id, Err(failure));
        self.run();
    }

    pub(super) fn answer_cancel(&mut self, answer: Result<(), Failure>) {
        let (id, ..) = self.cancels.remove(0);
        self.lead.handle_cancelled(self.now, id, answer);
        self.run();
    }

    pub(super) fn answer_find(&mut self, answer: Result<Option<ReservationState>, Failure>) {
        let (id, _, key) = self.finds.remove(0);
        let answer = answer.map(|state| state.map(|state| observed(&key, state)).into_iter().collect());
        self.lead.handle_found(self.now, id, answer);
        self.run();
    }

    pub(super) fn answer_probe(&mut self, passed: bool) {
        let id = self.probes.remove(0);
        if let (true, Some(circuit)) = (passed, self.lead.circuit(id)) {
            self.passed.insert(circuit.link_id);
        }
        let reason = if passed { String::new() } else { "nothing came back".into() };
        let rtt = passed.then_some(Duration::from_micros(300));
        let outcome = ProbeOutcome { passed, rtt, loss: if passed { 0.0 } else { 1.0 }, reason };
        self.lead.handle_probed(self.now, id, outcome);
        self.run();
    }

    /// The oldest unanswered part is set up by its node, which begins to switch the pairs that moved.
    pub(super) fn apply_next(&mut self) {
        let (node, overlay) = self.configures.remove(0);
        let old = self.applied.insert(node.clone(), overlay.clone()).unwrap_or_default();
        for link in &overlay.links {
            self.ever_applied.insert((node.clone(), link.id));
        }
        self.switches.extend(switches(&node, &old, &overlay));
        self.lead.handle_applied(self.now, &node, overlay.revision, Ok(()));
        if self.auto.switch {
            while !self.switches.is_empty() {
                self.answer_switch(None);
            }
        }
        self.run();
    }

    pub(super) fn answer_switch(&mut self, aborted: Option<&str>) {
        let (node, revision, pair, old) = self.switches.remove(0);
        if aborted.is_some() {
            self.stay(&node, &pair, old);
        }
        let outcome = PairOutcome {
            source: pair.source,
            destination: pair.destination,
            aborted: aborted.map(str::to_owned),
            held_frames: 3,
            held_bytes: 4500,
            held_for: Duration::from_micros(900),
            dropped_frames: 0,
        };
        self.lead.handle_switched(self.now, &node, revision, &[outcome]);
        self.run();
    }

    /// A node whose switch was aborted keeps the pair where it was.
    fn stay(&mut self, node: &str, pair: &PairWay, old: Option<LinkId>) {
        let Some(overlay) = self.applied.get_mut(node) else { return };
        overlay.pairs.retain(|p| (p.source, p.destination) != (pair.source, pair.destination));
        overlay.pairs.extend(old.map(|link| PairWay { link, ..pair.clone() }));
    }

    pub(super) fn link_down(&mut self, node: &str, link: LinkId) {
        self.lead.handle_link_state(self.now, node, link, false);
        self.run();
    }

    /// The phase of each circuit that is not over.
    pub(super) fn phases(&self) -> Vec<Phase> {
        self.lead.circuits().map(|circuit| circuit.phase).collect()
    }

    pub(super) fn only(&self) -> CircuitStatus {
        let mut circuits = self.lead.circuits();
        let only = circuits.next().expect("a circuit");
        assert!(circuits.next().is_none(), "one circuit only");
        only
    }

    /// The pairs that take a circuit out of `node`, as it has set them up.
    pub(super) fn pairs_at(&self, node: &str) -> Vec<PairWay> {
        self.applied.get(node).map(|overlay| overlay.pairs.clone()).unwrap_or_default()
    }

    pub(super) fn circuit_links_at(&self, node: &str) -> usize {
        let links = self.applied.get(node).map(|overlay| overlay.links.clone()).unwrap_or_default();
        links.iter().filter(|link| link.class == LinkClass::Circuit).count()
    }

    /// Names of the events since the last call, without the noise of nodes and states.
    pub(super) fn story(&mut self) -> Vec<String> {
        let tell = |event: &Event| {
            let value = serde_json::to_value(event).expect("events are plain data");
            value["event"].as_str().expect("an event has a name").to_owned()
        };
        let noise = ["node_joined", "guests_changed", "backend_up", "reservation_changed"];
        let story: Vec<_> = self.events.drain(..).map(|event| tell(&event)).collect();
        story.into_iter().filter(|name| !noise.contains(&name.as_str())).collect()
    }

    fn check(&mut self, node: &str, overlay: &NodeOverlay) {
        let before = self.revisions.insert(node.into(), overlay.revision).unwrap_or(0);
        assert!(overlay.revision > before, "revisions grow");
        let stars = overlay.links.iter().filter(|link| link.class == LinkClass::Star).count();
        let expected = match (node, self.joined.contains("hub")) {
            ("hub", _) => self.joined.len() - 1,
            (_, has_proxy) => usize::from(has_proxy),
        };
        assert_eq!(stars, expected, "{node} has its part of the star");
        for relay in &overlay.relays {
            for id in [relay.from, relay.to] {
                let link = overlay
                    .links
                    .iter()
                    .find(|link| link.id == id)
                    .expect("a relayed pair's links are there");
                assert_eq!(link.class, LinkClass::Circuit);
                assert!(self.passed.contains(&id), "a relayed pair's links have passed their probes");
            }
        }
        for pair in &overlay.pairs {
            if let Some(onward) = pair.onward {
                self.check_relayed(&overlay.links, pair, onward);
            }
            let link =
                overlay.links.iter().find(|link| link.id == pair.link).expect("a pair's link is there");
            assert_eq!(link.class, LinkClass::Circuit);
            assert!(self.passed.contains(&pair.link), "a pair's link has passed its probe");
            for end in [node, &link.far_node] {
                assert!(
                    self.ever_applied.contains(&(end.to_owned(), pair.link)),
                    "{end} has set up the link"
                );
            }
        }
    }
}

impl World {
    /// The node between has set up what it is to do before the ingress node is told.
    fn check_relayed(&self, links: &[OverlayLink], pair: &PairWay, onward: LinkId) {
        let first = links.iter().find(|link| link.id == pair.link).expect("a pair's link is there");
        let relay =
            PairRelay { source: pair.source, destination: pair.destination, from: pair.link, to: onward };
        let relays =
            self.applied.get(&first.far_node).map(|overlay| overlay.relays.clone()).unwrap_or_default();
        assert!(relays.contains(&relay), "{} relays the pair", first.far_node);
    }
}

/// The switches that a node begins when its part changes from `old` to `new`: those whose old link stays.
fn switches(node: &str, old: &NodeOverlay, new: &NodeOverlay) -> Vec<(String, u64, PairWay, Option<LinkId>)> {
    let link_in = |overlay: &NodeOverlay, pair: &PairWay| {
        let mut pairs = overlay.pairs.iter();
        pairs.find(|p| p.source == pair.source && p.destination == pair.destination).map(|p| p.link)
    };
    let stays = |link: Option<LinkId>| link.is_none_or(|link| new.links.iter().any(|l| l.id == link));
    let all = new.pairs.iter().chain(old.pairs.iter().filter(|pair| link_in(new, pair).is_none()));
    let changed = all.filter(|pair| link_in(old, pair) != link_in(new, pair) && stays(link_in(old, pair)));
    changed.map(|pair| (node.to_owned(), new.revision, pair.clone(), link_in(old, pair))).collect()
}
