//! The agent's state to look at, for the control API; and counts in the form that inference takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_core::counters::{Cell, Weight};
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::liveness::LinkHealth;
use vreserve_core::rules::{Action, IngressMatch, MacMatch, Rule};
use vreserve_model::MacAddr;

use super::Agent;

/// Everything an operator can see of one node's data plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentView {
    /// The revision of the overlay in force.
    pub revision: u64,
    /// The links.
    pub links: Vec<LinkView>,
    /// The rules in force, strongest first.
    pub rules: Vec<RuleView>,
    /// What local guests have sent since the daemon started.
    pub matrix: MatrixView,
    /// Local guests with the interface they are behind.
    pub guests: BTreeMap<MacAddr, String>,
    /// Frames dropped by reason; reasons without a drop are left out.
    pub drops: BTreeMap<String, u64>,
    /// What guests were told whose frames were too large for their way.
    #[serde(default)]
    pub too_big: TooBigView,
    /// The plugin instances on the data path.
    pub ports: Vec<PortView>,
    /// The forwarding cache.
    pub cache: CacheView,
}

/// One link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkView {
    /// Its identity, the same at both ends.
    pub id: LinkId,
    /// What it is for.
    pub class: LinkClass,
    /// The node, or the name of the device, at its far end.
    pub far_node: String,
    /// The endpoint, by its name in the configuration.
    pub endpoint: String,
    /// The far endpoint's address.
    pub far_address: String,
    /// `up`, `down`, or `unknown` before the first probe was answered and for static links.
    pub health: LinkHealth,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Loss among the last probes, 0 to 1.
    pub loss: Option<f64>,
    /// Frames sent.
    pub sent_frames: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// One rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleView {
    /// The match on the source address.
    pub source: String,
    /// The match on the destination address.
    pub destination: String,
    /// Where the frame must come in.
    pub ingress: String,
    /// What is done with it.
    pub action: String,
    /// Its priority; the highest that matches fires.
    pub priority: u8,
}

/// A traffic matrix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MatrixView {
    /// Per ordered pair.
    pub cells: Vec<Cell>,
    /// What kept no pair.
    pub other: Weight,
}

/// One plugin instance on the data path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortView {
    /// Its name in the configuration.
    pub name: String,
    /// Why it is down, if it is.
    pub failure: Option<String>,
    /// Times its plugin broke the contract.
    pub violations: u64,
    /// Frames in.
    pub received_frames: u64,
    /// Bytes in.
    pub received_bytes: u64,
    /// Frames out.
    pub sent_frames: u64,
    /// Bytes out.
    pub sent_bytes: u64,
}

/// ICMP "fragmentation needed" and ICMPv6 "packet too big".
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TooBigView {
    /// Answers handed to guests.
    pub answered: u64,
    /// Answers not given, because the same guest or too many others had just been answered.
    pub withheld: u64,
}

/// The forwarding cache.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CacheView {
    /// Entries.
    pub entries: usize,
    /// Frames that were not found in it.
    pub misses: u64,
    /// Entries that went for others.
    pub evictions: u64,
}

/// A count in the form that crosses the plugin boundary.
pub(crate) fn record_of(cell: &Cell) -> vreserve_abi::Cell {
    vreserve_abi::Cell {
        source: cell.source.0,
        destination: cell.destination.0,
        vlan: cell.vlan,
        reserved: 0,
        bytes: cell.bytes,
        frames: cell.frames,
    }
}

/// What kept no pair, if anything, as a count from nobody to everybody: it belongs to no guest pair, and is not lost.
pub(super) fn record_of_rest(rest: Weight) -> Option<vreserve_abi::Cell> {
    let record = vreserve_abi::Cell {
        source: [0; 6],
        destination: [0xff; 6],
        vlan: vreserve_core::frame::NO_VLAN,
        reserved: 0,
        bytes: rest.bytes,
        frames: rest.frames,
    };
    (rest != Weight::ZERO).then_some(record)
}

