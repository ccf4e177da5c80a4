//! Providers at the end of their lines: how long calls take, which arrive, which answers come back.

use std::time::Duration;

use vreserve_core::lead::Action;
use vreserve_model::{Failure, Timestamp};

use super::{Event, World};
use crate::calls::{self, Answer, DEADLINE, Fate};
use crate::provider::Provider;
use crate::scenario::ProviderSettings;

/// How often a provider is asked how it is.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// A provider and the way to it.
pub(crate) struct Line {
    pub(crate) provider: Provider,
    /// How many faults keep it from being reached.
    pub(crate) outages: u32,
    /// Shares of calls that go wrong, one for each such fault.
    pub(crate) unreliable: Vec<f64>,
    /// Grows each time that it is started: calls under way are lost then.
    pub(crate) generation: u64,
    /// When it has worked off what it was asked, if it takes one request at a time.
    busy_until: Timestamp,
}

impl Line {
    pub(super) fn new(settings: &ProviderSettings) -> Self {
        Line {
            provider: Provider::new(settings.capabilities.clone()),
            outages: 0,
            unreliable: Vec::new(),
            generation: 0,
            busy_until: Timestamp::ZERO,
        }
    }
}

impl World {
    /// The lead makes a call.
    pub(super) fn call(&mut self, action: Action) {
        let Some((network, verb, key)) = calls::about(&action) else { return };
        let key = key.cloned();
        let Some(network) = self.scenario.topology.network(network) else { return };
        if let (Action::Submit { .. }, Some(key)) = (&action, &key) {
            self.check_submit(key);
        }
        let fate = self.draw_fate(network);
        let shown = key.map_or_else(String::new, |key| format!(" {key}"));
        self.note(format!("call: {verb}{shown}, {fate:?}"));
        self.counts.calls += 1;
        let epoch = self.epoch;
        let way = self.millis(1, 20);
        match fate {
            Fate::Answered | Fate::LostBack => {
                let at = self.now + way + self.work(network, &action);
                let generation = self.lines[network].generation;
                let action = Box::new(action);
                self.queue.push(at, Event::Call { epoch, network, generation, fate, action });
            }
            Fate::LostThere => self.lose(epoch, action),
            Fate::Refused => self.answer(epoch, way * 2, calls::fail(action, Failure::refused("not now"))),
            Fate::Unavailable => {
                let failure = Failure::unavailable("nobody is there");
                self.answer(epoch, way * 2, calls::fail(action, failure));
            }
        }
    }

    fn draw_fate(&mut self, network: usize) -> Fate {
        let line = &self.lines[network];
        if line.outages > 0 {
            return if self.rng.bool() { Fate::LostThere } else { Fate::Unavailable };
        }
        let share = line.unreliable.iter().copied().fold(0.0, f64::max);
        if !self.chance(share) {
            return Fate::Answered;
        }
        [Fate::LostThere, Fate::LostBack, Fate::Refused, Fate::Unavailable][self.rng.usize(..4)]
    }

    /// How long a provider works on a call, and in a queue before that.
    fn work(&mut self, network: usize, action: &Action) -> Duration {
        let settings = &self.scenario.settings.providers[network];
        let fused = settings.capabilities.fused_activation;
        let takes = match action {
            Action::Submit { .. } if fused && !settings.capabilities.two_phase => settings.set_up,
            Action::Commit(_) if fused => settings.set_up,
            Action::Activate { .. } => settings.set_up,
            Action::Cancel(_) | Action::CancelOrphan { .. } | Action::Deactivate(_) => settings.tear_down,
            action if calls::only_looks(action) => return Duration::from_millis(5),
            _ => Duration::from_millis(30),
        };
        if !settings.capabilities.serial {
            return takes;
        }
        let begins = self.lines[network].busy_until.max(self.now);
        self.lines[network].busy_until = begins + takes;
        (begins + takes).since(self.now)
    }

    /// A call arrives.
    pub(super) fn handle_call(
        &mut self,
        epoch: u32,
        network: usize,
        generation: u64,
        fate: Fate,
        action: Action,
    ) {
        let line = &self.lines[network];
        if line.outages > 0 || line.generation != generation {
            return self.lose(epoch, action);
        }
        let is_late = !self.is_term(epoch);
        // A provider that cannot list is asked once, by each lead, what is no longer valid: it must not hear later
        // of what that lead could not know.
        let lists = self.scenario.settings.providers[network].capabilities.list;
        if is_late && !lists && matches!(action, Action::Submit { .. }) {
            return;
        }
        let key = calls::about(&action).and_then(|(.., key)| key.cloned());
        let lost = calls::lost(&action);
        let again = action.clone();
        line.provider.set_now(self.now);
        let answer = calls::make(&line.provider, action);
        if let Some(key) = key.filter(|_| is_late) {
            line.provider.mark_late(&key);
        }
        self.is_changed = true;
        match fate {
            Fate::LostBack => self.answer(epoch, DEADLINE, calls::fail(again, lost)),
            _ => {
                let way = self.millis(1, 20);
                self.answer(epoch, way, answer);
            }
        }
    }

    fn lose(&mut self, epoch: u32, action: Action) {
        let failure = calls::lost(&action);
        self.answer(epoch, DEADLINE, calls::fail(action, failure));
    }

    fn answer(&mut self, epoch: u32, after: Duration, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.later(after, Event::Answer { epoch, answer: Box::new(answer) });
        }
    }

    pub(super) fn handle_answer(&mut self, answer: Answer) {
        let now = self.now;
        if let Some(shell) = &mut self.shell {
            shell.handle_answer(now, answer);
        }
    }

    pub(super) fn ask_health(&mut self, network: usize) {
        let (now, is_up) = (self.now, self.lines[network].outages == 0);
        self.lines[network].provider.set_now(now);
        let name = self.scenario.topology.networks[network].name.clone();
        let capabilities = self.scenario.settings.providers[network].capabilities.clone();
        if let Some(shell) = &mut self.shell {
            shell.handle_health(now, &name, &capabilities, is_up);
        }
        let epoch = self.epoch;
        self.later(HEALTH_INTERVAL, Event::Health { epoch, network });
    }

    /// Shows what has changed at the providers.
    pub(crate) fn tell_of_providers(&mut self) {
        for network in 0..self.lines.len() {
            for news in self.lines[network].provider.take_news() {
                self.note(format!("provider of {}: {news}", self.scenario.topology.networks[network].name));
            }
        }
    }
}
