//! What a worker does besides frames: timers, failed instances, news for the control plane.

use std::time::Duration;

use vreserve_core::drops::DropReason;
use vreserve_model::Timestamp;

use super::mailbox::Event;
use super::ports::{Instance, Port, PortChange};
use super::readiness::Watch;
use super::worker::Worker;

/// Every port is asked at least so often, ready or not: instances have timers of their own (handshakes,
/// keep-alives) and no other clock than the host's calls.
const BEAT: Duration = Duration::from_millis(100);

impl Worker {
    /// What every turn ends with: cut-overs, timers, and news.
    pub(super) fn finish_turn(&mut self, now: Timestamp) {
        self.poll_cutovers(now);
        while let Some(event) = self.forwarder.poll_event() {
            self.tell(Event::Guest(event));
        }
        if self.drops != self.announced_drops {
            self.announce_drops();
        }
        if now >= self.timers_at {
            self.poll_timers(now);
            self.timers_at = self.next_timer(now);
        }
        if now >= self.beat_at {
            self.readiness.ask_all();
            self.tell_carried();
            self.beat_at = now + BEAT;
        }
    }

    /// Probes that are due, and failed instances whose time has come.
    fn poll_timers(&mut self, now: Timestamp) {
        self.poll_probes(now);
        // Opening an instance may take its time.
        self.pulse.rest();
        for index in 0..self.captures.len() {
            if let Some(change) = self.captures[index].port.poll(now) {
                self.handle_capture_change(index, change);
            }
        }
        for index in 0..self.endpoints.len() {
            if let Some(change) = self.endpoints[index].port.poll(now) {
                self.handle_endpoint_change(index, change);
            }
        }
        self.flush(now);
    }

    fn next_timer(&self, now: Timestamp) -> Timestamp {
        let ports = self.captures.iter().filter_map(|port| port.port.poll_at());
        let endpoints = self.endpoints.iter().filter_map(|port| port.port.poll_at());
        ports.chain(endpoints).chain(self.next_probe(now)).min().unwrap_or(Timestamp(u64::MAX))
    }

    /// When something is due even if nothing comes.
    pub(super) fn wake_at(&self) -> Timestamp {
        let timers_at = self.timers_at.min(self.beat_at);
        self.cutovers.poll_at().map_or(timers_at, |cutover| cutover.min(timers_at))
    }

    pub(super) fn handle_capture_change(&mut self, index: usize, change: PortChange) {
        let name = self.captures[index].port.name().to_owned();
        self.announce_port(name, change);
    }

    pub(super) fn handle_endpoint_change(&mut self, index: usize, change: PortChange) {
        if change == PortChange::Reopened {
            for (link, failure) in self.endpoints[index].readmit() {
                tracing::warn!(%link, %failure, "far node not admitted to the reopened endpoint");
            }
        }
        let name = self.endpoints[index].port.name().to_owned();
        self.announce_port(name, change);
    }

    fn announce_port(&mut self, name: String, change: PortChange) {
        self.timers_at = Timestamp::ZERO;
        self.tell(match change {
            PortChange::Failed(reason, retry_in) => Event::PortFailed { name, reason, retry_in },
            PortChange::Reopened => Event::PortReopened(name),
        });
        self.watch();
    }

    pub(super) fn watch(&mut self) {
        fn of<I: Instance + ?Sized>(port: &mut Port<I>) -> Watch {
            match port.instance().map(Instance::ready_fd) {
                Some(Some(fd)) => Watch::Descriptor(fd),
                Some(None) => Watch::Restless,
                None => Watch::Closed,
            }
        }
        let captures = self.captures.iter_mut().map(|port| of(&mut port.port));
        let endpoints = self.endpoints.iter_mut().map(|port| of(&mut port.port));
        self.readiness.watch(self.mailbox.bell(), captures.chain(endpoints));
    }

    /// The first frame dropped for a reason is news; how many follow is a counter.
    fn announce_drops(&mut self) {
        for reason in DropReason::ALL {
            if self.announced_drops.of(*reason) == 0 && self.drops.of(*reason) > 0 {
                self.tell(Event::FirstDrop(*reason));
            }
        }
        self.announced_drops = self.drops.clone();
    }

    pub(super) fn tell(&self, event: Event) {
        self.teller.tell(event);
    }
}
