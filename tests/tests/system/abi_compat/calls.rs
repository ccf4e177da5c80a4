//! Old and new plugins of the kinds that are called, and not given frames: inference, adaptation, reservation.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use vreserve::plugin::Backend;
use vreserve_model::{
    BackendView, BitsPerSecond, Capabilities, FailureKind, Guest, NodeView, Pattern, Request, RequestKey,
    Snapshot, Timestamp, TopologyReport, WantedLink,
};
use vreserve_sdk::{Cell, Handle};

use super::host::Host;
use super::mac;

/// Two guests on two nodes that share a network.
fn snapshot(topology: TopologyReport) -> Snapshot {
    let network = "omninet".to_owned();
    let node = |name: &str, address: &str| NodeView {
        name: name.to_owned(),
        networks: [(network.clone(), address.to_owned())].into(),
    };
    let guest = |number, node: &str| Guest { mac: mac(number), node: node.to_owned() };
    let capabilities = Capabilities { fused_activation: true, find: true, ..Capabilities::default() };
    Snapshot {
        now: Timestamp(20_000_000_000),
        nodes: vec![node("alpha", "10.10.0.1"), node("beta", "10.10.0.2")],
        guests: vec![guest(1, "alpha"), guest(2, "beta")],
        topology,
        backends: vec![BackendView { network, capabilities, max_circuits: None, max_rate: None }],
        circuits: Vec::new(),
        max_hops: 1,
        question: None,
    }
}

/// What an inference plugin makes of a guest that sends 80 Mbit/s.
fn inferred(host: &Host, plugin: &str) -> TopologyReport {
    let (mut node, mut lead) = (host.infer(plugin, "node"), host.infer(plugin, "lead"));
    let (source, destination) = (mac(1).0, mac(2).0);
    let cell = Cell { source, destination, vlan: 0xffff, reserved: 0, bytes: 5_000_000, frames: 5000 };
    let mut now = Timestamp(0);
    for _ in 0..20 {
        now = Timestamp(now.0 + 500_000_000);
        let report = node.observe(now, &[cell]).unwrap();
        lead.merge(now, "alpha", &report).unwrap();
    }
    assert!(lead.merge(now, "alpha", b"?").is_err(), "{plugin}");
    lead.infer(now).unwrap()
}

#[test]
fn old_and_new_planners_plan_on_what_old_and_new_inference_believes() {
    let host = Host::start();
    let mut old = host.adapt("adapt-1-0", "old", &json!({}));
    let vadapt = json!({ "max_links": 2, "break_even": false, "rates": { "omninet": { "least": "1mbit" } } });
    let mut new = host.adapt("adapt-vadapt", "new", &vadapt);
    for plugin in ["infer-1-0", "infer-vttif"] {
        let topology = inferred(&host, plugin);
        let demand = topology.demands.first().unwrap_or_else(|| panic!("{plugin} sees no demand"));
        assert_eq!((demand.source, demand.destination), (mac(1), mac(2)));
        assert!((40_000_000..=160_000_000).contains(&demand.rate.0), "{plugin}: {demand:?}");
        let snapshot = snapshot(topology);
        for planner in [&mut old, &mut new] {
            let wanted = planner.adapt(&snapshot).unwrap();
            let ends = |link: &WantedLink| (link.a.clone(), link.z.clone());
            let wanted: Vec<_> = wanted.links.iter().map(ends).collect();
            assert_eq!(wanted, [("alpha".to_owned(), "beta".to_owned())], "{plugin}");
        }
    }
}

#[test]
fn an_old_planner_reads_every_pattern_that_there_is_today() {
    let host = Host::start();
    let mut old = host.adapt("adapt-1-0", "old", &json!({}));
    for pattern in Pattern::ALL {
        let wanted = old.adapt(&snapshot(TopologyReport { pattern, ..TopologyReport::silent() }));
        assert!(wanted.is_ok(), "{pattern}: {wanted:?}");
    }
}

fn request(key: &str) -> Request {
    Request {
        key: RequestKey(key.to_owned()),
        owner: "hub/1".to_owned(),
        a: "192.0.2.1".to_owned(),
        z: "192.0.2.2".to_owned(),
        rate: BitsPerSecond(1_000),
        flow: None,
        max_latency: None,
        start_ms: None,
        end_ms: None,
    }
}

/// A program for `reserve-exec` that grants everything and remembers nothing.
const GENEROUS: &str = r#"#!/bin/sh
case $VRESERVE_VERB in
VERSION) echo '{"protocols":[1],"name":"generous","version":"1","capabilities":{"fused_activation":true}}' ;;
SUBMIT) echo '{"observed":{"key":"k1","state":"active"}}' ;;
*) echo '{}' ;;
esac
"#;

#[tokio::test]
async fn old_and_new_reservation_plugins_answer_side_by_side() {
    let host = Host::start();
    let program = host.path("generous");
    fs::write(&program, GENEROUS).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (old, small) = (json!({ "room": 2 }), json!({ "room": 0 }));
    let (old, small) =
        (host.reserve("reserve-1-0", "old", &old), host.reserve("reserve-1-0", "small", &small));
    let new = host.reserve("reserve-exec", "new", &json!({ "program": program }));
    for backend in [&old, &new] {
        assert!(backend.capabilities().fused_activation);
        assert_eq!(backend.health().await, Ok(()));
        assert_eq!(backend.submit(request("k1")).await.unwrap().key, request("k1").key);
    }
    let refused = small.submit(request("k1")).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason.as_str()), (FailureKind::Refused, "no room"));
    assert_eq!(old.list_owned("hub".to_owned()).await.unwrap().len(), 1);
    let nowhere = Request { z: "192.0.2.1".to_owned(), ..request("k2") };
    assert_eq!(old.submit(nowhere).await.unwrap_err().kind, FailureKind::UnknownOutcome, "it panicked");
    let handle = Handle { key: request("k1").key, native_id: None };
    assert_eq!((old.cancel(handle.clone()).await, new.cancel(handle).await), (Ok(()), Ok(())));
    assert_eq!(old.find(request("k1").key).await, Ok(Vec::new()));
    assert_eq!(
        old.modify(Handle { key: request("k1").key, native_id: None }, request("k1")).await.unwrap_err().kind,
        FailureKind::Unsupported
    );
}
