//! Captures made up on the spot, replayed with the real plugins, linked in.

mod files;
mod hostile;
mod pages;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use vreserve_model::MacAddr;

use super::capture::Capture;
use super::*;
use files::{PcapFile, PcapNgFile, mac};

/// A lightpath takes 5 s to come and 3 s to go; `a` and `b` have it, and a guest each.
const OVERLAY: &str = r#"
[infer.vttif]
use = "infer-vttif"
[adapt.vadapt]
use = "adapt-vadapt"
min_hold = "2s"
[provider.omninet]
setup_time = "5s"
teardown_time = "3s"
rate = "1gbit"
serial = true
price = 36.0
[nodes]
a = ["omninet"]
b = ["omninet"]
[guests]
a = ["02:00:00:00:00:01"]
b = ["02:00:00:00:00:02"]
"#;

fn registry() -> Registry {
    let infer = ("infer-vttif", vreserve_infer_vttif::plugin());
    Registry::new(Vec::new()).with_static(&[infer, ("adapt-vadapt", vreserve_adapt_vadapt::plugin())])
}

fn replayed(file: Vec<u8>, overlay: &str) -> Result<Report, ReplayError> {
    replayed_as("capture.pcap", file, overlay)
}

fn replayed_as(name: &str, file: Vec<u8>, overlay: &str) -> Result<Report, ReplayError> {
    let overlay = OverlayConfig::parse(Path::new("overlay.toml"), overlay).expect("the overlay is right");
    let capture = Capture::read(Path::new(name), std::io::Cursor::new(file))?;
    replay_in(Path::new(name), capture, &overlay, &registry(), Path::new("/nonexistent"))
}

/// Frames of 50 kB (as a capture has them whose machine joined segments) from `source` to `destination`.
fn burst(file: &mut PcapFile, (from, to): (u64, u64), mbps: u64, source: u8, destination: u8) {
    let gap_us = 50_000 * 8 / mbps;
    let mut at = from * 1_000_000;
    while at < to * 1_000_000 {
        file.frame(at, mac(destination), mac(source), 50_000);
        at += gap_us;
    }
}

/// A little of everything all the time: ARP-like broadcasts and small frames both ways.
fn murmur(file: &mut PcapFile, until: u64) {
    for tenth in 0..until * 10 {
        file.frame(tenth * 100_000, mac(2), mac(1), 90);
        file.frame(tenth * 100_000 + 50_000, MacAddr::BROADCAST, mac(2), 60);
    }
}

#[test]
fn a_burst_between_two_guests_is_one_reservation_at_its_time() {
    let mut file = PcapFile::new();
    burst(&mut file, (10, 40), 80, 1, 2);
    murmur(&mut file, 60);
    let report = replayed(file.sorted(), OVERLAY).expect("it is replayed");
    let [one] = &report.reservations[..] else { panic!("one reservation: {report}") };
    assert_eq!((one.link.a.as_str(), one.link.z.as_str(), one.link.network.as_str()), ("a", "b", "omninet"));
    assert_eq!(one.rate.to_string(), "1gbit");
    let asked = one.asked_at.as_secs_f64();
    assert!((10.0..12.5).contains(&asked), "inference needs a moment: {asked}");
    let active = one.active_at.expect("it was granted").as_secs_f64();
    assert!((active - asked - 5.0).abs() < 0.01, "the provider takes 5 s: {active}");
    let carrying = one.carrying_at.expect("it was used").as_secs_f64();
    assert!(carrying > active && carrying < active + 1.0, "proof and switch: {carrying}");
    let ending = one.ending_at.expect("demand ended").as_secs_f64();
    assert!((42.0..48.0).contains(&ending), "low for 3 s after a window of 2 s: {ending}");
    let released = one.released_at.expect("it was given back").as_secs_f64();
    assert!(released > ending + 3.0 && released < ending + 4.0, "the provider takes 3 s: {released}");
    assert!(!one.open_at_end);

    let expected = 80e6 / 8.0 * (40.0 - carrying);
    assert!((one.bytes as f64 / expected - 1.0).abs() < 0.02, "{} of {expected}", one.bytes);
    assert_eq!(one.bytes, report.gain.carried.bytes);
    assert!(report.gain.share > 0.7 && report.gain.peak > 75e6, "{:?}", report.gain);
    let price = report.cost.price.expect("the network has a price");
    assert!((price - 36.0 * (released - asked) / 3600.0).abs() < 1e-6);
    assert_eq!(report.overlay.between_nodes.bytes + report.overlay.flooded.bytes, report.capture.all.bytes);
    let sum: u64 = report.traffic.slices.iter().map(|slice| slice.bytes).sum();
    assert_eq!(sum, report.overlay.between_nodes.bytes);
    assert!(report.to_string().contains("a - b on omninet at 1gbit"), "{report}");
}

#[test]
fn noise_reserves_nothing() {
    let mut file = PcapFile::new();
    murmur(&mut file, 60);
    // One frame in a while, as backups of a few kilobytes are.
    burst(&mut file, (10, 40), 1, 1, 2);
    let report = replayed(file.sorted(), OVERLAY).expect("it is replayed");
    assert!(report.reservations.is_empty(), "{report}");
    assert_eq!(report.cost.reservations, 0);
    assert!(report.to_string().contains("0 reservations would have been made"));
}

