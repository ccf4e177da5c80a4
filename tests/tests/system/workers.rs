//! Several workers per node: guests talk TCP and UDP over the star, and a pair moves to a lightpath and back
//! without a frame lost or overtaken.
//!
//! ```text
//!  a1 ── alpha ═══ inet0 ═══ commodity ═══ hub       each node with two workers
//!          │ omninet          beta ── b1
//!          └─── chicago ══ lambda ══ evanston ──┘
//! ```

use std::time::Duration;

use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Format, Setup, World, pair_on_veth, skip, wait};

const TO_LIGHTPATH: Duration = Duration::from_secs(30);
const TO_RELEASE: Duration = Duration::from_secs(30);

fn world(format: Format) -> World {
    let adapt = "max_links = 4\nmin_hold = \"2s\"\nrelease_after = \"1s\"\nrelease_below = \"6mbit\"\n";
    World::start(&Setup {
        // The lab's own TAPs have one queue.
        lab: pair_on_veth(),
        format,
        adapt: adapt.to_owned(),
        node: "workers = 2\n".to_owned(),
        ..Setup::default()
    })
}

#[test]
fn tcp_and_udp_pass_and_a_pair_moves_without_loss() {
    if skip::is_skipped("workers", &["iperf3", "ping"]) {
        return;
    }
    pass_and_move(Format::Default, 2);
}

#[test]
fn tcp_and_udp_pass_and_a_pair_moves_without_loss_in_clear_text() {
    if skip::is_skipped("workers, vxlan", &["iperf3", "ping"]) {
        return;
    }
    pass_and_move(Format::Vxlan, 2);
}

#[test]
fn tcp_and_udp_pass_and_a_pair_moves_without_loss_over_vxlan_devices() {
    if skip::is_skipped("workers, link-vxlan", &["iperf3", "ping"]) {
        return;
    }
    // Its endpoints have one queue, so the node runs one worker whatever it was told.
    pass_and_move(Format::Device, 1);
}

fn pass_and_move(format: Format, workers: u32) {
    let world = world(format);
    for node in ["hub", "alpha", "beta"] {
        let status = world.ask(node, &vreserve::api::Request::Status);
        assert_eq!(status["workers"], workers, "{node}");
    }
    world.assert_reachable("a1", "b1");
    let streams = Iperf::between(&world, "a1", "b1", 5201, &["-P", "4"]);
    Meter::start(&world, "b1", "eth0").wait_for(1_000_000);
    drop(streams);
    // The streams alone may have asked for the lightpath.
    wait::until_true("the star is all there is", TO_RELEASE, || world.reservations().circuits.is_empty());

    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(500);
    let load = Iperf::between(&world, "a1", "b1", 5202, &["-u", "-P", "4", "-b", "8M", "-l", "1200"]);
    world.wait_until_carrying(TO_LIGHTPATH);
    gauge.wait_for(500);
    drop(load);
    wait::until_true("the circuit is released", TO_RELEASE, || world.reservations().circuits.is_empty());
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
}
