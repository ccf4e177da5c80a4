//! The agent against a worker that the test plays: what it tells the data plane, what it tells the lead.
//!
//! lead (test) ──DownMessage──▶ agent ──Command──▶ worker (test)
//!             ◀──UpMessage───        ◀──Event────

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use vreserve::clock::Clock;
use vreserve::control::agent::{Agent, AgentChannels, AgentConfig};
use vreserve::control::events::EventLog;
use vreserve::control::messages::{DownMessage, InForce, UpMessage};
use vreserve::control::revive::Revived;
use vreserve::dataplane::mailbox::{Collected, Command, CutoverSpec, Event, LinkSpec, Mailbox, mailbox};
use vreserve::dataplane::{Teller, Workers, events};
use vreserve::keys::PublicKey;
use vreserve::plugin::{HostServices, InferInstance, PluginKind};
use vreserve_core::ids::{InterfaceId, LinkClass, LinkId, SwitchId};
use vreserve_core::liveness::{Degradation, LinkHealth};
use vreserve_core::overlay::{NodeOverlay, OverlayLink, PairWay};
use vreserve_core::rules::{Action, RuleSet, StarRole};
use vreserve_core::switch::{AbortReason, SwitchEnd, SwitchOutcome};
use vreserve_model::MacAddr;

const STAR: LinkId = LinkId(1 << 32);
const CIRCUIT: LinkId = LinkId((1 << 32) + 1);
/// The proxy's key in the node's configuration, and the one that overlays name for every far node.
const PROXY_KEY: PublicKey = PublicKey([1; 32]);
const CLAIMED_KEY: PublicKey = PublicKey([2; 32]);
const SOURCE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const DESTINATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

struct World {
    down: mpsc::Sender<DownMessage>,
    up: mpsc::UnboundedReceiver<UpMessage>,
    data: Teller,
    worker: Mailbox,
    _questions: mpsc::Sender<vreserve::control::agent::Question>,
    in_force: watch::Receiver<Option<InForce>>,
    state: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    fn start_in(state: tempfile::TempDir) -> Self {
        let (worker, mailbox) = mailbox().expect("an event descriptor");
        let services = HostServices::new(state.path());
        let host = services.instance(PluginKind::Infer, "vttif", None);
        let open = move || InferInstance::open(vreserve_infer_vttif::plugin(), &host, "{}");
        let infer = open().expect("it opens");
        let infer = Revived::new("infer.vttif".into(), infer, Box::new(open), EventLog::default());
        let (up_sender, up) = mpsc::unbounded_channel();
        let (down, down_receiver) = mpsc::channel(16);
        let workers = Workers::new(vec![worker]);
        let (mut tellers, data_receiver) = events(&workers);
        let data = tellers.remove(0);
        let (questions, question_receiver) = mpsc::channel(1);
        let (in_force_sender, in_force) = watch::channel(None);
        let config = AgentConfig {
            role: StarRole::Leaf,
            proxy_key: Some(PROXY_KEY),
            interfaces: vec![(InterfaceId(0), "guests".into())],
            static_links: Vec::new(),
            infer,
            report_interval: Duration::from_secs(3600),
            workers,
            events: EventLog::default(),
            clock: Clock::start(),
            state_dir: state.path().to_owned(),
            in_force: in_force_sender,
        };
        let channels =
            AgentChannels { down: down_receiver, data: data_receiver, questions: question_receiver };
        tokio::spawn(Agent::new(config, up_sender).run(channels));
        World { down, up, data, worker: mailbox, _questions: questions, in_force, state }
    }

