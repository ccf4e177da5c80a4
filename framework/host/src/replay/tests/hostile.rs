//! Files that are cut short, damaged, or made to hurt.

use super::*;
use files::header;

fn small() -> PcapFile {
    let mut file = PcapFile::new();
    burst(&mut file, (0, 2), 10, 1, 2);
    file
}

fn damage(file: Vec<u8>) -> (Report, String) {
    let report = replayed(file, OVERLAY).expect("what comes before is replayed");
    let damage = report.capture.damage.clone().expect("it is damaged");
    (report, damage)
}

#[test]
fn what_comes_before_damage_is_replayed_and_its_place_is_named() {
    let mut file = PcapFile::new();
    burst(&mut file, (10, 40), 80, 1, 2);
    let mut bytes = file.sorted();
    bytes.truncate(bytes.len() - 7);
    let (report, found) = damage(bytes.clone());
    assert_eq!(report.reservations.len(), 1, "{report}");
    let at = bytes.len() - 29;
    let frames = report.capture.all.frames;
    assert_eq!(found, format!("damaged at byte {at}, after {frames} frames: the file ends within a block"));
    assert!(report.to_string().contains(&found), "{report}");
}

#[test]
fn a_block_that_claims_gigabytes_takes_no_memory() {
    let mut bytes = small().bytes();
    let at = bytes.len();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
    bytes.resize(at + (40 << 20), 0);
    let (_, found) = damage(bytes);
    assert!(found.contains(&format!("byte {at}, ")) && found.contains("larger than 16 MiB"), "{found}");
}

#[test]
fn what_is_no_capture_is_refused_with_the_reason() {
    for (bytes, reason) in [
        (Vec::new(), "it is empty"),
        (b"#!/bin/sh\necho this is a script and no capture".to_vec(), "neither as pcap nor as pcapng"),
        (header(1)[..13].to_vec(), "it ends within its header"),
    ] {
        let error = replayed(bytes, OVERLAY).expect_err("it is no capture").to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn frames_of_no_use_are_counted_by_reason_and_the_rest_goes_on() {
    let mut file = PcapFile::new();
    file.frame(0, mac(2), MacAddr([3, 0, 0, 0, 0, 1]), 100);
    file.frame(1, mac(2), mac(1), 3_000_000_000);
    file.frame(2, mac(2), mac(1), 1_000);
    let report = replayed(file.bytes(), OVERLAY).expect("it is replayed");
    assert_eq!(report.capture.unusable.get("invalid_source"), Some(&1));
    assert_eq!((report.capture.wrong_lengths, report.overlay.between_nodes.bytes), (1, 1_020));

    let mut other = header(113);
    other.extend(&small().bytes()[24..]);
    let report = replayed(other, OVERLAY).expect("it is replayed");
    assert_eq!(report.capture.unusable.get("not_ethernet"), Some(&report.capture.all.frames));
}

#[test]
fn a_scan_of_senders_is_bounded() {
    let mut file = PcapFile::new();
    for number in 0..6_000_u64 {
        let [.., high, low] = number.to_be_bytes();
        file.frame(number * 10, mac(2), MacAddr([2, 9, 9, 9, high, low]), 100);
    }
    let overlay = format!("{OVERLAY}[replay]\ndefault = \"a\"\n");
    let report = replayed(file.bytes(), &overlay).expect("it is replayed");
    let guests: usize = report.overlay.nodes.iter().map(|node| node.guests).sum();
    assert_eq!((guests, report.overlay.other.frames), (4_096 + 2, 6_000 - 4_096));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Octets changed, inserted or cut away anywhere: never a panic, never a hang, and a report or a reason.
    #[test]
    fn any_damage_is_borne(
        is_ng in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<Option<prop::sample::Index>>(),
        insert in any::<Option<(prop::sample::Index, Vec<u8>)>>(),
    ) {
        let file = small();
        let mut bytes = if is_ng { PcapNgFile::of(&file).bytes() } else { file.bytes() };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some((at, more)) = insert {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Only the reading: a replay of each would take its plugins along.
        let Ok(mut capture) = Capture::read(Path::new("x"), std::io::Cursor::new(bytes.clone())) else {
            return Ok(());
        };
        let mut clock = CaptureClock::default();
        let mut frames = 0;
        let mut before = Duration::ZERO;
        while let Ok(Some(frame)) = capture.next_frame() {
            frames += 1;
            let at = clock.read(frame.at);
            prop_assert!(at >= before, "time never runs backwards");
            before = at;
            prop_assert!(frames <= bytes.len(), "a frame takes at least an octet");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The same through the whole replay.
    #[test]
    fn any_damage_is_replayed(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let mut bytes = small().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(report) = replayed(bytes, OVERLAY) {
            prop_assert!(report.to_html().ends_with("</html>\n"));
        }
    }
}
