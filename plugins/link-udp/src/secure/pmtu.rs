//! How large a datagram the path to a far node takes: packetization-layer discovery (RFC 8899), without trust
//! in ICMP. Pure: sizes are whole datagrams (UDP payloads), time is a parameter.
//!
//! The operator's word, the ceiling, holds until a probe of that size is lost three times; then the search
//! goes on between what is known to pass and what is known not to. Each probe goes with one of the floor's
//! size: only if that one is acknowledged was the large one lost for its size, and not because nobody is
//! there.

use std::time::{Duration, Instant};

/// How long a probe may be on its way. Longer than any terrestrial round trip.
const PROBE_TIME: Duration = Duration::from_millis(600);
/// How often a size is tried (RFC 8899 §5.1.2, MAX_PROBES).
const PROBES: u32 = 3;
/// How long to wait if not even a small probe comes back.
const SILENT_PAUSE: Duration = Duration::from_secs(5);
/// How often the size in use is tried again, so that a black hole is noticed.
const CONFIRM_EVERY: Duration = Duration::from_secs(30);
/// How often a larger one is looked for (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
const RAISE_EVERY: Duration = Duration::from_secs(600);
/// The search ends when it is as close.
const GRANULARITY: usize = 4;

/// Between which sizes of datagrams (UDP payloads) the path's largest is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLimits {
    /// What every path takes: 1,280 bytes less the IP and UDP headers.
    pub floor: usize,
    /// What the endpoint's configured MTU allows; at least the floor.
    pub ceiling: usize,
}

/// One path's discovery.
#[derive(Clone, Debug)]
pub(super) struct PathMtu {
    limits: PathLimits,
    /// What may be sent now.
    largest: usize,
    /// Known to pass.
    low: usize,
    /// All above is known not to.
    high: usize,
    search: Search,
    /// A small probe is to go with the one that was just sent.
    owes_small: bool,
    /// When a small probe was last acknowledged.
    alive: Option<Instant>,
    /// When the search goes on.
    next: Instant,
    /// When a larger size is looked for again.
    raise: Instant,
}

/// Where the search stands; `lost` counts the probes of this size that did not come back.
#[derive(Clone, Copy, Debug)]
enum Search {
    Settled,
    Due { size: usize, lost: u32 },
    Sent { size: usize, lost: u32, at: Instant },
}

impl PathMtu {
    pub(super) fn new(limits: PathLimits, now: Instant) -> Self {
        let limits = PathLimits { floor: limits.floor.min(limits.ceiling), ..limits };
        PathMtu {
            limits,
            largest: limits.ceiling,
            low: limits.floor,
            high: limits.ceiling,
            search: Search::Due { size: limits.ceiling, lost: 0 },
            owes_small: false,
            alive: None,
            next: now,
            raise: now + RAISE_EVERY,
        }
    }

    /// The path may be another one: begins anew.
    pub(super) fn restart(&mut self, now: Instant) {
        *self = PathMtu::new(self.limits, now);
    }

    /// The largest datagram that may be sent.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    /// When [`PathMtu::poll`] has something to do; `None` if at once.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        (!self.owes_small).then_some(self.next)
    }

    /// The size of a probe to send now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<usize> {
        if std::mem::take(&mut self.owes_small) {
            return Some(self.limits.floor);
        }
        if now < self.next {
            return None;
        }
        match self.search {
            Search::Settled => self.begin(now),
            Search::Sent { size, lost, at } => self.handle_loss(now, size, lost, at),
            Search::Due { .. } => {}
        }
        match self.search {
            Search::Due { size, lost } if now >= self.next => {
                self.search = Search::Sent { size, lost, at: now };
                self.next = now + PROBE_TIME;
                self.owes_small = size > self.limits.floor;
                Some(size)
            }
            _ => None,
        }
    }

    /// A probe of this size was acknowledged.
    pub(super) fn handle_ack(&mut self, now: Instant, size: usize) {
        if size == self.limits.floor {
            self.alive = Some(now);
        }
        match self.search {
            Search::Sent { size: sent, .. } if sent == size => {
                self.low = self.low.max(size);
                self.go_on(now);
            }
            _ => {}
        }
    }

    /// The system refused a datagram of this size as too large for the path.
    pub(super) fn handle_refusal(&mut self, now: Instant, size: usize) {
        if size > self.limits.floor && size <= self.high {
            self.exclude(now, size);
        }
    }

    /// A settled path's time is up: looks for a larger size, or whether the present one still passes.
    fn begin(&mut self, now: Instant) {
        let raises = now >= self.raise;
        if raises {
            self.raise = now + RAISE_EVERY;
            self.high = self.limits.ceiling;
        }
        let size = if raises { self.limits.ceiling } else { self.largest };
        self.search = Search::Due { size, lost: 0 };
    }

    /// A probe's time is up.
    fn handle_loss(&mut self, now: Instant, size: usize, lost: u32, at: Instant) {
        if self.alive.is_none_or(|alive| alive < at) && size > self.limits.floor {
            // Not even the small one came back: that says nothing of sizes.
            self.search = Search::Due { size, lost };
            self.next = at + SILENT_PAUSE;
        } else if lost + 1 < PROBES {
            self.search = Search::Due { size, lost: lost + 1 };
        } else {
            self.exclude(now, size);
        }
    }

    /// Datagrams of this size do not pass.
    fn exclude(&mut self, now: Instant, size: usize) {
        self.high = size - 1;
        if size <= self.low {
            // What passed does so no more: a black hole, or another path.
            self.low = self.limits.floor;
        }
        self.go_on(now);
    }

    /// The next size, or the end of the search.
    fn go_on(&mut self, now: Instant) {
        self.high = self.high.max(self.low);
        if self.largest > self.high || self.largest < self.low {
            self.largest = self.low;
        }
        if self.high - self.low < GRANULARITY {
            self.largest = self.low;
            self.search = Search::Settled;
            self.next = now + CONFIRM_EVERY;
        } else {
            self.search = Search::Due { size: self.low.midpoint(self.high + 1), lost: 0 };
            self.next = now;
        }
    }
}
