//! A TAP: the plugin on one side, the kernel of a namespace on the other.
//!
//! ```text
//!   namespace                                this process
//!   raw socket, ip(8) ── tap0 ══ /dev/net/tun ── instance ── recv/send
//! ```
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::os::fd::AsRawFd;
use std::time::Duration;

use common::host::{Fate, Instance, Setup};
use common::netns::Netns;
use common::raw::{RawSocket, tap_of_the_parent};
use vreserve_sdk::Queue;

use common::{PATIENCE, is_numbered, is_readable, numbered_frame, recv_until};

fn config(netns: &Netns, calls: &str, more: &str) -> String {
    let name = &netns.name;
    format!(r#"{{"interface":"tap0","netns":"{name}","reader":"{calls}","writer":"{calls}"{more}}}"#)
}

fn open(netns: &Netns, calls: &str, more: &str) -> Instance {
    Instance::reopen(&config(netns, calls, more))
}

with_both_calls! {
    frames_of_the_kernel_arrive_byte_for_byte_and_in_order,
    sent_frames_are_seen_by_the_kernel_byte_for_byte_and_in_order,
    ping_of_an_unmodified_guest_reaches_the_instance,
    recv_on_an_idle_interface_returns_nothing_at_once,
    the_ready_descriptor_is_readable_while_frames_wait_and_only_then,
    a_burst_beyond_the_lent_slots_arrives_whole_with_one_wake_up,
    an_instance_may_move_between_threads_without_losing_a_frame,
    frames_that_cannot_be_sent_are_refused_and_the_batch_goes_on,
    an_mtu_that_grows_while_running_is_noticed_both_ways,
    a_tap_that_is_down_refuses_frames_and_goes_on_when_it_is_up,
    a_tap_that_is_deleted_ends_the_instance_with_an_error,
    a_created_tap_goes_with_its_instance_and_can_be_created_again_at_once,
    a_persistent_tap_is_attached_to_as_it_is_and_left_there,
    a_tap_handed_over_as_a_descriptor_is_used_and_survives,
    a_tap_handed_over_with_a_virtio_net_header_has_offload,
    a_persistent_tap_with_several_queues_may_be_served_by_one,
    a_persistent_tap_with_one_queue_is_not_shared,
}

fn frames_of_the_kernel_arrive_byte_for_byte_and_in_order(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, r#","mtu":1450"#);
    let kernel = RawSocket::open(&netns, "tap0");
    let sent: Vec<_> = (0..200).map(|number| numbered_frame(number, 60 + number as usize * 7)).collect();
    for frame in &sent {
        kernel.send(frame);
    }
    assert_eq!(recv_until(&mut instance, sent.len(), is_numbered), sent);
    assert!(instance.counter("frames_in") >= 200);
    assert!(instance.counter("bytes_in") >= sent.iter().map(|frame| frame.len() as u64).sum());
}

fn sent_frames_are_seen_by_the_kernel_byte_for_byte_and_in_order(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    let kernel = RawSocket::open(&netns, "tap0");
    for batch in [0, 1, 64, 300] {
        let frames: Vec<_> = (0..batch).map(|number| numbered_frame(number, 60 + number as usize)).collect();
        assert_eq!(instance.send(&frames).unwrap(), vec![Fate::Taken; batch as usize]);
        for frame in &frames {
            assert_eq!(&kernel.recv_wanted(is_numbered), frame);
        }
    }
    assert_eq!(instance.counter("frames_out"), 365);
}

fn ping_of_an_unmodified_guest_reaches_the_instance(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    netns.ip(&["address", "add", "10.7.0.1/24", "dev", "tap0"]);
    netns.ip(&["neighbour", "add", "10.7.0.2", "lladdr", "02:00:00:00:00:02", "dev", "tap0"]);
    let socket = netns.inside(|| std::net::UdpSocket::bind("10.7.0.1:0").unwrap());
    socket.send_to(b"to a far guest", "10.7.0.2:9").unwrap();
    let is_ours = |frame: &[u8]| frame.starts_with(&[2, 0, 0, 0, 0, 2]) && frame.ends_with(b"a far guest");
    assert_eq!(recv_until(&mut instance, 1, is_ours)[0].len(), 14 + 20 + 8 + 14);
}

fn recv_on_an_idle_interface_returns_nothing_at_once(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    while !instance.recv(64).unwrap().is_empty() {}
    for count in [0, 1, 64] {
        assert!(instance.recv(count).unwrap().is_empty());
    }
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
}

fn the_ready_descriptor_is_readable_while_frames_wait_and_only_then(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    let kernel = RawSocket::open(&netns, "tap0");
    // Before the first recv nothing is armed, yet frames count.
    kernel.send(&numbered_frame(0, 100));
    assert!(is_readable(instance.ready_fd(), PATIENCE));
    recv_until(&mut instance, 1, is_numbered);
    while !instance.recv(64).unwrap().is_empty() {}
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
    for number in 0..5 {
        kernel.send(&numbered_frame(number, 100));
    }
    for number in 0..5 {
        assert!(is_readable(instance.ready_fd(), PATIENCE), "frame {number} still waits");
        assert!(is_readable(instance.ready_fd(), Duration::ZERO), "polling takes nothing away");
        assert_eq!(instance.recv(1).unwrap(), [numbered_frame(number, 100)]);
    }
    assert!(instance.recv(1).unwrap().is_empty());
    assert!(!is_readable(instance.ready_fd(), Duration::ZERO));
}

fn a_burst_beyond_the_lent_slots_arrives_whole_with_one_wake_up(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let setup = Setup { lent: 8, ..Setup::default() };
    let mut instance = Instance::open_with(&config(&netns, calls, ""), setup).unwrap();
    let kernel = RawSocket::open(&netns, "tap0");
    while !instance.recv(64).unwrap().is_empty() {}
    let sent: Vec<_> = (0..150).map(|number| numbered_frame(number, 100)).collect();
    for frame in &sent {
        kernel.send(frame);
    }
    // Nothing more comes now, so what the ring does not say by itself would be stuck.
    assert_eq!(recv_until(&mut instance, sent.len(), is_numbered), sent);
}

fn an_instance_may_move_between_threads_without_losing_a_frame(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    let kernel = RawSocket::open(&netns, "tap0");
    let mut received = Vec::new();
    for round in 0..6 {
        for number in 0..20 {
            kernel.send(&numbered_frame(round * 20 + number, 100));
        }
        // Each round leaves half of its frames to the next thread, some of them completed already.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                received.extend(recv_until(&mut instance, 1, is_numbered));
                for _ in 0..9 {
                    received.extend(instance.recv(1).unwrap());
                }
                assert_eq!(instance.send(&[numbered_frame(0, 60)]).unwrap(), [Fate::Taken]);
            });
        });
    }
    let left = 120 - received.len();
    received.extend(recv_until(&mut instance, left, is_numbered));
    let expected: Vec<_> = (0..120).map(|number| numbered_frame(number, 100)).collect();
    assert_eq!(received, expected);
}

