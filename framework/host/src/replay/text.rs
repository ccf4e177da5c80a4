//! A report as text for a terminal.

use std::fmt::{self, Display, Formatter};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::account::Reservation;
use super::report::{CaptureFacts, Report, Volume};
use super::{At, BitRate, Bytes};

/// Notes that are shown; all are in the JSON form.
const MAX_NOTES: usize = 8;
/// Reservations that are shown; all are in the other forms.
const MAX_SHOWN: usize = 50;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.capture.fmt_facts(f)?;
        self.fmt_traffic(f)?;
        self.fmt_networks(f)?;
        let count = self.cost.reservations;
        writeln!(f, "\n{count} reservation{} would have been made", if count == 1 { "" } else { "s" })?;
        for one in self.reservations.iter().take(MAX_SHOWN) {
            self.fmt_reservation(f, one)?;
        }
        if self.reservations.len() > MAX_SHOWN {
            writeln!(f, "  and {} more", self.reservations.len() - MAX_SHOWN)?;
        }
        if count > 0 {
            self.fmt_balance(f)?;
        }
        for (number, note) in self.notes.iter().take(MAX_NOTES).enumerate() {
            let title = if number == 0 { "\nleft out, when demand was largest\n" } else { "" };
            writeln!(f, "{title}  {note}")?;
        }
        Ok(())
    }
}

impl CaptureFacts {
    fn fmt_facts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.file, self.format, volume(&self.all))?;
        write!(f, " in {}", At(self.lasted))?;
        match self.begin() {
            Some(begin) => writeln!(f, " from {begin} on")?,
            None => writeln!(f)?,
        }
        if let Some(damage) = &self.damage {
            writeln!(f, "  {damage}; this is about what comes before")?;
        }
        for (reason, frames) in &self.unusable {
            writeln!(f, "  {frames} frames of no use: {reason}")?;
        }
        if self.wrong_lengths > 0 {
            writeln!(f, "  {} frames whose length the file contradicts", self.wrong_lengths)?;
        }
        let clock = &self.clock;
        if clock.stepped_back > 0 {
            let (times, longest) = (clock.stepped_back, clock.longest_step_back.as_secs_f64());
            writeln!(f, "  the clock stepped back {times} times, by up to {longest:.3} s")?;
        }
        if clock.leaps > 0 {
            writeln!(f, "  the clock leapt ahead by more than a week {} times", clock.leaps)?;
        }
        if clock.unstamped > 0 {
            writeln!(f, "  {} frames without a time", clock.unstamped)?;
        }
        Ok(())
    }

    /// When the capture began, by the file.
    pub(super) fn begin(&self) -> Option<String> {
        let nanos = i128::from(self.begin_ms?) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?.format(&Rfc3339).ok()
    }
}

impl Report {
    fn fmt_traffic(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let overlay = &self.overlay;
        let guests: usize = overlay.nodes.iter().map(|node| node.guests).sum();
        writeln!(f, "{} nodes with {guests} guests", overlay.nodes.len())?;
        for (sum, what) in [
            (&overlay.between_nodes, "between nodes"),
            (&overlay.within_nodes, "within nodes"),
            (&overlay.flooded, "to groups and to nobody known"),
            (&overlay.other, "other: from senders that are at no node"),
        ] {
            if sum.frames > 0 || what == "between nodes" {
                writeln!(f, "  {} {what}", volume(sum))?;
            }
        }
        let topology = &self.topology;
        if !topology.edges.is_empty() {
            let (edges, at) = (topology.edges.len(), At(topology.at));
            let plural = if edges == 1 { "edge" } else { "edges" };
            writeln!(f, "  at its strongest, {at} in: {}, {edges} {plural}", topology.pattern)?;
        }
        Ok(())
    }

    fn fmt_networks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for network in &self.overlay.networks {
            write!(f, "{}: ", network.network)?;
            if let Some(rate) = network.rate {
                write!(f, "circuits of {rate}, ")?;
            }
            writeln!(f, "set up in {}, taken down in {}", At(network.setup), At(network.teardown))?;
        }
        Ok(())
    }

    fn fmt_reservation(&self, f: &mut Formatter<'_>, one: &Reservation) -> fmt::Result {
        let (link, end) = (&one.link, self.end());
        writeln!(f, "  {} - {} on {} at {}: {}", link.a, link.z, link.network, one.rate, one.reason)?;
        write!(f, "    asked for at {}", At(one.asked_at))?;
        match (one.carrying_at, one.ending_at) {
            (Some(from), Some(to)) => write!(f, ", in use from {} to {}", At(from), At(to))?,
            (Some(from), None) => write!(f, ", in use from {} on", At(from))?,
            (None, Some(to)) => write!(f, ", never in use, given up at {}", At(to))?,
            (None, None) => write!(f, ", not in use yet")?,
        }
        match one.released_at {
            Some(at) => write!(f, ", gone at {}", At(at))?,
            None => write!(f, ", not given back")?,
        }
        writeln!(f, "{}", if one.open_at_end { " (the capture ended before)" } else { "" })?;
        let (held, carrying) = (one.held(end), one.carrying(end));
        let used = 100.0 * carrying.as_secs_f64() / held.as_secs_f64().max(f64::MIN_POSITIVE);
        write!(f, "    {} of {} pairs of guests, each way counted", Bytes(one.bytes), one.pairs)?;
        if !carrying.is_zero() {
            write!(f, ", {}", BitRate(one.bytes as f64 * 8.0 / carrying.as_secs_f64()))?;
        }
        writeln!(f, "; held for {}, {used:.0} % of it in use", At(held))
    }

    fn fmt_balance(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (gain, cost) = (&self.gain, &self.cost);
        write!(f, "\ngain: {} on circuits", volume(&gain.carried))?;
        writeln!(f, ", {:.1} % of what went between nodes", 100.0 * gain.share)?;
        write!(f, "  the star would have been left with {} at most", BitRate(gain.peak_on_star))?;
        writeln!(f, ", in place of {}", BitRate(gain.peak))?;
        write!(f, "cost: capacity held for {}, in use for {}", At(cost.held), At(cost.carrying))?;
        writeln!(f, "; {:.1} % of it filled", 100.0 * cost.filled)?;
        if let Some(price) = cost.price {
            writeln!(f, "  at the networks' prices: {price:.2}")?;
        }
        Ok(())
    }
}

fn volume(volume: &Volume) -> String {
    format!("{} in {} frames", Bytes(volume.bytes), volume.frames)
}
