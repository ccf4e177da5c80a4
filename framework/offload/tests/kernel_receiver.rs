//! The kernel as the receiver of joined super-frames: what a guest behind a TAP gets.
//!
//! wire frames ── joined here ── one write to a TAP with virtio-net header ── kernel ── socket
#![allow(clippy::unwrap_used, reason = "tests may")]

mod joined;
mod reference;
mod tap;

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use joined::{coalesce, cut};
use reference::{Built, Recipe, tcp4};
use tap::Tap;
use vreserve_offload::{ChecksumPolicy, Offload, checksum};

/// The ports of [`Recipe`].
const PORT: u16 = 8080;
const SIZE: u16 = 1_000;
const COUNT: usize = 9;

fn address(is_ipv6: bool) -> SocketAddr {
    let ip: IpAddr = if is_ipv6 { "fd00::2" } else { "10.0.0.2" }.parse().unwrap();
    SocketAddr::new(ip, PORT)
}

fn recipe(is_ipv6: bool, is_udp: bool) -> Recipe {
    let payload = (0..COUNT * usize::from(SIZE) - 300).map(|index| (index / 7) as u8).collect();
    Recipe { is_ipv6, is_udp, tcp_options: 0, payload, ..tcp4(0) }
}

/// Sends the frames to the kernel as one super-frame.
fn send_joined(tap: &mut Tap, wire: &[Vec<u8>]) {
    let joined = coalesce(wire, ChecksumPolicy::Verify);
    assert_eq!((wire.len(), joined.len()), (COUNT, 1));
    tap.write(&joined[0].0, &joined[0].1);
}

fn assert_no_errors() {
    let errors = tap::errors();
    assert!(errors.len() >= 6, "the kernel counts {errors:?}");
    assert!(errors.iter().all(|(_, count)| *count == 0), "{errors:?}");
}

fn with_checksum(mut built: Built) -> Built {
    let (start, offset) = built.checksum_place();
    checksum::complete(&mut built.frame, start, offset).unwrap();
    built
}

/// Acknowledges with `number` in place of what the recipe says.
fn acknowledging(mut built: Built, number: u32) -> Built {
    built.frame[built.transport + 8..][..4].copy_from_slice(&number.to_be_bytes());
    built
}

fn tcp(is_ipv6: bool) {
    let Some(mut tap) = Tap::open("a joined TCP super-frame reaches the kernel") else { return };
    let listener = TcpListener::bind(address(is_ipv6)).unwrap();
    let data = recipe(is_ipv6, false);
    let before = data.sequence.wrapping_sub(1);
    let syn = with_checksum(
        Recipe { tcp_flags: 0x02, sequence: before, payload: Vec::new(), ..data.clone() }.build(),
    );
    tap.write(&syn.frame, &Offload::default());
    let is_syn_ack = |frame: &[u8]| frame.len() > syn.transport + 13 && frame[syn.transport + 13] == 0x12;
    let answer = tap.read(is_syn_ack);
    let number = u32::from_be_bytes(answer[syn.transport + 4..][..4].try_into().unwrap());

    let built = acknowledging(data.build(), number.wrapping_add(1));
    send_joined(&mut tap, &cut(&built.frame, &built.offload(SIZE)));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut received = vec![0; data.payload.len()];
    stream.read_exact(&mut received).unwrap();
    assert!(received == data.payload);
    assert_no_errors();
}

fn udp(is_ipv6: bool) {
    let Some(mut tap) = Tap::open("a joined UDP super-frame reaches the kernel") else { return };
    let socket = UdpSocket::bind(address(is_ipv6)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let data = recipe(is_ipv6, true);
    let built = data.build();
    let frames = cut(&built.frame, &built.offload(SIZE));
    let mut buffer = [0; 2_000];
    // A kernel that has not quite set up its new interface drops the whole super-frame.
    let first = (0..40).find_map(|_| {
        send_joined(&mut tap, &frames);
        socket.recv_from(&mut buffer).ok()
    });
    let (mut len, _) = first.expect("the super-frame never arrives");
    for (number, expected) in data.payload.chunks(usize::from(SIZE)).enumerate() {
        if number > 0 {
            len = socket.recv_from(&mut buffer).unwrap().0;
        }
        assert!(&buffer[..len] == expected);
    }
    assert_no_errors();
}

#[test]
fn tcp_over_ipv4_arrives() {
    tcp(false);
}

#[test]
fn tcp_over_ipv6_arrives() {
    tcp(true);
}

#[test]
fn udp_over_ipv4_arrives_as_the_datagrams_it_was() {
    udp(false);
}

#[test]
fn udp_over_ipv6_arrives_as_the_datagrams_it_was() {
    udp(true);
}
