//! Which call is hit by which fault. The n-th call of a rule is hit or not whatever happens elsewhere: a seed
//! reproduces a run.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use vreserve_sdk::Verb;

use super::plan::{Chance, Fault, FaultPlan, Rule, When};

/// Decides call by call.
pub(super) struct Dice {
    plan: FaultPlan,
    is_fused: bool,
    in_force: Mutex<InForce>,
}

/// The rules in force, and how many calls each has seen.
#[derive(Default)]
struct InForce {
    /// Of the file that they are from; none if they are the plan's own.
    identity: Option<Identity>,
    /// None as long as nothing was read from a file.
    plan: Option<FaultPlan>,
    seen: BTreeMap<Fault, u64>,
}

/// What tells one content of a file from another without reading it.
type Identity = (u64, i64, i64, u64);

impl Dice {
    /// `is_fused` is whether a submit activates.
    pub(super) fn new(plan: FaultPlan, is_fused: bool) -> Self {
        Dice { plan, is_fused, in_force: Mutex::default() }
    }

    /// The fault that hits this call, and how long it takes. Every rule counts the call.
    pub(super) fn roll(&self, verb: Verb) -> Option<(Fault, Duration)> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.plan.file {
            in_force.refresh(file);
        }
        let InForce { plan, seen, .. } = &mut *in_force;
        let plan = plan.as_ref().unwrap_or(&self.plan);
        let mut hit = None;
        for (fault, rule) in plan.rules.iter().filter(|(fault, rule)| self.is_for(**fault, rule, verb)) {
            let number = seen.entry(*fault).or_default();
            *number += 1;
            if is_hit(plan.seed, *fault, *number, &rule.when) {
                hit = hit.or(Some((*fault, rule.time)));
            }
        }
        hit
    }

    fn is_for(&self, fault: Fault, rule: &Rule, verb: Verb) -> bool {
        match rule.verbs.is_empty() {
            true => fault.hits_by_default(verb, self.is_fused),
            false => rule.verbs.contains(&verb),
        }
    }
}

impl InForce {
    /// Reads the file if it is another than before. Its rules begin to count anew.
    fn refresh(&mut self, file: &Path) {
        let identity = std::fs::metadata(file).ok().as_ref().map(identity);
        if identity == self.identity {
            return;
        }
        *self = InForce { identity, plan: identity.map(|_| read(file)), seen: BTreeMap::new() };
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.ino(), file.mtime(), file.mtime_nsec(), file.size())
}

/// A file that is wrong injects nothing.
fn read(file: &Path) -> FaultPlan {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let plan = text.and_then(|text| FaultPlan::parse(file, &text).map_err(|errors| errors.to_string()));
    match plan {
        Ok(plan) => {
            tracing::warn!(file = %file.display(), faults = plan.summary(), "faults that are injected from now on");
            plan
        }
        Err(reason) => {
            tracing::error!(file = %file.display(), reason, "no faults are injected");
            FaultPlan::default()
        }
    }
}

fn is_hit(seed: u64, fault: Fault, number: u64, when: &When) -> bool {
    match when {
        When::Calls(numbers) => numbers.contains(&number),
        When::Chance(Chance(millionths)) => {
            let stream = mix(seed ^ mix(fault as u64 + 1));
            mix(stream ^ number) % u64::from(Chance::CERTAIN.0) < u64::from(*millionths)
        }
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): neighbours come out unrelated.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
