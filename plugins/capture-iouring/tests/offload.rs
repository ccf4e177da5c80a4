//! What guests leave to hardware, across two instances and back into a kernel: super-frames and partial checksums
//! pass whole, both ways, and arrive as if a wire had carried segments.
//!
//! ```text
//!   guest A                                                             guest B
//!   10.9.0.1  tap0 ══ instance ──── loop of the test ──── instance ══ tap0  10.9.0.2
//! ```
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::net::UdpSocket;

use common::host::{Fate, Frame, Instance, Setup};
use common::netns::Netns;
use common::raw::{RawSocket, send_segmented};
use common::wire::{joined, transfer};
use common::{PATIENCE, is_numbered, numbered_frame};
use vreserve_sdk::Offload;

with_both_calls! {
    tcp_passes_in_super_frames,
    udp_super_frames_arrive_as_datagrams,
    bogus_metadata_are_refused_and_the_batch_goes_on,
    nothing_is_allocated_once_it_runs,
    lent_slots_are_used_if_there_are_enough,
    super_frames_of_one_call_stay_within_the_cache,
}

struct Lab {
    a: Netns,
    b: Netns,
}

impl Lab {
    fn new() -> Option<Self> {
        Some(Lab { a: Netns::new()?, b: Netns::new()? })
    }

    fn open(&self, calls: &str) -> (Instance, Instance) {
        let open = |guest: &Netns, address: &str| {
            let instance = Instance::reopen(&config(guest, calls));
            assert!(instance.info().offload);
            guest.ip(&["address", "add", address, "dev", "tap0"]);
            instance
        };
        (open(&self.a, "10.9.0.1/24"), open(&self.b, "10.9.0.2/24"))
    }
}

