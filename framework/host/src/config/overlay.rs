//! The overlay that a capture is replayed in: the proxy's own tables, and what no single node's file says, namely
//! which nodes there are, which networks they are on and which guests sit behind them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vreserve_core::lead::Budget;
use vreserve_model::{BitsPerSecond, Capabilities, Failure, MacAddr, duration};

use super::error::ConfigErrors;
use super::instances::{adapt, infer, reserves};
use super::load::{read_file, read_with};
use super::locate::Placed;
use super::read::{check_name, lead, name, one_of, plugin_dirs};
use super::section::{Entry, Notes, Section};
use super::types::{InferConfig, Instance, LeadConfig, ReserveConfig, Source};

/// Tables of a proxy's configuration that say nothing about a replay: the file may be the proxy's own.
const IGNORED: [&str; 4] = ["node", "capture", "link", "static_link"];
/// The longest set-up or teardown time.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The highest price of an hour.
const MAX_PRICE: f64 = 1e12;

/// An overlay for a replay, complete and consistent in itself.
#[derive(Clone, Debug)]
pub struct OverlayConfig {
    /// `[plugins] dirs`.
    pub plugin_dirs: Vec<PathBuf>,
    /// `[infer.<instance>]`: for every node, and for the lead.
    pub infer: InferConfig,
    /// `[adapt.<instance>]`.
    pub adapt: Instance,
    /// `[reserve.<instance>]`: backends that are asked what they can do, and for nothing else.
    pub reserves: Vec<ReserveConfig>,
    /// `[provider.<network>]`: what a backend can do, in its place.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// `[lead]`.
    pub lead: LeadConfig,
    /// `[replay] proxy`: the hub of the star; always one of `nodes`.
    pub proxy: String,
    /// `[replay] default`: where senders are that nobody lists.
    pub default_node: Option<String>,
    /// `[nodes]`: every node, with the reservable networks that it is on.
    pub nodes: BTreeMap<String, Vec<String>>,
    /// `[guests]`: the node that each guest sits behind.
    pub guests: BTreeMap<MacAddr, String>,
    source: Source,
}

/// `[provider.<network>]`: a backend that needs no plugin, as it reserves nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderConfig {
    /// What it can do and how long it takes.
    pub capabilities: Capabilities,
    /// `max_circuits` and `max_rate`.
    pub budget: Budget,
    /// `price`: of a circuit for an hour, in any unit.
    pub price: Option<f64>,
}

impl OverlayConfig {
    /// Reads the file at `path`; nothing else is touched.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(path, &read_file(path)?)
    }

    /// Reads `text`, the content of `file`, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// As for `load`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        read_with(file, text, overlay)
    }

    /// What a plugin says of its configuration, as an error with a place.
    pub fn plugin_error(&self, instance: &Instance, failure: &Failure) -> ConfigErrors {
        Placed(&self.source).plugin_error(instance, failure)
    }

    /// What may be held on each network.
    pub fn budgets(&self) -> BTreeMap<String, Budget> {
        let reserves = self.reserves.iter().map(|reserve| (reserve.network.clone(), reserve.budget));
        let limited = self.providers.iter().filter(|(_, provider)| provider.budget != Budget::default());
        let providers = limited.map(|(network, provider)| (network.clone(), provider.budget));
        reserves.chain(providers).collect()
    }

    /// The price of a circuit on `network` for an hour, if it has one.
    pub fn price(&self, network: &str) -> Option<f64> {
        self.providers.get(network)?.price
    }
}

fn overlay(notes: &Notes<'_>, mut root: Section<'_>) -> Option<OverlayConfig> {
    let plugin_dirs = plugin_dirs(&mut root);
    let infer = infer(&mut root);
    let adapt = adapt(&mut root, Some(true));
    if adapt.is_none() {
        root.note("no adaptation plugin", Some("add [adapt.vadapt] with use = \"adapt-vadapt\"".to_owned()));
    }
    let reserves = reserves(&mut root, Some(true));
    let providers = root.sections("provider");
    let providers = providers.into_iter().map(|(network, section)| provider(network, section)).collect();
    let lead = lead(&mut root, Some(true));
    let mut nodes = nodes(&mut root);
    let guests = guests(&mut root, &nodes);
    let (proxy, default_node) = replay(&mut root, &nodes);
    nodes.entry(proxy.clone()).or_default();
    for table in IGNORED {
        root.entry(table);
    }
    root.finish();
    Some(OverlayConfig {
        plugin_dirs,
        infer: infer?,
        adapt: adapt?,
        reserves,
        providers,
        lead: lead?,
        proxy,
        default_node,
        nodes,
        guests,
        source: notes.source.clone(),
    })
}