fn frames_that_cannot_be_sent_are_refused_and_the_batch_goes_on(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    let kernel = RawSocket::open(&netns, "tap0");
    let largest = 1400 + 18;
    let batch = [
        numbered_frame(1, largest),
        numbered_frame(2, largest + 1),
        vec![0; 13],
        Vec::new(),
        numbered_frame(3, 60),
    ];
    let fates = [Fate::Taken, Fate::Oversized, Fate::Malformed, Fate::Malformed, Fate::Taken];
    assert_eq!(instance.send(&batch).unwrap(), fates);
    assert_eq!(kernel.recv_wanted(is_numbered), batch[0]);
    assert_eq!(kernel.recv_wanted(is_numbered), batch[4]);
}

fn an_mtu_that_grows_while_running_is_noticed_both_ways(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, r#","mtu":1000"#);
    assert_eq!(instance.info().mtu, 1000);
    assert_eq!(instance.send(&[numbered_frame(1, 2900)]).unwrap(), [Fate::Oversized]);
    assert_eq!(instance.limit(0), 1018);
    netns.ip(&["link", "set", "tap0", "mtu", "3000"]);
    let kernel = RawSocket::open(&netns, "tap0");
    let sent = [numbered_frame(1, 2900), numbered_frame(2, 1018), numbered_frame(3, 3014)];
    sent.iter().for_each(|frame| kernel.send(frame));
    assert!(recv_until(&mut instance, 3, is_numbered) == sent);
    netns.ip(&["link", "set", "tap0", "mtu", "5000"]);
    assert_eq!(instance.send(&[numbered_frame(4, 5000)]).unwrap(), [Fate::Taken]);
    assert!(kernel.recv_wanted(is_numbered) == numbered_frame(4, 5000));
    assert_eq!(instance.counter("drop_oversized"), 0);
}

fn a_tap_that_is_down_refuses_frames_and_goes_on_when_it_is_up(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    netns.ip(&["link", "set", "tap0", "down"]);
    assert_eq!(instance.send(&[numbered_frame(1, 60)]).unwrap(), [Fate::Down]);
    assert!(instance.recv(64).is_ok());
    netns.ip(&["link", "set", "tap0", "up"]);
    let kernel = RawSocket::open(&netns, "tap0");
    assert_eq!(instance.send(&[numbered_frame(2, 60)]).unwrap(), [Fate::Taken]);
    assert_eq!(kernel.recv_wanted(is_numbered), numbered_frame(2, 60));
    kernel.send(&numbered_frame(3, 60));
    assert_eq!(recv_until(&mut instance, 1, is_numbered), [numbered_frame(3, 60)]);
}

