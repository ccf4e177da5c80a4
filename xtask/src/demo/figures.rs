//! The figures of a demo: what `--json` writes, what the summary says, and whether the main job was done.

use serde::Serialize;

use super::setting::{Backend, Plugins, Setting};
use super::stage::Leftovers;
use super::story::{Held, Milestones};
use super::tally::Tally;
use super::traffic::Reports;

/// The least gain that counts as one.
const LEAST_GAIN: f64 = 2.0;
/// Shares of the reserved rate: on a congested network a pair gets less than the first without a reservation, and
/// with it at least the second.
const SQUEEZED: f64 = 0.2;
const KEPT: f64 = 0.9;

/// All that was measured.
pub(crate) struct Measured {
    pub(crate) setting: Setting,
    pub(crate) time_scale: f64,
    /// When the traffic began and was stopped, in milliseconds since the Unix epoch.
    pub(crate) began: u64,
    pub(crate) stopped: u64,
    pub(crate) inferred: Option<u64>,
    pub(crate) circuit: Milestones,
    pub(crate) held: Held,
    pub(crate) held_back: Held,
    pub(crate) before_mbps: Option<f64>,
    pub(crate) after_mbps: Option<f64>,
    /// What others had of the network at the same times.
    pub(crate) competing_mbps: Option<f64>,
    pub(crate) competing_after_mbps: Option<f64>,
    /// Numbered frames around the cut-over, around the way back, and all of them.
    pub(crate) cutover: Option<Tally>,
    pub(crate) switch_back: Option<Tally>,
    pub(crate) total: Tally,
    pub(crate) iperf3: Reports,
    pub(crate) circuits_left: Option<usize>,
    pub(crate) leftovers: Leftovers,
}

/// What `--json` writes. Times in seconds, rates in Mbit/s of whole frames at the receiving guest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) backend: Backend,
    #[serde(flatten)]
    pub(crate) plugins: Plugins,
    pub(crate) time_scale: f64,
    /// What was reserved, where that is less than all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reserved_mbps: Option<f64>,
    /// What others had before the pair was on its circuit, and while it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) competing_mbps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) competing_after_mbps: Option<f64>,
    pub(crate) before_mbps: Option<f64>,
    pub(crate) after_mbps: Option<f64>,
    pub(crate) gain: Option<f64>,
    /// From the first frame of traffic until every pair is on the lightpath.
    pub(crate) seconds_to_lightpath: Option<f64>,
    pub(crate) phases: Phases,
    /// The provider's part of `seconds_to_lightpath`, and ours.
    pub(crate) provider_s: Option<f64>,
    pub(crate) own_s: Option<f64>,
    pub(crate) probe_rtt_ms: Option<f64>,
    pub(crate) held_frames: u64,
    pub(crate) held_ms: f64,
    pub(crate) frames_sent_at_cutover: Option<usize>,
    pub(crate) frames_lost_at_cutover: Option<usize>,
    pub(crate) frames_reordered_at_cutover: Option<usize>,
    pub(crate) held_frames_at_switch_back: u64,
    pub(crate) frames_lost_at_switch_back: Option<usize>,
    pub(crate) frames_reordered_at_switch_back: Option<usize>,
    pub(crate) frames_sent_total: usize,
    pub(crate) frames_lost_total: usize,
    pub(crate) frames_reordered_total: usize,
    pub(crate) frames_repeated_total: usize,
    pub(crate) iperf3_tcp_retransmits: Option<u64>,
    pub(crate) iperf3_udp_datagrams: Option<u64>,
    pub(crate) iperf3_udp_lost: Option<u64>,
    pub(crate) iperf3_udp_out_of_order: Option<u64>,
    /// From the end of the traffic until the provider holds nothing.
    pub(crate) seconds_to_release: Option<f64>,
    pub(crate) circuits_left: Option<usize>,
    pub(crate) namespaces_left: usize,
    pub(crate) processes_left: usize,
    /// What the reserved is called.
    #[serde(skip)]
    circuit: &'static str,
}

/// The parts of `seconds_to_lightpath`; each begins where the one before ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Phases {
    /// Until inference sees the pair.
    pub(crate) inference_s: Option<f64>,
    /// Until capacity is asked for.
    pub(crate) planning_s: Option<f64>,
    /// Until the provider says that the path carries traffic.
    pub(crate) reservation_s: Option<f64>,
    /// Until the link stands and its probe has passed.
    pub(crate) probe_s: Option<f64>,
    /// Until every pair is switched.
    pub(crate) cutover_s: Option<f64>,
}