#[test]
fn a_circuit_that_the_end_of_the_capture_meets_is_told_apart() {
    let mut file = PcapFile::new();
    burst(&mut file, (0, 20), 80, 1, 2);
    let report = replayed(file.sorted(), OVERLAY).expect("it is replayed");
    let [one] = &report.reservations[..] else { panic!("one reservation: {report}") };
    assert!(one.open_at_end);
    assert!(one.released_at.expect("silence ends it") > Duration::from_secs(20));
}

#[test]
fn a_night_of_silence_between_two_bursts_costs_no_time() {
    let mut file = PcapFile::new();
    burst(&mut file, (0, 15), 80, 1, 2);
    let night = 6 * 24 * 3600;
    burst(&mut file, (night, night + 15), 80, 1, 2);
    let report = replayed(file.sorted(), OVERLAY).expect("it is replayed");
    assert_eq!(report.reservations.len(), 2, "{report}");
    let asked = report.reservations[1].asked_at.as_secs_f64() - night as f64;
    assert!((0.0..3.0).contains(&asked), "{asked}");
}

#[test]
fn senders_at_no_node_are_other_and_a_default_node_takes_them_in() {
    let mut file = PcapFile::new();
    burst(&mut file, (0, 20), 80, 7, 2);
    let file = file.sorted();
    let report = replayed(file.clone(), OVERLAY).expect("it is replayed");
    assert_eq!(report.overlay.other.bytes, report.capture.all.bytes);
    assert!(report.reservations.is_empty());
    let taken_in = format!("{OVERLAY}[replay]\ndefault = \"a\"\n");
    let report = replayed(file, &taken_in).expect("it is replayed");
    assert_eq!(report.overlay.other.frames, 0);
    assert_eq!(report.reservations.len(), 1, "{report}");
}

#[test]
fn a_clock_that_stumbles_is_counted_and_changes_nothing() {
    let mut steady = PcapFile::new();
    burst(&mut steady, (10, 40), 80, 1, 2);
    let mut stumbling = PcapFile::new();
    burst(&mut stumbling, (10, 40), 80, 1, 2);
    stumbling.swap_neighbours();
    let (steady, stumbling) = (replayed(steady.sorted(), OVERLAY), replayed(stumbling.bytes(), OVERLAY));
    let (steady, stumbling) = (steady.expect("it is replayed"), stumbling.expect("it is replayed"));
    assert!(stumbling.capture.clock.stepped_back > 100);
    assert_eq!(steady.reservations.len(), 1);
    assert_eq!(stumbling.reservations[0].asked_at, steady.reservations[0].asked_at);
}

#[test]
fn pcapng_says_the_same_as_pcap() {
    let mut file = PcapFile::new();
    burst(&mut file, (0, 20), 80, 1, 2);
    let same = PcapNgFile::of(&file).bytes();
    let (pcap, pcapng) = (replayed(file.sorted(), OVERLAY), replayed(same, OVERLAY));
    let (pcap, pcapng) = (pcap.expect("it is replayed"), pcapng.expect("it is replayed"));
    assert_eq!((pcap.capture.format, pcapng.capture.format), ("pcap", "pcapng"));
    assert_eq!(pcapng.capture.all, pcap.capture.all);
    assert_eq!(pcapng.reservations[0].asked_at, pcap.reservations[0].asked_at);
    assert_eq!(pcapng.reservations[0].bytes, pcap.reservations[0].bytes);
}

#[test]
fn a_plugins_wrong_key_is_named_with_its_place() {
    let wrong = OVERLAY.replace("min_hold = \"2s\"", "min_holt = \"2s\"");
    let error = replayed(PcapFile::new().bytes(), &wrong).expect_err("it is wrong").to_string();
    assert!(error.contains("overlay.toml:6:1: [adapt.vadapt] min_holt: unknown key"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent, nobody has more on circuits than was sent, and what is held is given back.
    #[test]
    fn accounts_add_up(bursts in proptest::collection::vec((0_u64..40, 1_u64..20, 1_u64..120), 1..4)) {
        let mut file = PcapFile::new();
        for (from, lasting, mbps) in bursts {
            burst(&mut file, (from, from + lasting), mbps, 1, 2);
        }
        let report = replayed(file.sorted(), OVERLAY).expect("it is replayed");
        let on_circuits: u64 = report.reservations.iter().map(|one| one.bytes).sum();
        prop_assert_eq!(on_circuits, report.gain.carried.bytes);
        prop_assert!(report.gain.carried.bytes <= report.overlay.between_nodes.bytes);
        prop_assert!(report.gain.peak_on_star <= report.gain.peak);
        for one in &report.reservations {
            let times = [Some(one.asked_at), one.active_at, one.carrying_at, one.ending_at, one.released_at];
            prop_assert!(one.released_at.is_some(), "{}", report);
            prop_assert!(times.iter().flatten().is_sorted(), "{:?}", times);
        }
    }
}
