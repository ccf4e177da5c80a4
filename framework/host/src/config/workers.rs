//! `[node]`'s keys for the threads of the data plane: how many, where they run, how long they poll, how they prove
//! a circuit's rate.

use std::time::Duration;

use vreserve_core::probe::RateTerms;

use super::read::wait;
use super::section::{Entry, Section};
use super::types::Pin;
use crate::dataplane::MAX_WORKERS;

/// More are worth it only to those who say so: each has tables and slots of its own.
const MOST_BY_DEFAULT: usize = 8;
/// CPUs that a kernel can have.
const MAX_CPU: usize = 1023;
/// Long enough for an answer over a local network, short enough not to matter: see `dataplane::spin`.
const DEFAULT_SPIN: Duration = Duration::from_micros(50);
/// Bounds of `spin`.
const SPIN: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(10));

/// Bounds of `prove_for`: a longer run would make a carrying network notice.
const PROVE_FOR: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(500));
/// `least_delivered` unless given, in per cent.
const LEAST_DELIVERED: usize = 90;

/// The keys as read.
pub(super) struct Workers {
    pub(super) count: usize,
    pub(super) pin: Pin,
    pub(super) spin: Duration,
    pub(super) rate_terms: RateTerms,
}

/// Reads the keys; none if one of them is wrong.
pub(super) fn workers(section: &mut Section<'_>) -> Option<Workers> {
    let count = match section.entry("workers") {
        Some(entry) => entry.integer(1, MAX_WORKERS),
        None => Some(default_count()),
    };
    let pin = match section.entry("pin") {
        Some(entry) => pin(&entry, count),
        None => Some(Pin::Anywhere),
    };
    let spin = wait(section, "spin", DEFAULT_SPIN, SPIN);
    let duration = wait(section, "prove_for", RateTerms::default().duration, PROVE_FOR);
    let percent = match section.entry("least_delivered") {
        Some(entry) => entry.integer(0, 100),
        None => Some(LEAST_DELIVERED),
    };
    let rate_terms = RateTerms { duration: duration?, least_delivered: percent? as f64 / 100.0 };
    Some(Workers { count: count?, pin: pin?, spin: spin?, rate_terms })
}

/// The other half of the CPUs is for the guests, whose frames these are, and for the kernel's part of the way.
fn default_count() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus / 2).clamp(1, MOST_BY_DEFAULT)
}

fn pin(entry: &Entry<'_>, workers: Option<usize>) -> Option<Pin> {
    if !entry.is_array() {
        let is_on = entry.flag()?;
        return Some(if is_on { Pin::InOrder } else { Pin::Anywhere });
    }
    let cpus: Option<Vec<usize>> =
        entry.elements().iter().map(|element| element.integer(0, MAX_CPU)).collect();
    let (cpus, workers) = (cpus?, workers?);
    if cpus.len() != workers {
        let message = format!("{} CPUs for {workers} workers", cpus.len());
        entry.note(message, Some("name one CPU per worker, or write pin = true".to_owned()));
        return None;
    }
    Some(Pin::Cpus(cpus))
}
