//! What the demo knows of the reservation, from the lead's events alone. Pure: time is what the records say.

use std::collections::BTreeMap;

use super::record::{Event, Record};

/// When a circuit got how far, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Milestones {
    pub(crate) submitted: Option<u64>,
    pub(crate) active: Option<u64>,
    pub(crate) linked: Option<u64>,
    pub(crate) probed: Option<u64>,
    pub(crate) carrying: Option<u64>,
    pub(crate) cutting_back: Option<u64>,
    pub(crate) unlinking: Option<u64>,
    pub(crate) released: Option<u64>,
    /// The probe's round trip in microseconds.
    pub(crate) rtt_us: Option<u64>,
    /// Whether it was given up.
    pub(crate) has_failed: bool,
}

/// Where the pair's frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Star,
    Circuit,
}

/// The frames that waited while the pair changed its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) frames: u64,
    pub(crate) micros: u64,
}

/// The story so far of one pair of guests.
#[derive(Debug)]
pub(crate) struct Story {
    source: String,
    destination: String,
    /// When inference first saw an edge.
    pub(crate) inferred: Option<u64>,
    circuits: BTreeMap<u64, Milestones>,
    /// Where the pair's frames go now.
    pub(crate) way: Way,
    /// When the pair went onto the circuit.
    pub(crate) switched: Option<u64>,
    /// What waited when it did.
    pub(crate) held: Held,
    /// What waited when it went back.
    pub(crate) held_back: Held,
}

impl Story {
    /// Nothing has happened yet; the pair is named by its Ethernet addresses.
    pub(crate) fn new(source: String, destination: String) -> Self {
        Self {
            source,
            destination,
            inferred: None,
            circuits: BTreeMap::new(),
            way: Way::Star,
            switched: None,
            held: Held::default(),
            held_back: Held::default(),
        }
    }

    /// One more event.
    pub(crate) fn handle(&mut self, record: &Record) {
        let at = Some(record.at_ms);
        match &record.event {
            Event::TopologyChanged { edges, .. } if *edges > 0 => {
                self.inferred.get_or_insert(record.at_ms);
            }
            Event::ReservationSubmitted { circuit, .. } => self.of(*circuit).submitted = at,
            Event::ReservationActive { circuit, .. } => self.of(*circuit).active = at,
            Event::Linked { circuit, .. } => self.of(*circuit).linked = at,
            Event::Probed { circuit, rtt_us, .. } => {
                let milestones = self.of(*circuit);
                milestones.probed = at;
                milestones.rtt_us = *rtt_us;
            }
            Event::Carrying { circuit, .. } => {
                let milestones = self.of(*circuit);
                milestones.carrying = milestones.carrying.or(at);
            }
            Event::CircuitFailed { circuit, .. } => self.of(*circuit).has_failed = true,
            Event::CuttingBack { circuit, .. } => self.of(*circuit).cutting_back = at,
            Event::Unlinking { circuit } => self.of(*circuit).unlinking = at,
            Event::Released { circuit, .. } => self.of(*circuit).released = at,
            Event::PairSwitched { source, destination, onto, held_frames, held_us }
                if (source, destination) == (&self.source, &self.destination) =>
            {
                self.switch(record.at_ms, onto.is_some(), Held { frames: *held_frames, micros: *held_us });
            }
            _ => {}
        }
    }

    /// The circuit that carried the pair, or the last that was tried.
    pub(crate) fn circuit(&self) -> Milestones {
        let mut all = self.circuits.values();
        let carried = all.find(|milestones| milestones.carrying.is_some());
        carried.or(self.circuits.values().next_back()).cloned().unwrap_or_default()
    }

    /// Whether everything that was asked for has been given back.
    pub(crate) fn is_all_released(&self) -> bool {
        self.circuits.values().all(|milestones| milestones.released.is_some() || milestones.has_failed)
    }

