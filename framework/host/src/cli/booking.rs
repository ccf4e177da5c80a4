//! `vreserve reserve`: asks for an advance reservation and waits for the provider's word.

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde_json::Value;
use vreserve_core::lead::{BookingId, BookingPhase, BookingWish, CalendarEntry};
use vreserve_model::{BitsPerSecond, ReservationState, duration};

use super::Ask;
use super::moment::{self, Moment};
use super::render::{entries, rate, table};
use crate::api::{Request, client};

/// The exit code if the provider said no.
const EXIT_REFUSED: u8 = 3;
/// The exit code if it has not said anything yet.
const EXIT_NO_WORD: u8 = 4;
/// How often the calendar is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is to be booked.
#[derive(Debug, Args)]
pub(super) struct Reserve {
    #[command(flatten)]
    ask: Ask,
    /// One end: a node's name or a guest's address
    #[arg(long)]
    from: String,
    /// The other end
    #[arg(long)]
    to: String,
    /// The rate, such as 100mbit
    #[arg(long)]
    rate: BitsPerSecond,
    /// When it begins: as RFC 3339 has it, in seconds since the epoch, or +10m; now unless given
    #[arg(long)]
    start: Option<Moment>,
    /// For how long, such as 2h
    #[arg(long = "for", value_parser = duration::parse)]
    length: Duration,
    /// The network to book on; the first that joins the ends unless given
    #[arg(long)]
    network: Option<String>,
    /// How long to wait for the provider's word
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    wait: Duration,
}

/// What has become of a booking.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Promised,
    /// The provider is asked later.
    OnRecord,
    Refused(String),
    None,
}

impl Reserve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let start = self.start.map(Moment::at_ms);
        let length = u64::try_from(self.length.as_millis())?;
        let Some(end_ms) = start.unwrap_or_else(|| Moment::In(0).at_ms()).checked_add(length) else {
            bail!("it would never end");
        };
        let (from, to, network) = (self.from.clone(), self.to.clone(), self.network.clone());
        let wish = BookingWish { from, to, network, rate: self.rate, start_ms: start, end_ms };
        let socket = self.ask.find_socket()?;
        let booked: CalendarEntry = client::ask_as(&socket, &Request::Reserve(wish))?;
        let Some(booking) = booked.booking else { bail!("the daemon booked nothing") };
        let (entry, word) = self.wait_for_word(&socket, booking, booked)?;
        if let Word::Refused(_) = word {
            // A lead goes on asking; an operator who was told no has nothing booked.
            drop(client::ask(&socket, &Request::Cancel { key: booking }));
        }
        Ok(self.show(booking, &entry, &word))
    }

    fn wait_for_word(
        &self,
        socket: &Path,
        booking: BookingId,
        mut entry: CalendarEntry,
    ) -> anyhow::Result<(CalendarEntry, Word)> {
        let deadline = Instant::now() + self.wait;
        loop {
            let word = word_of(&entry);
            if word != Word::None || Instant::now() >= deadline {
                return Ok((entry, word));
            }
            sleep(LOOK_EVERY);
            let calendar: Vec<CalendarEntry> = client::ask_as(socket, &Request::Calendar)?;
            match calendar.into_iter().find(|entry| entry.booking == Some(booking)) {
                Some(current) => entry = current,
                None => return Ok((entry, Word::Refused("the booking is gone".to_owned()))),
            }
        }
    }

    fn show(&self, booking: BookingId, entry: &CalendarEntry, word: &Word) -> ExitCode {
        let window = match (entry.start_ms, entry.end_ms) {
            (Some(start), Some(end)) => format!("{} to {}", moment::text(start), moment::text(end)),
            _ => "at once".to_owned(),
        };
        if self.ask.json {
            println!("{}", serde_json::to_string_pretty(entry).unwrap_or_default());
        } else if !matches!(word, Word::Refused(_)) {
            println!("{booking}");
        }
        let link = &entry.link;
        let what = format!("{} between {} and {} on {}, {window}", entry.rate, link.a, link.z, link.network);
        match word {
            Word::Promised => eprintln!("booked: {what}"),
            Word::OnRecord => eprintln!("on record, the provider is asked when the window opens: {what}"),
            Word::Refused(reason) => {
                eprintln!("vreserve: refused: {reason}");
                return ExitCode::from(EXIT_REFUSED);
            }
            Word::None => {
                let reason = entry.reason.as_deref().unwrap_or("it was asked");
                eprintln!("vreserve: no word from the provider yet ({reason}); the booking stands: {what}");
                return ExitCode::from(EXIT_NO_WORD);
            }
        }
        ExitCode::SUCCESS
    }
}

