//! What `open` says when it cannot: which key is wrong, or what is missing, and what the host should do.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use common::host::Instance;
use common::netns::Netns;
use vreserve_sdk::{Failure, FailureKind};

fn refused(config: &str) -> Failure {
    Instance::open(config).err().expect("it must not open")
}

#[test]
fn a_wrong_configuration_is_blamed_on_its_key() {
    for (config, key) in [
        (r#"{"interface":"x","colour":1}"#, "colour"),
        (r#"{"interface":"x","mtu":"big"}"#, "mtu"),
        (r#"{"interface":"x","reader":"fast"}"#, "reader"),
        (r#"{"interface":"x","fd":0}"#, "fd"),
        (r#"{"interface":"x","fd":9999}"#, "fd"),
    ] {
        let failure = refused(config);
        assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
        assert!(failure.key.as_deref() == Some(key) || failure.reason.contains(key), "{failure}");
    }
    assert!(refused("{}").reason.contains("interface"));
}

#[test]
fn what_is_missing_is_named() {
    let Some(netns) = Netns::new() else { return };
    let name = &netns.name;
    let failure = refused(&format!(r#"{{"interface":"gone0","kind":"interface","netns":"{name}"}}"#));
    assert_eq!(
        (failure.kind, failure.reason.contains("gone0")),
        (FailureKind::Unavailable, true),
        "{failure}"
    );
    let failure = refused(r#"{"interface":"tap0","netns":"no-such-namespace"}"#);
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("/run/netns/no-such-namespace"), "{failure}");
}

#[test]
fn an_interface_of_the_wrong_kind_is_blamed_on_its_key() {
    let Some(netns) = Netns::new() else { return };
    let name = &netns.name;
    netns.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
    let failure = refused(&format!(r#"{{"interface":"v0","netns":"{name}"}}"#));
    assert_eq!(
        (failure.kind, failure.key.as_deref()),
        (FailureKind::Invalid, Some("interface")),
        "{failure}"
    );
    netns.ip(&["tuntap", "add", "dev", "tun0", "mode", "tun"]);
    let failure = refused(&format!(r#"{{"interface":"tun0","kind":"interface","netns":"{name}"}}"#));
    assert_eq!(
        (failure.kind, failure.key.as_deref()),
        (FailureKind::Invalid, Some("interface")),
        "{failure}"
    );
}

#[test]
fn an_interface_that_is_down_is_unavailable_unless_it_is_to_be_set_up() {
    let Some(netns) = Netns::new() else { return };
    netns.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
    let config = format!(r#"{{"interface":"v0","kind":"interface","netns":"{}"}}"#, netns.name);
    let failure = refused(&config);
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("v0 is down"), "{failure}");
    Instance::open(&config.replace('}', r#","up":true}"#)).unwrap();
}

#[test]
fn opening_in_a_namespace_leaves_the_callers_thread_where_it_is() {
    let Some(netns) = Netns::new() else { return };
    let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = here();
    let path = format!("/run/netns/{}", netns.name);
    let instance = Instance::open(&format!(r#"{{"interface":"tap0","netns":"{path}"}}"#)).unwrap();
    assert_eq!(here(), before);
    assert!(netns.has("tap0"));
    drop(instance);
}

#[test]
fn opening_and_closing_a_hundred_times_leaks_no_descriptor() {
    let Some(netns) = Netns::new() else { return };
    let config = format!(r#"{{"interface":"leak0","netns":"{}"}}"#, netns.name);
    // Tests share the process, so only the descriptors of this TAP count.
    let taps = || {
        let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let info =
            |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.ok()?.path()).ok();
        entries.filter_map(info).filter(|text| text.contains("iff:\tleak0")).count()
    };
    for _ in 0..100 {
        let mut instance = Instance::reopen(&config);
        instance.recv(1).unwrap();
        assert!(taps() > 0);
    }
    assert_eq!(taps(), 0);
}