impl Agent {
    /// The state as of the last collection.
    pub(super) fn view(&self) -> AgentView {
        let mut rules: Vec<RuleView> = self.core.rules().rules().map(rule_view).collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let interface_name = |id| {
            let named = self.config.interfaces.iter().find(|(known, _)| Some(*known) == id);
            named.map_or_else(|| "static link".to_owned(), |(_, name)| name.clone())
        };
        AgentView {
            revision: self.core.overlay().revision,
            links: self.link_views(),
            rules,
            matrix: MatrixView { cells: self.matrix.totals().collect(), other: self.matrix.other_total() },
            guests: self.last.guests.iter().map(|(guest, id)| (*guest, interface_name(*id))).collect(),
            drops: self
                .last
                .drops
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| (reason.label().to_owned(), count))
                .collect(),
            too_big: TooBigView {
                answered: self.last.too_big.answered,
                withheld: self.last.too_big.withheld,
            },
            ports: self.port_views(),
            cache: CacheView {
                entries: self.last.cache.cached,
                misses: self.last.cache.misses,
                evictions: self.last.cache.evictions,
            },
        }
    }

    fn link_views(&self) -> Vec<LinkView> {
        let overlay = self.core.overlay().links.iter().map(|link| {
            (link.id, link.class, link.far_node.clone(), link.endpoint.clone(), link.far_address.clone())
        });
        let statics = self.config.static_links.iter().map(|(link, name)| {
            (link.id, link.class, name.clone(), link.endpoint.clone(), link.far_address.clone())
        });
        overlay
            .chain(statics)
            .map(|(id, class, far_node, endpoint, far_address)| {
                let status = self.last.links.iter().find(|status| status.id == id);
                let weight =
                    |of: fn(&crate::dataplane::LinkStatus) -> Weight| status.map(of).unwrap_or_default();
                let (sent, received) = (weight(|s| s.sent), weight(|s| s.received));
                LinkView {
                    id,
                    class,
                    far_node,
                    endpoint,
                    far_address,
                    health: status.map_or(LinkHealth::Unknown, |s| s.health),
                    rtt_us: status
                        .and_then(|s| s.rtt)
                        .map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                    loss: status.and_then(|s| s.loss),
                    sent_frames: sent.frames,
                    sent_bytes: sent.bytes,
                    received_frames: received.frames,
                    received_bytes: received.bytes,
                }
            })
            .collect()
    }

    fn port_views(&self) -> Vec<PortView> {
        self.last
            .ports
            .iter()
            .map(|port| PortView {
                name: port.name.clone(),
                failure: port.failure.clone(),
                violations: port.violations,
                received_frames: port.received.frames,
                received_bytes: port.received.bytes,
                sent_frames: port.sent.frames,
                sent_bytes: port.sent.bytes,
            })
            .collect()
    }
}

fn rule_view(rule: &Rule) -> RuleView {
    RuleView {
        source: mac_match(rule.source),
        destination: mac_match(rule.destination),
        ingress: match rule.ingress {
            IngressMatch::Any => "any".to_owned(),
            IngressMatch::Interface(id) => format!("interface {}", id.0),
            IngressMatch::AnyInterface => "any interface".to_owned(),
            IngressMatch::Link(id) => format!("link {id}"),
            IngressMatch::AnyLink => "any link".to_owned(),
        },
        action: match rule.action {
            Action::Deliver(id) => format!("deliver to interface {}", id.0),
            Action::Send(id) => format!("send on link {id}"),
            Action::Flood => "flood".to_owned(),
            Action::Hold(_) => "hold for cut-over".to_owned(),
            Action::Return => "send back".to_owned(),
            Action::Drop => "drop".to_owned(),
        },
        priority: rule.rank().map_or(0, |rank| rank.priority()),
    }
}

fn mac_match(mac: MacMatch) -> String {
    match mac {
        MacMatch::Any => "any".to_owned(),
        MacMatch::Exact(mac) => mac.to_string(),
        MacMatch::Not(mac) => format!("not {mac}"),
        MacMatch::None => "none".to_owned(),
    }
}
