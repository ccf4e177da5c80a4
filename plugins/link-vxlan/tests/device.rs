//! The VXLAN device of an endpoint: how it comes, goes, and whose it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::frames::numbered;
use common::host::TestLink;
use common::netns::Netns;
use vreserve_sdk::{Failure, FailureKind};

const CONFIG: &str = r#"{"bind":"10.9.0.1"}"#;

fn refused(netns: &Netns, config: &str) -> Failure {
    TestLink::open(netns, config).err().expect("it must not open")
}

#[test]
fn the_device_comes_and_goes_with_the_endpoint() {
    let Some((netns, _far)) = Netns::pair() else { return };
    for _ in 0..3 {
        let link = TestLink::open(&netns, CONFIG).unwrap();
        assert!(netns.ip("-d link show vrx4789").contains("external"));
        drop(link);
        assert!(!netns.has("vrx4789"));
    }
    let link = TestLink::open(&netns, r#"{"bind":"10.9.0.1:7001","device":"overlay","mtu":1400}"#).unwrap();
    assert_eq!((link.info().address.as_str(), link.info().mtu), ("10.9.0.1:7001", 1364));
    assert!(netns.has("overlay"));
}

#[test]
fn a_device_that_a_killed_daemon_left_is_replaced() {
    let Some((netns, _far)) = Netns::pair() else { return };
    netns.ip("link add vrx4789 type vxlan dstport 4789 external");
    netns.ip("link set vrx4789 up");
    let failure = refused(&netns, CONFIG);
    assert!(failure.reason.contains("none of this plugin's"), "{failure}");
    netns.ip_with(&["link", "set", "vrx4789", "alias", "vreserve link-vxlan 4789"]);
    TestLink::open(&netns, CONFIG).unwrap();
}

#[test]
fn what_is_somebody_elses_is_left_alone_and_said() {
    let Some((netns, _far)) = Netns::pair() else { return };
    let first = TestLink::open(&netns, CONFIG).unwrap();
    let failure = refused(&netns, CONFIG);
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("another endpoint's"), "{failure}");
    let failure = refused(&netns, r#"{"bind":"10.9.0.1","device":"other"}"#);
    assert!(failure.reason.contains("port 4789 is used"), "{failure}");
    assert!(!netns.has("other"), "nothing is left behind");
    drop(first);
    netns.ip("link add vx0 type vxlan id 1 dstport 4789 local 10.9.0.1 remote 10.9.0.2");
    netns.ip("link set vx0 up");
    let failure = refused(&netns, CONFIG);
    assert!(failure.reason.contains("port 4789 is used"), "{failure}");
    assert!(netns.has("vx0") && !netns.has("vrx4789"));
    let failure = refused(&netns, r#"{"bind":"10.9.0.1:4790","device":"vx0"}"#);
    assert!(failure.reason.contains("none of this plugin's"), "{failure}");
    let failure = refused(&netns, r#"{"bind":"10.9.0.99:4790"}"#);
    assert!(failure.reason.contains("no interface has the address 10.9.0.99"), "{failure}");
}

#[test]
fn a_device_that_goes_ends_the_instance_with_an_error_and_can_be_made_again() {
    for command in ["link set vrx4789 down", "link delete vrx4789"] {
        let Some((netns, _far)) = Netns::pair() else { return };
        let link = TestLink::open(&netns, CONFIG).unwrap();
        link.add_far(1, "10.9.0.2:4789");
        netns.ip(command);
        assert!(link.wait(), "the host is woken");
        assert_eq!(link.recv(8).unwrap_err().raw_os_error(), Some(libc::ENETDOWN), "{command}");
        let error = link.send(&[(1, numbered(1, 60))]).unwrap_err().raw_os_error();
        assert!(matches!(error, Some(libc::ENETDOWN | libc::ENXIO)), "{command}: {error:?}");
        drop(link);
        TestLink::open(&netns, CONFIG).unwrap();
    }
}
