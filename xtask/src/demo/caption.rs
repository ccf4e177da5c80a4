//! One line per event, for a person. Pure.

use std::collections::BTreeMap;

use super::paint::Colour;
use super::record::{Event, LinkName};
use super::setting::Words;

/// What is said about one event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Caption {
    /// One word.
    pub(crate) word: &'static str,
    /// The rest of the line.
    pub(crate) text: String,
    pub(crate) colour: Colour,
}

/// Says what happened, if it is worth a line. `guests` names Ethernet addresses.
pub(crate) fn caption(event: &Event, guests: &BTreeMap<String, String>, words: Words) -> Option<Caption> {
    let name = |mac: &String| guests.get(mac).unwrap_or(mac).clone();
    let say = |word, colour, text| Some(Caption { word, text, colour });
    match event {
        Event::TopologyChanged { edges: 0, .. } => {
            say("inferred", Colour::Blue, "silence: nobody talks to anybody".into())
        }
        Event::TopologyChanged { pattern, edges } => {
            say("inferred", Colour::Blue, format!("{pattern}: {}", count(*edges, "pair talks", "pairs talk")))
        }
        Event::Planned { add, remove } => {
            let added = add.iter().map(|wanted| format!("+ {} ({})", link(&wanted.link), wanted.reason));
            let removed = remove.iter().map(|name| format!("− {}", link(name)));
            say("planned", Colour::Blue, added.chain(removed).collect::<Vec<_>>().join(", "))
        }
        Event::ReservationSubmitted { link: name, attempt, .. } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            say("reserving", Colour::Magenta, format!("{}{again}", link(name)))
        }
        Event::ReservationActive { native_id, labels, took_ms, .. } => {
            let labels = labels.iter().map(|(key, value)| format!("{key} {value}"));
            let id = native_id.iter().map(|id| format!("{} {id}", words.id));
            let what: Vec<_> = id.chain(labels).collect();
            say("active", Colour::Magenta, format!("{}, after {}", what.join(", "), seconds(*took_ms)))
        }
        Event::ReservationUnknown { reason, .. } => say("unknown", Colour::Red, reason.clone()),
        Event::ReservationCallFailed { call, reason, .. } => {
            say("failed", Colour::Red, format!("{call}: {reason}"))
        }
        Event::Linked { took_ms, .. } => {
            say("linked", Colour::Cyan, format!("both ends have the link, {took_ms} ms"))
        }
        Event::Probed { rtt_us, loss, took_ms, .. } => {
            let rtt = rtt_us.map_or_else(String::new, |rtt| format!("round trip {}, ", millis(rtt)));
            say("probed", Colour::Cyan, format!("{rtt}{:.0} % lost, {took_ms} ms", loss * 100.0))
        }
        Event::PairSwitched { source, destination, onto, held_frames, held_us } => {
            let way = if onto.is_some() { words.circuit } else { "star" };
            let held = format!("{} held for {}", count_u64(*held_frames, "frame"), millis(*held_us));
            let pair = format!("{} → {}", name(source), name(destination));
            say("cut over", Colour::Green, format!("{pair} onto the {way}: {held}, then sent in order"))
        }
        Event::PairAborted { source, destination, reason, .. } => {
            let pair = format!("{} → {}", name(source), name(destination));
            say("stayed", Colour::Red, format!("{pair}: {reason}"))
        }
        Event::Carrying { pairs, .. } => {
            let pairs = count(*pairs, "pair", "pairs");
            say("carrying", Colour::Green, format!("{pairs} on the {}", words.circuit))
        }
        Event::CircuitFailed { reason, .. } => say("failed", Colour::Red, reason.clone()),
        Event::CuttingBack { reason, .. } => say("cut back", Colour::Yellow, reason.clone()),
        Event::Releasing { .. } => {
            say("releasing", Colour::Magenta, format!("the {} is being given back", words.circuit))
        }
        Event::Released { since_ending_ms, .. } => say(
            "released",
            Colour::Magenta,
            format!("the provider holds nothing, after {}", seconds(*since_ending_ms)),
        ),
        Event::NodeLeft { node } => say("left", Colour::Red, format!("node {node}")),
        Event::BackendDown { network, reason } => say("down", Colour::Red, format!("{network}: {reason}")),
        Event::NodeJoined { .. } | Event::BackendUp { .. } | Event::Unlinking { .. } | Event::Other => None,
    }
}

fn link(name: &LinkName) -> String {
    format!("{} ═ {} on {}", name.a, name.z, name.network)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn count_u64(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

fn seconds(millis: u64) -> String {
    format!("{:.2} s", millis as f64 / 1000.0)
}

fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<String> {
        let guests = BTreeMap::from([("02:00".to_owned(), "a1".to_owned())]);
        let event = serde_json::from_str(line).unwrap();
        caption(&event, &guests, Words::ODIN).map(|caption| format!("{}: {}", caption.word, caption.text))
    }

    #[test]
    fn a_switch_names_the_guests_and_what_waited() {
        let line = r#"{"event":"pair_switched","source":"02:00","destination":"02:99","onto":4,
            "held_frames":1,"held_us":12345}"#;
        let expected =
            "cut over: a1 → 02:99 onto the lightpath: 1 frame held for 12.3 ms, then sent in order";
        assert_eq!(said(line).unwrap(), expected);
    }

    #[test]
    fn a_plan_shows_what_comes_and_what_goes() {
        let line = r#"{"event":"planned","add":[{"a":"x","z":"y","network":"o","rate":1,"reason":"94mbit"}],
            "remove":[{"a":"p","z":"q","network":"o"}]}"#;
        assert_eq!(said(line).unwrap(), "planned: + x ═ y on o (94mbit), − p ═ q on o");
    }

    #[test]
    fn what_nobody_needs_to_see_is_not_said() {
        assert_eq!(said(r#"{"event":"guests_changed","node":"alpha","guests":1,"ignored":0}"#), None);
        assert_eq!(said(r#"{"event":"from_the_future"}"#), None);
    }
}
