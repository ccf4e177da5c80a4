//! E: which node pairs could have a circuit, and whether it would pay.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_sdk::model::{BackendView, BitsPerSecond, Capabilities, Snapshot};

use crate::config::{Config, Rates};
use crate::demand::NodePair;

/// The snapshot's nodes and backends, by name.
pub(crate) struct Candidates<'a> {
    networks: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
    backends: &'a [BackendView],
}

impl<'a> Candidates<'a> {
    /// Indexes the snapshot.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let networks = snapshot.nodes.iter().map(|node| (node.name.as_str(), &node.networks)).collect();
        Candidates { networks, backends: &snapshot.backends }
    }

    /// True if both nodes are there and on `network`, whether or not its backend is up.
    pub(crate) fn share(&self, pair: &NodePair, network: &str) -> bool {
        let is_on =
            |node: &str| self.networks.get(node).is_some_and(|networks| networks.contains_key(network));
        is_on(&pair.a) && is_on(&pair.z)
    }

    /// The backend of `network`, if it is up.
    pub(crate) fn backend(&self, network: &str) -> Option<&'a BackendView> {
        self.backends.iter().find(|backend| backend.network == network)
    }

    /// What the backend of `network` can do, if it is up.
    pub(crate) fn capabilities(&self, network: &str) -> Option<&'a Capabilities> {
        self.backend(network).map(|backend| &backend.capabilities)
    }

    /// The networks that both nodes share, in the order of backends.
    pub(crate) fn shared<'b>(&'b self, pair: &'b NodePair) -> impl Iterator<Item = &'a BackendView> + 'b {
        self.backends.iter().filter(|backend| self.share(pair, &backend.network))
    }

    /// The networks to ask for a circuit: those of the shared ones on which it pays off, if demand is expected to go
    /// on for `lasting`.
    ///
    /// # Errors
    /// Why there is none, for a person.
    pub(crate) fn networks(
        &self,
        pair: &NodePair,
        config: &Config,
        lasting: Duration,
    ) -> Result<Vec<&'a BackendView>, String> {
        let pays = |backend: &&BackendView| pays(config, lasting, &backend.capabilities);
        let paying: Vec<_> = self.shared(pair).filter(pays).collect();
        if !paying.is_empty() {
            return Ok(paying);
        }
        Err(match self.shared(pair).next() {
            None => "no common reservable network with a backend that is up".to_owned(),
            Some(backend) => does_not_pay(backend, lasting),
        })
    }
}

/// True if a circuit carries traffic for enough of its time, or nobody asks.
pub(crate) fn pays(config: &Config, lasting: Duration, backend: &Capabilities) -> bool {
    !config.break_even || share(lasting, backend) >= config.min_share
}

/// Says that a circuit does not pay off.
pub(crate) fn does_not_pay(backend: &BackendView, lasting: Duration) -> String {
    let percent = share(lasting, &backend.capabilities) * 100.0;
    let (network, seconds) = (&backend.network, lasting.as_secs_f64());
    format!(
        "a circuit on {network} would carry traffic for only {percent:.0} % of its time if demand goes on for {seconds:.0} s"
    )
}

/// The share of a circuit's paid time that carries traffic, (D − S) / (D + T), for demand that lasts D and a
/// backend with set-up time S and teardown time T; 0 if set-up outlasts demand.
pub(crate) fn share(lasting: Duration, backend: &Capabilities) -> f64 {
    let carrying = lasting.saturating_sub(backend.setup_time).as_secs_f64();
    carrying / lasting.saturating_add(backend.teardown_time).as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The rate to ask for: that of the backend where it is fixed, else demand with headroom within what is set for
/// the network, rounded up.
pub(crate) fn rate_wanted(
    demand: BitsPerSecond,
    headroom: f64,
    rates: Rates,
    backend: &Capabilities,
) -> BitsPerSecond {
    let step = backend.granularity.0.max(1);
    let rate = rates.bound(BitsPerSecond((demand.0 as f64 * headroom).ceil() as u64));
    backend.fixed_rate.unwrap_or(BitsPerSecond(rate.0.div_ceil(step).saturating_mul(step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(setup: f64, teardown: f64) -> Capabilities {
        Capabilities {
            setup_time: Duration::from_secs_f64(setup),
            teardown_time: Duration::from_secs_f64(teardown),
            ..Capabilities::default()
        }
    }

    #[test]
    fn shares_are_those_of_the_papers_delays() {
        let odin = backend(17.5, 12.0);
        for (seconds, percent) in [(20, 8.0), (30, 30.0), (60, 59.0), (120, 78.0), (300, 91.0), (900, 97.0)] {
            let share = share(Duration::from_secs(seconds), &odin) * 100.0;
            assert!((share - percent).abs() < 0.6, "{seconds} s: {share}");
        }
        assert_eq!(share(Duration::from_secs(10), &odin), 0.0);
    }

    #[test]
    fn rates_are_fixed_or_rounded_up() {
        let mbit = |n: u64| BitsPerSecond(n * 1_000_000);
        let any = Capabilities::default();
        let free = Rates::default();
        assert_eq!(rate_wanted(mbit(50), 1.2, free, &any), mbit(60));
        let steps = Capabilities { granularity: mbit(50), ..Capabilities::default() };
        assert_eq!(rate_wanted(mbit(50), 1.2, free, &steps), mbit(100));
        let fixed = Capabilities { fixed_rate: Some(mbit(10_000)), ..Capabilities::default() };
        assert_eq!(rate_wanted(mbit(50), 1.2, free, &fixed), mbit(10_000));
        let bound = Rates { least: mbit(40), most: Some(mbit(55)) };
        for (demand, rate) in [(1, 40), (40, 48), (50, 55)] {
            assert_eq!(rate_wanted(mbit(demand), 1.2, bound, &any), mbit(rate), "{demand}");
        }
        assert_eq!(rate_wanted(mbit(1), 1.2, bound, &fixed), mbit(10_000));
    }
}
