//! What the server told by itself, kept until the host asks for it.
//!
//! Numbered by this plugin: the server's own numbers begin anew with a server that has lost its memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::line::{Event, Seen};

/// Kept for a host that does not ask; more are forgotten, which is told.
const MOST: usize = 1024;

/// Changes in their order.
#[derive(Debug)]
pub(crate) struct Events {
    log: Mutex<Log>,
    /// The number of the last entry.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    /// The number of the last entry; the first is 1.
    last: u64,
    /// The server's number of the last event.
    seq: u64,
}

#[derive(Debug)]
enum Entry {
    Changed(Box<Seen>),
    /// Something may have changed without our hearing of it.
    Gap,
}

/// What came after some number.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The number of the last.
    pub(crate) next: u64,
    /// Whether something may have been missed.
    pub(crate) has_gap: bool,
    /// The changed reservations.
    pub(crate) seen: Vec<Seen>,
}

impl Default for Events {
    fn default() -> Self {
        Self { log: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Events {
    /// A change, or one that could not be read.
    pub(crate) fn heard(&self, event: Result<Event, String>) {
        match event {
            // A number again is an event again.
            Ok(event) if event.seq <= self.log().seq => {}
            Ok(Event { seq, seen }) => {
                self.log().seq = seq;
                self.add(Entry::Changed(Box::new(seen)));
            }
            Err(reason) => {
                tracing::warn!(reason, "an event cannot be read");
                self.add(Entry::Gap);
            }
        }
    }

    /// From here on a connection tells of events behind the server's number `seq`. Before the first connection
    /// there was nothing to miss.
    pub(crate) fn begin(&self, seq: u64, is_first: bool) {
        self.log().seq = seq;
        if !is_first {
            self.add(Entry::Gap);
        }
    }

    /// What came after `since`; waits for it, but not longer than `at_most`.
    pub(crate) async fn after(&self, since: u64, at_most: Duration) -> Heard {
        let mut last = self.last.subscribe();
        // That the time is over is no failure, and the sender lives as long as this value.
        let _ = tokio::time::timeout(at_most, last.wait_for(|last| *last != since)).await;
        self.log().after(since)
    }

    fn add(&self, entry: Entry) {
        let last = self.log().add(entry);
        self.last.send_replace(last);
    }

    /// A panic elsewhere cannot have left it half changed.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn add(&mut self, entry: Entry) -> u64 {
        self.entries.push_back(entry);
        if self.entries.len() > MOST {
            self.entries.pop_front();
        }
        self.last += 1;
        self.last
    }

    fn after(&self, since: u64) -> Heard {
        let first = self.last - self.entries.len() as u64 + 1;
        // A number that was never given is one of an earlier run.
        let is_ours = since <= self.last && since + 1 >= first;
        let known = if is_ours { (since + 1 - first) as usize } else { 0 };
        let mut heard = Heard { next: self.last, has_gap: !is_ours, seen: Vec::new() };
        for entry in self.entries.iter().skip(known) {
            match entry {
                Entry::Changed(seen) => heard.seen.push(Seen::clone(seen)),
                Entry::Gap => heard.has_gap = true,
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn event(seq: u64) -> Result<Event, String> {
        let text = format!(
            r#"{{"handle":"h{seq}","state":"active","endpoint-a":"a","endpoint-b":"b","start":1,"kbps":1,
                "bound":true,"enforced":true}}"#
        );
        Ok(Event { seq, seen: crate::line::reservation(&RawValue::from_string(text).unwrap())? })
    }

    fn handles(heard: &Heard) -> Vec<&str> {
        heard.seen.iter().map(|seen| seen.reservation.handle.as_str()).collect()
    }

    async fn after(events: &Events, since: u64) -> Heard {
        events.after(since, Duration::ZERO).await
    }

    #[tokio::test]
    async fn each_change_is_told_once_and_a_repeated_one_is_none() {
        let events = Events::default();
        events.begin(4, true);
        [4, 5, 5, 9].into_iter().for_each(|seq| events.heard(event(seq)));
        let heard = after(&events, 0).await;
        assert_eq!((handles(&heard), heard.next, heard.has_gap), (vec!["h5", "h9"], 2, false));
        let heard = after(&events, 1).await;
        assert_eq!((handles(&heard), heard.has_gap), (vec!["h9"], false));
        assert_eq!(handles(&after(&events, 2).await), [""; 0]);
    }

    #[tokio::test]
    async fn whatever_may_have_been_missed_is_said() {
        let events = Events::default();
        events.begin(0, true);
        events.heard(Err("torn".into()));
        assert!(after(&events, 0).await.has_gap && !after(&events, 1).await.has_gap);
        events.begin(70, false);
        assert!(after(&events, 1).await.has_gap);
        // A server that counts from 1 again is heard.
        events.begin(0, false);
        events.heard(event(1));
        assert_eq!(handles(&after(&events, 3).await), ["h1"]);
        // A host that asks with the number of an earlier run looks everything up.
        assert!(after(&events, 1000).await.has_gap);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_was_forgotten_is_said() {
        let events = Events::default();
        (1..=MOST as u64 + 10).for_each(|seq| events.heard(event(seq)));
        let heard = after(&events, 9).await;
        assert!(heard.has_gap && heard.seen.len() == MOST);
        assert!(!after(&events, 10).await.has_gap);
    }

    #[tokio::test]
    async fn a_waiting_host_is_woken() {
        let events = std::sync::Arc::new(Events::default());
        let waiting = tokio::spawn({
            let events = events.clone();
            async move { events.after(0, Duration::from_secs(60)).await }
        });
        events.heard(event(1));
        assert_eq!(handles(&waiting.await.unwrap()), ["h1"]);
    }
}
