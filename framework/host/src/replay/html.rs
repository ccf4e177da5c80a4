//! A report as one HTML page that needs nothing else: its plots are SVG in the page, there is no script, and a
//! content policy in it forbids the browser to fetch anything. The page is well-formed XML too.
//!
//! Whatever comes from outside (names of files, nodes and networks, a planner's words) is written by [`Escaped`].

mod matrix;
mod plot;
mod timeline;
mod topology;
mod traffic;

use std::fmt::{self, Display, Formatter, Write};

use super::account::Reservation;
use super::report::Report;
use super::{At, BitRate, Bytes};

/// Rows of a table in the page; all are in the JSON form.
const MAX_ROWS: usize = 500;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #6b7580; --grid: #d5dade; --star: #5b8fc7;
  --circuit: #2f9e62; --setup: #e0a100; --teardown: #a9b1b8; --paper: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8eb; --faint: #98a2ab; --grid: #3a4249; --paper: #15191d; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.lead { font-size: 1.1rem; } .faint { color: var(--faint); } .warn { border-left: 4px solid var(--setup);
  padding-left: .7rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font-size: 11px; }
svg .axis { stroke: var(--faint); } svg .grid { stroke: var(--grid); } svg .faint { fill: var(--faint); }
.key i { display: inline-block; width: .9em; height: .9em; margin: 0 .35em 0 1em; vertical-align: -.1em; }
.scroll { overflow-x: auto; }
";

/// Text as the content of an element or the value of an attribute: markup means nothing in it, and what XML cannot
/// hold is replaced.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            '\n' | '\t' => self.0.write_str(" "),
            '\u{fffe}' | '\u{ffff}' => self.0.write_char('\u{fffd}'),
            // Direction marks would make a name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.write_char('\u{fffd}'),
            c if c.is_control() => self.0.write_char('\u{fffd}'),
            c => self.0.write_char(c),
        })
    }
}

impl Report {
    /// The page.
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> fmt::Result {
        let file = Escaped(&self.capture.file);
        write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n\
             <meta charset=\"utf-8\"/>\n<meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>Replay of {file}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>Replay of {file}</h1>\n"
        )?;
        self.write_summary(page)?;
        self.write_section(page, "Traffic between nodes", |out| traffic::draw(out, self))?;
        self.write_section(page, "Circuits", |out| {
            timeline::draw(out, self)?;
            self.write_reservations(out)
        })?;
        self.write_section(page, "Who sent to whom", |out| matrix::draw(out, self))?;
        self.write_section(page, "Topology at its strongest", |out| topology::draw(out, self))?;
        self.write_section(page, "Left out, when demand was largest", |out| self.write_notes(out))?;
        page.push_str("</body>\n</html>\n");
        Ok(())
    }

    fn write_section(
        &self,
        page: &mut String,
        title: &str,
        content: impl FnOnce(&mut String) -> fmt::Result,
    ) -> fmt::Result {
        writeln!(page, "<h2>{title}</h2>")?;
        content(page)
    }

    fn write_summary(&self, page: &mut String) -> fmt::Result {
        let (capture, gain, cost) = (&self.capture, &self.gain, &self.cost);
        let count = cost.reservations;
        let plural = if count == 1 { "reservation" } else { "reservations" };
        writeln!(
            page,
            "<p class=\"lead\">{count} {plural} would have carried {}, {:.1} % of what went between nodes.</p>",
            Bytes(gain.carried.bytes),
            100.0 * gain.share
        )?;
        if let Some(damage) = &capture.damage {
            writeln!(page, "<p class=\"warn\">{}; this is about what comes before.</p>", Escaped(damage))?;
        }
        let mut rows = vec![
            ("capture", format!("{} in {} frames", Bytes(capture.all.bytes), capture.all.frames)),
            (
                "time",
                format!("{} from {}", At(capture.lasted), capture.begin().unwrap_or_else(|| "?".into())),
            ),
            ("nodes", self.overlay.nodes.len().to_string()),
            ("largest rate", BitRate(gain.peak).to_string()),
            ("of that left to the star", BitRate(gain.peak_on_star).to_string()),
            ("capacity held", format!("{}, in use for {}", At(cost.held), At(cost.carrying))),
            ("of it filled", format!("{:.1} %", 100.0 * cost.filled)),
        ];
        rows.extend(cost.price.map(|price| ("price", format!("{price:.2}"))));
        let unusable = capture.unusable.iter().map(|(reason, frames)| format!("{frames} {reason}"));
        let unusable: Vec<String> = unusable.collect();
        if !unusable.is_empty() {
            rows.push(("frames of no use", unusable.join(", ")));
        }
        let other = self.overlay.other;
        if other.frames > 0 {
            rows.push((
                "from senders at no node",
                format!("{} in {} frames", Bytes(other.bytes), other.frames),
            ));
        }
        if capture.clock.stepped_back > 0 {
            rows.push(("clock stepped back", format!("{} times", capture.clock.stepped_back)));
        }
        page.push_str("<table>\n");
        for (name, value) in rows {
            writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Escaped(value))?;
        }
        for network in &self.overlay.networks {
            let times = format!("set up in {}, taken down in {}", At(network.setup), At(network.teardown));
            let rate = network.rate.map(|rate| format!("circuits of {rate}, ")).unwrap_or_default();
            let name = Escaped(&network.network);
            writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{rate}{times}</td></tr>")?;
        }
        page.push_str("</table>\n");
        Ok(())
    }

    fn write_reservations(&self, page: &mut String) -> fmt::Result {
        if self.reservations.is_empty() {
            return Ok(());
        }
        page.push_str("<div class=\"scroll\"><table>\n<tr>");
        for title in ["between", "on", "rate", "asked for", "in use", "gone", "carried", "why"] {
            write!(page, "<th>{title}</th>")?;
        }
        page.push_str("</tr>\n");
        for one in self.reservations.iter().take(MAX_ROWS) {
            write_row(page, one)?;
        }
        page.push_str("</table></div>\n");
        Ok(())
    }

    fn write_notes(&self, page: &mut String) -> fmt::Result {
        if self.notes.is_empty() {
            page.push_str("<p class=\"faint\">Nothing.</p>\n");
            return Ok(());
        }
        page.push_str("<ul>\n");
        for note in self.notes.iter().take(MAX_ROWS) {
            writeln!(page, "<li>{}</li>", Escaped(note))?;
        }
        page.push_str("</ul>\n");
        Ok(())
    }
}

fn write_row(page: &mut String, one: &Reservation) -> fmt::Result {
    let time = |at: Option<_>| at.map_or_else(|| "-".to_owned(), |at| At(at).to_string());
    let open = if one.open_at_end { " (the capture ended before)" } else { "" };
    let cells = [
        format!("{} - {}", one.link.a, one.link.z),
        one.link.network.clone(),
        one.rate.to_string(),
        At(one.asked_at).to_string(),
        format!("{} to {}", time(one.carrying_at), time(one.ending_at)),
        format!("{}{open}", time(one.released_at)),
        Bytes(one.bytes).to_string(),
        one.reason.clone(),
    ];
    page.push_str("<tr>");
    for cell in cells {
        write!(page, "<td>{}</td>", Escaped(cell))?;
    }
    page.push_str("</tr>\n");
    Ok(())
}
