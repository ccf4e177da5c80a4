//! Suite `peers`: ours against what a user would run instead, clear against clear and sealed against sealed.
//!
//! Every peer has guests on TAPs like ours: it makes the TAP on its node, which is then moved to the guest. What
//! is not there or does not run is said with its reason; the others are measured all the same.

mod recipe;
mod vpncloud;

use std::time::Duration;

use anyhow::Context;

use super::contest::{Contest, Outcome, Ratio};
use super::dataplane::{CLEAR, SECURE};
use super::ground::{A, B, Ground, Interface, Seat, Subject, UNDERLAY};
use super::load::Load;
use super::node::{self, Variant};
use super::record::Record;
use super::underlay::Underlay;
use super::{Options, machine};
use crate::artifacts::Artifacts;
use crate::interrupt::{self, wait_for};
use crate::packages;
use crate::processes::Processes;
use recipe::{PEERS, Peer, Site};

const LOADS: [Load; 3] = [Load::Tcp1, Load::Small, Load::RoundTrip];
const UNDERLAYS: [Underlay; 2] = [Underlay::Wire, Underlay::Super];
/// The first peer's UDP port; the next has the next.
const FIRST_PORT: u16 = 7500;
/// For a peer to make its TAP, and to find its far end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether others on the underlay can read the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Clear,
    Secure,
}

impl Class {
    /// Ours of this class.
    fn ours(self) -> Variant {
        match self {
            Self::Clear => CLEAR,
            Self::Secure => SECURE,
        }
    }
}

/// Measures.
///
/// # Errors
/// If the lab cannot be made, ours fails while it is measured, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    let mut seats = [CLEAR, SECURE].map(|variant| variant.seat()).to_vec();
    seats.extend(PEERS.iter().map(|peer| Seat { subject: peer.name, interface: Interface::Absent }));
    let ground = Ground::set(&options.lab, built, &seats)?;
    let mut outcome = Outcome::default();
    let mut versions = Vec::new();
    // Some look up which of their addresses is the public one; nothing leaves, there is only the other node.
    for (node, far) in [(A, B), (B, A)] {
        ground
            .lab()
            .ip(node, vec![format!("route add default via {} dev {UNDERLAY}", ground.address_of(far))])?;
    }
    for (nth, class) in (0..).zip([Class::Clear, Class::Secure]) {
        let ours = match node::start(&ground, built, &class.ours(), nth) {
            Ok(ours) => ours,
            Err(error) => {
                interrupt::check()?;
                outcome.fail(class.ours().name, &error);
                continue;
            }
        };
        let peers = start_all(options, &ground, class, &mut outcome, &mut versions)?;
        contest(options, &ground, &ours, &peers, &mut outcome)?;
        for mut subject in peers.into_iter().chain([ours]) {
            // How others end is their business; the lab ends whoever stays.
            let _ = subject.processes.end();
        }
    }
    let mut record = Record::new("peers", options.rounds, options.length.as_secs_f64(), outcome.samples);
    record.skipped = outcome.failures;
    record.versions.extend(versions);
    Ok(record)
}

fn contest(
    options: &Options,
    ground: &Ground,
    ours: &Subject,
    peers: &[Subject],
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for round in 0..options.rounds {
        for underlay in UNDERLAYS {
            ground.lay(underlay, None)?;
            for load in LOADS {
                let name = |peer: &Subject| format!("{}/{}/{}", underlay.name(), load.name(), peer.name);
                let contest = Contest {
                    ground,
                    setting: underlay.name().to_owned(),
                    load,
                    length: options.length,
                    baseline: ours,
                    others: peers.iter().filter(|peer| options.wants(&name(peer))).collect(),
                    ratio: Ratio::OfBaseline,
                };
                contest.round(round, outcome)?;
            }
        }
    }
    Ok(())
}

/// Starts the peers of a class; those that cannot be had or do not run are written down.
fn start_all(
    options: &Options,
    ground: &Ground,
    class: Class,
    outcome: &mut Outcome,
    versions: &mut Vec<(String, String)>,
) -> anyhow::Result<Vec<Subject>> {
    let mut running = Vec::new();
    for (nth, peer) in (0..).zip(&PEERS).filter(|(_, peer)| peer.class == class) {
        if !LOADS.iter().any(|load| {
            UNDERLAYS.iter().any(|at| options.wants(&format!("{}/{}/{}", at.name(), load.name(), peer.name)))
        }) {
            continue;
        }
        match start(ground, peer, FIRST_PORT + nth) {
            Ok(subject) => {
                let version =
                    (peer.version)().and_then(|(program, word)| machine::version_of(&program, word));
                versions.extend(version.map(|version| (peer.name.to_owned(), version)));
                running.push(subject);
            }
            Err(error) => {
                interrupt::check()?;
                outcome.fail(peer.name, &error);
            }
        }
    }
    Ok(running)
}

fn start(ground: &Ground, peer: &Peer, port: u16) -> anyhow::Result<Subject> {
    for (program, package) in peer.needs {
        packages::offer(program, package)?;
    }
    let (a, b) = ground.guests(peer.name);
    let folder = ground.files().join(peer.name);
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let site = Site {
        device: peer.name,
        port,
        folder: &folder,
        addresses: [ground.address_of(A), ground.address_of(B)],
        macs: [a.mac, b.mac],
    };
    let mut processes = Processes::default();
    let mut pids = Vec::new();
    for (nth, (node, mut command)) in (peer.commands)(&site)?.into_iter().enumerate() {
        let log = format!("{}-{nth}", peer.name);
        pids.push(processes.start(ground.lab(), &ground.files(), &log, node, &mut command)?);
    }
    for (node, guest) in [(A, a), (B, b)] {
        wait_for("the peer's interface", PATIENCE, || {
            processes.check()?;
            Ok(node::has_interface(ground, node, peer.name)?.then_some(()))
        })?;
        let namespace = ground.lab().spec().namespace(&guest.name);
        ground.lab().ip(node, vec![format!("link set {} netns {namespace} name eth0", peer.name)])?;
    }
    ground.address(peer.name, peer.mtu)?;
    wait_for("the first frame", PATIENCE, || {
        processes.check()?;
        let answers = node::does_answer(ground, &a.name, &b.address.addr().to_string())?;
        Ok(answers.then_some(()))
    })?;
    Ok(ground.subject(peer.name, processes, pids))
}
