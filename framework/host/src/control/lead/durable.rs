//! The journal at work: taking over from an earlier lead, writing, and what a failing disk means.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use vreserve_core::lead::{Action, Record};
use vreserve_core::ledger::{Step, Turn};
use vreserve_model::Failure;

use super::{Answer, Input, JournalAnswer, Loaded, Running};

/// A journal that takes longer to be read is not waited for: the star must come up.
const LOAD_TIME: Duration = Duration::from_secs(10);

impl Running {
    /// Reads the journal before any node is told anything: its circuits would be taken from it. Other inputs
    /// wait meanwhile, but not for ever.
    pub(super) async fn take_over(&mut self, inputs: &mut mpsc::Receiver<Input>) {
        self.ledger.begin_load();
        self.journal.load();
        let (deadline, mut held) = (Instant::now() + LOAD_TIME, Vec::new());
        let answer = loop {
            match timeout_at(deadline, inputs.recv()).await {
                Ok(Some(Input::Journal(answer))) => break answer,
                Ok(Some(input)) => held.push(input),
                Ok(None) => return,
                Err(_) => {
                    let reason = format!("the journal was not read within {} s", LOAD_TIME.as_secs());
                    break JournalAnswer::Loaded(Err(reason));
                }
            }
        };
        self.handle_journal(answer);
        held.into_iter().for_each(|input| self.handle(input));
    }

    pub(super) fn handle_journal(&mut self, answer: JournalAnswer) {
        let now = self.now();
        match answer {
            // A slow disk may answer a question that was repeated meanwhile.
            JournalAnswer::Loaded(_) if self.is_restored => {}
            JournalAnswer::Loaded(Ok(loaded)) => self.restore(loaded),
            JournalAnswer::Loaded(Err(reason)) => {
                if self.ledger.failure() != Some(&reason) {
                    tracing::error!(reason, "nothing is reserved before the journal can be read");
                }
                self.ledger.handle_loaded(now, Err(&reason));
                self.backend_states.values_mut().for_each(|state| state.wait_for(&reason));
                self.shell.lead.handle_journal_failed(now, &reason);
            }
            JournalAnswer::Written(outcome, took) => match self.ledger.handle_written(now, outcome, took) {
                Turn::None => {}
                Turn::Failed(reason) => {
                    tracing::error!(reason, "nothing new is reserved while the journal cannot be written");
                    self.shell.lead.handle_journal_failed(now, &reason);
                }
                Turn::Recovered => {
                    tracing::info!("the journal can be written again");
                    self.shell.lead.handle_journal_ok(now);
                }
            },
        }
    }

    /// Takes over what an earlier lead left on record, then lets the backends be asked.
    fn restore(&mut self, loaded: Loaded) {
        let now = self.now();
        let was_closed = self.ledger.failure().is_some();
        self.ledger.handle_loaded(now, Ok(&loaded));
        self.is_restored = true;
        // Nodes that joined meanwhile have what they were told; to the lead it is as if they joined now.
        let names: Vec<String> = self.shell.lead.nodes().map(|node| node.name).collect();
        let present: Vec<_> =
            names.into_iter().filter_map(|name| Some((self.shell.lead.overlay_of(&name)?, name))).collect();
        for record in self.shell.lead.restore(now, loaded.records) {
            let Record { key, version, .. } = record;
            self.ledger.set_unreadable(key.0, format!("it is of version {version}"));
        }
        for (overlay, name) in present {
            self.shell.lead.handle_present(now, &name, &overlay.links, &overlay.pairs);
        }
        self.take_former_backends(now);
        match self.ledger.failure() {
            Some(reason) => {
                tracing::error!(reason, "nothing new is reserved");
                self.shell.lead.handle_journal_failed(now, reason);
            }
            None if was_closed => {
                tracing::info!("the journal can be read again");
                self.shell.lead.handle_journal_ok(now);
            }
            None => {}
        }
        self.watch_backends();
    }

    /// Takes the ledger's next step; false if there is none now.
    pub(super) fn advance_ledger(&mut self) -> bool {
        let now = self.now();
        match self.ledger.poll(now) {
            Some(Step::Carry(action)) => self.carry_out_one(action),
            Some(Step::Deny(Action::Submit { circuit, .. }, reason)) => {
                let failure = Failure::unavailable(format!("the journal does not take it: {reason}"));
                self.handle_answer(now, Answer::Submitted(circuit, Err(failure)));
            }
            // Only what is new is ever denied.
            Some(Step::Deny(action, _)) => self.carry_out_one(action),
            Some(Step::Load) => self.journal.load(),
            Some(Step::Write(changes)) => self.journal.write(changes),
            None => return false,
        }
        true
    }
}
