//! An existing interface: guests on veths, their offloads as the kernel sets them, joined by two instances only.
//!
//! ```text
//!   guest A            node                                        guest B
//!   eth0 ══ veth ══ a0 ── instance ── loop of the test ── instance ── b0 ══ veth ══ eth0
//!   10.9.0.1        (no address, no forwarding, no bridge)                  10.9.0.2
//! ```
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::host::{Fate, Frame, Instance};
use common::netns::Netns;
use common::raw::{RawSocket, send_segmented, set_offloads};
use common::wire::{joined, transfer};
use common::{PATIENCE, is_numbered, is_readable, numbered_frame, recv_until};

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

    fn open(&self, calls: &str, interface: &str, more: &str) -> Instance {
        let netns = &self.node.name;
        let place = format!(r#""interface":"{interface}","kind":"interface","netns":"{netns}""#);
        Instance::open(&format!(r#"{{{place},"reader":"{calls}","writer":"{calls}"{more}}}"#)).unwrap()
    }
}

with_both_calls! {
    tcp_of_unmodified_guests_passes_with_their_offloads_on,
    injected_frames_arrive_byte_for_byte_and_are_not_captured_again,
    frames_for_strangers_are_captured_byte_for_byte,
    a_vlan_tag_that_the_kernel_takes_out_is_put_back,
    an_idle_interface_gives_nothing_and_waiting_frames_make_it_ready,
    frames_over_the_mtu_are_refused_and_the_batch_goes_on,
    what_the_kernel_drops_while_nobody_receives_is_counted,
    an_interface_that_goes_ends_the_instance_with_an_error,
    an_mtu_that_shrinks_while_running_is_noticed,
    a_tagged_super_frame_passes_whole,
    an_interface_that_loses_its_offloads_goes_on_with_wire_frames,
}

fn tcp_of_unmodified_guests_passes_with_their_offloads_on(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    for (batch, len) in [(64, 8 << 20), (7, 1 << 20), (1, 200_000)] {
        let (mut a, mut b) = (lab.open(calls, "a0", ""), lab.open(calls, "b0", ""));
        let ((sent, received), largest) = joined(&mut a, &mut b, batch, || transfer(&lab.a, &lab.b, len));
        assert_eq!(received.len(), sent.len());
        assert!(received == sent, "content differs with batches of {batch}");
        assert!(largest > 1514, "super-frames pass whole");
        assert!(a.counter("super_frames_in") > 0 && b.counter("super_frames_out") > 0);
        assert!(a.counter("frames_in") > a.counter("super_frames_in"));
        assert_eq!(a.counter("drop_malformed") + a.counter("drop_oversized"), 0);
    }
}

fn injected_frames_arrive_byte_for_byte_and_are_not_captured_again(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    let frames: Vec<_> = (0..64).map(|number| numbered_frame(number, 60 + number as usize * 20)).collect();
    assert_eq!(instance.send(&frames).unwrap(), vec![Fate::Taken; 64]);
    for frame in &frames {
        assert_eq!(&guest.recv_wanted(is_numbered), frame);
    }
    assert!(!instance.recv(64).unwrap().iter().any(|frame| is_numbered(frame)), "our own frames come back");
}

fn frames_for_strangers_are_captured_byte_for_byte(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    let sent: Vec<_> = (0..500).map(|number| numbered_frame(number, 60 + number as usize % 1400)).collect();
    for frame in &sent {
        guest.send(frame);
    }
    assert_eq!(recv_until(&mut instance, sent.len(), is_numbered), sent);
}

fn a_vlan_tag_that_the_kernel_takes_out_is_put_back(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    for (protocol, len) in [([0x81, 0x00], 1514), ([0x88, 0xa8], 1000)] {
        let mut tagged = numbered_frame(7, len);
        tagged.splice(12..12, [protocol[0], protocol[1], 0x60, 0x2a]);
        guest.send(&tagged);
        assert_eq!(recv_until(&mut instance, 1, |frame| frame[12..14] == protocol), [tagged]);
    }
}

fn an_idle_interface_gives_nothing_and_waiting_frames_make_it_ready(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    while !instance.recv(64).unwrap().is_empty() {}
    for count in [0, 1, 64] {
        assert!(instance.recv(count).unwrap().is_empty());
    }
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
    for number in 0..5 {
        guest.send(&numbered_frame(number, 100));
    }
    for number in 0..5 {
        assert!(is_readable(instance.ready_fd(), PATIENCE), "frame {number} still waits");
        assert_eq!(instance.recv(1).unwrap(), [numbered_frame(number, 100)]);
    }
    assert!(instance.recv(1).unwrap().is_empty());
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
}

fn frames_over_the_mtu_are_refused_and_the_batch_goes_on(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", r#","mtu":1000"#);
    assert_eq!(instance.info().mtu, 1000);
    let guest = RawSocket::open(&lab.a, "eth0");
    let batch = [numbered_frame(1, 1014), numbered_frame(2, 1500), vec![0; 5], numbered_frame(3, 60)];
    let fates = [Fate::Taken, Fate::Oversized, Fate::Malformed, Fate::Taken];
    assert_eq!(instance.send(&batch).unwrap(), fates);
    assert_eq!(guest.recv_wanted(is_numbered), batch[0]);
    assert_eq!(guest.recv_wanted(is_numbered), batch[3]);
}

fn what_the_kernel_drops_while_nobody_receives_is_counted(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    let sent = 40_000;
    for number in 0..sent {
        guest.send(&numbered_frame(number, 1400));
    }
    loop {
        let frames = instance.recv(64).unwrap();
        if frames.is_empty() && !is_readable(instance.ready_fd(), Duration::ZERO) {
            break;
        }
    }
    let (arrived, dropped) = (instance.counter("frames_in"), instance.counter("drop_busy"));
    assert!(dropped > 0, "the queue holds {arrived} frames: the test sends too few");
    assert_eq!(arrived + dropped, u64::from(sent));
}

fn an_interface_that_goes_ends_the_instance_with_an_error(calls: &str) {
    for (command, errnos) in [
        (["link", "set", "a0", "down"], [libc::ENETDOWN, libc::ENETDOWN]),
        (["link", "delete", "dev", "a0"], [libc::ENETDOWN, libc::ENXIO]),
    ] {
        let Some(lab) = Lab::new() else { return };
        let mut instance = lab.open(calls, "a0", "");
        while !instance.recv(64).unwrap().is_empty() {}
        lab.node.ip(&command);
        assert!(is_readable(instance.ready_fd(), PATIENCE), "the host is woken");
        let received = instance.recv(64).unwrap_err().raw_os_error();
        assert_eq!(received, Some(errnos[0]), "{command:?}");
        let sent = instance.send(&[numbered_frame(1, 60)]).unwrap_err().raw_os_error();
        assert_eq!(sent, Some(errnos[1]), "{command:?}");
    }
}

fn an_mtu_that_shrinks_while_running_is_noticed(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut instance = lab.open(calls, "a0", "");
    let guest = RawSocket::open(&lab.a, "eth0");
    assert_eq!(instance.send(&[numbered_frame(1, 1400)]).unwrap(), [Fate::Taken]);
    assert_eq!(guest.recv_wanted(is_numbered), numbered_frame(1, 1400));
    lab.node.ip(&["link", "set", "a0", "mtu", "1000"]);
    assert_eq!(instance.send(&[numbered_frame(2, 1400)]).unwrap(), [Fate::Oversized]);
    assert_eq!(instance.limit(0), 1018);
    assert_eq!(instance.send(&[numbered_frame(3, 1014)]).unwrap(), [Fate::Taken]);
    assert_eq!(guest.recv_wanted(is_numbered), numbered_frame(3, 1014));
}

fn an_interface_that_loses_its_offloads_goes_on_with_wire_frames(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let (mut a, mut b) = (lab.open(calls, "a0", ""), lab.open(calls, "b0", ""));
    for on in [true, false, true] {
        // The node's end alone: what comes in whole must be cut on its way out.
        set_offloads(&lab.node, "b0", on);
        let ((sent, received), largest) = joined(&mut a, &mut b, 64, || transfer(&lab.a, &lab.b, 4 << 20));
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
        assert!(largest > 1514);
    }
    set_offloads(&lab.a, "eth0", false);
    set_offloads(&lab.b, "eth0", false);
    let ((sent, received), largest) = joined(&mut a, &mut b, 64, || transfer(&lab.a, &lab.b, 1 << 20));
    assert!(received == sent);
    assert_eq!(largest, 1514, "the guests segment themselves");
}

fn a_tagged_super_frame_passes_whole(calls: &str) {
    let Some(lab) = Lab::new() else { return };
    let mut node = lab.open(calls, "a0", "");
    lab.a.ip(&["neighbour", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0"]);
    let socket = lab.a.inside(|| UdpSocket::bind("10.9.0.1:7000").unwrap());
    send_segmented(&socket, "10.9.0.2:7".parse().unwrap(), &[7; 5000], 1000);
    let mut tagged = next_super_frame(&mut node);
    // The guest's own interface, captured too, is what sends it again with a tag.
    let place = format!(r#""interface":"eth0","kind":"interface","netns":"{}""#, lab.a.name);
    let config = format!(r#"{{{place},"reader":"{calls}","writer":"{calls}"}}"#);
    let mut guest = Instance::open(&config).unwrap();
    tagged.bytes.splice(12..12, [0x81, 0x00, 0x60, 0x2a]);
    tagged.offload.header_len += 4;
    tagged.offload.checksum_start += 4;
    assert_eq!(guest.send_whole(std::slice::from_ref(&tagged)).unwrap(), [Fate::Taken]);
    let arrived = next_super_frame(&mut node);
    assert!(arrived == tagged, "{:?} of {} bytes", arrived.offload, arrived.bytes.len());
}

fn next_super_frame(instance: &mut Instance) -> Frame {
    loop {
        assert!(is_readable(instance.ready_fd(), PATIENCE), "no frame came");
        if let Some(frame) = instance.recv_whole(64).unwrap().into_iter().find(Frame::is_super_frame) {
            return frame;
        }
    }
}
