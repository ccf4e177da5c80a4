//! Capture files, which the tests write themselves, played through the plugin's tables.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::host::{Fate, Instance};
use common::{PATIENCE, is_readable, numbered_frame};
use tempfile::TempDir;
use vreserve_offload::checksum::{Integrity, Sum, pseudo_ipv4, verify};
use vreserve_sdk::FailureKind;

/// When it was captured, in microseconds; how long it was; what of it was kept.
type Record = (u64, usize, Vec<u8>);

/// A file in pcap format.
fn pcap(link_type: u32, records: &[Record]) -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link_type];
    let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    for (at, length, frame) in records {
        let header = [(at / 1_000_000) as u32, (at % 1_000_000) as u32, frame.len() as u32, *length as u32];
        file.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
        file.extend(frame);
    }
    file
}

/// The same in pcapng format: a section, an interface, packets.
fn pcapng(records: &[Record]) -> Vec<u8> {
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = (12 + body.len() as u32).to_ne_bytes();
        [&kind.to_ne_bytes()[..], &length, &body, &length].concat()
    }
    let magic = 0x1a2b_3c4d_u32.to_ne_bytes();
    let section = [&magic[..], &1_u16.to_ne_bytes(), &0_u16.to_ne_bytes(), &[0xff; 8]].concat();
    let interface = [&1_u16.to_ne_bytes()[..], &[0; 2], &262_144_u32.to_ne_bytes()].concat();
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (at, length, frame) in records {
        let words = [0, (at >> 32) as u32, *at as u32, frame.len() as u32, *length as u32];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.extend(block(6, &[header, frame.clone()].concat()));
    }
    file
}

/// Frames so many microseconds apart.
fn records(count: u32, apart: u64) -> Vec<Record> {
    let frame = |number| numbered_frame(number, 60 + number as usize);
    (0..count).map(|n| (1_700_000_000_000_000 + u64::from(n) * apart, 60 + n as usize, frame(n))).collect()
}

struct Played {
    instance: Instance,
    _folder: TempDir,
}

