//! What a campaign found, part by part. The JSON file is this; the page beside it is [`super::page`]'s.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;

use super::check::Check;
use super::page;
use crate::bench::machine::Machine;

/// Version of the file's form.
const FORM: u32 = 1;

/// One campaign. `P` is what one of its parts found.
#[derive(Debug, Serialize)]
pub(super) struct Record<P> {
    form: u32,
    campaign: &'static str,
    pub(super) machine: Machine,
    version: &'static str,
    /// How the daemons were built.
    pub(super) profile: &'static str,
    pub(super) phases: Vec<P>,
}

/// A part of a campaign that is judged by itself.
pub(super) trait Part: Serialize {
    /// In one or a few words.
    fn name(&self) -> String;

    /// What must be so, and whether it is.
    fn checks(&self) -> &[Check];

    /// What the page tells of it beyond the checks, in Markdown.
    fn details(&self) -> String;
}

impl<P: Part> Record<P> {
    /// Without parts yet.
    pub(super) fn new(campaign: &'static str, profile: &'static str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { form: FORM, campaign, machine: Machine::here(), version, profile, phases: Vec::new() }
    }

    /// The command's own name.
    pub(super) fn campaign(&self) -> &'static str {
        self.campaign
    }

    /// What is not as it must be, in a few words each.
    pub(super) fn missed(&self) -> Vec<String> {
        let of = |part: &P| {
            let missed = part.checks().iter().filter(|check| !check.holds);
            let name = part.name();
            missed.map(|check| format!("{name}: {}: {}", check.what, check.found)).collect::<Vec<_>>()
        };
        self.phases.iter().flat_map(of).collect()
    }

    /// Writes the record to `json`, and beside it the page, with the ending `md`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn write(&self, json: &Path, title: &str) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the record down")? + "\n";
        let name = json.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let page = page::of(self, title, &name);
        for (file, text) in [(json, text), (&json.with_extension("md"), page)] {
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    /// Fails with all that is missed.
    ///
    /// # Errors
    /// If anything is.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        let missed = self.missed();
        if !missed.is_empty() {
            bail!("not as it must be: {}", missed.join("; "));
        }
        Ok(())
    }
}
