//! Several queues of one interface, each with an instance of its own: every flow keeps to one queue, and so to its
//! order.
//!
//! ```text
//!                      ┌── queue 0 ── instance
//!   guest ══ tap0/a0 ──┤
//!                      └── queue 1 ── instance
//! ```
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;

use common::host::{Instance, Setup};
use common::is_readable;
use common::netns::Netns;
use common::raw::RawSocket;
use std::time::Duration;
use vreserve_sdk::Queue;

with_both_calls! {
    flows_of_a_tap_keep_to_their_queue,
    flows_of_an_interface_keep_to_their_queue,
    what_one_queue_sends_no_queue_captures,
}

const QUEUES: u32 = 2;
const FLOWS: u16 = 32;
const DATAGRAMS: u16 = 20;

/// One instance per queue.
fn open(config: &str) -> Vec<Instance> {
    let open = |index| {
        let setup = Setup { queue: Queue { index, count: QUEUES }, ..Setup::default() };
        Instance::open_with(config, setup).unwrap()
    };
    let instances: Vec<_> = (0..QUEUES).map(open).collect();
    assert!(instances.iter().all(|instance| instance.info().queues == QUEUES));
    instances
}

fn interface(node: &Netns, guest: &Netns, calls: &str) -> String {
    let (name, guest_name) = (&node.name, guest.name.as_str());
    node.ip(&["link", "add", "a0", "type", "veth", "peer", "name", "eth0", "netns", guest_name]);
    node.ip(&["link", "set", "a0", "up"]);
    guest.ip(&["link", "set", "eth0", "up"]);
    node.await_up("a0");
    guest.await_up("eth0");
    let place = format!(r#""interface":"a0","kind":"interface","netns":"{name}""#);
    format!(r#"{{{place},"reader":"{calls}","writer":"{calls}"}}"#)
}

/// Sends numbered datagrams from as many sockets as there are flows, by turns.
fn send_flows(guest: &Netns, interface: &str) {
    guest.ip(&["address", "add", "10.9.0.1/24", "dev", interface]);
    guest.ip(&["neighbour", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", interface]);
    let sockets: Vec<_> =
        guest.inside(|| (0..FLOWS).map(|_| UdpSocket::bind("10.9.0.1:0").unwrap()).collect());
    for number in 0..DATAGRAMS {
        for socket in &sockets {
            socket.send_to(&number.to_be_bytes(), "10.9.0.2:9").unwrap();
        }
    }
}

/// Source port and number of a datagram of `send_flows`.
fn flow_of(frame: &[u8]) -> Option<(u16, u16)> {
    let is_ours = frame.len() >= 44 && frame[..6] == [2, 0, 0, 0, 0, 2] && frame[36..38] == [0, 9];
    let field = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    is_ours.then(|| (field(34), field(42)))
}

fn assert_flows_keep_to_their_queue(instances: &mut [Instance]) {
    let mut queues_of: BTreeMap<u16, BTreeSet<usize>> = BTreeMap::new();
    let mut numbers_of: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    let mut arrived = 0;
    while arrived < usize::from(FLOWS * DATAGRAMS) {
        let before = arrived;
        for (queue, instance) in instances.iter_mut().enumerate() {
            for (port, number) in instance.recv(64).unwrap().iter().filter_map(|frame| flow_of(frame)) {
                queues_of.entry(port).or_default().insert(queue);
                numbers_of.entry(port).or_default().push(number);
                arrived += 1;
            }
        }
        let is_waiting = |instance: &Instance| is_readable(instance.ready_fd(), Duration::from_secs(1));
        assert!(arrived > before || instances.iter().any(is_waiting), "{arrived} frames came");
    }
    assert!(queues_of.values().all(|queues| queues.len() == 1), "{queues_of:?}");
    assert_eq!(queues_of.values().flatten().collect::<BTreeSet<_>>().len(), QUEUES as usize);
    let in_order: Vec<_> = (0..DATAGRAMS).collect();
    assert!(numbers_of.values().all(|numbers| *numbers == in_order), "each once, in order");
}

fn flows_of_a_tap_keep_to_their_queue(calls: &str) {
    let Some(guest) = Netns::new() else { return };
    let name = &guest.name;
    let config = format!(r#"{{"interface":"tap0","netns":"{name}","reader":"{calls}","writer":"{calls}"}}"#);
    let mut instances = open(&config);
    send_flows(&guest, "tap0");
    assert_flows_keep_to_their_queue(&mut instances);
}

fn flows_of_an_interface_keep_to_their_queue(calls: &str) {
    let (Some(node), Some(guest)) = (Netns::new(), Netns::new()) else { return };
    let mut instances = open(&interface(&node, &guest, calls));
    send_flows(&guest, "eth0");
    assert_flows_keep_to_their_queue(&mut instances);
}

fn what_one_queue_sends_no_queue_captures(calls: &str) {
    let (Some(node), Some(guest)) = (Netns::new(), Netns::new()) else { return };
    let mut instances = open(&interface(&node, &guest, calls));
    let kernel = RawSocket::open(&guest, "eth0");
    let frame = common::numbered_frame(1, 100);
    instances[0].send(std::slice::from_ref(&frame)).unwrap();
    assert_eq!(kernel.recv_wanted(common::is_numbered), frame);
    for instance in &mut instances {
        assert!(!instance.recv(64).unwrap().iter().any(|frame| common::is_numbered(frame)));
    }
}
