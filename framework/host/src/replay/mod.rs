//! `vreserve replay`: what an overlay would have reserved, had it carried the traffic of a capture.
//!
//! ```text
//!  file ─▶ capture ─▶ clock ─▶ places: a matrix per node ─▶ infer ─▶ adapt ─▶ lead ──▶ shadow: nodes that obey,
//!          frames     time             who is where         └── the daemon's own ──┘           providers that grant
//!                                          └──────▶ account ◀───────── events ───┘
//!                                                      └─▶ report ─▶ text, JSON, html
//! ```
//! Inference, planner and lead are those of a running proxy; only time is the capture's, and nobody is asked for
//! anything. What cannot be known from a capture is left out: guests sent what the captured network let through, and
//! with a circuit they might have sent more.

mod account;
mod capture;
mod clock;
mod html;
mod places;
mod report;
mod series;
mod shadow;
#[cfg(test)]
mod tests;
mod text;
mod world;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serializer;
use thiserror::Error;

use crate::config::OverlayConfig;
use crate::loader::Registry;
use capture::{Capture, CaptureError as Unread};
use clock::CaptureClock;
use report::Reading;
use world::World;

pub use account::Reservation;
pub use capture::CaptureError;
pub use clock::ClockFacts;
pub use report::{
    CaptureFacts, Cost, Gain, NetworkFacts, NodeFacts, OverlayFacts, PairFacts, PatternFacts, Report,
    TopologyFacts, Volume,
};
pub use series::{Series, Slice};
pub use world::WorldError;

/// Why a capture was not replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read at all.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The overlay's plugins did not start, or failed.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// Replays the capture at `file` in an overlay. Of one that is damaged, what comes before the damage is replayed, and
/// the report says where it ends.
///
/// # Errors
/// If the file cannot be read or is no capture, and if a plugin does not start or fails.
pub fn replay(file: &Path, overlay: &OverlayConfig, registry: &Registry) -> Result<Report, ReplayError> {
    let capture = Capture::open(file)?;
    let scratch = Scratch::new();
    replay_in(file, capture, overlay, registry, &scratch.0)
}

fn replay_in(
    file: &Path,
    mut capture: Capture,
    overlay: &OverlayConfig,
    registry: &Registry,
    state_dir: &Path,
) -> Result<Report, ReplayError> {
    let mut world = World::new(overlay, registry, state_dir)?;
    let mut clock = CaptureClock::default();
    let mut reading = Reading::default();
    loop {
        match capture.next_frame() {
            Ok(Some(frame)) => {
                reading.take(&frame);
                world.handle_frame(clock.read(frame.at), &frame)?;
            }
            Ok(None) => break,
            Err(damage @ Unread::Damaged { .. }) => {
                reading.damage = Some(damage.to_string());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let lasted = world.finish()?;
    let facts = reading.facts(file, capture.format(), lasted, clock.facts);
    Ok(Report::new(facts, overlay, &world))
}

/// A directory that plugins may keep state in, which the end of the replay takes away. It is made only if one asks.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Scratch(std::env::temp_dir().join(format!("vreserve-replay-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Mostly it was never made.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a duration as seconds, to the microsecond.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e6)
}

/// Writes a duration as seconds, or null.
fn seconds_or_none<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// A count of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Bits per second for people.
struct BitRate(f64);

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(f64, &str); 3] = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 / unit),
            None => write!(f, "{:.0} bit/s", self.0),
        }
    }
}

/// Seconds for people, from the capture's first frame on.
struct At(Duration);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}