fn nodes(root: &mut Section<'_>) -> BTreeMap<String, Vec<String>> {
    let hint = "list the nodes with their networks, such as chicago-1 = [\"omninet\"]";
    let table = root.required("nodes", &format!("add [nodes] and {hint}"));
    let Some(section) = table.and_then(|table| table.section()) else { return BTreeMap::new() };
    let mut nodes = BTreeMap::new();
    for (node, entry) in section.entries() {
        if let Err(message) = check_name(&node) {
            entry.note(message, None);
        }
        let networks = entry.elements().iter().filter_map(name).collect();
        nodes.insert(node, networks);
    }
    if nodes.is_empty() {
        section.note("no nodes", Some(hint.to_owned()));
    }
    nodes
}

fn guests(root: &mut Section<'_>, nodes: &BTreeMap<String, Vec<String>>) -> BTreeMap<MacAddr, String> {
    let Some(section) = root.section("guests") else { return BTreeMap::new() };
    let mut guests: BTreeMap<MacAddr, String> = BTreeMap::new();
    for (node, entry) in section.entries() {
        if !nodes.contains_key(&node) {
            note_unknown_node(&entry, &node, nodes);
        }
        for element in entry.elements() {
            let hint = "write it as \"02:00:00:00:00:01\"";
            let Some(guest) = element.parse::<MacAddr>("a MAC address", hint) else { continue };
            if !guest.is_station() {
                element.note(format!("{guest} is no guest's address"), None);
            } else if let Some(other) = guests.insert(guest, node.clone()) {
                let hint = Some("a guest sits behind one node".to_owned());
                element.note(format!("{guest} is at {other:?} already"), hint);
            }
        }
    }
    guests
}

fn replay(root: &mut Section<'_>, nodes: &BTreeMap<String, Vec<String>>) -> (String, Option<String>) {
    let Some(mut section) = root.section("replay") else { return ("hub".to_owned(), None) };
    let proxy = section.entry("proxy").and_then(|entry| name(&entry)).unwrap_or_else(|| "hub".to_owned());
    let default = section.entry("default").and_then(|entry| {
        let node = entry.text()?.to_owned();
        if node != proxy && !nodes.contains_key(&node) {
            note_unknown_node(&entry, &node, nodes);
        }
        Some(node)
    });
    section.finish();
    (proxy, default)
}

fn note_unknown_node(entry: &Entry<'_>, node: &str, nodes: &BTreeMap<String, Vec<String>>) {
    let known: Vec<&str> = nodes.keys().map(String::as_str).collect();
    entry.note(format!("there is no node {node:?} in [nodes]"), one_of(node, &known));
}

fn provider(network: String, mut section: Section<'_>) -> (String, ProviderConfig) {
    if let Err(message) = check_name(&network) {
        section.note(message, Some("rename the table".to_owned()));
    }
    let mut time = |key| section.entry(key).and_then(|entry| entry.read(waited)).unwrap_or_default();
    let (setup_time, teardown_time, lead_time) =
        (time("setup_time"), time("teardown_time"), time("lead_time"));
    let mut rate = |key| section.entry(key).and_then(|entry| entry.parse("a rate", "write it as \"10gbit\""));
    let (fixed_rate, granularity): (Option<BitsPerSecond>, _) = (rate("rate"), rate("granularity"));
    let max_rate = rate("max_rate");
    let mut flag = |key| section.entry(key).and_then(|entry| entry.flag()).unwrap_or(false);
    let (serial, modify) = (flag("serial"), flag("modify"));
    let circuits = section.entry("max_circuits").and_then(|entry| entry.integer(0, 1_000_000));
    let price = section.entry("price").and_then(|entry| entry.number(0.0, MAX_PRICE));
    section.finish();
    let granularity = granularity.unwrap_or_default();
    let capabilities = Capabilities {
        setup_time,
        teardown_time,
        lead_time,
        fixed_rate,
        granularity,
        serial,
        modify,
        ..Capabilities::default()
    };
    let circuits = circuits.and_then(|circuits| u32::try_from(circuits).ok());
    (network, ProviderConfig { capabilities, budget: Budget { circuits, rate: max_rate }, price })
}

