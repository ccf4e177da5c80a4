//! `[<kind>.<instance>]` and `[[static_link]]`: the host's keys are read here, the rest is the plugin's.

use std::time::Duration;

use vreserve_core::lead::Budget;

use super::faults::faults;
use super::node::KEY_HINT;
use super::read::{check_name, name, one_of, refuse_on_node, wait};
use super::section::{Entry, Section, refuse_duplicates};
use super::types::{InferConfig, Instance, LinkConfig, ReserveConfig, StaticLink};
use crate::plugin::PluginKind;

/// Bounds of `report_interval`.
const REPORT_INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
/// Bound of `max_circuits`.
const MAX_CIRCUITS: usize = 1_000_000;
const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The host's own keys in a table of `kind`; all others are the plugin's.
pub(super) fn host_keys(kind: PluginKind) -> &'static [&'static str] {
    match kind {
        PluginKind::Capture | PluginKind::Adapt => &["use", "path", "required", "sha256"],
        PluginKind::Link => &["use", "path", "required", "sha256", "network", "advertise"],
        PluginKind::Infer => &["use", "path", "required", "sha256", "report_interval"],
        PluginKind::Reserve => {
            &["use", "path", "required", "sha256", "network", "max_circuits", "max_rate", "wrap", "faults"]
        }
    }
}

pub(super) fn captures(root: &mut Section<'_>) -> Vec<Instance> {
    let kind = PluginKind::Capture;
    let sections = root.sections(kind.name());
    sections.into_iter().filter_map(|(name, section)| instance(kind, name, section)).collect()
}

pub(super) fn links(root: &mut Section<'_>) -> Vec<LinkConfig> {
    let mut networks = Vec::new();
    let mut links = Vec::new();
    for (given, mut section) in root.sections(PluginKind::Link.name()) {
        let network = section.entry("network").and_then(|entry| network(entry, &mut networks));
        let advertise = section.entry("advertise");
        let advertise = advertise.and_then(|advertise| advertise.text().map(str::to_owned));
        let instance = instance(PluginKind::Link, given, section);
        links.extend(instance.map(|instance| LinkConfig { instance, network, advertise }));
    }
    refuse_duplicates("network", networks.iter().map(|(network, entry)| (network, entry)));
    links
}

/// Reads the name of a network, and keeps it to look for duplicates.
fn network<'a>(entry: Entry<'a>, networks: &mut Vec<(String, Entry<'a>)>) -> Option<String> {
    let network = name(&entry)?;
    networks.push((network.clone(), entry));
    Some(network)
}

pub(super) fn infer(root: &mut Section<'_>) -> Option<InferConfig> {
    let kind = PluginKind::Infer;
    let mut sections = root.sections(kind.name()).into_iter();
    let Some((given, mut section)) = sections.next() else {
        let hint = "add [infer.vttif] with use = \"infer-vttif\"";
        root.note("no inference plugin", Some(hint.to_owned()));
        return None;
    };
    sections.for_each(|(_, section)| refuse_second(kind, &section));
    let report_interval = wait(&mut section, "report_interval", DEFAULT_REPORT_INTERVAL, REPORT_INTERVAL);
    Some(InferConfig { instance: instance(kind, given, section)?, report_interval: report_interval? })
}

pub(super) fn adapt(root: &mut Section<'_>, is_proxy: Option<bool>) -> Option<Instance> {
    let kind = PluginKind::Adapt;
    let mut sections = root.sections(kind.name()).into_iter();
    let (given, section) = sections.next()?;
    if is_proxy == Some(false) {
        refuse_on_node(&section);
    }
    sections.for_each(|(_, section)| refuse_second(kind, &section));
    instance(kind, given, section)
}

pub(super) fn reserves(root: &mut Section<'_>, is_proxy: Option<bool>) -> Vec<ReserveConfig> {
    let mut networks = Vec::new();
    let mut reserves = Vec::new();
    for (given, mut section) in root.sections(PluginKind::Reserve.name()) {
        if is_proxy == Some(false) {
            refuse_on_node(&section);
        }
        let entry = section.required("network", "name the network that it reserves on");
        let network = entry.and_then(|entry| network(entry, &mut networks));
        let (budget, faults) = (budget(&mut section), faults(&mut section));
        let instance = instance(PluginKind::Reserve, given, section);
        let whole = instance.zip(network);
        let reserve = |(instance, network)| ReserveConfig { instance, network, budget, faults };
        reserves.extend(whole.map(reserve));
    }
    refuse_duplicates("network", networks.iter().map(|(network, entry)| (network, entry)));
    reserves
}