fn a_tap_that_is_deleted_ends_the_instance_with_an_error(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let mut instance = open(&netns, calls, "");
    while !instance.recv(64).unwrap().is_empty() {}
    netns.ip(&["link", "delete", "tap0"]);
    assert!(is_readable(instance.ready_fd(), PATIENCE), "the host is woken");
    let error = loop {
        match instance.recv(64) {
            Ok(frames) => assert!(frames.len() < 64, "only what was on its way"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EBADFD));
    assert_eq!(instance.send(&[numbered_frame(1, 60)]).unwrap_err().raw_os_error(), Some(libc::EBADFD));
}

fn a_created_tap_goes_with_its_instance_and_can_be_created_again_at_once(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    for _ in 0..5 {
        let mut instance = open(&netns, calls, "");
        assert_eq!(instance.info().mtu, 1400);
        assert!(instance.recv(64).is_ok());
        assert!(instance.send(&[numbered_frame(1, 60)]).is_ok());
        drop(instance);
        netns.await_gone("tap0");
    }
}

fn a_persistent_tap_is_attached_to_as_it_is_and_left_there(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    netns.ip(&["tuntap", "add", "dev", "tap0", "mode", "tap"]);
    netns.ip(&["link", "set", "tap0", "mtu", "1300", "up"]);
    let mut instance = open(&netns, calls, "");
    assert_eq!((instance.info().interface.as_str(), instance.info().mtu), ("tap0", 1300));
    let kernel = RawSocket::open(&netns, "tap0");
    // The carrier comes with the attachment, but the kernel may take its time to let frames through.
    let mut attempt = 0;
    while instance.recv(64).unwrap().is_empty() {
        attempt += 1;
        assert!(attempt < 200, "no frame came");
        kernel.send(&numbered_frame(attempt, 60));
        is_readable(instance.ready_fd(), Duration::from_millis(50));
    }
    let second = Instance::open(&format!(r#"{{"interface":"tap0","netns":"{}"}}"#, netns.name));
    let failure = second.err().expect("one queue, one instance");
    assert_eq!(failure.kind, vreserve_sdk::FailureKind::Retry, "{failure}");
    drop(instance);
    assert!(netns.has("tap0"));
}

fn a_tap_handed_over_as_a_descriptor_is_used_and_survives(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let parent = tap_of_the_parent(&netns, "tap0", 0);
    let number = parent.as_raw_fd();
    let config = format!(
        r#"{{"interface":"tap0","fd":{number},"mtu":1280,"up":true,"reader":"{calls}","writer":"{calls}"}}"#
    );
    let mut instance = Instance::open(&config).unwrap();
    assert_eq!((instance.info().mtu, instance.info().offload), (1280, false), "it has no virtio-net header");
    assert_eq!(instance.send(&[numbered_frame(9, 60)]).unwrap(), [Fate::Taken]);
    let kernel = RawSocket::open(&netns, "tap0");
    kernel.send(&numbered_frame(1, 60));
    assert_eq!(recv_until(&mut instance, 1, is_numbered).len(), 1);
    drop(instance);
    assert!(netns.has("tap0"), "the parent still has it");
    let wrong = Instance::open(&config.replace("tap0", "tap1")).err().unwrap();
    assert_eq!(wrong.key.as_deref(), Some("interface"), "{wrong}");
    drop(parent);
    netns.await_gone("tap0");
}

fn a_tap_handed_over_with_a_virtio_net_header_has_offload(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    let parent = tap_of_the_parent(&netns, "tap0", libc::IFF_VNET_HDR);
    let number = parent.as_raw_fd();
    let config =
        format!(r#"{{"interface":"tap0","fd":{number},"up":true,"reader":"{calls}","writer":"{calls}"}}"#);
    let mut instance = Instance::open(&config).unwrap();
    assert!(instance.info().offload);
    let kernel = RawSocket::open(&netns, "tap0");
    kernel.send(&numbered_frame(1, 60));
    assert_eq!(recv_until(&mut instance, 1, is_numbered), [numbered_frame(1, 60)]);
    assert_eq!(instance.send(&[numbered_frame(2, 60)]).unwrap(), [Fate::Taken]);
    assert_eq!(kernel.recv_wanted(is_numbered), numbered_frame(2, 60));
}

fn a_persistent_tap_with_several_queues_may_be_served_by_one(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    netns.ip(&["tuntap", "add", "dev", "tap0", "mode", "tap", "multi_queue"]);
    let instance = open(&netns, calls, r#","up":true"#);
    assert_eq!((instance.info().queues, instance.info().offload), (1, true));
}

fn a_persistent_tap_with_one_queue_is_not_shared(calls: &str) {
    let Some(netns) = Netns::new() else { return };
    netns.ip(&["tuntap", "add", "dev", "tap0", "mode", "tap"]);
    let setup = Setup { queue: Queue { index: 0, count: 2 }, ..Setup::default() };
    let instance = Instance::open_with(&config(&netns, calls, ""), setup).unwrap();
    assert_eq!(instance.info().queues, 1, "the host opens no second one");
}
