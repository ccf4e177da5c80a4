//! The live timeline: a header that draws the lab, a line every half second, and the events in between.

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use vreserve_testbed::LabSpec;

use super::caption::{Caption, caption};
use super::paint::{Colour, Style, bar, boxed};
use super::record::Event;
use super::story::Way;

const BAR_WIDTH: usize = 40;

/// What a line of the timeline shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Since the traffic began, in milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) mbps: f64,
    pub(crate) way: Way,
    /// How far the reservation is.
    pub(crate) state: &'static str,
}

/// Draws on standard output; that nobody reads it is no reason to stop.
pub(crate) struct Timeline {
    style: Style,
    /// The rate of a full bar, in Mbit/s.
    full_mbps: f64,
    /// Names of guests by Ethernet address.
    guests: BTreeMap<String, String>,
    /// What was last said of the topology: the same comes again when inference has settled.
    view: Option<Caption>,
    has_live_line: bool,
}

impl Timeline {
    /// A timeline for a lab; a full bar is the rate of a lightpath.
    pub(crate) fn new(style: Style, lab: &LabSpec) -> Self {
        let full_mbps = lab.networks.first().map_or(1000.0, |network| network.rate.0 as f64 / 1e6);
        let guests = lab.guests().map(|(_, guest)| (guest.mac.to_string(), guest.name.clone())).collect();
        Self { style, full_mbps, guests, view: None, has_live_line: false }
    }

    /// Draws the lab.
    pub(crate) fn header(&mut self, lab: &LabSpec, provider: &str, time_scale: f64) {
        let commodity = lab.commodity.rate.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string());
        let lightpaths = lab.networks.iter().map(|n| format!("{}: {} per lightpath", n.name, n.rate));
        let lines = [
            String::new(),
            "                        hub  proxy and lead".to_owned(),
            format!("          ┌─────────────┼─────────────┐      commodity network: {commodity} per host"),
            "        alpha         beta          gamma      one daemon each, frames of unmodified guests"
                .to_owned(),
            "        │ a1          │ b1          │ g1".to_owned(),
            "        └─ chicago ═══╧═ evanston ══╛          ".to_owned()
                + &lightpaths.collect::<Vec<_>>().join(", ")
                + ", dark until reserved",
            String::new(),
            format!("iperf3 a1 → b1, TCP and UDP; {provider} at {time_scale} of its original delays"),
        ];
        let title = "VRESERVE: see who talks, reserve a lightpath, move the traffic, give it back";
        self.line(&boxed(title, &lines));
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear_live_line();
        let _ = writeln!(stdout(), "{text}");
    }

    /// A remark of the demo itself.
    pub(crate) fn remark(&mut self, at_ms: i64, text: &str) {
        let text = self.style.paint(Colour::Grey, text);
        self.line(&format!("{} ─ {text}", clock(at_ms)));
    }

    /// An event of the lead, if it is worth a line.
    pub(crate) fn event(&mut self, at_ms: i64, event: &Event) {
        let is_view = matches!(event, Event::TopologyChanged { .. });
        if let Some(caption) = caption(event, &self.guests) {
            if is_view && self.view.as_ref() == Some(&caption) {
                return;
            }
            let word = self.style.paint(caption.colour, &format!("◆ {:<10}", caption.word));
            self.line(&format!("{} {word} {}", clock(at_ms), caption.text));
            if is_view {
                self.view = Some(caption);
            }
        }
    }

    /// A line that stays.
    pub(crate) fn reading(&mut self, reading: &Reading) {
        let text = self.draw(reading);
        self.line(&text);
    }

    /// A line that the next one is drawn over; nothing when plain.
    pub(crate) fn live(&mut self, reading: &Reading) {
        if self.style == Style::Terminal {
            let text = self.draw(reading);
            let _ = write!(stdout(), "\r\x1b[2K{text}");
            let _ = stdout().flush();
            self.has_live_line = true;
        }
    }

    fn draw(&self, reading: &Reading) -> String {
        let (colour, way) = match reading.way {
            Way::Star => (Colour::Yellow, "star"),
            Way::Lightpath => (Colour::Green, "lightpath"),
        };
        let bar = self.style.paint(colour, &bar(reading.mbps / self.full_mbps, BAR_WIDTH));
        let way = self.style.paint(colour, &format!("{way:<9}"));
        let state = self.style.paint(Colour::Grey, reading.state);
        format!("{} ▕{bar}▏ {:>5.0} Mbit/s  {way}  {state}", clock(reading.at_ms), reading.mbps)
    }

    fn clear_live_line(&mut self) {
        if std::mem::take(&mut self.has_live_line) {
            let _ = write!(stdout(), "\r\x1b[2K");
        }
    }
}

fn clock(at_ms: i64) -> String {
    format!("{:>6.2} s", at_ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_one_plain_line() {
        let lab = LabSpec::parse(include_str!("../../../testbed/labs/demo.toml"), "d".as_ref()).unwrap();
        let timeline = Timeline::new(Style::Plain, &lab);
        let reading = Reading { at_ms: 3500, mbps: 500.0, way: Way::Lightpath, state: "carrying" };
        let line = timeline.draw(&reading);
        let expected =
            format!("  3.50 s ▕{}{}▏   500 Mbit/s  lightpath  carrying", "█".repeat(20), " ".repeat(20));
        assert_eq!(line, expected);
    }
}
