//! An adaptation plugin of ABI 1.0: a circuit for each pair of guests that sends enough.
#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::model::{Demand, MacAddr, NodeView, Snapshot, Wanted, WantedLink, WantedRule, link_key};
use vreserve_sdk::{Adapt, Failure, Host, export_plugin};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bits per second from which a pair gets a circuit.
    #[serde(default)]
    least: u64,
}

pub struct Greedy {
    least: u64,
}

impl Adapt for Greedy {
    type Config = Config;

    fn open(config: Config, _: Host) -> Result<Self, Failure> {
        Ok(Greedy { least: config.least })
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let mut wanted = Wanted::default();
        for demand in &snapshot.topology.demands {
            if demand.rate.0 >= self.least && demand.confidence > 0.0 {
                serve(snapshot, demand, &mut wanted);
            }
        }
        Ok(wanted)
    }
}

fn serve(snapshot: &Snapshot, demand: &Demand, wanted: &mut Wanted) {
    let ends = node_of(snapshot, demand.source).zip(node_of(snapshot, demand.destination));
    let Some((from, to)) = ends.filter(|(from, to)| from.name != to.name) else { return };
    let is_shared = |network: &str| from.networks.contains_key(network) && to.networks.contains_key(network);
    let mut networks = snapshot.backends.iter().map(|backend| backend.network.as_str());
    let Some(network) = networks.find(|network| is_shared(network)) else {
        wanted.notes.push(format!("{} and {} share no network", from.name, to.name));
        return;
    };
    let (a, z) = link_key(&from.name, &to.name);
    if !wanted.links.iter().any(|link| (link.a.as_str(), link.z.as_str()) == (a, z)) {
        wanted.links.push(WantedLink {
            a: a.to_owned(),
            z: z.to_owned(),
            network: network.to_owned(),
            rate: demand.rate,
            reason: "it sends enough".to_owned(),
        });
    }
    wanted.rules.push(WantedRule {
        node: from.name.clone(),
        source: demand.source,
        destination: demand.destination,
        next: to.name.clone(),
        network: network.to_owned(),
    });
}

fn node_of(snapshot: &Snapshot, guest: MacAddr) -> Option<&NodeView> {
    let guest = snapshot.guests.iter().find(|known| known.mac == guest)?;
    snapshot.nodes.iter().find(|node| node.name == guest.node)
}

export_plugin!(name = "adapt-1-0", adapt = Greedy);
