//! From the configuration in force to another: what a running node has to do, or what it cannot do while it runs.
//!
//! A pure function of the two. Whether the actions succeed (a backend may not open) is found out before the first
//! of them takes effect, by the daemon's reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use vreserve_core::lead::Budget;

use super::error::{ConfigError, ConfigErrors};
use super::types::{Admitted, Config, Instance, LinkConfig, ReserveConfig, Role, StaticLink};

/// One thing that a running node does to follow its new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A network gets a backend that had none.
    OpenBackend(ReserveConfig),
    /// A network gets another backend; the former one stays open until it holds nothing more.
    ReplaceBackend(ReserveConfig),
    /// The planner's settings, or the planner itself.
    OpenPlanner(Instance),
    /// Nothing is planned any more.
    ClosePlanner,
    /// A network has no backend any more.
    CloseBackend {
        /// The network.
        network: String,
    },
    /// The lead's delays after failures.
    BackOff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// How long ahead windows are booked for demand that recurs; none books nothing.
    Recurring(Option<Duration>),
    /// What may be held on each network that has a limit.
    Budgets(BTreeMap<String, Budget>),
    /// The nodes that the proxy admits, all of them.
    Admit(Vec<Admitted>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::OpenBackend(reserve) => {
                write!(f, "[reserve.{}] opened for {}", reserve.instance.name, reserve.network)
            }
            Change::ReplaceBackend(reserve) => {
                write!(f, "[reserve.{}] opened anew for {}", reserve.instance.name, reserve.network)
            }
            Change::OpenPlanner(instance) => write!(f, "[adapt.{}] opened anew", instance.name),
            Change::ClosePlanner => f.write_str("[adapt] closed"),
            Change::CloseBackend { network } => write!(f, "no backend for {network} any more"),
            Change::BackOff { .. } => f.write_str("[lead] retry_min and retry_max"),
            Change::Recurring(_) => f.write_str("[lead] recurring and recurring_ahead"),
            Change::Budgets(_) => f.write_str("[reserve] max_circuits and max_rate"),
            Change::Admit(nodes) => write!(f, "[node] admit: {} nodes", nodes.len()),
        }
    }
}

/// What leads from `running` to `wanted`, in order: what comes before what goes.
///
/// # Errors
/// Every difference that a running node cannot follow, placed in `wanted`.
pub fn diff(running: &Config, wanted: &Config) -> Result<Vec<Change>, ConfigErrors> {
    let mut refused = Refused { wanted, errors: Vec::new() };
    refused.node(running);
    refused.instances("capture", &all(&running.captures), &all(&wanted.captures));
    refused.links(&running.links, &wanted.links);
    refused.infer(running);
    refused.static_links(&running.static_links, &wanted.static_links);
    if running.lead.reserve_timeout != wanted.lead.reserve_timeout {
        refused.key(&["lead"], "reserve_timeout");
    }
    if running.lead.restore_grace != wanted.lead.restore_grace {
        refused.key(&["lead"], "restore_grace");
    }
    if running.lead.orphan_grace != wanted.lead.orphan_grace {
        refused.key(&["lead"], "orphan_grace");
    }
    if running.lead.list_every != wanted.lead.list_every {
        refused.key(&["lead"], "list_every");
    }
    if running.lead.shadow != wanted.lead.shadow {
        refused.key(&["lead"], "shadow");
    }
    match ConfigErrors::of(refused.errors) {
        Some(errors) => Err(errors),
        None => Ok(changes(running, wanted)),
    }
}

fn changes(running: &Config, wanted: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let of_network = |network: &str| running.reserves.iter().find(|reserve| reserve.network == network);
    for reserve in &wanted.reserves {
        match of_network(&reserve.network) {
            None => changes.push(Change::OpenBackend(reserve.clone())),
            Some(old) if old.instance != reserve.instance || old.faults != reserve.faults => {
                changes.push(Change::ReplaceBackend(reserve.clone()))
            }
            Some(_) => {}
        }
    }
    match (&running.adapt, &wanted.adapt) {
        (old, Some(new)) if old.as_ref() != Some(new) => changes.push(Change::OpenPlanner(new.clone())),
        (Some(_), None) => changes.push(Change::ClosePlanner),
        _ => {}
    }
    let is_kept = |network: &str| wanted.reserves.iter().any(|reserve| reserve.network == network);
    let gone = running.reserves.iter().filter(|reserve| !is_kept(&reserve.network));
    changes.extend(gone.map(|reserve| Change::CloseBackend { network: reserve.network.clone() }));
    let budgets = |config: &Config| -> BTreeMap<String, Budget> {
        let limited = config.reserves.iter().filter(|reserve| reserve.budget != Budget::default());
        limited.map(|reserve| (reserve.network.clone(), reserve.budget)).collect()
    };
    if budgets(running) != budgets(wanted) {
        changes.push(Change::Budgets(budgets(wanted)));
    }
    let (old, new) = (&running.lead, &wanted.lead);
    if (old.retry_min, old.retry_max) != (new.retry_min, new.retry_max) {
        changes.push(Change::BackOff { min: new.retry_min, max: new.retry_max });
    }
    if old.recurring != new.recurring {
        changes.push(Change::Recurring(new.recurring));
    }
    if let (Role::Proxy { admit: old, .. }, Role::Proxy { admit: new, .. }) =
        (&running.node.role, &wanted.node.role)
        && old != new
    {
        changes.push(Change::Admit(new.clone()));
    }
    changes
}

