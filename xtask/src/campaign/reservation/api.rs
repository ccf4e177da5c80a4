//! The lead's own word, through a daemon's control API. Read as any outsider would: only the fields that are judged,
//! and whatever else there is passed over.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::record;

/// The daemon's own limit for an answer, and some.
const PATIENCE: Duration = Duration::from_secs(8);

/// A daemon's control API.
#[derive(Clone, Debug)]
pub(in super::super) struct Api {
    pub(super) socket: PathBuf,
}

/// What the lead says it holds.
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct Reservations {
    /// Circuits that are not over.
    pub(in super::super) circuits: Vec<Held>,
    /// Circuits that are over, the last hundred.
    pub(in super::super) history: Vec<Held>,
}

/// A circuit as the lead tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct Held {
    pub(in super::super) circuit: u64,
    pub(in super::super) a: String,
    pub(in super::super) z: String,
    pub(in super::super) phase: String,
    pub(in super::super) state: String,
    pub(in super::super) key: Option<String>,
    /// The advance reservation that it is for.
    #[serde(default)]
    pub(in super::super) booking: Option<u64>,
    pub(in super::super) native_id: Option<String>,
    pub(in super::super) pairs: Vec<Value>,
    pub(in super::super) last_failure: Option<String>,
}

/// One event.
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct Happening {
    /// When, in milliseconds since the Unix epoch.
    pub(in super::super) at_ms: u64,
    /// Its name.
    pub(in super::super) event: String,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

impl Happening {
    /// A field.
    pub(in super::super) fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    /// A field that is text; empty if it is none.
    pub(in super::super) fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_default()
    }

    /// Whether it tells of a pair that is now on a circuit, or on the star.
    pub(in super::super) fn is_switch(&self, onto_circuit: bool) -> bool {
        self.event == "pair_switched" && self.field("onto").is_null() != onto_circuit
    }
}

impl Api {
    /// Asks one question.
    ///
    /// # Errors
    /// If no daemon answers in time, or it says no.
    pub(in super::super) fn ask(&self, query: &str) -> anyhow::Result<Value> {
        self.request(&json!({ "query": query }))
    }

    /// Makes one request.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in super::super) fn request(&self, request: &Value) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(&self.socket).context("reach the daemon")?;
        stream.set_read_timeout(Some(PATIENCE)).context("bound the wait for the daemon")?;
        writeln!(stream, "{request}").context("ask the daemon")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).context("read the daemon's answer")?;
        let mut answer: Value = serde_json::from_str(&line).context("read the daemon's answer")?;
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => bail!("the daemon says: {}", answer["error"]),
        }
    }

    /// What the lead says it holds.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in super::super) fn reservations(&self) -> anyhow::Result<Reservations> {
        serde_json::from_value(self.ask("reservations")?).context("read the lead's reservations")
    }

    /// Makes an advance reservation, as an operator does, and returns its number once the lead has acknowledged it.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in super::super) fn book(&self, ends: [&str; 2], rate: u64, window: [u64; 2]) -> anyhow::Result<u64> {
        let ([from, to], [start, end]) = (ends, window);
        let request = json!({ "query": "reserve", "from": from, "to": to, "rate": rate,
            "start_ms": start, "end_ms": end });
        self.request(&request)?["booking"].as_u64().context("the lead acknowledged no booking")
    }

    /// Ends an advance reservation.
    ///
    /// # Errors
    /// As [`Self::ask`], and if there is none of this number.
    pub(in super::super) fn cancel(&self, booking: u64) -> anyhow::Result<()> {
        self.request(&json!({ "query": "cancel", "key": booking })).map(drop)
    }

    /// The numbers of all advance reservations.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in super::super) fn bookings(&self) -> anyhow::Result<Vec<u64>> {
        let calendar = self.ask("calendar")?;
        Ok(calendar.as_array().into_iter().flatten().filter_map(|entry| entry["booking"].as_u64()).collect())
    }

    /// Its events, past ones first, until it ends.
    ///
    /// # Errors
    /// If no daemon is there.
    pub(in super::super) fn follow(&self) -> anyhow::Result<Receiver<Happening>> {
        record::follow(&self.socket)
    }
}

impl Reservations {
    /// Whether a circuit carries and pairs take it.
    pub(in super::super) fn is_carrying(&self) -> bool {
        self.circuits.iter().any(|held| held.phase == "carrying" && !held.pairs.is_empty())
    }

    /// The keys that the lead knows, of circuits that are over or not.
    pub(in super::super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.circuits.iter().chain(&self.history).filter_map(|held| held.key.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_by_name_whatever_else_they_say() {
        let line = r#"{"seq":4,"at_ms":1700,"event":"pair_switched","onto":4294967297,"held_us":12}"#;
        let happening: Happening = serde_json::from_str(line).unwrap();
        assert!(happening.is_switch(true) && !happening.is_switch(false));
        assert_eq!(happening.field("held_us").as_u64(), Some(12));
        let back: Happening =
            serde_json::from_str(r#"{"at_ms":1,"event":"pair_switched","onto":null}"#).unwrap();
        assert!(back.is_switch(false) && !back.is_switch(true));
    }
}
