//! What campaigns about reservations have in common: a lab with a lead that asks for circuits within a fraction of a
//! second, a provider as a process of its own, and numbered frames between two guests.
//!
//! ```text
//!  a1 ═▶ alpha ═══ star ═══ hub: the lead ═══ star ═══ beta ═▶ b1     frames: numbered, both ways, small or large:
//!          └── chicago ══════ lambda ═════ evanston ─┘                 large is a demand that is worth a circuit
//!                   provider: its own list is the truth                api: what the lead says, its events
//! ```

mod api;
mod frames;
mod log;
mod outcome;
mod provider;
mod scene;
mod stream;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

pub(super) use api::{Api, Happening, Held, Reservations};
pub(super) use frames::{Frames, Mark, Size};
pub(super) use log::{Tally, longest_gap_ms};
pub(super) use outcome::{Campaign, Findings, listed, spread};
pub(super) use provider::{Backend, Circuit, Provider, doubled};
pub(super) use scene::{DIALS, Guests, LEAD, Scene, Trim};
pub(super) use stream::{Stream, Streamed};

/// What every campaign about reservations can be told.
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// How many times it is done.
    #[arg(long, value_name = "N")]
    pub(super) runs: usize,
    /// Write every run's figures to this file, and a page beside it with the ending `md`.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// What reserves the circuits.
    #[arg(long, value_enum, default_value_t = Backend::Odin)]
    pub(super) backend: Backend,
    /// Where chance begins; the same seed draws the same runs.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) seed: u64,
    /// Factor on the provider's original delays (17.5 s to set up, 12 s to tear down); each campaign has its own.
    #[arg(long, value_name = "FACTOR")]
    pub(super) time_scale: Option<f64>,
    /// Begin no further run after so many minutes.
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub(super) minutes: u64,
    /// Build as for tests: faster to build, and slower to run.
    #[arg(long)]
    pub(super) dev: bool,
}

impl Options {
    /// The time scale, if it makes sense.
    ///
    /// # Errors
    /// A factor that is none, or beyond the original's own times.
    pub(super) fn time_scale(&self, otherwise: f64) -> anyhow::Result<f64> {
        let scale = self.time_scale.unwrap_or(otherwise);
        if !(0.0..=1.0).contains(&scale) {
            bail!("the time scale {scale} is not between 0 and 1");
        }
        Ok(scale)
    }
}
