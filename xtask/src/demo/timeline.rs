//! The live timeline: a header that draws the lab, a line every half second, and the events in between.

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use vreserve_testbed::LabSpec;

use super::caption::{Caption, caption};
use super::paint::{Colour, Style, bar, boxed};
use super::record::Event;
use super::setting::{Setting, Words};
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
    words: Words,
    /// The rate of a full bar, in Mbit/s.
    full_mbps: f64,
    /// Names of guests by Ethernet address.
    guests: BTreeMap<String, String>,
    /// What was last said of the topology: the same comes again when inference has settled.
    view: Option<Caption>,
    has_live_line: bool,
}

impl Timeline {
    /// A timeline for a lab.
    pub(crate) fn new(style: Style, lab: &LabSpec, words: Words, full_mbps: f64) -> Self {
        let guests = lab.guests().map(|(_, guest)| (guest.mac.to_string(), guest.name.clone())).collect();
        Self { style, words, full_mbps, guests, view: None, has_live_line: false }
    }

    /// Draws the lab.
    pub(crate) fn header(&mut self, lab: &LabSpec, setting: &Setting, time_scale: f64) {
        self.line(&boxed(setting.words.title, &setting.picture(lab, time_scale)));
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
        if let Some(caption) = caption(event, &self.guests, self.words) {
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
            Way::Circuit => (Colour::Green, self.words.circuit),
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
        let timeline = Timeline::new(Style::Plain, &lab, Words::ODIN, 1000.0);
        let reading = Reading { at_ms: 3500, mbps: 500.0, way: Way::Circuit, state: "carrying" };
        let line = timeline.draw(&reading);
        let expected =
            format!("  3.50 s ▕{}{}▏   500 Mbit/s  lightpath  carrying", "█".repeat(20), " ".repeat(20));
        assert_eq!(line, expected);
    }
}
