//! A kernel VXLAN device as the far node (RFC 7348), in two network namespaces that die with their threads:
//!
//! ```text
//!  this instance: 10.9.0.1 va ════ veth ════ vb 10.9.0.2 :kernel
//!  a station made by the test: 10.8.0.1  ── VNI 7 ──  vx 10.8.0.2
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use common::{TestLink, open};
use nix::sched::{CloneFlags, unshare};
use vreserve_offload::checksum::{Integrity, Sum, verify};

const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];
const STATION_IP: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const KERNEL: [u8; 6] = [2, 0, 0, 0, 0, 2];
const KERNEL_IP: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
/// With Ethernet, IPv4 and UDP headers this makes the largest frame of an underlay of 1500 bytes: 1464.
const LARGEST_PAYLOAD: usize = 1464 - 14 - 20 - 8;

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ethernet(destination: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &STATION, &ethertype.to_be_bytes(), payload].concat()
}

fn arp(operation: u8, destination: [u8; 6], target: [u8; 6], target_ip: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let body = [&head[..], &STATION, &STATION_IP.octets(), &target, &target_ip.octets()].concat();
    ethernet(destination, 0x0806, &body)
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    header.extend(STATION_IP.octets().into_iter().chain(KERNEL_IP.octets()));
    let sum = Sum::of(&header).checksum().to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    ethernet(KERNEL, 0x0800, &[header.as_slice(), payload].concat())
}

fn echo_request() -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0, 0, 1, 0, 1][..], b"are you there"].concat();
    let sum = Sum::of(&message).checksum().to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv4(1, &message)
}

/// A UDP datagram without a checksum, as IPv4 allows.
fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let header: Vec<u8> = [from, to, len, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    ipv4(17, &[header.as_slice(), payload].concat())
}

/// Answers the kernel's ARP requests until a frame comes that `wanted` knows.
fn frame_that(link: &TestLink, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    for _ in 0..1000 {
        assert!(link.wait(), "nothing came from the kernel");
        for (far, frame) in link.recv(8) {
            assert_eq!(far, 1);
            if wanted(&frame) {
                return frame;
            }
            if frame.get(12..14) == Some(&[8, 6]) && frame[21] == 1 && frame[38..42] == STATION_IP.octets() {
                assert_eq!(link.send(&[(1, arp(2, KERNEL, KERNEL, KERNEL_IP))]).refusals, [0]);
            }
        }
    }
    panic!("the kernel sent only other frames");
}

fn is_from_kernel(frame: &[u8], ethertype: [u8; 2]) -> bool {
    frame.len() >= 42 && frame[6..12] == KERNEL && frame[12..14] == ethertype
}

/// The kernel's side: a VXLAN device, and a program that sends to the station and waits for its echo.
fn kernel_side(path: &Sender<String>, veth: &Receiver<()>, go: &Receiver<()>) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let (process, thread) = (std::process::id(), nix::unistd::gettid());
    path.send(format!("/proc/{process}/task/{thread}/ns/net")).unwrap();
    veth.recv().unwrap();
    ip("address add 10.9.0.2/24 dev vb");
    ip("link set vb up");
    ip(
        "link add vx address 02:00:00:00:00:02 type vxlan id 7 dstport 4789 local 10.9.0.2 remote 10.9.0.1 dev vb",
    );
    ip("address add 10.8.0.2/24 dev vx");
    ip("link set vx up");
    path.send(String::new()).unwrap();
    go.recv().unwrap();
    let socket = UdpSocket::bind((KERNEL_IP, 5000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let payload = vec![0x5a; LARGEST_PAYLOAD];
    socket.send_to(&payload, (STATION_IP, 6000)).unwrap();
    let mut echo = [0; 2048];
    let (len, from) = socket.recv_from(&mut echo).unwrap();
    assert_eq!((&echo[..len], from), (payload.as_slice(), (STATION_IP, 6000).into()));
}

#[test]
fn a_kernel_vxlan_device_is_a_far_node() {
    if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
        common::skip("SKIPPED: making network namespaces takes root and iproute2");
        return;
    }
    let (path_out, path_in) = channel();
    let (veth_out, veth_in) = channel();
    let (go_out, go_in) = channel();
    let kernel = thread::spawn(move || kernel_side(&path_out, &veth_in, &go_in));
    let here = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip(&format!("link add va type veth peer name vb netns {}", path_in.recv().unwrap()));
        ip("address add 10.9.0.1/24 dev va");
        ip("link set va up");
        veth_out.send(()).unwrap();
        path_in.recv().unwrap();

        let link = open(r#"{"bind":"10.9.0.1:4789","format":"vxlan","vni":7,"device":"va"}"#).unwrap();
        link.add_far(1, "10.9.0.2:4789").unwrap();
        link.send(&[(1, arp(1, [0xff; 6], [0; 6], KERNEL_IP))]);
        let reply = frame_that(&link, |frame| is_from_kernel(frame, [8, 6]) && frame[21] == 2);
        assert_eq!(reply[22..32], [&KERNEL[..], &KERNEL_IP.octets()].concat());

        link.send(&[(1, echo_request())]);
        let reply = frame_that(&link, |frame| is_from_kernel(frame, [8, 0]) && frame[23] == 1);
        assert_eq!((reply[34], &reply[42..]), (0, &b"are you there"[..]), "an echo reply");

        go_out.send(()).unwrap();
        let datagram = frame_that(&link, |frame| is_from_kernel(frame, [8, 0]) && frame[23] == 17);
        assert_eq!(datagram.len(), 1464);
        assert_eq!(link.info().mtu, 1464);
        assert_eq!(verify(&datagram), Ok(Integrity::Valid), "the kernel left the checksum to the veth");
        assert_eq!(link.send(&[(1, udp(6000, 5000, &datagram[42..]))]).refusals, [0]);
        kernel.join().unwrap();
        assert_eq!(link.drops(), 0);
    });
    here.join().unwrap();
}