fn waited(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| format!("{text:?} is {error}"))?;
    if time <= LONGEST {
        Ok(time)
    } else {
        Err(format!("{text} is longer than {}", duration::format(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[infer.vttif]
use = "infer-vttif"
[adapt.vadapt]
use = "adapt-vadapt"
[provider.omninet]
setup_time = "17.5s"
teardown_time = "12s"
rate = "1gbit"
max_circuits = 2
price = 3.5
[replay]
default = "b"
[nodes]
a = ["omninet"]
b = ["omninet"]
[guests]
a = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
b = ["02:00:00:00:00:03"]
"#;

    fn errors(text: &str) -> Vec<String> {
        let wrong = OverlayConfig::parse(Path::new("o.toml"), text).expect_err("it is wrong");
        wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_overlay_says_who_is_where_and_what_a_provider_takes() {
        let overlay = OverlayConfig::parse(Path::new("o.toml"), GOOD).expect("it is right");
        assert_eq!(overlay.nodes.keys().collect::<Vec<_>>(), ["a", "b", "hub"]);
        assert_eq!(overlay.guests.len(), 3);
        let provider = &overlay.providers["omninet"];
        assert_eq!(provider.capabilities.setup_time, Duration::from_millis(17_500));
        assert_eq!(provider.capabilities.fixed_rate, Some(BitsPerSecond(1_000_000_000)));
        assert_eq!((provider.budget.circuits, overlay.price("omninet")), (Some(2), Some(3.5)));
    }

    #[test]
    fn a_proxys_own_tables_may_stay_in_the_file() {
        let text = format!("[node]\nname = \"x\"\n[link.internet]\nuse = \"link-udp\"\n{GOOD}");
        assert!(OverlayConfig::parse(Path::new("o.toml"), &text).is_ok());
    }

    #[test]
    fn the_documentations_example_is_right() {
        let page = include_str!("../../../../docs/replay.md");
        let example =
            page.split("`overlay.toml`:\n```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let overlay = OverlayConfig::parse(Path::new("overlay.toml"), example.expect("there is an example"));
        assert_eq!(overlay.expect("it is right").guests.len(), 4);
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let wrong = GOOD
            .replace("default = \"b\"", "default = \"bb\"")
            .replace("\"02:00:00:00:00:02\"", "\"02:00:00:00:00:03\", \"ff:ff:ff:ff:ff:ff\", \"x\"")
            .replace("price = 3.5", "prize = 3.5\nlead_time = \"99999h\"");
        let errors = errors(&wrong).join("\n");
        for part in [
            "o.toml:14:1: [replay] default: there is no node \"bb\" in [nodes]",
            "02:00:00:00:00:03 is at \"a\" already",
            "ff:ff:ff:ff:ff:ff is no guest's address",
            "\"x\" is not a MAC address",
            "[provider.omninet] prize: unknown key; did you mean \"price\"?",
            "lead_time: 99999h is longer than",
        ] {
            assert!(errors.contains(part), "{part}\n{errors}");
        }
        assert!(errors_without("[nodes]").contains("missing key \"nodes\""));
        assert!(errors_without("[adapt.vadapt]").contains("no adaptation plugin"));
    }

    fn errors_without(table: &str) -> String {
        let at = GOOD.find(table).expect("it is there");
        let end = GOOD[at + 1..].find("\n[").map_or(GOOD.len(), |end| at + 1 + end);
        errors(&format!("{}{}", &GOOD[..at], &GOOD[end..])).join("\n")
    }
}
