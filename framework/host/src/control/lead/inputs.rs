//! What the lead is told: nodes, answers, questions; and inference, which it does itself.

use vreserve_model::{Failure, FailureKind, Timestamp};

use super::{ABSENCE, Answer, Generation, Input, Question, Running};
use crate::clock::Clock;
use crate::control::messages::UpMessage;

impl Running {
    pub(super) fn handle(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Joined { session, node, key, in_force, down } => {
                let name = node.name.clone();
                self.absent.remove(&name);
                self.sessions.insert(name.clone(), (session, down));
                self.shell.lead.handle_node_joined(now, node, key);
                self.shell.lead.handle_present(now, &name, &in_force.links, &in_force.pairs);
            }
            Input::Left { session, node } => {
                if self.sessions.get(&node).is_some_and(|(known, _)| *known == session) {
                    self.sessions.remove(&node);
                    self.absent.insert(node, now + ABSENCE);
                }
            }
            Input::Message { session, node, message } => {
                if self.sessions.get(&node).is_some_and(|(known, _)| *known == session) {
                    self.handle_message(now, &node, message);
                }
            }
            Input::Answered(answer) => self.handle_answer(now, answer),
            Input::Health { network, generation, outcome } => {
                self.handle_health(now, &network, generation, outcome);
            }
            Input::Changes { network, changes } => self.shell.lead.handle_changes(now, &network, &changes),
            Input::Journal(answer) => self.handle_journal(answer),
            Input::Question(question) => self.handle_question(now, question),
            Input::Changed(changes, done) => {
                self.handle_configuration(now, changes);
                // Nobody waits any more: fine.
                let _ = done.send(());
            }
            Input::Stop(done) => {
                self.stopping = Some(done);
                self.shell.lead.handle_stop(now);
            }
        }
    }

    fn handle_message(&mut self, now: Timestamp, node: &str, message: UpMessage) {
        let lead = &mut self.shell.lead;
        match message {
            // Once per session, and admission has taken them.
            UpMessage::Hello { .. } | UpMessage::InForce(_) => {}
            UpMessage::Guests(guests) => lead.handle_guests(now, node, &guests),
            UpMessage::Report(report) => {
                let merged = self.shell.infer.call(now, |infer| infer.merge(now, node, &report));
                if let Err(failure) = merged {
                    self.refused_reports += 1;
                    tracing::debug!(node, %failure, "report refused");
                }
            }
            UpMessage::Applied { revision, error } => {
                lead.handle_applied(now, node, revision, error.map_or(Ok(()), Err));
            }
            UpMessage::Switched { revision, outcomes } => {
                lead.handle_switched(now, node, revision, &outcomes);
            }
            UpMessage::Proved { link, outcome } => {
                if let Some(circuit) = self.probes.remove(&link) {
                    lead.handle_probed(now, circuit, outcome);
                }
            }
            UpMessage::LinkState { link, up } => lead.handle_link_state(now, node, link, up),
            UpMessage::LinkDegraded { link, reason } => {
                lead.handle_link_degraded(now, node, link, &reason);
            }
        }
    }

    pub(super) fn handle_answer(&mut self, now: Timestamp, answer: Answer) {
        let lead = &mut self.shell.lead;
        match answer {
            Answer::Submitted(circuit, answer) => lead.handle_submitted(now, circuit, answer),
            Answer::Committed(circuit, answer) => lead.handle_committed(now, circuit, answer),
            Answer::Aborted(circuit, answer) => lead.handle_aborted(now, circuit, answer),
            Answer::Activated(circuit, answer) => lead.handle_activated(now, circuit, answer),
            Answer::Deactivated(circuit, answer) => lead.handle_deactivated(now, circuit, answer),
            Answer::Modified(circuit, answer) => lead.handle_modified(now, circuit, answer),
            Answer::Cancelled(circuit, answer) => lead.handle_cancelled(now, circuit, answer),
            Answer::Found(circuit, answer) => lead.handle_found(now, circuit, answer),
            Answer::Listed(network, answer) => lead.handle_listed(now, &network, answer),
            Answer::OrphanCancelled(network, key, answer) => {
                lead.handle_orphan_cancelled(now, &network, &key, answer);
            }
            Answer::Collected(network, answer) => lead.handle_collected(now, &network, answer),
        }
    }

    fn handle_question(&mut self, now: Timestamp, question: Question) {
        // Whoever asked may be gone: fine.
        match question {
            Question::Topology(reply) => drop(reply.send(self.topology_view())),
            Question::Reservations(reply) => drop(reply.send(self.reservations_view())),
            Question::Journal(reply) => drop(reply.send(self.ledger.status().clone())),
            Question::Calendar(reply) => drop(reply.send(self.shell.lead.calendar())),
            Question::Reserve(wish, reply) => self.reserve(now, wish, reply),
            Question::Cancel(id, reply) => {
                let outcome = self.shell.lead.cancel_booking(now, id);
                drop(reply.send(outcome.map_err(|error| error.to_string())));
            }
            Question::Explain(from, to, reply) => drop(reply.send(self.explain(now, &from, &to))),
            Question::WhatIf(demands, reply) => self.what_if(now, &demands, reply),
        }
    }

    fn handle_health(
        &mut self,
        now: Timestamp,
        network: &str,
        generation: Generation,
        outcome: Result<(), Failure>,
    ) {
        let Some(backend) = self.shell.backends.current_if(network, generation) else { return };
        let Some(state) = self.backend_states.get_mut(network) else { return };
        let failure = outcome.err().filter(|failure| failure.kind != FailureKind::Unsupported);
        let reason = failure.map(|failure| failure.to_string());
        if state.up == reason.is_none() && state.is_known {
            state.reason = reason;
            return;
        }
        (state.up, state.is_known) = (reason.is_none(), true);
        match &reason {
            None => self.shell.lead.handle_backend_up(now, network, backend.capabilities()),
            Some(reason) => {
                self.shell.lead.handle_backend_down(now, network, reason);
                tracing::warn!(network, reason, "reservation backend cannot be used");
            }
        }
        state.reason = reason;
    }

    pub(super) fn handle_clock(&mut self) {
        let now = self.now();
        self.shell.lead.handle_clock(now, Clock::wall_ms());
    }

    /// Infers, and plans on what was inferred.
    pub(super) fn infer(&mut self) {
        let now = self.now();
        match self.shell.infer.call(now, |infer| infer.infer(now)) {
            Ok(report) => self.shell.lead.handle_topology(now, report),
            Err(failure) => return tracing::warn!(%failure, "no topology inferred"),
        }
        if self.stopping.is_none() {
            self.plan(now, None);
        }
    }
}
