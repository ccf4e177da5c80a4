//! An existing interface through libpcap: guests on veths, their offloads as the kernel sets them, joined by two
//! instances only.
//!
//! ```text
//!   guest A            node                                        guest B
//!   eth0 ══ veth ══ a0 ── instance ── loop of the test ── instance ── b0 ══ veth ══ eth0
//!   10.9.0.1        (no address, no forwarding, no bridge)                  10.9.0.2
//! ```
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::host::{Fate, Frame, Instance};
use common::netns::Netns;
use common::raw::RawSocket;
use common::{PATIENCE, is_numbered, is_readable, numbered_frame, recv_until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vreserve_offload::{Offload, Segments};
use vreserve_sdk::FailureKind;

struct Lab {
    node: Netns,
    a: Netns,
    b: Netns,
}

impl Lab {
    fn new() -> Option<Self> {
        let lab = Lab { node: Netns::new()?, a: Netns::new()?, b: Netns::new()? };
        for (guest, interface, address) in [(&lab.a, "a0", "10.9.0.1/24"), (&lab.b, "b0", "10.9.0.2/24")] {
            let name = guest.name.as_str();
            lab.node.ip(&["link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", name]);
            lab.node.ip(&["link", "set", interface, "up"]);
            guest.ip(&["link", "set", "eth0", "up"]);
            lab.node.await_up(interface);
            guest.await_up("eth0");
            guest.ip(&["address", "add", address, "dev", "eth0"]);
        }
        Some(lab)
    }

    fn open(&self, interface: &str, more: &str) -> Instance {
        let netns = &self.node.name;
        Instance::open(&format!(r#"{{"interface":"{interface}","netns":"{netns}"{more}}}"#)).unwrap()
    }
}

/// As the host does for an instance that says `offload: false`: wire frames with whole checksums.
fn cut(frame: Frame) -> Vec<Frame> {
    let offload = Offload::try_from(frame.offload).unwrap();
    if !offload.is_super_frame() {
        assert!(!offload.needs_checksum, "what is no super-frame is whole");
        return vec![frame];
    }
    let write = |segment: vreserve_offload::Segment<'_>| {
        let mut wire = vec![0; segment.wire_len()];
        segment.write(&mut wire).unwrap();
        Frame::plain(&wire)
    };
    Segments::plan(&frame.bytes, &offload).unwrap().map(write).collect()
}

/// Moves frames one way; returns whether there were any, and whether a super-frame was among them.
fn forward(from: &mut Instance, to: &mut Instance, batch: usize) -> (bool, bool) {
    let frames = from.recv_whole(batch).unwrap();
    let (came, has_super) = (!frames.is_empty(), frames.iter().any(Frame::is_super_frame));
    let wire: Vec<_> = frames.into_iter().flat_map(cut).collect();
    wire.chunks(64).for_each(|chunk| {
        let fates = to.send_whole(chunk).unwrap();
        // A frame that finds no room is lost, as on any wire.
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Taken | Fate::Busy)), "{fates:?}");
    });
    (came, has_super)
}

/// Joins the two interfaces while `traffic` runs; returns whether super-frames passed.
fn joined<T: Send>(
    a: &mut Instance,
    b: &mut Instance,
    batch: usize,
    traffic: impl FnOnce() -> T + Send,
) -> (T, bool) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let wire = scope.spawn(|| {
            let mut has_super = false;
            while !is_over.load(Ordering::Relaxed) {
                let (to_b, to_a) = (forward(a, b, batch), forward(b, a, batch));
                has_super |= to_a.1 || to_b.1;
                if !to_a.0 && !to_b.0 {
                    let mut fds = [&*a, &*b].map(|one| PollFd::new(one.ready_fd(), PollFlags::POLLIN));
                    poll(&mut fds, PollTimeout::from(20_u8)).unwrap();
                }
            }
            has_super
        });
        // The wire must stop also if the traffic fails, or the test would wait for it instead of failing.
        let result = panic::catch_unwind(AssertUnwindSafe(traffic));
        is_over.store(true, Ordering::Relaxed);
        let has_super = wire.join().unwrap();
        (result.unwrap_or_else(|failure| panic::resume_unwind(failure)), has_super)
    })
}

