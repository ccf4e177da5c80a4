//! Suite `latency`: how long a small datagram takes there and back, when nothing else is under way, after a pause,
//! and beside a TCP stream.

use super::Options;
use super::dataplane::{CLEAR, CLEAR_SLEEP, SECURE};
use super::load::Load;
use super::node::Variant;
use super::record::Record;
use super::underlay::Underlay;
use super::versus::Versus;
use crate::artifacts::Artifacts;

const ALL: &[Load] = &[Load::RoundTrip, Load::PacedRoundTrip, Load::BusyRoundTrip];
const VARIANTS: [(Variant, &[Load]); 3] = [(CLEAR, ALL), (CLEAR_SLEEP, ALL), (SECURE, ALL)];
/// A single datagram is never cut: `super` and `wire` differ only in what the stream beside it does.
const UNDERLAYS: [Underlay; 2] = [Underlay::Wire, Underlay::Super];

/// Measures.
///
/// # Errors
/// If a baseline fails, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    let mut versus = Versus::set(options, built, &VARIANTS)?;
    for round in 0..options.rounds {
        for underlay in UNDERLAYS {
            versus.round(round, underlay, ALL)?;
        }
    }
    versus.end("latency")
}
