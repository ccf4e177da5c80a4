//! The adaptation plugin `NAME`: a circuit for each of the greatest demands between nodes of one network.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use vreserve_sdk::model::{
    BitsPerSecond, NodeView, Snapshot, Wanted, WantedLink, WantedRule, link_key,
};
use vreserve_sdk::{Adapt, Failure, Host, JsonSchema, export_plugin};

/// The keys of `[adapt.<instance>]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Most circuits at once.
    #[serde(default = "default_max_links")]
    pub max_links: usize,
    /// What a pair of nodes must exchange to be worth a circuit.
    #[serde(default = "default_worth")]
    pub worth: BitsPerSecond,
}

const fn default_max_links() -> usize {
    4
}

const fn default_worth() -> BitsPerSecond {
    BitsPerSecond(10_000_000)
}

/// The planner. It keeps nothing: the same snapshot gives the same answer.
pub struct Greatest {
    config: Config,
}

impl Adapt for Greatest {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, Failure> {
        Ok(Greatest { config })
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let node_of: BTreeMap<_, _> =
            snapshot.guests.iter().map(|guest| (guest.mac, guest.node.as_str())).collect();
        let nodes: BTreeMap<_, _> = snapshot.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let mut rates: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for demand in snapshot.topology.demands.iter().filter(|demand| demand.confidence > 0.0) {
            let ends = (node_of.get(&demand.source), node_of.get(&demand.destination));
            if let (Some(from), Some(to)) = ends
                && from != to
            {
                let rate = rates.entry(link_key(from, to)).or_default();
                *rate = rate.saturating_add(demand.rate.0);
            }
        }
        let mut worth: Vec<_> =
            rates.into_iter().filter(|(_, rate)| *rate >= self.config.worth.0).collect();
        // Greatest first; names decide between equals, so that the answer does not depend on the order.
        worth.sort_by_key(|(ends, rate)| (std::cmp::Reverse(*rate), *ends));
        let mut wanted = Wanted::default();
        for ((a, z), rate) in worth {
            let network = match (nodes.get(a), nodes.get(z)) {
                (Some(a), Some(z)) => common_network(snapshot, a, z),
                _ => None,
            };
            let Some(network) = network else {
                wanted.notes.push(format!("{a} and {z} have no network in common"));
                continue;
            };
            if wanted.links.len() == self.config.max_links {
                wanted.notes.push(format!("{a} and {z}: max_links is reached"));
                continue;
            }
            let reason = format!("{} between them", BitsPerSecond(rate));
            let (a, z) = (a.to_owned(), z.to_owned());
            wanted.links.push(WantedLink { a, z, network, rate: BitsPerSecond(rate), reason });
        }
        wanted.rules = rules(snapshot, &node_of, &wanted.links);
        Ok(wanted)
    }
}

/// A network that both nodes are on and that can be reserved on now.
fn common_network(snapshot: &Snapshot, a: &NodeView, z: &NodeView) -> Option<String> {
    let is_up = |network: &&String| snapshot.backends.iter().any(|backend| backend.network == **network);
    a.networks.keys().filter(is_up).find(|network| z.networks.contains_key(*network)).cloned()
}

/// Frames of every pair whose nodes have a circuit take it, at both ends.
fn rules(
    snapshot: &Snapshot,
    node_of: &BTreeMap<vreserve_sdk::model::MacAddr, &str>,
    links: &[WantedLink],
) -> Vec<WantedRule> {
    let mut rules = Vec::new();
    for demand in &snapshot.topology.demands {
        let (Some(from), Some(to)) = (node_of.get(&demand.source), node_of.get(&demand.destination)) else {
            continue;
        };
        let ends = link_key(from, to);
        if let Some(link) = links.iter().find(|link| (link.a.as_str(), link.z.as_str()) == ends) {
            rules.push(WantedRule {
                node: (*from).to_owned(),
                source: demand.source,
                destination: demand.destination,
                next: (*to).to_owned(),
                network: link.network.clone(),
            });
        }
    }
    rules
}

export_plugin!(name = "NAME", adapt = Greatest);

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::{read_config, serde_json};

    #[test]
    fn the_greatest_demand_gets_the_only_circuit() {
        let config: Config = read_config(r#"{"max_links":1}"#).expect("a whole table");
        let node = |name: &str, at: u8| format!(r#"{{"name":"{name}","networks":{{"optical":"10.0.0.{at}"}}}}"#);
        let guest = |at: u8, node: &str| format!(r#"{{"mac":"02:00:00:00:00:0{at}","node":"{node}"}}"#);
        let demand = |to: u8, rate: u64| {
            format!(
                r#"{{"source":"02:00:00:00:00:01","destination":"02:00:00:00:00:0{to}","rate":{rate},
                    "frames_per_second":1.0,"confidence":1.0}}"#
            )
        };
        let snapshot = format!(
            r#"{{"now":1,"nodes":[{},{},{}],"guests":[{},{},{}],
                "topology":{{"pattern":"irregular","settled":true,"demands":[{},{}]}},
                "backends":[{{"network":"optical","capabilities":{{}}}}],"circuits":[]}}"#,
            node("alpha", 1), node("beta", 2), node("gamma", 3),
            guest(1, "alpha"), guest(2, "beta"), guest(3, "gamma"),
            demand(2, 50_000_000), demand(3, 90_000_000),
        );
        let snapshot: Snapshot = serde_json::from_str(&snapshot).expect("a whole snapshot");
        let wanted = Greatest { config }.adapt(&snapshot).expect("a plan");
        assert_eq!((wanted.links.len(), wanted.links[0].z.as_str()), (1, "gamma"));
        assert_eq!((wanted.rules.len(), wanted.notes.len()), (1, 1));
    }
}
