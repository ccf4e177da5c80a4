//! What the two guests do, all of it at the same time, and what each kind of traffic found.
//!
//! ```text
//!  guest a  ── bulk TCP, IPv4 and IPv6, 1 and 4 streams ──▶  guest b
//!           ◀──────────────── the same ───────────────────
//!           ◀── numbered datagrams, one by one and cut ──▶
//!           ◀── pings with patterns, pings too large ────▶
//!           ◀── downloads over TLS ──── typing ──────────▶
//! ```

pub(super) mod bulk;
pub(super) mod numbered;
pub(super) mod pings;
pub(super) mod tls;
pub(super) mod typing;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vreserve_testbed::Lab;

use crate::interrupt;

/// The two guests, and the time in which they talk.
pub(super) struct Talk<'a> {
    pub(super) lab: &'a Lab,
    pub(super) a: End,
    pub(super) b: End,
    /// For what the programs write.
    pub(super) files: PathBuf,
    pub(super) until: Instant,
    /// Set when going on makes no sense.
    pub(super) is_over: AtomicBool,
}

/// A guest.
pub(super) struct End {
    /// Its name in the lab.
    pub(super) guest: String,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

/// From one guest to the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    AToB,
    BToA,
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// For tables and names of files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AToB => "a-b",
            Self::BToA => "b-a",
        }
    }

    /// A port of its own for each way.
    pub(super) fn port(self, first: u16) -> u16 {
        first + u16::from(self == Self::BToA)
    }
}

impl Talk<'_> {
    /// Who sends and who receives.
    pub(super) fn ends(&self, way: Way) -> (&End, &End) {
        match way {
            Way::AToB => (&self.a, &self.b),
            Way::BToA => (&self.b, &self.a),
        }
    }

    /// Whether there is time left and no reason to stop.
    pub(super) fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.is_over.load(Ordering::Relaxed) && interrupt::check().is_ok()
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl End {
    /// One of its addresses.
    pub(super) fn address(&self, is_v6: bool) -> IpAddr {
        if is_v6 { self.v6.into() } else { self.v4.into() }
    }
}