fn config(guest: &Netns, calls: &str) -> String {
    let name = &guest.name;
    format!(r#"{{"interface":"tap0","netns":"{name}","reader":"{calls}","writer":"{calls}"}}"#)
}

fn tcp_passes_in_super_frames(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = lab.open(calls);
    let ((sent, received), largest) = joined(&mut a, &mut b, 64, || transfer(&lab.a, &lab.b, 32 << 20));
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert!(largest > 30_000, "super-frames of TCP grow to 64 KiB, these to {largest}");
    assert!(a.counter("super_frames_in") > 0 && b.counter("super_frames_out") > 0);
    assert!(a.counter("frames_in") > 10 * a.counter("super_frames_in"));
    for counter in ["drop_malformed", "drop_oversized", "drop_busy"] {
        assert_eq!(a.counter(counter) + b.counter(counter), 0, "{counter}");
    }
}

fn udp_super_frames_arrive_as_datagrams(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = lab.open(calls);
    let receiver = lab.b.inside(|| UdpSocket::bind("10.9.0.2:7000").unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let payload: Vec<u8> = (0..20_500).map(|index| (index % 249) as u8).collect();
    let (received, largest) = joined(&mut a, &mut b, 64, || {
        let sender = lab.a.inside(|| UdpSocket::bind("10.9.0.1:7000").unwrap());
        send_segmented(&sender, "10.9.0.2:7000".parse().unwrap(), &payload, 1000);
        let mut datagrams = Vec::new();
        while datagrams.iter().map(Vec::len).sum::<usize>() < payload.len() {
            let mut datagram = vec![0; 65_536];
            let len = receiver.recv(&mut datagram).unwrap();
            datagram.truncate(len);
            datagrams.push(datagram);
        }
        datagrams
    });
    assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [vec![1000; 20], vec![500]].concat());
    assert!(received.concat() == payload);
    assert_eq!(largest, 14 + 20 + 8 + payload.len(), "it passed whole");
}

fn bogus_metadata_are_refused_and_the_batch_goes_on(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = lab.open(calls);
    let socket = lab.a.inside(|| UdpSocket::bind("10.9.0.1:7000").unwrap());
    lab.a.ip(&["neighbour", "add", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "tap0"]);
    send_segmented(&socket, "10.9.0.9:7".parse().unwrap(), &[7; 5000], 1000);
    let good = loop {
        let frames = a.recv_whole(64).unwrap();
        if let Some(frame) = frames.into_iter().find(Frame::is_super_frame) {
            break frame;
        }
    };
    let bent = |bend: fn(&mut Offload)| {
        let mut frame = good.clone();
        bend(&mut frame.offload);
        frame
    };
    let malformed = [
        bent(|offload| offload.segment_size = 0),
        bent(|offload| offload.segment_size = 1),
        bent(|offload| offload.checksum_start = 60_000),
        bent(|offload| offload.checksum_offset = u16::MAX),
        bent(|offload| offload.kind = 1),
        bent(|offload| offload.kind = 77),
        bent(|offload| offload.flags |= 0x80),
        Frame { bytes: good.bytes[..41].to_vec(), ..good.clone() },
        Frame { bytes: Vec::new(), ..good.clone() },
        Frame {
            offload: Offload { flags: 1, checksum_start: 59, ..Offload::default() },
            ..Frame::plain(&[0; 60])
        },
    ];
    let kernel = RawSocket::open(&lab.b, "tap0");
    let too_large = bent(|offload| offload.segment_size = 1500);
    let last = Frame::plain(&numbered_frame(1, 100));
    let batch = [&malformed[..], &[too_large, last.clone()]].concat();
    let fates = b.send_whole(&batch).unwrap();
    assert_eq!(fates[..malformed.len()], vec![Fate::Malformed; malformed.len()]);
    assert_eq!(fates[malformed.len()..], [Fate::Oversized, Fate::Taken]);
    assert_eq!(b.limit(malformed.len()), 1400 + 18);
    assert_eq!(kernel.recv_wanted(is_numbered), last.bytes);
    assert_eq!(b.send_whole(&[good]).unwrap(), [Fate::Taken]);
}

fn nothing_is_allocated_once_it_runs(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = lab.open(calls);
    let traffic = || transfer(&lab.a, &lab.b, 1 << 20);
    joined(&mut a, &mut b, 64, traffic);
    // Threads count apart, and rings belong to one: so all of it happens here, twice.
    let kernel = RawSocket::open(&lab.a, "tap0");
    let mut counts = Vec::new();
    for _ in 0..2 {
        let before = a.allocations + b.allocations;
        (0..200).for_each(|number| kernel.send(&numbered_frame(number, 1000)));
        let mut passed = 0;
        while passed < 200 {
            passed += a.forward(&mut b, 64).unwrap().0;
        }
        counts.push(a.allocations + b.allocations - before);
    }
    assert_eq!(counts[1], 0);
}

fn lent_slots_are_used_if_there_are_enough(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    for (lent, has_enough) in [(0, false), (7, false), (8, true), (64, true)] {
        let setup = Setup { lent, ..Setup::default() };
        let mut instance = loop {
            match Instance::open_with(&config(&netns, calls), setup) {
                Err(failure) if failure.kind == vreserve_sdk::FailureKind::Retry => {}
                opened => break opened.unwrap(),
            }
        };
        let kernel = RawSocket::open(&netns, "tap0");
        for number in 0..200 {
            let frame = numbered_frame(number, 500);
            kernel.send(&frame);
            while instance.recv_slots(16).unwrap() == 0 || !is_numbered(instance.bytes(0)) {}
            assert_eq!(instance.bytes(0), frame);
            assert_eq!(instance.is_lent(0), has_enough && calls == "ring", "{lent} lent");
        }
        drop(instance);
        netns.await_gone("tap0");
    }
}

fn super_frames_of_one_call_stay_within_the_cache(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, _b) = lab.open(calls);
    let socket = lab.a.inside(|| UdpSocket::bind("10.9.0.1:7000").unwrap());
    lab.a.ip(&["neighbour", "add", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "tap0"]);
    (0..40).for_each(|_| send_segmented(&socket, "10.9.0.9:7".parse().unwrap(), &[7; 60_000], 1000));
    let mut passed = 0;
    while passed < 40 {
        let frames = a.recv_whole(64).unwrap();
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        assert!(bytes <= (512 << 10) + 60_042, "{bytes} bytes in one call");
        passed += frames.iter().filter(|frame| frame.is_super_frame()).count();
    }
}