#[test]
fn tcp_of_unmodified_guests_passes_with_their_offloads_on() {
    let Some(lab) = Lab::new() else { return };
    for (batch, len) in [(64, 4 << 20), (3, 1 << 20)] {
        let (mut a, mut b) = (lab.open("a0", ""), lab.open("b0", ""));
        let sent: Vec<u8> = (0..len).map(|index: u32| (index * 31 % 251) as u8).collect();
        let transfer = || {
            let listener = lab.b.inside(|| TcpListener::bind("10.9.0.2:0").unwrap());
            let address = listener.local_addr().unwrap();
            thread::scope(|scope| {
                let receiver = scope.spawn(|| {
                    let mut received = Vec::new();
                    let (mut stream, _) = listener.accept().unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.read_to_end(&mut received).unwrap();
                    received
                });
                let mut stream = lab.a.inside(|| TcpStream::connect_timeout(&address, PATIENCE).unwrap());
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&sent).unwrap();
                drop(stream);
                receiver.join().unwrap()
            })
        };
        let (received, has_super) = joined(&mut a, &mut b, batch, transfer);
        assert_eq!(received.len(), sent.len());
        assert!(received == sent, "content differs with batches of {batch}");
        assert!(has_super, "the guest hands over super-frames");
        assert!(a.counter("super_frames_in") > 0 && b.counter("frames_out") > 0);
        assert_eq!(a.counter("drop_malformed") + a.counter("drop_oversized"), 0);
    }
}

#[test]
fn udp_of_unmodified_guests_arrives_with_its_checksum_finished() {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = (lab.open("a0", ""), lab.open("b0", ""));
    let receiver = lab.b.inside(|| UdpSocket::bind("10.9.0.2:9000").unwrap());
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let sender = lab.a.inside(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    let exchange = || {
        let mut bytes = [0; 2000];
        let patience = Instant::now() + PATIENCE;
        loop {
            sender.send_to(&[7; 1200], "10.9.0.2:9000").unwrap();
            if let Ok(length) = receiver.recv(&mut bytes) {
                return bytes[..length].to_vec();
            }
            assert!(Instant::now() < patience, "no datagram came");
        }
    };
    assert_eq!(joined(&mut a, &mut b, 64, exchange).0, [7; 1200]);
}

#[test]
fn injected_frames_arrive_byte_for_byte_and_are_not_captured_again() {
    let Some(lab) = Lab::new() else { return };
    let (mut instance, mut other) = (lab.open("a0", ""), lab.open("a0", ""));
    let guest = RawSocket::open(&lab.a, "eth0");
    let frames: Vec<_> = (0..64).map(|number| numbered_frame(number, 60 + number as usize * 20)).collect();
    assert_eq!(instance.send(&frames).unwrap(), vec![Fate::Taken; 64]);
    for frame in &frames {
        assert_eq!(&guest.recv_wanted(is_numbered), frame);
    }
    for (name, instance) in [("the same", &mut instance), ("another", &mut other)] {
        let came = instance.recv(64).unwrap();
        assert!(!came.iter().any(|frame| is_numbered(frame)), "{name} instance captures what we sent");
    }
    assert_eq!(instance.counter("frames_out"), 64);
}

#[test]
fn frames_for_strangers_are_captured_byte_for_byte_and_in_order() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    let sent: Vec<_> = (0..200).map(|number| numbered_frame(number, 60 + number as usize % 1400)).collect();
    sent.iter().for_each(|frame| guest.send(frame));
    assert_eq!(recv_until(&mut instance, sent.len(), is_numbered), sent);
    assert_eq!(instance.info().queues, 1);
    assert!(!instance.info().offload);
}

#[test]
fn a_vlan_tag_is_kept() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    let mut tagged = numbered_frame(7, 1514);
    tagged.splice(12..12, [0x81, 0x00, 0x60, 0x2a]);
    guest.send(&tagged);
    assert_eq!(recv_until(&mut instance, 1, |frame| frame[12..14] == [0x81, 0]), [tagged.clone()]);
    assert_eq!(instance.send(&[tagged.clone()]).unwrap(), [Fate::Taken]);
}

