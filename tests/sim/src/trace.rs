//! What has happened: a digest of all of it, and the last of it in words.

use std::collections::VecDeque;

use vreserve_model::Timestamp;

/// How many lines are kept.
const LINES: usize = 80;
/// FNV-1a: any change of any step changes the digest, and it is the same on every machine.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The trace of one run.
pub(crate) struct Trace {
    digest: u64,
    steps: u64,
    lines: VecDeque<String>,
    /// Everything in words goes to standard error as it happens.
    is_told: bool,
}

impl Trace {
    pub(crate) fn new(is_told: bool) -> Self {
        Trace { digest: BASIS, steps: 0, lines: VecDeque::with_capacity(LINES), is_told }
    }

    /// One step: when, what and with whom.
    pub(crate) fn step(&mut self, now: Timestamp, kind: u8, with: u64) {
        self.steps += 1;
        self.add(&now.0.to_le_bytes());
        self.add(&[kind]);
        self.add(&with.to_le_bytes());
    }

    /// Something worth a line.
    pub(crate) fn note(&mut self, now: Timestamp, what: &str) {
        self.add(what.as_bytes());
        let line = format!("{:>12.6} s  step {:>7}  {what}", now.0 as f64 / 1e9, self.steps);
        if self.is_told {
            eprintln!("{line}");
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    fn add(&mut self, octets: &[u8]) {
        for octet in octets {
            self.digest = (self.digest ^ u64::from(*octet)).wrapping_mul(PRIME);
        }
    }
}
