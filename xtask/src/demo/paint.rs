//! Colour, bars and the width of text on a terminal; none of it when the output is plain.

use std::io::IsTerminal;

/// The colours in use; the numbers are those of ECMA-48 (SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
    Grey = 90,
}

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Colours, and a line that is drawn over.
    Terminal,
    /// Text only.
    Plain,
}

impl Style {
    /// What standard output can show, unless it shall be plain (also: <https://no-color.org>).
    pub(crate) fn of_stdout(is_plain: bool) -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if is_plain || wants_none || is_dumb || !std::io::stdout().is_terminal() {
            Style::Plain
        } else {
            Style::Terminal
        }
    }

    /// Text in a colour.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        match self {
            Style::Terminal => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            Style::Plain => text.to_owned(),
        }
    }
}

/// A bar of `width` cells for a fraction of 0 to 1, in eighths of a cell; always `width` characters.
pub(crate) fn bar(fraction: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (fraction.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let (full, rest) = (eighths / 8, eighths % 8);
    let mut bar = "█".repeat(full);
    if full < width {
        bar.push(EIGHTHS[rest]);
        bar.extend(std::iter::repeat_n(' ', width - full - 1));
    }
    bar
}

/// Lines in a frame with a title; as wide as the widest.
pub(crate) fn boxed(title: &str, lines: &[String]) -> String {
    let width = |text: &str| text.chars().count();
    let inner = lines.iter().map(|line| width(line)).chain([width(title) + 2]).max().unwrap_or(0);
    let mut text = format!("╭─ {title} {}╮\n", "─".repeat(inner - width(title) - 1));
    for line in lines {
        text += &format!("│ {line}{} │\n", " ".repeat(inner - width(line)));
    }
    text + &format!("╰{}╯", "─".repeat(inner + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_in_eighths_and_keeps_its_width() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(1.0 / 32.0, 4), "▏   ");
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(1.7, 4), "████");
        assert_eq!(bar(f64::NAN, 4), "    ");
    }

    #[test]
    fn a_box_closes_on_every_line() {
        let text = boxed("T", &["short".into(), "a longer line".into()]);
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [17, 17, 17, 17]);
    }

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Style::Plain.paint(Colour::Red, "x"), "x");
        assert_eq!(Style::Terminal.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