impl Figures {
    /// Works the figures out.
    pub(crate) fn of(measured: &Measured) -> Self {
        let Measured { circuit, began, .. } = measured;
        let total = seconds(Some(*began), circuit.carrying);
        let provider_s = seconds(circuit.submitted, circuit.active);
        let gain = measured.before_mbps.zip(measured.after_mbps).map(|(before, after)| after / before);
        Self {
            backend: measured.setting.backend,
            plugins: measured.setting.plugins,
            time_scale: measured.time_scale,
            reserved_mbps: measured.setting.reserved_mbps,
            competing_mbps: measured.competing_mbps.map(rounded),
            competing_after_mbps: measured.competing_after_mbps.map(rounded),
            circuit: measured.setting.words.circuit,
            before_mbps: measured.before_mbps.map(rounded),
            after_mbps: measured.after_mbps.map(rounded),
            gain: gain.filter(|gain| gain.is_finite()).map(rounded),
            seconds_to_lightpath: total,
            phases: Phases {
                inference_s: seconds(Some(*began), measured.inferred),
                planning_s: seconds(measured.inferred, circuit.submitted),
                reservation_s: provider_s,
                probe_s: seconds(circuit.active, circuit.probed),
                cutover_s: seconds(circuit.probed, circuit.carrying),
            },
            provider_s,
            own_s: total.zip(provider_s).map(|(total, provider)| rounded(total - provider)),
            probe_rtt_ms: circuit.rtt_us.map(|micros| micros as f64 / 1000.0),
            held_frames: measured.held.frames,
            held_ms: measured.held.micros as f64 / 1000.0,
            frames_sent_at_cutover: measured.cutover.map(|tally| tally.sent),
            frames_lost_at_cutover: measured.cutover.map(|tally| tally.lost),
            frames_reordered_at_cutover: measured.cutover.map(|tally| tally.reordered),
            held_frames_at_switch_back: measured.held_back.frames,
            frames_lost_at_switch_back: measured.switch_back.map(|tally| tally.lost),
            frames_reordered_at_switch_back: measured.switch_back.map(|tally| tally.reordered),
            frames_sent_total: measured.total.sent,
            frames_lost_total: measured.total.lost,
            frames_reordered_total: measured.total.reordered,
            frames_repeated_total: measured.total.repeated,
            iperf3_tcp_retransmits: measured.iperf3.tcp_retransmits,
            iperf3_udp_datagrams: measured.iperf3.udp_datagrams,
            iperf3_udp_lost: measured.iperf3.udp_lost,
            iperf3_udp_out_of_order: measured.iperf3.udp_out_of_order,
            seconds_to_release: seconds(Some(measured.stopped), circuit.released),
            circuits_left: measured.circuits_left,
            namespaces_left: measured.leftovers.namespaces,
            processes_left: measured.leftovers.processes,
        }
    }

    /// Why the main job does not count as done; empty if it does.
    pub(crate) fn failures(&self) -> Vec<String> {
        let way = self.circuit;
        let (before, after) = (self.before_mbps, self.after_mbps);
        let is_worth_it = match self.reserved_mbps {
            None => self.gain.is_some_and(|gain| gain >= LEAST_GAIN),
            Some(reserved) => after.is_some_and(|after| after >= KEPT * reserved),
        };
        let was_needed = self
            .reserved_mbps
            .is_none_or(|reserved| before.is_some_and(|before| before < SQUEEZED * reserved));
        let claims = [
            (self.seconds_to_lightpath.is_some(), format!("the traffic never moved onto a {way}")),
            (was_needed, format!("the pair had its rate without a {way}")),
            (is_worth_it, format!("the {way} did not bring what it should")),
            (self.frames_lost_at_cutover == Some(0), "frames were lost at the cut-over".to_owned()),
            (self.frames_reordered_at_cutover == Some(0), "frames were reordered at the cut-over".to_owned()),
            (self.seconds_to_release.is_some(), format!("the {way} was not given back")),
            (self.circuits_left == Some(0), "the provider still holds a circuit".to_owned()),
            (self.namespaces_left == 0, "namespaces are left".to_owned()),
            (self.processes_left == 0, "processes did not end by themselves".to_owned()),
        ];
        claims.into_iter().filter(|(holds, _)| !holds).map(|(_, failure)| failure).collect()
    }

