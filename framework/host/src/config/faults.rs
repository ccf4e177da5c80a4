//! `wrap` and `[reserve.<instance>.faults]`: which faults are injected into an instance's calls on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vreserve_sdk::Verb;

use super::read::{one_of, wait};
use super::section::{Entry, Section};
use super::suggest::quoted_list;
use crate::plugin::{Chance, Fault, FaultPlan, Rule, VERBS, When};

/// Bounds of `time`.
const TIME: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
const WRAP_HINT: &str = "the only wrapper is \"faults\"";
const RULE_HINT: &str = "write a probability, such as 0.1, or { calls = [1, 4], verbs = [\"submit\"] }";

/// Reads both keys of a `[reserve.<instance>]`.
pub(super) fn faults(section: &mut Section<'_>) -> Option<FaultPlan> {
    let (wrap, table) = (section.entry("wrap"), section.entry("faults"));
    match (wrap, table) {
        (None, None) => None,
        (None, Some(table)) => {
            table.note("nothing injects these", Some("add wrap = \"faults\" to the instance".to_owned()));
            None
        }
        (Some(wrap), table) => {
            let name = wrap.text()?;
            if name != "faults" {
                wrap.note(format!("there is no wrapper {name:?}"), Some(WRAP_HINT.to_owned()));
            } else if table.is_none() {
                let hint = "add a table `faults` to the instance, such as faults = { hang = 0.1 }";
                wrap.note("no faults to inject", Some(hint.to_owned()));
            }
            plan(table?.section()?)
        }
    }
}

/// Reads the table of faults.
pub(super) fn plan(mut section: Section<'_>) -> Option<FaultPlan> {
    let seed = section.entry("seed").map_or(Some(0), |entry| entry.integer(0, i64::MAX as usize));
    let file = section.entry("file").map(|entry| entry.path());
    let mut rules = BTreeMap::new();
    let mut is_whole = true;
    for fault in Fault::ALL {
        let Some(entry) = section.entry(fault.name()) else { continue };
        match rule(fault, &entry) {
            Some(rule) => drop(rules.insert(fault, rule)),
            None => is_whole = false,
        }
    }
    section.finish();
    let file = file.map_or(Some(None), |path| path.map(Some))?;
    is_whole.then_some(FaultPlan { seed: seed? as u64, rules, file })
}

fn rule(fault: Fault, entry: &Entry<'_>) -> Option<Rule> {
    let usual = fault.usual_time().unwrap_or_default();
    if !entry.is_table() {
        let when = When::Chance(Chance(entry.millionths()?));
        return Some(Rule { when, verbs: BTreeSet::new(), time: usual });
    }
    let mut section = entry.section()?;
    let (chance, calls) = (section.entry("chance"), section.entry("calls"));
    let when = match (chance, calls) {
        (Some(chance), None) => chance.millionths().map(|chance| When::Chance(Chance(chance))),
        (None, Some(calls)) => numbers(&calls).map(When::Calls),
        (None, None) => {
            section.note("neither chance nor calls", Some(RULE_HINT.to_owned()));
            None
        }
        (Some(_), Some(calls)) => {
            calls.note("both chance and calls", Some("keep one of them".to_owned()));
            None
        }
    };
    let verbs = section.entry("verbs").map_or_else(|| Some(BTreeSet::new()), |verbs| verbs_of(fault, &verbs));
    // Faults that take no time of their own do not know the key.
    let time = match fault.usual_time() {
        Some(usual) => wait(&mut section, "time", usual, TIME),
        None => Some(usual),
    };
    section.finish();
    Some(Rule { when: when?, verbs: verbs?, time: time? })
}

/// Numbers of calls.
fn numbers(entry: &Entry<'_>) -> Option<BTreeSet<u64>> {
    let elements = entry.elements();
    elements.iter().map(|element| element.integer(1, i64::MAX as usize).map(|number| number as u64)).collect()
}

fn verbs_of(fault: Fault, entry: &Entry<'_>) -> Option<BTreeSet<Verb>> {
    let elements = entry.elements();
    let verbs = elements.iter().map(|element| verb(fault, element)).collect();
    if elements.is_empty() && entry.is_array() {
        entry.note("no verb", Some("leave the key out for all that the fault usually hits".to_owned()));
    }
    verbs
}

fn verb(fault: Fault, entry: &Entry<'_>) -> Option<Verb> {
    let text = entry.text()?;
    let possible: Vec<_> = VERBS.into_iter().filter(|verb| fault.can_hit(*verb)).map(Verb::name).collect();
    match text.parse::<Verb>() {
        Ok(verb) if fault.can_hit(verb) => Some(verb),
        Ok(_) => {
            let hint = format!("it can hit {}", quoted_list(&possible));
            entry.note(format!("{} cannot hit {text}", fault.name()), Some(hint));
            None
        }
        Err(_) => {
            entry.note(format!("{text:?} is not a verb"), one_of(text, &possible));
            None
        }
    }
}