#[test]
fn an_idle_interface_gives_nothing_and_waiting_frames_make_it_ready() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    while !instance.recv(64).unwrap().is_empty() {}
    for count in [0, 1, 64] {
        assert!(instance.recv(count).unwrap().is_empty());
    }
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
    (0..5).for_each(|number| guest.send(&numbered_frame(number, 100)));
    for number in 0..5 {
        assert!(is_readable(instance.ready_fd(), PATIENCE), "frame {number} still waits");
        assert_eq!(instance.recv(1).unwrap(), [numbered_frame(number, 100)]);
    }
    assert!(instance.recv(1).unwrap().is_empty());
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
}

#[test]
fn frames_over_the_mtu_are_refused_and_the_batch_goes_on() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", r#","mtu":1000"#);
    assert_eq!(instance.info().mtu, 1000);
    let guest = RawSocket::open(&lab.a, "eth0");
    let batch = [numbered_frame(1, 1014), numbered_frame(2, 1500), vec![0; 5], numbered_frame(3, 60)];
    let fates = [Fate::Taken, Fate::Oversized, Fate::Malformed, Fate::Taken];
    assert_eq!(instance.send(&batch).unwrap(), fates);
    assert_eq!(guest.recv_wanted(is_numbered), batch[0]);
    assert_eq!(guest.recv_wanted(is_numbered), batch[3]);
}

#[test]
fn only_frames_that_the_filter_picks_are_captured() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", r#","filter":"ether[17] = 3 or ether[17] = 5""#);
    let guest = RawSocket::open(&lab.a, "eth0");
    (0..8).for_each(|number| guest.send(&numbered_frame(number, 60)));
    assert_eq!(recv_until(&mut instance, 2, |_| true), [numbered_frame(3, 60), numbered_frame(5, 60)]);
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open("a0", r#","buffer":1048576"#);
    let guest = RawSocket::open(&lab.a, "eth0");
    let sent = 2000;
    (0..sent).for_each(|number| guest.send(&numbered_frame(number, 1400)));
    let mut came = 0;
    let patience = Instant::now() + PATIENCE;
    while came + instance.counter("drop_busy") < u64::from(sent) {
        came += instance.recv(64).unwrap().iter().filter(|frame| is_numbered(frame)).count() as u64;
        assert!(Instant::now() < patience, "{came} came, {} were dropped", instance.counter("drop_busy"));
    }
    assert!(came > 0 && instance.counter("drop_busy") > 0);
}

#[test]
fn an_interface_that_goes_down_or_away_ends_the_instance_with_an_error() {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = (lab.open("a0", ""), lab.open("b0", ""));
    lab.node.ip(&["link", "set", "a0", "down"]);
    lab.node.ip(&["link", "delete", "b0"]);
    for (name, instance) in [("down", &mut a), ("away", &mut b)] {
        let patience = Instant::now() + PATIENCE;
        while instance.recv(64).is_ok() {
            assert!(Instant::now() < patience, "an interface that is {name} gives no error");
        }
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let Some(lab) = Lab::new() else { return };
    let netns = &lab.node.name;
    let failure = |text: &str| Instance::open(text).err().unwrap();
    let missing = failure(&format!(r#"{{"interface":"nosuch","netns":"{netns}"}}"#));
    assert_eq!(missing.kind, FailureKind::Unavailable);
    assert!(missing.reason.contains("nosuch"), "{missing}");
    let loopback = failure(&format!(r#"{{"interface":"lo","netns":"{netns}"}}"#));
    assert_eq!((loopback.kind, loopback.key.as_deref()), (FailureKind::Invalid, Some("interface")));
    let nowhere = failure(r#"{"interface":"a0","netns":"no-such-namespace"}"#);
    assert!(nowhere.reason.contains("no-such-namespace"), "{nowhere}");
    lab.node.ip(&["link", "set", "a0", "down"]);
    let down = failure(&format!(r#"{{"interface":"a0","netns":"{netns}"}}"#));
    assert!(down.reason.contains("is down"), "{down}");
    Instance::open(&format!(r#"{{"interface":"a0","netns":"{netns}","up":true}}"#)).unwrap();
}
