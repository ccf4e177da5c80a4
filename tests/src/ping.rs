//! What `ping` reported.

use std::process::Output;

/// One run of `ping`.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Requests sent.
    pub sent: usize,
    /// Replies received, duplicates not counted.
    pub received: usize,
    /// Replies that came more than once.
    pub duplicates: usize,
    /// Everything it printed.
    pub text: String,
}

impl Ping {
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |before: &str| {
            let (head, _) = text.split_once(before)?;
            head.rsplit([' ', '\n']).next()?.parse().ok()
        };
        Self {
            sent: number(" packets transmitted").unwrap_or(0),
            received: number(" received").unwrap_or(0),
            duplicates: text.matches("DUP!").count(),
            text,
        }
    }

    /// Whether every request was answered exactly once.
    pub fn is_perfect(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.duplicates == 0
    }
}
