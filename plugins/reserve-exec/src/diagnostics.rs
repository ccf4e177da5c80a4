//! What a program writes to its standard error, on its way to the log: lines, so many and so long at most. Pure.

/// Lines of one process that are shown.
const MOST_LINES: usize = 100;
/// Bytes of a line that are shown.
const LONGEST_LINE: usize = 500;

/// The complaints of one process.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    line: Vec<u8>,
    shown: usize,
    withheld: u64,
    last: String,
}

impl Diagnostics {
    /// Takes what was read; `show` gets the lines that have become complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut show: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if is_whole {
                self.end_line(&mut show);
            }
        }
    }

    /// Shows what has no end, and how much was left out.
    pub(crate) fn finish(&mut self, mut show: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end_line(&mut show);
        }
        if self.withheld > 0 {
            show(&format!("and {} lines more", self.withheld));
        }
    }

    /// The last line that said something.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    fn end_line(&mut self, show: &mut impl FnMut(&str)) {
        let line = plain(&self.line);
        self.line.clear();
        if line.is_empty() {
            return;
        }
        if self.shown < MOST_LINES {
            self.shown += 1;
            show(&line);
        } else {
            self.withheld += 1;
        }
        self.last = line;
    }
}

/// Text for a log: no control characters, no bytes that are not text.
pub(crate) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_the_last_is_remembered() {
        let (mut diagnostics, mut shown) = (Diagnostics::default(), Vec::new());
        for piece in ["one\ntw", "o\n\n", "\u{1b}[31mthree"] {
            diagnostics.feed(piece.as_bytes(), |line| shown.push(line.to_owned()));
        }
        assert_eq!(shown, ["one", "two"]);
        diagnostics.finish(|line| shown.push(line.to_owned()));
        assert_eq!((shown[2].as_str(), diagnostics.last()), ("[31mthree", "[31mthree"));
    }

    #[test]
    fn a_program_that_will_not_stop_talking_is_cut_short() {
        let (mut diagnostics, mut shown) = (Diagnostics::default(), Vec::new());
        for _ in 0..1000 {
            diagnostics.feed(&[b'x'; 10_000], |line| shown.push(line.to_owned()));
            diagnostics.feed(b"\n", |line| shown.push(line.to_owned()));
        }
        diagnostics.finish(|line| shown.push(line.to_owned()));
        assert_eq!((shown.len(), shown[0].len()), (MOST_LINES + 1, LONGEST_LINE));
        assert_eq!(shown[MOST_LINES], "and 900 lines more");
    }
}
