//! Lines from the server, read as hostile input. Pure.
//!
//! Read stricter than JSON readers do: a field that is there twice is an error, not the last one's value.

use serde::Deserialize;
use serde_json::value::RawValue;
use vreserve_rsl::wire::{Refusal, Reservation};

/// What is shown of a server's own words.
const LONGEST_WORDS: usize = 64;

/// The answer to a request: the text of its `ok`, or the server's no.
pub(crate) type Answer = Result<Box<RawValue>, Refusal>;

/// One line.
#[derive(Debug)]
pub(crate) enum Line {
    /// The answer to the request of this number.
    Answer(u64, Answer),
    /// A change of a reservation. One that cannot be read is none that may be passed over: something changed.
    Event(Result<Event, String>),
}

/// A change of a reservation.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The server's number of it.
    pub(crate) seq: u64,
    /// The reservation after it.
    pub(crate) seen: Seen,
}

/// A reservation as the server tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its fields.
    pub(crate) reservation: Reservation,
    /// Its state in the server's own word, also where that is none of ours.
    pub(crate) words: String,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    error: Option<Refusal>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    seq: u64,
    #[serde(borrow)]
    reservation: &'a RawValue,
}

#[derive(Deserialize)]
struct RawReservations<'a> {
    #[serde(borrow)]
    reservations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Words {
    state: String,
}

/// Reads one line.
///
/// # Errors
/// Why it is neither an answer nor an event.
pub(crate) fn line(bytes: &[u8]) -> Result<Line, String> {
    let line: RawLine<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match (line.id, line.ok, line.error, line.event) {
        (None, None, None, Some(event)) => Ok(Line::Event(read_event(event))),
        (Some(id), Some(ok), None, None) => Ok(Line::Answer(id, Ok(ok.to_owned()))),
        (Some(id), None, Some(refusal), None) => Ok(Line::Answer(id, Err(shortened(refusal)))),
        _ => Err("neither one answer nor one event".to_owned()),
    }
}

/// Reads a reservation.
///
/// # Errors
/// What is missing, repeated or wrong in it.
pub(crate) fn reservation(text: &RawValue) -> Result<Seen, String> {
    let reservation: Reservation = content(text)?;
    let Words { state } = content(text)?;
    Ok(Seen { reservation, words: shown(&state) })
}

/// Reads a list of reservations; one that cannot be read spoils the list.
///
/// # Errors
/// As [`reservation`].
pub(crate) fn reservations(text: &RawValue) -> Result<Vec<Seen>, String> {
    let RawReservations { reservations } = content(text)?;
    reservations.into_iter().map(reservation).collect()
}

/// Reads what an operation answers.
///
/// # Errors
/// What is missing, repeated or wrong in it.
pub(crate) fn content<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(text.get()).map_err(|error| error.to_string())
}

fn read_event(text: &RawValue) -> Result<Event, String> {
    let RawEvent { seq, reservation: text } = content(text)?;
    Ok(Event { seq, seen: reservation(text)? })
}

fn shortened(refusal: Refusal) -> Refusal {
    Refusal { text: shown(&refusal.text), ..refusal }
}

/// A stranger's words, fit for one line.
fn shown(text: &str) -> String {
    text.chars().take(LONGEST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vreserve_rsl::wire::{Code, State};

    const RESERVATION: &str = r#"{"handle":"h1","label":"k","state":"active","endpoint-a":"192.0.2.1",
        "endpoint-b":"192.0.2.2","start":1.5,"end":61.5,"kbps":43200,"bound":true,"enforced":true}"#;

    fn read(text: &str) -> Result<Seen, String> {
        reservation(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn answers_refusals_and_events_are_told_apart() {
        assert!(matches!(line(br#"{"id":7,"ok":{}}"#), Ok(Line::Answer(7, Ok(_)))));
        let refused = line(br#"{"id":7,"error":{"code":"declined","text":"no\nroom"}}"#);
        let Ok(Line::Answer(7, Err(refusal))) = refused else { panic!("{refused:?}") };
        assert_eq!((refusal.code, refusal.text.as_str()), (Code::Declined, "no room"));
        let text = format!(r#"{{"event":{{"seq":3,"reservation":{RESERVATION}}}}}"#);
        assert!(matches!(line(text.as_bytes()), Ok(Line::Event(Ok(Event { seq: 3, .. })))));
        assert!(matches!(line(br#"{"event":{"seq":3}}"#), Ok(Line::Event(Err(_)))));
    }

    #[test]
    fn what_says_two_things_or_nothing_is_no_line() {
        for text in [
            "",
            "{}",
            "null",
            "[]",
            "hello",
            "\u{0}",
            r#"{"id":1}"#,
            r#"{"ok":{}}"#,
            r#"{"ID":1,"ok":{}}"#,
            r#"{"id":1,"id":2,"ok":{}}"#,
            r#"{"id":1,"ok":{},"ok":{}}"#,
            r#"{"id":-1,"ok":{}}"#,
            r#"{"id":1e300,"ok":{}}"#,
            r#"{"id":1,"ok":{},"error":{"code":"declined","text":""}}"#,
            r#"{"id":1,"event":{}}"#,
            r#"{"id":1,"error":{"code":"declined"}}"#,
        ] {
            assert!(line(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_wrong_field_of_a_reservation_is_noticed() {
        let seen = read(RESERVATION).unwrap();
        assert_eq!((seen.reservation.start, seen.reservation.end), (1500, Some(61_500)));
        for (from, to) in [
            (r#""handle":"h1","#, ""),
            (r#""state":"active","#, ""),
            (r#""state":"active""#, r#""State":"active""#),
            (r#""state":"active""#, r#""state":"active","state":"booked""#),
            (r#""state":"active""#, r#""state":1"#),
            (r#""kbps":43200"#, r#""kbps":-1"#),
            (r#""kbps":43200"#, r#""kbps":99999999999999999999999"#),
            (r#""kbps":43200"#, r#""kbps":"43200""#),
            (r#""start":1.5"#, r#""start":1e300"#),
            (r#""start":1.5"#, r#""start":null"#),
            (r#""bound":true"#, r#""bound":"yes""#),
        ] {
            let text = RESERVATION.replace(from, to);
            assert_ne!(text, RESERVATION);
            assert!(read(&text).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn an_unknown_state_is_unknown_and_its_words_are_kept() {
        for word in ["ACTIVE", "Active", "provisioned", "", &"x".repeat(10_000)] {
            let seen = read(&RESERVATION.replace("active", word)).unwrap();
            assert_eq!(seen.reservation.state, State::Unknown, "{word}");
            assert_eq!(seen.words, word.chars().take(LONGEST_WORDS).collect::<String>());
        }
    }

    proptest! {
        #[test]
        fn no_octets_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = line(&bytes);
        }

        #[test]
        fn no_cut_or_changed_line_panics(at in 0usize..200, byte in any::<u8>(), is_cut in any::<bool>()) {
            let mut bytes = format!(r#"{{"event":{{"seq":3,"reservation":{RESERVATION}}}}}"#).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if is_cut {
                bytes.truncate(at);
            }
            let _ = line(&bytes);
        }
    }
}
