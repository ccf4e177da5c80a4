//! Control sessions between nodes and the lead, as uplink and admission keep them up.

use std::time::Duration;

use vreserve_core::overlay::{OverlayLink, PairWay};
use vreserve_model::Timestamp;

use super::nodes::RETRY;
use super::{Event, HUB, World};
use crate::session::{Down, Letter, Session, SessionId, Up};

/// The longest wait between two attempts to have a session.
const RETRY_MAX: Duration = Duration::from_secs(1);

impl World {
    /// A node without a session tries to have one.
    pub(super) fn dial(&mut self, node: usize) {
        if self.nodes[node].session.is_some() {
            return;
        }
        let boot = self.nodes[node].boot;
        let Some(epoch) = self.shell.as_ref().map(|shell| shell.epoch).filter(|_| !self.is_cut(node, HUB))
        else {
            let retry_in = self.nodes[node].retry_in;
            self.nodes[node].retry_in = (retry_in * 2).min(RETRY_MAX);
            return self.later(retry_in, Event::Dial { node, boot });
        };
        self.last_session += 1;
        let id = SessionId(self.last_session);
        // The proxy's own agent is in the same process.
        let delay = if node == HUB { Duration::ZERO } else { self.scenario.settings.delays[node] };
        let last = [self.now; 2];
        self.sessions.insert(id, Session { node, boot, epoch, delay, last, waiting: Vec::new() });
        (self.nodes[node].session, self.nodes[node].retry_in) = (Some(id), RETRY);
        let in_force = Box::new(self.nodes[node].agent.in_force());
        // Three ways until both ends have proved who they are, and one for what the node begins with.
        let at = self.now + delay * 4;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.last = [at; 2];
        }
        self.queue.push(at, Event::Joined { session: id, in_force });
    }

    pub(super) fn handle_joined(&mut self, id: SessionId, in_force: &(Vec<OverlayLink>, Vec<PairWay>)) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (node, epoch) = (session.node, session.epoch);
        if !self.is_term(epoch) {
            return;
        }
        let place = &self.scenario.topology.nodes[node];
        let (description, key) = (place.description.clone(), place.key);
        let now = self.now;
        if let Some(shell) = &mut self.shell {
            shell.handle_joined(now, id, description, key, in_force);
        }
        self.counts.joins += 1;
        self.note(format!("{} joins with {} pairs on circuits", self.name(node), in_force.1.len()));
        self.post(id, Letter::Down(Down::Welcome));
    }

    /// A node tells the lead; without a session what it says is lost, and told again when it joins.
    pub(super) fn tell_lead(&mut self, node: usize, message: Up) {
        if let Some(session) = self.nodes[node].session {
            self.post(session, Letter::Up(message));
        }
    }

    /// The lead tells a node.
    pub(super) fn tell_node(&mut self, name: &str, message: Down) {
        if let Some(session) = self.shell.as_ref().and_then(|shell| shell.session_of(name)) {
            self.post(session, Letter::Down(message));
        }
    }

    fn post(&mut self, id: SessionId, letter: Letter) {
        let now = self.now;
        let cuts = &self.wires.cuts;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.node != HUB && cuts[session.node] > 0 {
            return session.waiting.push(letter);
        }
        let at = session.arrival(&letter, now);
        self.queue.push(at, Event::Letter { session: id, letter });
    }

    pub(super) fn handle_letter(&mut self, id: SessionId, letter: Letter) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (node, boot, epoch) = (session.node, session.boot, session.epoch);
        let now = self.now;
        match letter {
            Letter::Up(message) if self.is_term(epoch) => {
                let name = self.name(node).to_owned();
                if let Some(shell) = &mut self.shell {
                    shell.handle_message(now, id, &name, message);
                }
            }
            Letter::Down(message) if self.is_run(node, boot) && self.nodes[node].session == Some(id) => {
                self.handle_down(node, message);
            }
            _ => {}
        }
    }

    /// A session ends on both sides; one that a partition had stalled only if it still does.
    pub(super) fn end_session(&mut self, id: SessionId, if_cut: bool) {
        let node = match self.sessions.get(&id) {
            Some(session) if !if_cut || self.wires.cuts[session.node] > 0 => session.node,
            _ => return,
        };
        let Some(session) = self.sessions.remove(&id) else { return };
        let now = self.now;
        if self.is_run(node, session.boot) && self.nodes[node].session == Some(id) {
            self.nodes[node].session = None;
            let (boot, retry_in) = (session.boot, self.nodes[node].retry_in);
            self.later(retry_in, Event::Dial { node, boot });
        }
        if self.is_term(session.epoch) {
            let name = self.name(node).to_owned();
            if let Some(shell) = &mut self.shell {
                shell.handle_left(now, id, &name);
            }
        }
        self.note(format!("the session of {} ends", self.name(node)));
    }

    /// A partition begins: sessions stall, and end if it lasts.
    pub(super) fn stall_sessions(&mut self, node: usize) {
        let stalled = self.sessions.iter().filter(|(_, session)| session.node == node);
        for session in stalled.map(|(id, _)| *id).collect::<Vec<_>>() {
            let patience = self.millis(1_000, 3_000);
            self.later(patience, Event::SessionEnds { session, if_cut: true });
        }
    }

    /// A partition is over: what has waited arrives.
    pub(super) fn resume_sessions(&mut self, node: usize) {
        if self.wires.cuts[node] > 0 {
            return;
        }
        let now = self.now;
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.node == node) {
            for letter in std::mem::take(&mut session.waiting) {
                let at = session.arrival(&letter, now);
                self.queue.push(at, Event::Letter { session: *id, letter });
            }
        }
    }

    pub(super) fn handle_replay(&mut self, node: usize, report: &[u8]) {
        let name = self.name(node).to_owned();
        let now: Timestamp = self.now;
        if let Some(shell) = &mut self.shell
            && let Some(session) = shell.session_of(&name)
        {
            shell.handle_message(now, session, &name, Up::Report(report.to_vec()));
        }
    }
}
