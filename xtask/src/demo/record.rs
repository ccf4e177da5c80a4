//! The lead's events as they come through the control API, and a thread that follows them.
//!
//! Read as any outsider would: only the fields that the demo shows, and whatever else there is passed over.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One event.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// A link between two nodes beside the star.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LinkName {
    pub(crate) a: String,
    pub(crate) z: String,
    pub(crate) network: String,
}

/// A link that the planner asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Wanted {
    #[serde(flatten)]
    pub(crate) link: LinkName,
    pub(crate) reason: String,
}

/// What can happen, as far as the demo shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    NodeJoined {},
    NodeLeft {
        node: String,
    },
    BackendUp {},
    BackendDown {
        network: String,
        reason: String,
    },
    TopologyChanged {
        pattern: String,
        edges: usize,
    },
    Planned {
        add: Vec<Wanted>,
        remove: Vec<LinkName>,
    },
    ReservationSubmitted {
        circuit: u64,
        #[serde(flatten)]
        link: LinkName,
        attempt: u32,
    },
    ReservationActive {
        circuit: u64,
        native_id: Option<String>,
        labels: BTreeMap<String, String>,
        took_ms: u64,
    },
    ReservationUnknown {
        reason: String,
    },
    ReservationCallFailed {
        call: String,
        reason: String,
    },
    Linked {
        circuit: u64,
        took_ms: u64,
    },
    Probed {
        circuit: u64,
        rtt_us: Option<u64>,
        loss: f64,
        took_ms: u64,
    },
    PairSwitched {
        source: String,
        destination: String,
        onto: Option<Value>,
        held_frames: u64,
        held_us: u64,
    },
    PairAborted {
        source: String,
        destination: String,
        reason: String,
    },
    Carrying {
        circuit: u64,
        pairs: usize,
    },
    CircuitFailed {
        circuit: u64,
        reason: String,
    },
    CuttingBack {
        circuit: u64,
        reason: String,
    },
    Unlinking {
        circuit: u64,
    },
    Releasing {},
    Released {
        circuit: u64,
        since_ending_ms: u64,
    },
    #[serde(other)]
    Other,
}

/// Every event of the daemon at `socket` that reads as a `T`, past ones first, until it ends.
///
/// # Errors
/// If nobody listens there.
pub(crate) fn follow<T: DeserializeOwned + Send + 'static>(socket: &Path) -> anyhow::Result<Receiver<T>> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    writeln!(stream, r#"{{"query":"events","follow":true}}"#).context("ask for events")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Events of other daemons' versions are no business of ours.
            let Ok(record) = serde_json::from_str(&line) else { continue };
            if sender.send(record).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_the_daemon_writes_them_and_unknown_ones_pass() {
        let line = r#"{"seq":9,"at_ms":1700,"event":"probed","circuit":4294967297,"a":"alpha","z":"beta",
            "network":"omninet","rtt_us":312,"loss":0.0,"took_ms":105}"#;
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!(record.at_ms, 1700);
        assert!(matches!(record.event, Event::Probed { circuit: 4294967297, rtt_us: Some(312), .. }));
        let line = r#"{"seq":1,"at_ms":1,"event":"stray_answer","circuit":1,"answer":"x"}"#;
        assert!(matches!(serde_json::from_str::<Record>(line).unwrap().event, Event::Other));
    }
}
