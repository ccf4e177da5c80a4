//! What a scenario asks the daemons, through the control API.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use vreserve::api::{Request, client};
use vreserve::control::lead::{ReservationsView, TopologyView};
use vreserve_core::lead::{CircuitStatus, Phase};

use super::{READY, World};
use crate::reload::reload;
use crate::wait;

impl World {
    /// Waits until every running node has joined and every star link is up, and backends have been asked.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let expected = self.daemons.len();
        wait::until_true("all nodes joined", READY, || {
            self.try_ask::<TopologyView>(&self.proxy, &Request::Topology)
                .is_some_and(|topology| topology.nodes.len() == expected)
        });
        for node in self.daemons.keys() {
            wait::until_true("star links up", READY, || self.is_star_up(node, expected));
        }
        wait::until_true("backends asked", READY, || {
            let asked = |reason: &Option<String>| reason.as_deref() != Some("not asked yet");
            self.reservations().backends.iter().all(|backend| asked(&backend.reason))
        });
    }

    fn is_star_up(&self, node: &str, nodes: usize) -> bool {
        let Some(links) = self.try_ask::<Vec<Value>>(node, &Request::Links) else { return false };
        let star = links.iter().filter(|link| link["class"] == "star");
        let up = star.filter(|link| link["health"] == "up").count();
        up == if node == self.proxy { nodes - 1 } else { 1 }
    }

    /// A daemon's answer; none if it does not answer.
    pub fn try_ask<T: serde::de::DeserializeOwned>(&self, node: &str, request: &Request) -> Option<T> {
        client::ask_as(&self.socket(node), request).ok()
    }

    /// A daemon's answer as JSON.
    #[track_caller]
    pub fn ask(&self, node: &str, request: &Request) -> Value {
        match client::ask(&self.socket(node), request) {
            Ok(answer) => answer,
            Err(error) => panic!("{node} does not answer {request:?}: {error}"),
        }
    }

    /// A node's count of frames dropped for a reason.
    #[track_caller]
    pub fn drops(&self, node: &str, reason: &str) -> u64 {
        self.ask(node, &Request::Status)["drops"][reason].as_u64().unwrap_or(0)
    }

    /// A plugin's counter, as `kind.instance.counter`.
    #[track_caller]
    pub fn counter(&self, node: &str, counter: &str) -> u64 {
        self.ask(node, &Request::Status)["counters"][counter].as_u64().unwrap_or(0)
    }

    /// What the lead has reserved.
    #[track_caller]
    pub fn reservations(&self) -> ReservationsView {
        let answer = self.ask(&self.proxy, &Request::Reservations);
        serde_json::from_value(answer).expect("the lead answers in its own types")
    }

    /// What the lead believes of the traffic.
    #[track_caller]
    pub fn topology(&self) -> TopologyView {
        let answer = self.ask(&self.proxy, &Request::Topology);
        serde_json::from_value(answer).expect("the lead answers in its own types")
    }

    /// Edits the lead's file and has it reloaded; what `vreserve reload` ends with and says, on both outputs.
    #[track_caller]
    pub fn reload_lead(&self, edit: impl FnOnce(String) -> String) -> (i32, String) {
        let file = self.config(&self.proxy);
        let text = fs::read_to_string(file).expect("the world's own file");
        fs::write(file, edit(text)).expect("the world's directory can be written");
        reload(file)
    }

    /// The events of the lead so far.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let socket = self.socket(&self.proxy);
        let lines = client::events(&socket, false).expect("the lead answers");
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// Events of one name, oldest first.
    #[track_caller]
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// Waits until a circuit carries, and returns it.
    #[track_caller]
    pub fn wait_until_carrying(&self, bound: Duration) -> CircuitStatus {
        wait::until("a circuit carries", bound, || {
            self.reservations().circuits.into_iter().find(|circuit| circuit.phase == Phase::Carrying)
        })
    }
}