fn word_of(entry: &CalendarEntry) -> Word {
    use ReservationState::{Activating, Active, Booked, Degraded};
    let is_promised = matches!(entry.state, Some(Booked | Activating | Active | Degraded));
    match (entry.phase, &entry.reason) {
        (Some(BookingPhase::Ending), reason) => {
            Word::Refused(reason.clone().unwrap_or_else(|| "it is being given back".to_owned()))
        }
        (Some(BookingPhase::Booked), _) => Word::Promised,
        _ if is_promised => Word::Promised,
        // Asked, and not held any more: the attempt is over.
        (_, Some(reason)) if entry.circuit.is_none() => Word::Refused(reason.clone()),
        (Some(BookingPhase::Waiting), None) if entry.circuit.is_none() => Word::OnRecord,
        _ => Word::None,
    }
}

/// The calendar as a table.
pub(super) fn calendar(calendar: &Value) -> String {
    let rows = entries(calendar).map(|entry| {
        let time = |field: &str| entry[field].as_u64().map_or("-".to_owned(), moment::text);
        let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
        vec![
            entry["booking"].as_u64().map_or("-".to_owned(), |key| key.to_string()),
            time("start_ms"),
            time("end_ms"),
            format!("{} - {}", text("from"), text("to")),
            text("network"),
            rate(&entry["rate"]),
            text("origin"),
            text("phase"),
            text("state"),
            entry["reason"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    let header = ["KEY", "START", "END", "ENDS", "NETWORK", "RATE", "BY", "BOOKING", "RESERVATION", "REASON"];
    table(&header, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(fields: Value) -> CalendarEntry {
        let mut all = json!({
            "booking": 7, "circuit": null, "key": null, "from": "n1", "to": "n2", "a": "n1", "z": "n2",
            "network": "omninet", "rate": 100_000_000, "start_ms": 1_700_000_000_000_u64,
            "end_ms": 1_700_000_060_000_u64, "phase": null, "state": null, "reason": null,
        });
        for (field, value) in fields.as_object().unwrap() {
            all[field] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn the_providers_word_is_told_from_silence() {
        let word = |fields| word_of(&entry(fields));
        assert_eq!(word(json!({ "phase": "booked", "circuit": 1, "state": "booked" })), Word::Promised);
        assert_eq!(word(json!({ "phase": "open", "circuit": 1, "state": "active" })), Word::Promised);
        assert_eq!(word(json!({ "phase": "open", "circuit": 1, "state": "submitted" })), Word::None);
        assert_eq!(
            word(json!({ "phase": "asked", "circuit": 1, "state": "unknown", "reason": "lost" })),
            Word::None
        );
        assert_eq!(word(json!({ "phase": "waiting" })), Word::OnRecord);
        assert_eq!(word(json!({ "phase": "waiting", "reason": "no room" })), Word::Refused("no room".into()));
        assert_eq!(
            word(json!({ "phase": "ending", "circuit": 1 })),
            Word::Refused("it is being given back".into())
        );
    }

    #[test]
    fn the_calendar_shows_windows_in_words() {
        let booked = json!({ "phase": "booked", "circuit": 1, "state": "booked" });
        let entries = json!([serde_json::to_value(entry(booked)).unwrap()]);
        let text = calendar(&entries);
        assert!(
            text.contains(
                "7    2023-11-14T22:13:20Z  2023-11-14T22:14:20Z  n1 - n2  omninet  100mbit  operator"
            ),
            "{text}"
        );
    }
}