fn all(instances: &[Instance]) -> Vec<&Instance> {
    instances.iter().collect()
}

/// Collects what cannot change.
struct Refused<'a> {
    wanted: &'a Config,
    errors: Vec<ConfigError>,
}

const RESTART: &str = "restart the node";

impl Refused<'_> {
    fn key(&mut self, table: &[&str], key: &str) {
        self.say(table, key, "cannot change while the node is running");
    }

    fn say(&mut self, table: &[&str], key: &str, message: &str) {
        let errors = self.wanted.error(table, key, message, Some(RESTART.to_owned()));
        self.errors.extend(errors.iter().cloned());
    }

    /// A table that is gone has no place in the file.
    fn removed(&mut self, table: String) {
        self.errors.push(ConfigError {
            file: PathBuf::from(self.wanted.file()),
            location: None,
            subject: table,
            message: "cannot be removed while the node is running".to_owned(),
            suggestion: Some(RESTART.to_owned()),
        });
    }

    fn node(&mut self, running: &Config) {
        let (old, new) = (&running.node, &self.wanted.node);
        let mut changed = vec![
            ("name", old.name != new.name),
            ("key", old.key != new.key),
            ("state_dir", old.state_dir != new.state_dir),
            ("socket", old.socket != new.socket),
            ("star", old.star != new.star),
            ("workers", old.workers != new.workers),
            ("pin", old.pin != new.pin),
            ("spin", old.spin != new.spin),
        ];
        changed.push(match (&old.role, &new.role) {
            (Role::Node { proxy: old }, Role::Node { proxy: new }) => ("proxy", old != new),
            (Role::Proxy { listen: old, .. }, Role::Proxy { listen: new, .. }) => ("control", old != new),
            _ => ("role", true),
        });
        for (key, _) in changed.into_iter().filter(|(_, is_changed)| *is_changed) {
            self.key(&["node"], key);
        }
        if running.plugin_dirs != self.wanted.plugin_dirs {
            self.key(&["plugins"], "dirs");
        }
    }

    fn instances(&mut self, kind: &str, old: &[&Instance], new: &[&Instance]) {
        for instance in new {
            match old.iter().find(|known| known.name == instance.name) {
                None => self.say(&[kind, &instance.name], "", "cannot be added while the node is running"),
                Some(known) => {
                    for key in changed_keys(known, instance) {
                        self.key(&[kind, &instance.name], &key);
                    }
                }
            }
        }
        for instance in old.iter().filter(|known| !new.iter().any(|new| new.name == known.name)) {
            self.removed(format!("[{kind}.{}]", instance.name));
        }
    }

    fn links(&mut self, old: &[LinkConfig], new: &[LinkConfig]) {
        let instances = |links: &'_ [LinkConfig]| links.iter().map(|link| link.instance.clone()).collect();
        let (before, after): (Vec<_>, Vec<_>) = (instances(old), instances(new));
        self.instances("link", &all(&before), &all(&after));
        for link in new {
            let name = link.instance.name.as_str();
            let Some(known) = old.iter().find(|known| known.instance.name == name) else { continue };
            if known.network != link.network {
                self.key(&["link", name], "network");
            }
            if known.advertise != link.advertise {
                self.key(&["link", name], "advertise");
            }
        }
    }

    fn infer(&mut self, running: &Config) {
        let (old, new) = (&running.infer, &self.wanted.infer);
        self.instances("infer", &[&old.instance], &[&new.instance]);
        if old.report_interval != new.report_interval {
            self.key(&["infer", &new.instance.name], "report_interval");
        }
    }

    fn static_links(&mut self, old: &[StaticLink], new: &[StaticLink]) {
        let changed = new.iter().enumerate().find(|(index, link)| old.get(*index) != Some(*link));
        if let Some((index, _)) = changed {
            self.key(&["static_link"], &format!("[{index}]"));
        } else if old.len() > new.len() {
            self.removed("[[static_link]]".to_owned());
        }
    }
}

/// The keys of a table in which two instances differ, the host's first.
fn changed_keys(old: &Instance, new: &Instance) -> Vec<String> {
    let host = [
        ("use", old.plugin != new.plugin),
        ("path", old.path != new.path),
        ("required", old.required != new.required),
        ("sha256", old.sha256 != new.sha256),
    ];
    let mut keys: Vec<_> =
        host.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect();
    let (old, new) = (settings(old), settings(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    keys.extend(names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned());
    keys
}

fn settings(instance: &Instance) -> Map<String, Value> {
    serde_json::from_str(&instance.settings).unwrap_or_default()
}

#[cfg(test)]
mod tests;