    /// The next command that is not a collection; links are added as asked.
    async fn command(&mut self) -> Command {
        loop {
            match self.worker.poll() {
                Some(Command::Collect(reply)) => drop(reply.send(Collected::default())),
                Some(Command::AddLink { link, reply }) => {
                    drop(reply.send(Ok(())));
                    let (reply, _) = tokio::sync::oneshot::channel();
                    return Command::AddLink { link, reply };
                }
                Some(command) => return command,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn added(&mut self) -> LinkId {
        self.added_link().await.id
    }

    async fn added_link(&mut self) -> LinkSpec {
        match self.command().await {
            Command::AddLink { link, .. } => link,
            _ => panic!("expected a link to be added"),
        }
    }

    async fn installed(&mut self) -> (std::sync::Arc<RuleSet>, Vec<CutoverSpec>, Vec<SwitchId>) {
        match self.command().await {
            Command::Install { rules, begin, retire } => (rules, begin, retire),
            _ => panic!("expected rules to be installed"),
        }
    }

    /// The next message that is not a report.
    async fn told(&mut self) -> UpMessage {
        loop {
            match self.up.recv().await.expect("the agent runs") {
                UpMessage::Report(_) => {}
                message => return message,
            }
        }
    }

    async fn send(&self, overlay: NodeOverlay) {
        self.down.send(DownMessage::Overlay(overlay)).await.expect("the agent runs");
    }

    /// Brings the agent up to a pair that moves onto its circuit.
    async fn moving() -> (Self, std::sync::Arc<RuleSet>, CutoverSpec) {
        let mut world = World::start();
        world.installed().await;
        world.told().await;
        world.send(overlay(1, &[SOURCE])).await;
        assert_eq!((world.added().await, world.added().await), (STAR, CIRCUIT));
        let (rules, begin, _) = world.installed().await;
        assert!(matches!(world.told().await, UpMessage::Applied { revision: 1, error: None }));
        let [cutover] = begin.try_into().expect("one pair, one cut-over");
        (world, rules, cutover)
    }

    /// Brings the agent up to a pair on its circuit.
    async fn carrying() -> Self {
        let (mut world, _, cutover) = World::moving().await;
        world.end(cutover.switch.id, SwitchEnd::Completed);
        world.installed().await;
        assert!(matches!(world.told().await, UpMessage::Switched { revision: 1, .. }));
        world
    }

    fn end(&self, id: SwitchId, end: SwitchEnd) {
        let outcome = SwitchOutcome {
            end,
            held_frames: 3,
            held_bytes: 300,
            held_for: Duration::from_millis(4),
            barriers: 1,
            dropped: 0,
        };
        self.data.tell(Event::CutoverEnded(id, outcome));
    }
}

fn link(id: LinkId, class: LinkClass, far_address: &str) -> OverlayLink {
    OverlayLink {
        id,
        class,
        far_node: "far".into(),
        endpoint: "internet".into(),
        far_address: far_address.into(),
        far_key: CLAIMED_KEY,
    }
}

/// A part with a star link and a circuit, and the pair on the circuit for each source given.
fn overlay(revision: u64, sources: &[MacAddr]) -> NodeOverlay {
    NodeOverlay {
        revision,
        links: vec![
            link(STAR, LinkClass::Star, "192.0.2.1:4789"),
            link(CIRCUIT, LinkClass::Circuit, "10.10.0.2:4789"),
        ],
        pairs: sources
            .iter()
            .map(|source| PairWay { source: *source, destination: DESTINATION, link: CIRCUIT, onward: None })
            .collect(),
        relays: Vec::new(),
        guests: Vec::new(),
    }
}

fn actions(rules: &RuleSet) -> Vec<Action> {
    rules.rules().map(|rule| rule.action).collect()
}

#[tokio::test]
async fn a_pair_is_held_while_it_moves_and_sent_on_the_circuit_afterwards() {
    let (mut world, rules, cutover) = World::moving().await;
    let id = cutover.switch.id;
    assert_eq!(actions(&rules), [Action::Hold(id)]);
    assert_eq!(cutover.star, STAR);
    world.end(id, SwitchEnd::Completed);
    let (rules, begin, retire) = world.installed().await;
    assert_eq!(actions(&rules), [Action::Send(CIRCUIT)]);
    assert!(begin.is_empty());
    assert_eq!(retire, [id]);
    let UpMessage::Switched { outcomes, .. } = world.told().await else { panic!("expected the outcome") };
    assert_eq!((outcomes[0].aborted.clone(), outcomes[0].held_frames), (None, 3));
}

#[tokio::test]
async fn a_dead_circuit_sends_its_pairs_to_the_star_before_anybody_is_asked() {
    let mut world = World::carrying().await;
    world.data.tell(Event::Health(CIRCUIT, LinkHealth::Down));
    let (rules, begin, _) = world.installed().await;
    assert!(actions(&rules).is_empty() && begin.is_empty(), "no rule but the star's flood is left");
    assert_eq!(world.told().await, UpMessage::LinkState { link: CIRCUIT, up: false });
}

/// What a session of this node would begin with, once it is `expected`.
async fn says(world: &mut World, expected: impl Fn(&InForce) -> bool) {
    let says = world.in_force.wait_for(|said| said.as_ref().is_some_and(&expected));
    tokio::time::timeout(Duration::from_secs(5), says).await.expect("in time").expect("the agent runs");
}

#[tokio::test]
async fn a_session_begins_with_what_is_in_force_and_a_new_one_changes_nothing() {
    let mut world = World::carrying().await;
    let on_circuit = PairWay { source: SOURCE, destination: DESTINATION, link: CIRCUIT, onward: None };
    says(&mut world, |said| said.links == overlay(1, &[]).links && said.pairs == [on_circuit.clone()]).await;
    world.down.send(DownMessage::Welcome { version: 3, proxy: "hub".into() }).await.expect("it runs");
    assert_eq!(world.told().await, UpMessage::Guests(Vec::new()));
    says(&mut world, |said| said.pairs == [on_circuit.clone()]).await;
    // A lead that took over numbers its revisions anew, and leaves everything where it is.
    world.send(overlay(1, &[SOURCE])).await;
    let (rules, begin, _) = world.installed().await;
    assert_eq!(actions(&rules), [Action::Send(CIRCUIT)]);
    assert!(begin.is_empty(), "nothing moves");
}

#[tokio::test]
async fn a_dead_circuit_is_not_said_to_be_in_force() {
    let mut world = World::carrying().await;
    world.data.tell(Event::Health(CIRCUIT, LinkHealth::Down));
    says(&mut world, |said| said.pairs.is_empty() && said.links.len() == 1).await;
}

#[tokio::test]
async fn a_degraded_circuit_is_left_at_once_and_the_lead_is_told_why() {
    let mut world = World::carrying().await;
    world.data.tell(Event::Degraded(CIRCUIT, Degradation::Lossy { lost: 9, of: 40 }));
    let (rules, begin, _) = world.installed().await;
    assert!(actions(&rules).is_empty() && begin.is_empty(), "no rule but the star's flood is left");
    let reason = "9 of its last 40 probes were lost".to_owned();
    assert_eq!(world.told().await, UpMessage::LinkDegraded { link: CIRCUIT, reason });
    // On a star link there is nowhere to go.
    world.data.tell(Event::Degraded(STAR, Degradation::Lossy { lost: 9, of: 40 }));
    assert!(matches!(world.told().await, UpMessage::LinkDegraded { link: STAR, .. }));
}

#[tokio::test]
async fn a_pair_goes_back_to_the_star_through_a_cut_over() {
    let mut world = World::carrying().await;
    world.send(overlay(2, &[])).await;
    let (rules, begin, _) = world.installed().await;
    assert_eq!(actions(&rules), [Action::Hold(begin[0].switch.id)]);
    assert_eq!(begin[0].switch.circuit, Some(CIRCUIT), "the barrier is answered over the circuit both ways");
    world.end(begin[0].switch.id, SwitchEnd::Completed);
    let (rules, _, _) = world.installed().await;
    assert!(actions(&rules).is_empty());
}

#[tokio::test]
async fn a_failed_cut_over_is_reported_and_not_repeated_by_itself() {
    let (mut world, _, cutover) = World::moving().await;
    world.end(cutover.switch.id, SwitchEnd::Aborted(AbortReason::NoAcknowledgement));
    let (rules, begin, _) = world.installed().await;
    assert!(actions(&rules).is_empty() && begin.is_empty());
    let UpMessage::Switched { outcomes, .. } = world.told().await else { panic!("expected the outcome") };
    assert!(outcomes[0].aborted.is_some());
}

#[tokio::test]
async fn a_removed_link_takes_its_pairs_to_the_star_at_once() {
    let mut world = World::carrying().await;
    let mut without = overlay(2, &[]);
    without.links.truncate(1);
    world.send(without).await;
    let (rules, begin, _) = world.installed().await;
    assert!(actions(&rules).is_empty() && begin.is_empty());
    assert!(matches!(world.command().await, Command::RemoveLink(CIRCUIT)));
}

#[tokio::test]
async fn an_address_is_free_before_another_link_takes_it() {
    let mut world = World::carrying().await;
    let later = LinkId(2 << 32);
    let mut renumbered = overlay(2, &[]);
    renumbered.links = vec![link(later, LinkClass::Star, "192.0.2.1:4789")];
    world.send(renumbered).await;
    world.installed().await;
    assert!(matches!(world.command().await, Command::RemoveLink(STAR)));
    assert_eq!(world.added().await, later);
}

#[tokio::test]
async fn a_node_boots_with_the_star_it_last_knew() {
    let World { state, .. } = World::carrying().await;
    let mut world = World::start_in(state);
    assert_eq!(world.added().await, STAR);
    let (rules, _, _) = world.installed().await;
    assert_eq!(rules.class_of(STAR), Some(LinkClass::Star));
    assert_eq!(rules.class_of(CIRCUIT), None, "whether a circuit still exists only the lead can say");
}

#[tokio::test]
async fn the_star_is_keyed_by_the_configuration_and_a_circuit_by_the_leads_word() {
    let mut world = World::start();
    world.installed().await;
    world.send(overlay(1, &[])).await;
    let (star, circuit) = (world.added_link().await, world.added_link().await);
    assert_eq!((star.id, star.far_key), (STAR, Some(PROXY_KEY)));
    assert_eq!((circuit.id, circuit.far_key), (CIRCUIT, Some(CLAIMED_KEY)));
}

#[tokio::test]
async fn a_far_node_with_a_new_key_is_admitted_anew() {
    let mut world = World::carrying().await;
    let mut rekeyed = overlay(2, &[]);
    rekeyed.links[1].far_key = PublicKey([9; 32]);
    world.send(rekeyed).await;
    world.installed().await;
    assert!(matches!(world.command().await, Command::RemoveLink(CIRCUIT)));
    let circuit = world.added_link().await;
    assert_eq!((circuit.id, circuit.far_key), (CIRCUIT, Some(PublicKey([9; 32]))));
}
