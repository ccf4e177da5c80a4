//! What the control plane tells the worker, carried out between two batches.

use vreserve_core::counters::{Cell, Weight};
use vreserve_core::ids::Ingress;
use vreserve_model::Timestamp;

use super::mailbox::{Collected, Command, LinkSpec};
use super::worker::Worker;

/// What was counted for somebody who no longer waited for it.
#[derive(Default)]
pub(super) struct Unread {
    cells: Vec<Cell>,
    other: Weight,
}

impl Worker {
    pub(super) fn handle_command(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::AddLink { link, reply } => drop(reply.send(self.add_link(&link, now))),
            Command::RemoveLink(id) => {
                if let Some(entry) = self.links.remove(id) {
                    self.endpoints[entry.endpoint].remove(entry.far);
                }
            }
            Command::Install { rules, begin, retire } => {
                self.flush(now);
                self.forwarder.install(rules);
                self.cutovers.retire(&retire);
                self.cutovers.begin(begin, now);
            }
            Command::Release(id) => self.cutovers.release(id, now),
            Command::Abandon(id) => self.cutovers.abandon(id, now),
            Command::Prove(link, rate) => self.begin_proof(link, rate, now),
            Command::Carried { worker, link, sent, received } => {
                self.handle_carried(worker, link, sent, received);
            }
            Command::ForgetGuest(guest) => self.forwarder.forget_guest(guest),
            Command::TellOfGuest { guest, at } => self.forwarder.tell_of_guest(guest, at, now),
            Command::Answer { link, signal, length } => self.handle_answer(link, &signal, length, now),
            Command::Collect(reply) => {
                if let Err(unread) = reply.send(self.collect(now)) {
                    self.unread = Unread { cells: unread.cells, other: unread.other };
                }
            }
            Command::Stop => {}
        }
    }

    fn add_link(&mut self, link: &LinkSpec, now: Timestamp) -> Result<(), String> {
        let index = self
            .endpoints
            .iter()
            .position(|endpoint| endpoint.endpoint() == link.endpoint)
            .ok_or_else(|| format!("this node has no endpoint {}", link.endpoint))?;
        if self.links.find(link.id).is_some() {
            return Err(format!("this node has a link {} already", link.id));
        }
        let position = self.links.vacancy();
        let far = self.endpoints[index].add(link, position).map_err(|failure| failure.to_string())?;
        self.links.add(link.id, link.class, index, far, now);
        Ok(())
    }

    fn collect(&mut self, now: Timestamp) -> Collected {
        let Unread { mut cells, mut other } = std::mem::take(&mut self.unread);
        other += self.forwarder.poll_counters(now, &mut cells);
        let guests = self.forwarder.guests().iter().map(|(guest, ingress)| match ingress {
            Ingress::Interface(interface) => (guest, Some(interface)),
            Ingress::Link(_) => (guest, None),
        });
        Collected {
            other,
            cells,
            drops: self.drops.clone(),
            too_big: self.dispatch.too_big.counts(),
            cache: self.forwarder.stats(),
            links: self.links.status(now),
            ports: self
                .captures
                .iter()
                .map(|port| port.port.status())
                .chain(self.endpoints.iter().map(|endpoint| endpoint.port.status()))
                .collect(),
            guests: guests.collect(),
        }
    }
}
