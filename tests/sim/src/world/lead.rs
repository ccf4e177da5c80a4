//! The lead in office: what its shell wants done, its timers, its disk.

use std::time::Duration;

use vreserve_core::lead::Event as LeadEvent;
use vreserve_core::ledger::Change;

use super::{Event, World};
use crate::shell::{Outgoing, Shell};

/// How often the lead is told the wall clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

impl World {
    /// A lead takes over what is on disk.
    pub(super) fn take_office(&mut self) {
        self.epoch += 1;
        let (epoch, now) = (self.epoch, self.now);
        let records: Vec<_> = self.disk.values().cloned().collect();
        if epoch > 1 {
            self.counts.takeovers += 1;
            self.counts.restored += records.len() as u64;
        }
        self.note(format!("lead {epoch} takes over {} records", records.len()));
        self.shell = Some(Shell::take_over(&self.scenario.settings, epoch, records, now));
        self.lead_timer = None;
        self.later(self.scenario.settings.infer_interval, Event::Infer { epoch });
        self.later(CLOCK_INTERVAL, Event::Clock { epoch });
        for network in 0..self.lines.len() {
            self.later(Duration::from_millis(5), Event::Health { epoch, network });
        }
    }

    /// The lead dies, perhaps in the middle of a write.
    pub(super) fn leave_office(&mut self) {
        self.shell = None;
        if let Some(changes) = self.writing.take()
            && self.rng.bool()
            && !self.is_disk_full
        {
            self.apply(changes);
        }
    }

    /// Carries out what the lead has decided, and sets its timer.
    pub(super) fn carry_out_lead(&mut self) {
        loop {
            let now = self.now;
            let Some(shell) = &mut self.shell else { return };
            let outgoing = shell.poll_outgoing(now);
            if outgoing.is_empty() {
                break;
            }
            for effect in outgoing {
                match effect {
                    Outgoing::Tell(node, message) => self.tell_node(&node, message),
                    Outgoing::Call(action) => self.call(action),
                    Outgoing::Write(changes) => self.write(changes),
                    Outgoing::Publish(event) => self.publish(&event),
                }
            }
        }
        let Some(shell) = &self.shell else { return };
        let epoch = shell.epoch;
        // Never twice at one time: what was due then has been done.
        let next = shell.next_timer().map(|at| at.max(self.now + Duration::from_micros(1)));
        if let Some(at) = next.filter(|at| self.lead_timer.is_none_or(|set| set <= self.now || *at < set)) {
            self.lead_timer = Some(at);
            self.queue.push(at, Event::LeadTimer { epoch });
        }
    }

    fn publish(&mut self, event: &LeadEvent) {
        self.is_changed = true;
        match event {
            LeadEvent::Carrying { .. } => self.counts.carried += 1,
            LeadEvent::CircuitFailed { .. } => self.counts.failed += 1,
            LeadEvent::Released { .. } => self.counts.released += 1,
            LeadEvent::PairSwitched { .. } => self.counts.switched += 1,
            LeadEvent::PairAborted { .. } => self.counts.aborted += 1,
            LeadEvent::TookOver { .. } | LeadEvent::Resized { .. } => self.counts.resized += 1,
            LeadEvent::OrphanFound { .. } => self.counts.orphans += 1,
            LeadEvent::StrayAnswer { .. } => {
                let what = format!("{event:?}");
                self.break_down("every answer is waited for", what);
            }
            _ => {}
        }
        self.note(format!("lead: {event:?}"));
    }

    pub(super) fn handle_lead_timer(&mut self) {
        let now = self.now;
        if self.lead_timer != Some(now) {
            return;
        }
        self.lead_timer = None;
        if let Some(shell) = &mut self.shell {
            shell.tick(now);
        }
    }

    pub(super) fn infer(&mut self) {
        let now = self.now;
        if let Some(shell) = &mut self.shell {
            shell.infer(now);
        }
        let epoch = self.epoch;
        self.later(self.scenario.settings.infer_interval, Event::Infer { epoch });
    }

    pub(super) fn tell_clock(&mut self) {
        let now = self.now;
        if let Some(shell) = &mut self.shell {
            shell.handle_clock(now);
        }
        let epoch = self.epoch;
        self.later(CLOCK_INTERVAL, Event::Clock { epoch });
    }

    fn write(&mut self, changes: Vec<Change>) {
        self.writing = Some(changes);
        let took = if self.rng.u32(0..50) == 0 { self.millis(50, 400) } else { self.millis(0, 4) };
        let epoch = self.epoch;
        self.later(took, Event::Written { epoch, took });
    }

    pub(super) fn handle_written(&mut self, took: Duration) {
        let outcome = if self.is_disk_full { Err("no space left on device".to_owned()) } else { Ok(()) };
        if let (Ok(()), Some(changes)) = (&outcome, self.writing.take()) {
            self.apply(changes);
        }
        let now = self.now;
        if let Some(shell) = &mut self.shell {
            shell.handle_written(now, outcome, took);
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.is_changed = true;
        for change in changes {
            match change {
                Change::Put(record) => drop(self.disk.insert(record.key.clone(), *record)),
                Change::Remove(key) => drop(self.disk.remove(&key)),
            }
        }
    }

    pub(super) fn fill_disk(&mut self, is_full: bool) {
        self.is_disk_full = is_full;
    }
}
