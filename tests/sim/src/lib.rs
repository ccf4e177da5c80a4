//! The control loop in one process: hundreds of nodes on a virtual clock, with in-memory links, and everything going
//! wrong that a seed says. The same seed gives the same run, to the last frame.
//!
//! ```text
//!  scenario ── a seed: topology (or a lab file's), settings, flows, faults
//!     │
//!  world ── queue of events ─▶ nodes:  core agent, forwarder, liveness, proofs, cut-overs, matrix; infer-vttif
//!     │                        lead:   core lead and ledger; infer-vttif, adapt-vadapt
//!     │                        wires, sessions, providers, disk: what is simulated
//!     └─ after each event: checks ── broken? ─▶ seed, step, the last events
//! ```
//!
//! **What is the real code.** From `vreserve-core`: the lead, its ledger (what waits for which record), the agent,
//! the forwarder with rules, cache and learning, liveness and degradation, proofs, cut-overs, the matrix. The two
//! plugins infer-vttif and adapt-vadapt, linked statically. The provider speaks the SDK's `Reserve` trait.
//!
//! **What is simulated in place of the daemon's code** (`framework/host`):
//!
//! | here | stands for |
//! |---|---|
//! | `worker` | `dataplane/`: how core's parts are put together on a frame's way, without slots, threads, batches, offload and plugins; frames are headers with a length, and a burst is one super-frame |
//! | `shell` | `control/lead.rs` and `control/lead/`: what is handed to the lead, and when |
//! | `world/nodes` | `control/agent.rs`: timers, reports, news from the worker with some delay |
//! | `session`, `world/sessions` | `uplink`, `session`, `admission`: in order, without loss while a session lasts |
//! | `world/lead` | the journal's thread and its store: writes take time, fail, and may have been made when the lead dies |
//! | `world/wires` | links and underlays: loss, delay, doubling, partitions; a circuit is there while its provider has it |
//! | `provider`, `calls`, `world/providers` | a reservation plugin with its system, and the way to it |
//!
//! Not here: wire formats, keys, configuration and its reload, the control API, bookings.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod calls;
mod checks;
mod frame;
mod outcome;
mod parts;
mod path;
mod provider;
mod queue;
mod scenario;
mod session;
mod shell;
mod topology;
mod trace;
mod worker;
mod world;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use vreserve_testbed::LabSpec;

pub use checks::INVARIANTS;
pub use outcome::{Broken, BrokenRun, Counts, Outcome, Summary};
pub use scenario::Ground;

use scenario::Scenario;
use topology::Topology;
use world::World;

impl Ground {
    /// What is not drawn from the seed: a lab's topology, or a number of nodes.
    ///
    /// # Errors
    /// If the lab cannot be read, or has no proxy.
    pub fn new(lab: Option<&Path>, nodes: Option<usize>) -> anyhow::Result<Self> {
        let lab = lab.map(|path| Topology::of_lab(&LabSpec::load(path)?)).transpose()?;
        Ok(Ground { lab, nodes })
    }
}

/// Runs one seed; what happens is told on standard error if `is_told`.
pub fn run(seed: u64, ground: &Ground, is_told: bool) -> Outcome {
    let mut world = World::new(seed, Scenario::draw(seed, ground), is_told);
    let broken = world.run().err();
    Outcome {
        seed,
        nodes: world.nodes.len(),
        steps: world.trace.steps(),
        digest: world.trace.digest(),
        lasted: std::time::Duration::from_nanos(world.now.0),
        released_after: world.checks.released_after,
        longest_gap: world.checks.longest_gap,
        counts: world.counts,
        broken,
    }
}

/// Runs seeds from `first` on, several at a time; `tell` hears of each as it ends.
pub fn run_all(
    first: u64,
    seeds: u64,
    ground: &Ground,
    jobs: usize,
    tell: impl Fn(&Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let outcome = run(first.wrapping_add(number), ground, false);
                    tell(&outcome);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests;