    /// How far the reservation is, in a few words.
    pub(crate) fn state(&self) -> &'static str {
        let circuit = self.circuit();
        let states = [
            (circuit.released, "given back"),
            (circuit.unlinking, "giving back"),
            (circuit.cutting_back, "cutting back"),
            (circuit.carrying, "carrying"),
            (circuit.probed, "cutting over"),
            (circuit.linked, "probing"),
            (circuit.active, "linking"),
            (circuit.submitted, "being set up"),
            (self.inferred, "planning"),
        ];
        let reached = states.iter().find(|(at, _)| at.is_some());
        reached.map_or("nothing reserved", |(_, state)| state)
    }

    fn of(&mut self, circuit: u64) -> &mut Milestones {
        self.circuits.entry(circuit).or_default()
    }

    fn switch(&mut self, at_ms: u64, is_onto_circuit: bool, held: Held) {
        if is_onto_circuit {
            (self.way, self.switched, self.held) = (Way::Circuit, Some(at_ms), held);
        } else {
            (self.way, self.held_back) = (Way::Star, held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(story: &mut Story, lines: &[&str]) {
        lines.iter().for_each(|line| story.handle(&serde_json::from_str(line).unwrap()));
    }

    const SET_UP: [&str; 6] = [
        r#"{"at_ms":1000,"event":"topology_changed","pattern":"pairs","edges":1}"#,
        r#"{"at_ms":1010,"event":"reservation_submitted","circuit":7,"a":"alpha","z":"beta","network":"o","attempt":1}"#,
        r#"{"at_ms":2760,"event":"reservation_active","circuit":7,"native_id":"1","labels":{},"took_ms":1750}"#,
        r#"{"at_ms":2800,"event":"linked","circuit":7,"took_ms":40}"#,
        r#"{"at_ms":2900,"event":"probed","circuit":7,"rtt_us":300,"loss":0.0,"took_ms":100}"#,
        r#"{"at_ms":2950,"event":"pair_switched","source":"s","destination":"d","onto":7,"held_frames":12,"held_us":900}"#,
    ];

    #[test]
    fn the_pair_is_on_its_circuit_from_its_switch_until_its_way_back() {
        let mut story = Story::new("s".into(), "d".into());
        tell(&mut story, &SET_UP);
        assert_eq!((story.way, story.state()), (Way::Circuit, "cutting over"));
        assert_eq!((story.switched, story.held), (Some(2950), Held { frames: 12, micros: 900 }));
        tell(
            &mut story,
            &[
                r#"{"at_ms":2960,"event":"carrying","circuit":7,"pairs":1}"#,
                r#"{"at_ms":9000,"event":"cutting_back","circuit":7,"reason":"no longer wanted"}"#,
                r#"{"at_ms":9010,"event":"pair_switched","source":"s","destination":"d","onto":null,"held_frames":1,"held_us":5}"#,
                r#"{"at_ms":9020,"event":"unlinking","circuit":7}"#,
            ],
        );
        assert_eq!((story.way, story.state(), story.is_all_released()), (Way::Star, "giving back", false));
        tell(&mut story, &[r#"{"at_ms":9999,"event":"released","circuit":7,"since_ending_ms":999}"#]);
        assert!(story.is_all_released());
        assert_eq!(story.circuit().carrying, Some(2960));
    }

    #[test]
    fn another_pairs_switch_says_nothing_about_this_one() {
        let mut story = Story::new("d".into(), "s".into());
        tell(&mut story, &SET_UP);
        assert_eq!(story.way, Way::Star);
    }

    #[test]
    fn the_circuit_that_carried_counts_not_the_attempt_that_failed() {
        let mut story = Story::new("s".into(), "d".into());
        tell(
            &mut story,
            &[
                r#"{"at_ms":500,"event":"reservation_submitted","circuit":3,"a":"alpha","z":"beta","network":"o","attempt":1}"#,
                r#"{"at_ms":600,"event":"circuit_failed","circuit":3,"phase":"reserving","reason":"refused"}"#,
            ],
        );
        tell(&mut story, &SET_UP);
        assert_eq!(story.circuit().submitted, Some(1010));
        assert!(!story.is_all_released());
    }
}
