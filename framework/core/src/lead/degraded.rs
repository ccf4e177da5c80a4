//! Circuits that still answer and are no longer worth their place.

use vreserve_model::Timestamp;

use super::outcome::Cause;
use super::{CircuitId, Event, Lead, Phase};
use crate::ids::LinkId;

impl Lead {
    /// One end says that a circuit is degraded, and why; its own pairs are on the star already. The circuit is
    /// given up as a dead one is: taken down, given back, and asked for anew after the back-off.
    pub fn handle_link_degraded(&mut self, now: Timestamp, node: &str, link: LinkId, reason: &str) {
        self.advance_clock(now);
        let id = CircuitId(link.0);
        let circuit = self.circuits.get(&id).filter(|circuit| circuit.link.far_end(node).is_some());
        if let Some(phase) = circuit.map(|circuit| circuit.phase) {
            self.publish(Event::LinkChanged { node: node.into(), link, up: false });
            if phase.has_link() && phase >= Phase::Switching {
                self.fail(id, &format!("the link is degraded at {node}: {reason}"), Cause::Other);
            }
        }
        self.settle();
    }
}