/// What may be held on a network at once.
fn budget(section: &mut Section<'_>) -> Budget {
    let circuits = section.entry("max_circuits").and_then(|entry| entry.integer(0, MAX_CIRCUITS));
    let rate = section.entry("max_rate").and_then(|entry| entry.parse("a rate", "write it as \"10gbit\""));
    Budget { circuits: circuits.and_then(|circuits| u32::try_from(circuits).ok()), rate }
}

pub(super) fn static_links(root: &mut Section<'_>, links: &[LinkConfig]) -> Vec<StaticLink> {
    let Some(entry) = root.entry("static_link") else { return Vec::new() };
    let endpoints: Vec<_> = links.iter().map(|link| link.instance.name.as_str()).collect();
    let elements = entry.elements();
    let static_links: Vec<_> = elements.iter().map(|element| static_link(element, &endpoints)).collect();
    let named = elements.iter().zip(&static_links);
    refuse_duplicates("name", named.filter_map(|(entry, link)| Some((&link.as_ref()?.name, entry))));
    static_links.into_iter().flatten().collect()
}

fn static_link(entry: &Entry<'_>, endpoints: &[&str]) -> Option<StaticLink> {
    let mut section = entry.section()?;
    let given = section.required("name", "name the link").and_then(|entry| name(&entry));
    let endpoint = section.required("endpoint", "name one of this node's [link.<name>] tables");
    let endpoint = endpoint.and_then(|entry| {
        let endpoint = entry.text()?;
        if !endpoints.contains(&endpoint) {
            entry.note(format!("there is no [link.{endpoint}]"), one_of(endpoint, endpoints));
        }
        Some(endpoint.to_owned())
    });
    let address = section.required("address", "say where the device is, such as \"192.0.2.7:4789\"");
    let address = address.and_then(|entry| entry.text().map(str::to_owned));
    let public_key = section.entry("public_key").map(|entry| entry.parse("a public key", KEY_HINT));
    section.finish();
    Some(StaticLink {
        name: given?,
        endpoint: endpoint?,
        address: address?,
        public_key: public_key.map_or(Some(None), |key| key.map(Some))?,
    })
}

fn refuse_second(kind: PluginKind, section: &Section<'_>) {
    section.note(format!("a second {kind} plugin"), Some("keep one of them".to_owned()));
}

/// The keys that every kind has, and the plugin's own. The caller has asked for the kind's other host keys.
fn instance(kind: PluginKind, given: String, mut section: Section<'_>) -> Option<Instance> {
    if let Err(message) = check_name(&given) {
        section.note(message, Some("rename the table".to_owned()));
    }
    let hint = "name the plugin, such as use = \"link-udp\"".replace("link-udp", example(kind));
    let plugin = section.required("use", &hint).and_then(|entry| name(&entry));
    let path = section.entry("path").map(|entry| entry.path());
    let required = section.entry("required").map_or(Some(true), |entry| entry.flag());
    let sha256 = section.entry("sha256").map(|entry| entry.read(digest));
    let settings = section.rest().to_string();
    Some(Instance {
        kind,
        name: given,
        plugin: plugin?,
        path: path.map_or(Some(None), |path| path.map(Some))?,
        required: required?,
        sha256: sha256.map_or(Some(None), |digest| digest.map(Some))?,
        settings,
    })
}

fn example(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Capture => "capture-iouring",
        PluginKind::Link => "link-udp",
        PluginKind::Infer => "infer-vttif",
        PluginKind::Adapt => "adapt-vadapt",
        PluginKind::Reserve => "reserve-odin",
    }
}

/// A SHA-256 digest in hexadecimal.
fn digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    if !is_hex {
        return Err("not a SHA-256 digest: expected 64 hexadecimal digits, as sha256sum prints".to_owned());
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits are text");
        *byte = u8::from_str_radix(pair, 16).expect("each digit has been checked");
    }
    Ok(digest)
}