fn try_open(bytes: &[u8], more: &str) -> Result<Played, vreserve_sdk::Failure> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guests.pcap");
    std::fs::write(&file, bytes).unwrap();
    let instance = Instance::open(&format!(r#"{{"kind":"file","file":{file:?}{more}}}"#))?;
    Ok(Played { instance, _folder: folder })
}

fn open(bytes: &[u8], more: &str) -> Instance {
    try_open(bytes, more).unwrap().instance
}

/// Receives until the file is at its end, waiting on the ready descriptor as the host does.
fn play(instance: &mut Instance, batch: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while instance.counter("files_ended") == 0 {
        assert!(is_readable(instance.ready_fd(), PATIENCE), "{} frames came", frames.len());
        frames.extend(instance.recv(batch).unwrap());
    }
    frames
}

fn bytes_of(records: &[Record]) -> Vec<Vec<u8>> {
    records.iter().map(|(_, _, frame)| frame.clone()).collect()
}

#[test]
fn both_formats_are_played_byte_for_byte_and_in_order() {
    let records = records(300, 10);
    for file in [pcap(1, &records), pcapng(&records)] {
        for batch in [1, 64] {
            let mut instance = open(&file, r#","speed":0"#);
            assert_eq!(instance.info().interface, "guests.pcap");
            assert_eq!(
                (instance.info().mtu, instance.info().offload, instance.info().queues),
                (1500, false, 1)
            );
            assert!(play(&mut instance, batch) == bytes_of(&records));
            assert_eq!((instance.counter("frames_in"), instance.counter("files_ended")), (300, 1));
        }
    }
}

#[test]
fn behind_the_end_there_is_silence_and_no_error() {
    let mut instance = open(&pcap(1, &records(3, 10)), r#","speed":0"#);
    play(&mut instance, 64);
    for _ in 0..3 {
        assert!(instance.recv(64).unwrap().is_empty());
        assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
    }
    assert_eq!(instance.counter("files_ended"), 1, "it ends once");
    let mut empty = open(&pcap(1, &[]), "");
    assert_eq!(play(&mut empty, 64), [[0; 0]; 0]);
}

#[test]
fn frames_come_no_earlier_than_they_were_captured_times_the_speed() {
    let records = records(5, 200_000);
    for (more, apart) in [("", 200), (r#","speed":4.0"#, 50)] {
        let mut instance = open(&pcap(1, &records), more);
        let begun = Instant::now();
        let mut came = Vec::new();
        while came.len() < records.len() {
            assert!(is_readable(instance.ready_fd(), PATIENCE));
            for frame in instance.recv(64).unwrap() {
                let due = Duration::from_millis(apart * came.len() as u64);
                assert!(begun.elapsed() >= due, "frame {} after {:?}", came.len(), begun.elapsed());
                came.push(frame);
            }
        }
        assert_eq!(came, bytes_of(&records));
    }
}

#[test]
fn nobody_is_behind_a_file() {
    let mut instance = open(&pcap(1, &records(1, 1)), "");
    let fates = instance.send(&[numbered_frame(1, 60), numbered_frame(2, 9000)]).unwrap();
    assert_eq!(fates, [Fate::Down, Fate::Down]);
}

#[test]
fn frames_that_were_cut_off_or_are_none_are_counted_and_others_go_on() {
    let mut records = records(6, 10);
    records[1].1 = 5000;
    records[2].2.truncate(13);
    records[2].1 = 13;
    (records[3].1, records[3].2) = (1600, numbered_frame(3, 1600));
    let mut instance = open(&pcap(1, &records), r#","speed":0"#);
    let left: Vec<_> = [0, 4, 5].map(|index: usize| records[index].2.clone()).into();
    assert_eq!(play(&mut instance, 64), left);
    assert_eq!((instance.counter("drop_oversized"), instance.counter("drop_malformed")), (2, 1));
}

#[test]
fn a_file_that_ends_in_a_frame_has_ended() {
    let whole = pcap(1, &records(10, 10));
    let mut instance = open(&whole[..whole.len() - 20], r#","speed":0"#);
    assert_eq!(play(&mut instance, 64).len(), 9);
    assert!(instance.recv(64).unwrap().is_empty());
}

#[test]
fn a_filter_picks_frames_of_a_file_too() {
    let records = records(20, 10);
    let mut instance = open(&pcap(1, &records), r#","speed":0,"filter":"greater 70""#);
    assert_eq!(play(&mut instance, 64), bytes_of(&records[10..]));
}

#[test]
fn checksums_that_were_left_to_hardware_are_finished() {
    // UDP over IPv4, 10.8.0.1 to 10.8.0.2, with the sum of the pseudo-header as its checksum.
    let mut frame = numbered_frame(0, 60);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2]);
    let of_header = Sum::of(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&of_header.to_be_bytes());
    let partial = pseudo_ipv4([10, 8, 0, 1], [10, 8, 0, 2], 17, 26).partial();
    frame[34..42].copy_from_slice(&[0, 1, 0, 2, 0, 26, (partial >> 8) as u8, partial as u8]);
    let mut instance = open(&pcap(1, &[(0, 60, frame)]), r#","speed":0"#);
    let came = play(&mut instance, 64);
    assert_eq!(verify(&came[0]), Ok(Integrity::Valid));
}

#[test]
fn what_is_no_capture_of_ethernet_frames_says_so() {
    let failure = |bytes: &[u8]| try_open(bytes, "").err().unwrap();
    for bytes in [&b"not a capture"[..], &[], &[0; 100], &pcap(101, &records(1, 1))] {
        let failure = failure(bytes);
        assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("file")), "{failure}");
        assert!(failure.reason.contains("guests.pcap"), "{failure}");
    }
    assert!(!Path::new("/nonexistent/x.pcap").exists());
    let missing = Instance::open(r#"{"kind":"file","file":"/nonexistent/x.pcap"}"#).err().unwrap();
    assert_eq!(missing.kind, FailureKind::Unavailable);
    assert!(missing.reason.contains("/nonexistent/x.pcap"), "{missing}");
}
