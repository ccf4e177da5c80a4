//! Circuits that still answer and are no longer worth their place.

use vreserve_model::Timestamp;

use super::outcome::Cause;
use super::{Event, Lead};
use crate::ids::LinkId;

impl Lead {
    /// One end says that a circuit is degraded, and why; its own pairs are on the star already. The circuit is
    /// given up as a dead one is: taken down, given back, and asked for anew after the back-off.
    pub fn handle_link_degraded(&mut self, now: Timestamp, node: &str, link: LinkId, reason: &str) {
        self.advance_clock(now);
        if let Some((id, phase)) = self.circuit_over(link, node).map(|circuit| (circuit.id, circuit.phase)) {
            self.publish(Event::LinkChanged { node: node.into(), link, up: false });
            if phase.takes_pairs() || phase == super::Phase::CuttingBack {
                self.fail(id, &format!("the link is degraded at {node}: {reason}"), Cause::Other);
            }
        }
        self.settle();
    }
}
