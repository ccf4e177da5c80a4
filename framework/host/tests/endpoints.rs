//! Endpoints over a link plugin that says what it was told: far nodes and their keys.

use vreserve::dataplane::ports::{Endpoint, Port};
use vreserve::dataplane::{EndpointPort, LinkSpec};
use vreserve::keys::PublicKey;
use vreserve::plugin::{HostServices, LinkInstance, PluginKind};
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_model::Failure;

fn link(id: u64, key: Option<u8>) -> LinkSpec {
    LinkSpec {
        id: LinkId(id),
        class: LinkClass::Star,
        endpoint: "internet".into(),
        far_address: format!("192.0.2.{id}:4789"),
        far_key: key.map(|first| PublicKey([first; 32])),
    }
}

#[test]
fn a_far_nodes_key_reaches_the_plugin_and_each_that_comes_after_it() {
    let services = HostServices::new("/nonexistent");
    let host = services.instance(PluginKind::Link, "internet", None);
    let told = host.clone();
    let open = move || -> Result<Box<dyn Endpoint>, Failure> {
        Ok(Box::new(LinkInstance::open(vreserve_fixture::plugin(), &host, "{}")?))
    };
    let port = Port::new("link.internet".into(), open().expect("it opens"), Box::new(open));
    let mut endpoint = EndpointPort::new(port);
    endpoint.add(&link(1, Some(9)), 0).expect("it takes everybody");
    endpoint.add(&link(2, None), 1).expect("a device has no key");
    let keys = || told.counters().iter().find(|counter| counter.name == "keys").map(|counter| counter.value);
    assert_eq!(keys(), Some(9));
    assert!(endpoint.readmit().is_empty());
    assert_eq!(keys(), Some(18), "a reopened instance is told the same");
}
