//! `[node]`: who the node is, and what it is in the star.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::read::{name, one_of};
use super::section::{Entry, Section, refuse_duplicates};
use super::types::{Admitted, NodeConfig, ProxyConfig, Role};
use super::workers::workers;
use crate::keys::PublicKey;

pub(super) const KEY_HINT: &str = "write the node's public key, 44 characters of base64";

/// `[node]`, as far as it could be read; its star is not resolved yet.
pub(super) struct Node<'a> {
    pub(super) config: Option<NodeConfig>,
    pub(super) star: Option<Entry<'a>>,
    /// None if the role could not be read.
    pub(super) is_proxy: Option<bool>,
}

pub(super) fn node<'a>(root: &mut Section<'a>) -> Node<'a> {
    let absent = Node { config: None, star: None, is_proxy: None };
    let table = root.required("node", "begin with [node], its name and its key");
    let Some(mut section) = table.and_then(|table| table.section()) else { return absent };
    let name_entry = section.required("name", "name the node, such as name = \"chicago-1\"");
    let name = name_entry.as_ref().and_then(name);
    let key =
        section.required("key", "name the file of the private key, such as key = \"/etc/vreserve/node.key\"");
    let key = key.and_then(|key| key.path());
    let state_dir = path_or(&mut section, "state_dir", || PathBuf::from("/var/lib/vreserve"));
    let socket = path_or(&mut section, "socket", || default_socket(name.as_deref()));
    let star = section.entry("star");
    let workers = workers(&mut section);
    let is_proxy = is_proxy(&mut section);
    let role = role(&mut section, is_proxy, name.as_deref());
    section.finish();
    let config = || {
        let workers = workers?;
        Some(NodeConfig {
            name: name?,
            key: key?,
            state_dir: state_dir?,
            socket: socket?,
            star: String::new(),
            workers: workers.count,
            pin: workers.pin,
            spin: workers.spin,
            rate_terms: workers.rate_terms,
            role: role?,
        })
    };
    Node { config: config(), star, is_proxy }
}

pub(super) fn default_socket(name: Option<&str>) -> PathBuf {
    PathBuf::from(format!("/run/vreserve/{}.sock", name.unwrap_or_default()))
}

fn path_or(
    section: &mut Section<'_>,
    key: &'static str,
    default: impl FnOnce() -> PathBuf,
) -> Option<PathBuf> {
    match section.entry(key) {
        Some(entry) => entry.path(),
        None => Some(default()),
    }
}

fn is_proxy(section: &mut Section<'_>) -> Option<bool> {
    let Some(entry) = section.entry("role") else { return Some(false) };
    match entry.text()? {
        "node" => Some(false),
        "proxy" => Some(true),
        other => {
            entry.note(format!("{other:?} is not a role"), one_of(other, &["node", "proxy"]));
            None
        }
    }
}

/// Asks for the keys of both roles, and refuses those of the other.
fn role(section: &mut Section<'_>, is_proxy: Option<bool>, own: Option<&str>) -> Option<Role> {
    let (proxy, control, admit) = (section.entry("proxy"), section.entry("control"), section.entry("admit"));
    let misplaced = |entry: &Option<Entry<'_>>, whose: &str, hint: &str| {
        if let Some(entry) = entry {
            entry.note(format!("only a {whose} has this key"), Some(hint.to_owned()));
        }
    };
    if is_proxy? {
        misplaced(&proxy, "node with role = \"node\"", "remove it, or remove role = \"proxy\"");
        if control.is_none() {
            let hint = "say where to listen for nodes, such as control = \"0.0.0.0:7654\"";
            section.note("missing key \"control\"", Some(hint.to_owned()));
        }
        let listen: Option<SocketAddr> = control
            .and_then(|entry| entry.parse("an address and port", "write ip:port, such as \"0.0.0.0:7654\""));
        let admit = admit.map_or_else(|| Some(Vec::new()), |entry| admitted(&entry, own));
        Some(Role::Proxy { listen: listen?, admit: admit? })
    } else {
        misplaced(&control, "proxy", "remove it, or say role = \"proxy\"");
        misplaced(&admit, "proxy", "remove it, or say role = \"proxy\"");
        if proxy.is_none() {
            let hint = "write proxy = { name = \"…\", public_key = \"…\", address = \"host:port\" }";
            section.note("missing key \"proxy\"", Some(hint.to_owned()));
        }
        Some(Role::Node { proxy: proxy_config(&proxy?, own)? })
    }
}

fn public_key(section: &mut Section<'_>) -> Option<PublicKey> {
    section.required("public_key", KEY_HINT)?.parse("a public key", KEY_HINT)
}

fn proxy_config(entry: &Entry<'_>, own: Option<&str>) -> Option<ProxyConfig> {
    let mut section = entry.section()?;
    let name = section.required("name", "name the proxy as its own configuration does");
    let name = name.and_then(|entry| name_of_other(&entry, own));
    let public_key = public_key(&mut section);
    let address = section.required("address", "say where the proxy listens, such as \"198.51.100.1:7654\"");
    let address = address.and_then(|entry| entry.read(host_and_port));
    section.finish();
    Some(ProxyConfig { name: name?, public_key: public_key?, address: address? })
}

/// `host:port`, the host an IPv4 address, an IPv6 address in brackets, or a name to look up.
fn host_and_port(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not host:port, such as \"198.51.100.1:7654\"");
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    if is_name && is_port && host.contains(|c: char| c.is_ascii_alphabetic()) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

fn admitted(entry: &Entry<'_>, own: Option<&str>) -> Option<Vec<Admitted>> {
    let elements = entry.elements();
    let admitted: Vec<_> = elements.iter().map(|element| admit_one(element, own)).collect();
    let named = || elements.iter().zip(&admitted).filter_map(|(entry, node)| Some((node.as_ref()?, entry)));
    refuse_duplicates("name", named().map(|(node, entry)| (&node.name, entry)));
    refuse_duplicates("public key", named().map(|(node, entry)| (node.public_key, entry)));
    admitted.into_iter().collect()
}

fn admit_one(entry: &Entry<'_>, own: Option<&str>) -> Option<Admitted> {
    let mut section = entry.section()?;
    let name = section.required("name", "name the node as its own configuration does");
    let name = name.and_then(|entry| name_of_other(&entry, own));
    let public_key = public_key(&mut section);
    section.finish();
    Some(Admitted { name: name?, public_key: public_key? })
}

fn name_of_other(entry: &Entry<'_>, own: Option<&str>) -> Option<String> {
    let name = name(entry)?;
    if own == Some(name.as_str()) {
        entry.note("this is the node's own name", Some("give each node a name of its own".to_owned()));
    }
    Some(name)
}