    /// The summary, for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let shown = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| "      —".to_owned(), |value| format!("{value:>7.2} {unit}"))
        };
        let counted = |value: Option<usize>| value.map_or_else(|| "—".to_owned(), |value| value.to_string());
        let number = |value: Option<u64>| value.map_or_else(|| "—".to_owned(), |value| value.to_string());
        let Phases { inference_s, planning_s, reservation_s, probe_s, cutover_s } = self.phases;
        let way = self.circuit;
        let to_it = format!("to the {way}");
        let competing = |mbps: Option<f64>| {
            mbps.map_or_else(String::new, |mbps| format!("; others have {mbps:.1} Mbit/s"))
        };
        let reserved = self.reserved_mbps.map_or_else(String::new, |mbps| format!(" of {mbps} Mbit/s"));
        vec![
            format!(
                "before           {}  over the star{}",
                shown(self.before_mbps, "Mbit/s"),
                competing(self.competing_mbps)
            ),
            format!(
                "after            {}  over the {way}{reserved}: {} times as much{}",
                shown(self.after_mbps, "Mbit/s"),
                self.gain.map_or_else(|| "—".to_owned(), |gain| format!("{gain:.1}")),
                competing(self.competing_after_mbps)
            ),
            format!("{to_it:<16} {}  of which", shown(self.seconds_to_lightpath, "s")),
            format!("  inference      {}", shown(inference_s, "s")),
            format!("  planning       {}", shown(planning_s, "s")),
            format!("  reservation    {}  the provider's own", shown(reservation_s, "s")),
            format!("  link and probe {}", shown(probe_s, "s")),
            format!(
                "  cut-over       {}  {} frames held for {:.1} ms",
                shown(cutover_s, "s"),
                self.held_frames,
                self.held_ms
            ),
            format!("  all but the provider's {} ", shown(self.own_s, "s").trim()),
            format!(
                "at the cut-over  {} lost, {} reordered of {} numbered frames",
                counted(self.frames_lost_at_cutover),
                counted(self.frames_reordered_at_cutover),
                counted(self.frames_sent_at_cutover)
            ),
            format!(
                "at the way back  {} lost, {} reordered",
                counted(self.frames_lost_at_switch_back),
                counted(self.frames_reordered_at_switch_back)
            ),
            format!(
                "all the time     {} lost, {} reordered of {} numbered frames",
                self.frames_lost_total, self.frames_reordered_total, self.frames_sent_total
            ),
            format!(
                "iperf3           UDP {} lost, {} out of order of {}; TCP {} retransmitted",
                number(self.iperf3_udp_lost),
                number(self.iperf3_udp_out_of_order),
                number(self.iperf3_udp_datagrams),
                number(self.iperf3_tcp_retransmits)
            ),
            format!("given back after {}  from the end of the traffic", shown(self.seconds_to_release, "s")),
            format!(
                "left behind      {} circuits, {} namespaces, {} processes",
                counted(self.circuits_left),
                self.namespaces_left,
                self.processes_left
            ),
        ]
    }
}

fn seconds(from_ms: Option<u64>, until_ms: Option<u64>) -> Option<f64> {
    Some((until_ms? as f64 - from_ms? as f64) / 1000.0)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let none = Tally { sent: 2000, ..Tally::default() };
        Measured {
            setting: Setting::of(Backend::Odin),
            time_scale: 0.1,
            began: 10_000,
            stopped: 22_000,
            inferred: Some(10_900),
            circuit: Milestones {
                submitted: Some(10_910),
                active: Some(12_660),
                linked: Some(12_700),
                probed: Some(12_800),
                carrying: Some(12_900),
                released: Some(25_500),
                ..Milestones::default()
            },
            held: Held { frames: 90, micros: 18_000 },
            held_back: Held::default(),
            before_mbps: Some(95.0),
            after_mbps: Some(760.0),
            competing_mbps: None,
            competing_after_mbps: None,
            cutover: Some(none),
            switch_back: Some(none),
            total: none,
            iperf3: Reports::default(),
            circuits_left: Some(0),
            leftovers: Leftovers::default(),
        }
    }

    #[test]
    fn the_phases_add_up_to_the_whole() {
        let figures = Figures::of(&measured());
        let Phases { inference_s, planning_s, reservation_s, probe_s, cutover_s } = figures.phases;
        let sum: f64 = [inference_s, planning_s, reservation_s, probe_s, cutover_s].iter().flatten().sum();
        assert!((sum - figures.seconds_to_lightpath.unwrap()).abs() < 1e-9);
        assert_eq!((figures.own_s, figures.gain), (Some(1.15), Some(8.0)));
        assert_eq!(figures.failures(), [""; 0]);
    }

    #[test]
    fn a_demo_without_a_lightpath_has_failed_and_says_so() {
        let figures = Figures::of(&Measured {
            circuit: Milestones::default(),
            cutover: None,
            after_mbps: None,
            ..measured()
        });
        assert!(figures.failures().contains(&"the traffic never moved onto a lightpath".to_owned()));
        assert!(figures.lines().iter().any(|line| line.starts_with("after") && line.contains('—')));
    }

    #[test]
    fn whatever_is_left_behind_is_a_failure() {
        for leftovers in
            [Leftovers { namespaces: 1, processes: 0 }, Leftovers { namespaces: 0, processes: 2 }]
        {
            assert_eq!(Figures::of(&Measured { leftovers, ..measured() }).failures().len(), 1);
        }
    }

    #[test]
    fn on_a_congested_network_shares_of_the_reserved_rate_count_and_no_gain() {
        let congested = |before, after| {
            let measured = measured();
            let figures = Figures::of(&Measured {
                setting: Setting::of(Backend::Gara),
                before_mbps: Some(before),
                after_mbps: Some(after),
                competing_mbps: Some(90.0),
                competing_after_mbps: Some(55.0),
                ..measured
            });
            figures.failures().len()
        };
        assert_eq!(congested(7.9, 36.0), 0);
        assert_eq!((congested(8.0, 36.0), congested(7.9, 35.9), congested(40.0, 20.0)), (1, 1, 2));
        let odin = serde_json::to_value(Figures::of(&measured())).unwrap();
        assert!(odin.get("competing_mbps").is_none() && odin["backend"] == "odin");
    }
}
