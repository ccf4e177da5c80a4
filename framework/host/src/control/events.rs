//! The event log: the last things that happened at this node, and a stream of what happens next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use vreserve_core::lead::Event as LeadEvent;

use crate::clock::Clock;

/// How many events are kept.
const KEPT: usize = 10_000;

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Counts up from 1 in one daemon run.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What, with a tag `event`.
    #[serde(flatten)]
    pub event: Happening,
}

/// What can happen: decisions of the lead, and incidents of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Happening {
    /// The lead's.
    Lead(LeadEvent),
    /// This node's.
    Node(NodeEvent),
}

/// An incident of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NodeEvent {
    /// The session to the proxy stands.
    ProxyJoined {
        /// The proxy.
        proxy: String,
    },
    /// The session to the proxy ended; forwarding goes on.
    ProxyLost {
        /// Why.
        reason: String,
    },
    /// A plugin instance failed and is reopened after a while.
    PluginFailed {
        /// The instance.
        instance: String,
        /// Why.
        reason: String,
        /// When it is tried again.
        retry_in_ms: u64,
    },
    /// A plugin instance is back.
    PluginReopened {
        /// The instance.
        instance: String,
    },
    /// The configuration was read again, and is in effect.
    ConfigurationReloaded {
        /// What changed, a line each.
        changes: Vec<String>,
    },
    /// The configuration was read again, and nothing of it is in effect.
    ReloadRefused {
        /// Why, a line each.
        reasons: Vec<String>,
    },
    /// Frames were dropped for this reason for the first time; the count is in `vreserve status`.
    FirstDrop {
        /// The reason's label.
        reason: String,
    },
}

/// The log, shared by its clones.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Mutex<Kept>>,
    news: broadcast::Sender<Record>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    records: VecDeque<Record>,
}

impl Default for EventLog {
    fn default() -> Self {
        EventLog { inner: Arc::default(), news: broadcast::channel(1024).0 }
    }
}

impl EventLog {
    /// Records an event of this node.
    pub fn node(&self, event: NodeEvent) {
        self.record(Happening::Node(event));
    }

    /// Records a decision of the lead.
    pub fn lead(&self, event: LeadEvent) {
        self.record(Happening::Lead(event));
    }

    fn record(&self, event: Happening) {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let record = Record { seq: kept.last, at_ms: Clock::wall_ms(), event };
        let line = serde_json::to_string(&record.event).unwrap_or_default();
        tracing::info!(target: "vreserve::event", "{line}");
        if kept.records.len() == KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(record.clone());
        // Nobody follows: fine.
        drop(self.news.send(record));
    }

    /// The events kept, oldest first, and those that follow.
    pub fn follow(&self) -> (Vec<Record>, broadcast::Receiver<Record>) {
        let kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.records.iter().cloned().collect(), self.news.subscribe())
    }
}
