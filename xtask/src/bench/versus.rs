//! Ours in several settings, and no overlay at all, against kernel VXLAN: the ground for `dataplane` and `latency`.

use anyhow::Result;

use super::baseline::{self, RAW, VXLAN};
use super::contest::{Contest, Outcome, Ratio};
use super::ground::{Ground, Interface, Seat, Subject};
use super::load::Load;
use super::node::{self, Variant};
use super::record::Record;
use super::underlay::Underlay;
use super::{Options, machine};
use crate::artifacts::Artifacts;
use crate::interrupt;

/// Everybody, joined and ready.
pub(crate) struct Versus<'a> {
    // Before the ground: fields are dropped in this order.
    ours: Vec<(Subject, &'a [Load])>,
    raw: Subject,
    vxlan: Subject,
    ground: Ground,
    options: &'a Options,
    pub(crate) outcome: Outcome,
}

impl<'a> Versus<'a> {
    /// Joins everybody. A variant of ours that does not start is written down and left out.
    ///
    /// # Errors
    /// If the lab or a baseline cannot be made, or a signal came.
    pub(crate) fn set(
        options: &'a Options,
        built: &Artifacts,
        variants: &[(Variant, &'a [Load])],
    ) -> Result<Self> {
        let mut seats = [RAW, VXLAN].map(|subject| Seat { subject, interface: Interface::Absent }).to_vec();
        seats.extend(variants.iter().map(|(variant, _)| variant.seat()));
        let ground = Ground::set(&options.lab, built, &seats)?;
        let (raw, vxlan) = (baseline::raw(&ground)?, baseline::vxlan(&ground)?);
        let mut versus = Self { ours: Vec::new(), raw, vxlan, ground, options, outcome: Outcome::default() };
        for (nth, (variant, loads)) in (0..).zip(variants) {
            match node::start(&versus.ground, built, variant, nth) {
                Ok(subject) => versus.ours.push((subject, *loads)),
                Err(error) => {
                    interrupt::check()?;
                    versus.outcome.fail(variant.name, &error);
                }
            }
        }
        Ok(versus)
    }

    /// Those of ours that run.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Subject> {
        self.ours.iter().map(|(subject, _)| subject)
    }

    /// One round of these loads on one underlay.
    ///
    /// # Errors
    /// If the baseline fails, or a signal came.
    pub(crate) fn round(&mut self, round: usize, underlay: Underlay, loads: &[Load]) -> Result<()> {
        self.ground.lay(underlay, Some(&self.raw))?;
        for &load in loads {
            let ours = self.ours.iter().filter(|(_, loads)| loads.contains(&load));
            let others = std::iter::once(&self.raw).chain(ours.map(|(subject, _)| subject));
            let name = |subject: &Subject| format!("{}/{}/{}", underlay.name(), load.name(), subject.name);
            let contest = Contest {
                ground: &self.ground,
                setting: format!("{}{}", underlay.name(), load.condition()),
                load,
                length: self.options.length,
                baseline: &self.vxlan,
                others: others.filter(|subject| self.options.wants(&name(subject))).collect(),
                ratio: Ratio::ToBaseline,
            };
            contest.round(round, &mut self.outcome)?;
        }
        Ok(())
    }

    /// Ends everything and says what was found.
    ///
    /// # Errors
    /// If a daemon ends badly.
    pub(crate) fn end(mut self, suite: &str) -> Result<Record> {
        self.ours.iter_mut().try_for_each(|(subject, _)| subject.processes.end())?;
        let seconds = self.options.length.as_secs_f64();
        let mut record = Record::new(suite, self.options.rounds, seconds, self.outcome.samples);
        record.skipped = self.outcome.failures;
        let iperf3 = machine::version_of("iperf3", "--version");
        record.versions.extend(iperf3.map(|text| ("iperf3".to_owned(), text)));
        Ok(record)
    }
}
