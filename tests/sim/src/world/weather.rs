//! What goes wrong, as the scenario has it, and when it is over.

use std::time::Duration;

use super::{Event, HUB, World};
use crate::scenario::{Blow, Fault};

impl World {
    pub(super) fn blow(&mut self, number: usize) {
        let Blow { fault, .. } = self.scenario.blows[number];
        self.is_changed = true;
        self.note(format!("fault: {fault:?}"));
        *self.counts.faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Partition { node } => {
                self.wires.cuts[node] += 1;
                self.stall_sessions(node);
            }
            Fault::Lossy { node, share } => self.wires.losses[node] += share,
            Fault::Crash { node } => self.kill(node),
            Fault::Unreachable { network } => self.lines[network].outages += 1,
            Fault::ProviderRestarts { network } => self.lines[network].generation += 1,
            Fault::Amnesia { network } => {
                self.lines[network].generation += 1;
                self.lines[network].provider.forget_all();
            }
            Fault::Unreliable { network, share } => self.lines[network].unreliable.push(share),
            Fault::Dark { network } => self.spoil(network, |held| held.is_dark = true),
            Fault::Leaky { network, share } => self.spoil(network, |held| held.loss = share),
            Fault::Slow { network } => self.spoil(network, |held| held.speed = 0.3),
            Fault::Ends { network } => {
                let which = self.rng.usize(..64);
                self.lines[network].provider.end(which);
            }
            Fault::DiskFull => self.fill_disk(true),
            Fault::Replay => self.is_replaying = true,
        }
    }

    fn spoil(&mut self, network: usize, change: impl Fn(&mut crate::provider::Held)) {
        let which = self.rng.usize(..64);
        if self.lines[network].provider.spoil(which, change) {
            self.counts.spoilt += 1;
        }
    }

    pub(super) fn end_blow(&mut self, number: usize) {
        let Blow { fault, .. } = self.scenario.blows[number];
        self.is_changed = true;
        match fault {
            Fault::Partition { node } => {
                self.wires.cuts[node] -= 1;
                self.resume_sessions(node);
            }
            Fault::Lossy { node, share } => {
                self.wires.losses[node] = (self.wires.losses[node] - share).max(0.0)
            }
            Fault::Crash { node } => {
                let delay = if node == HUB { Duration::ZERO } else { self.millis(0, 10) };
                self.later(delay, Event::Start { node });
            }
            Fault::Unreachable { network } => self.lines[network].outages -= 1,
            Fault::Unreliable { network, share } => {
                let shares = &mut self.lines[network].unreliable;
                if let Some(at) = shares.iter().position(|known| *known == share) {
                    shares.swap_remove(at);
                }
            }
            Fault::DiskFull => self.fill_disk(false),
            Fault::Replay => self.is_replaying = false,
            // Over at once, or when the circuit is given back.
            Fault::ProviderRestarts { .. }
            | Fault::Amnesia { .. }
            | Fault::Dark { .. }
            | Fault::Leaky { .. }
            | Fault::Slow { .. }
            | Fault::Ends { .. } => {}
        }
        if !matches!(fault, Fault::ProviderRestarts { .. } | Fault::Amnesia { .. } | Fault::Ends { .. }) {
            self.note(format!("over: {fault:?}"));
        }
    }
}
