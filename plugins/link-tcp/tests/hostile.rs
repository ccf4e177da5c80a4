//! Whoever speaks to an endpoint over a plain socket: strangers, far nodes that break the rules, and whoever stands between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{TestLink, drive, frames, numbered_frame, open, open_on, open_sealed, open_secure, until};
use proptest::prelude::*;
use rustls::pki_types::ServerName;

const GREETING: [u8; 16] = *b"vreserve tcp 1\x12\xb5";

/// A plain connection to the endpoint, from this address, that does not block.
fn socket_towards(link: &TestLink, ip: &str) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let own: SocketAddr = format!("{ip}:0").parse().unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(own)).unwrap();
    let to: SocketAddr = link.info().address.parse().unwrap();
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(true).unwrap();
    stream
}

/// What has come on a stream, and whether it is over.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 65_536];
    match stream.read(&mut bytes) {
        Ok(0) => true,
        Ok(length) => {
            into.extend_from_slice(&bytes[..length]);
            false
        }
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Calls the endpoint until it closes the stream; returns all that it said.
#[track_caller]
fn said_until_closed(link: &TestLink, mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    until(&[link], || read_some(&mut stream, &mut said));
    said
}

fn record(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &[0; 10], frame].concat()
}

/// A far node in clear text, greeted, that this test plays.
fn far_node(link: &TestLink, ip: &str) -> TcpStream {
    link.add_far(1, &format!("{ip}:4789")).unwrap();
    let mut stream = socket_towards(link, ip);
    stream.write_all(&GREETING).unwrap();
    let mut said = Vec::new();
    until(&[link], || {
        assert!(!read_some(&mut stream, &mut said));
        said.len() >= GREETING.len()
    });
    assert_eq!(said[..14], GREETING[..14]);
    stream
}

/// An endpoint that is dialled by all its far nodes.
fn open_listening(ip: &str) -> TestLink {
    open(&format!(r#"{{"bind":"{ip}:0","format":"clear","dial":"never"}}"#)).unwrap()
}

/// A sealed endpoint that dials all its far nodes.
fn open_dialling(seed: u8, ip: &str) -> TestLink {
    open_secure(seed, &format!(r#"{{"bind":"{ip}:0","dial":"always"}}"#))
}

#[test]
fn a_stranger_gets_no_byte_in_clear_text() {
    let link = open_listening("127.0.0.1");
    link.add_far(1, "127.0.0.9:4789").unwrap();
    let mut stranger = socket_towards(&link, "127.0.0.10");
    // It may be closed before.
    let _ = stranger.write_all(&GREETING);
    assert_eq!(said_until_closed(&link, stranger), [0; 0]);
    assert_eq!((link.counter("closed_stranger"), link.counter("connections")), (1, 0));
    // One at a known address that does not know the greeting.
    let mut wrong = socket_towards(&link, "127.0.0.9");
    wrong.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(said_until_closed(&link, wrong), [0; 0]);
    assert_eq!((link.counter("closed_forged"), link.counter("connections")), (1, 0));
}

#[test]
fn who_does_not_know_the_nodes_key_gets_no_byte() {
    let link = open_sealed(1, "127.0.0.1");
    let hello = |name: &str| {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    };
    let zeros = "0".repeat(32);
    let openings = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        vec![0xff; 5000],
        GREETING.to_vec(),
        hello("example.org"),
        hello(&format!("{zeros}.{zeros}.vreserve")),
        hello("198.51.100.1"),
        [&[22, 3, 1, 0xff, 0xff][..], &[0; 4000]].concat(),
    ];
    for (number, opening) in (1..).zip(&openings) {
        let mut stranger = socket_towards(&link, "127.0.0.11");
        stranger.write_all(opening).unwrap();
        stranger.shutdown(Shutdown::Write).unwrap();
        assert_eq!(said_until_closed(&link, stranger), [0; 0], "{opening:?}");
        assert_eq!((link.ended(), link.counter("connections")), (number, 0));
    }
}

/// Moves what has come on one stream to the other; returns it, and whether the first is over.
fn relay(from: &mut TcpStream, to: &mut TcpStream, heard: &mut Vec<u8>) -> bool {
    let before = heard.len();
    let is_over = read_some(from, heard);
    // The other end may be closed already.
    let _ = to.write_all(&heard[before..]);
    is_over
}

/// A relay in front of an endpoint, on an address of its own.
struct Relay {
    listener: TcpListener,
    streams: Option<(TcpStream, TcpStream)>,
    /// What the dialling and the listening end have said, and how much the dialling one had when the other spoke last.
    said: (Vec<u8>, Vec<u8>),
    is_over: bool,
}

impl Relay {
    fn new(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Relay { listener, streams: None, said: (Vec::new(), Vec::new()), is_over: false }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    fn turn(&mut self, towards: &TestLink) {
        if self.streams.is_none()
            && let Ok((stream, _)) = self.listener.accept()
        {
            stream.set_nonblocking(true).unwrap();
            self.streams = Some((stream, socket_towards(towards, "127.0.0.1")));
        }
        if let Some((dialling, listening)) = &mut self.streams {
            let is_over = relay(dialling, listening, &mut self.said.0);
            self.is_over |= relay(listening, dialling, &mut self.said.1) || is_over;
        }
    }
}

/// Lengths of the TLS records in a stream, and of what type they are.
fn tls_records(mut stream: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        records.push((header[0], length));
        stream = &rest[length..];
    }
    records
}

#[test]
fn a_node_that_is_not_admitted_gets_nothing_but_tls() {
    let (hub, stranger) = (open_sealed(9, "127.0.0.1"), open_dialling(1, "127.0.0.2"));
    let mut relay = Relay::new("127.0.0.3");
    // It knows the hub's key, but the hub does not know it.
    stranger.add_far_with_key(0, &relay.address(), &hub.public).unwrap();
    let friend = open_sealed(2, "127.0.0.4");
    hub.add_far_with_key(5, &friend.info().address, &friend.public).unwrap();
    until(&[&hub, &stranger], || {
        relay.turn(&hub);
        relay.is_over && stranger.ended() > 0
    });
    assert_eq!((hub.counter("closed_stranger"), hub.counter("connections")), (1, 0));
    assert_eq!(stranger.counter("connections"), 0);
    const HELLO: u8 = 22;
    const CHANGE: u8 = 20;
    const SEALED: u8 = 23;
    let said = tls_records(&relay.said.1);
    // ServerHello, the change of ciphers, and what is sealed of the handshake: extensions, the request for a key, a key,
    // a signature, the end. A certificate of 44 bytes and a signature of 64 leave no room for a frame or a proof.
    let sealed: usize = said.iter().filter(|(kind, _)| *kind == SEALED).map(|(_, length)| length).sum();
    assert!(said.iter().all(|(kind, _)| matches!(*kind, HELLO | CHANGE | SEALED)), "{said:?}");
    assert!(sealed < 400, "{said:?}");
    // The stranger's own last word, the proof's opening, was not answered.
    assert!(tls_records(&relay.said.0).iter().any(|(kind, length)| *kind == SEALED && *length == 96 + 17));
    assert!(!said.iter().any(|(kind, length)| *kind == SEALED && *length == 48 + 17), "{said:?}");
}

#[test]
fn what_is_damaged_on_the_way_ends_the_connection_and_gives_no_frame() {
    let (hub, leaf) = (open_sealed(9, "127.0.0.1"), open_dialling(1, "127.0.0.2"));
    // The far node's address is only where it is dialled; who it is, its key says. So a relay may stand between.
    let mut relay = Relay::new("127.0.0.3");
    leaf.add_far_with_key(0, &relay.address(), &hub.public).unwrap();
    hub.add_far_with_key(5, "127.0.0.200:1", &leaf.public).unwrap();
    until(&[&hub, &leaf], || {
        relay.turn(&hub);
        hub.counter("connections") == 1 && leaf.counter("connections") == 1
    });
    leaf.send(&[(0, numbered_frame(100, 1))]);
    let came = RefCell::new(Vec::new());
    drive(
        &[&hub, &leaf],
        |_, _, frame, _| came.borrow_mut().push(frame),
        || {
            relay.turn(&hub);
            !came.borrow().is_empty()
        },
    );
    let word: &[u8] = &[0x02, 0, 0, 0, 0, 1, 0x02, 0];
    let heard = [&relay.said.0[..], &relay.said.1].concat();
    assert!(!heard.windows(word.len()).any(|window| window == word), "the frame can be read on the way");

    let (dialling, listening) = relay.streams.as_mut().unwrap();
    leaf.send(&[(0, numbered_frame(100, 2))]);
    let mut bytes = Vec::new();
    until(&[&leaf], || {
        read_some(dialling, &mut bytes);
        !bytes.is_empty()
    });
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    listening.write_all(&bytes).unwrap();
    until(&[&hub], || hub.counter("closed_forged") == 1);
    assert_eq!(hub.counter("frames_received"), 1);
}

#[test]
fn a_crowd_of_strangers_keeps_nobody_out() {
    let (hub, leaf) = (open_sealed(9, "127.0.0.1"), open_sealed(1, "127.0.0.2"));
    let come = |_| {
        // The system keeps a hundred or so until they are accepted.
        until(&[&hub], || true);
        socket_towards(&hub, "127.0.0.12")
    };
    let crowd: Vec<_> = (0..200).map(come).collect();
    until(&[&hub], || hub.counter("closed_crowded") >= 100);
    common::connect(&leaf, &hub);
    drop(crowd);
}

#[test]
fn frames_come_whole_however_the_stream_is_cut() {
    let link = open_listening("127.0.0.1");
    let mut far = far_node(&link, "127.0.0.5");
    let sent: Vec<_> = (0..20).map(|n| numbered_frame(14 + n as usize * 3 + 4, n)).collect();
    let stream: Vec<u8> = sent.iter().flat_map(|frame| [&[0; 14], &*record(frame)].concat()).collect();
    let (mut bytes, received) = (stream.iter(), RefCell::new(Vec::new()));
    drive(
        &[&link],
        |_, far, frame, _| received.borrow_mut().push((far, frame)),
        || {
            if let Some(byte) = bytes.next() {
                far.write_all(&[*byte]).unwrap();
            }
            received.borrow().len() == sent.len()
        },
    );
    assert!(received.into_inner().iter().map(|(_, frame)| frame).eq(&sent));
}

#[test]
fn a_far_node_that_takes_a_byte_at_a_time_gets_every_frame() {
    let link = open_listening("127.0.0.1");
    let mut far = far_node(&link, "127.0.0.6");
    let batch: Vec<_> = (0..64).map(|n| (1, numbered_frame(60_000, n))).collect();
    let refusals = link.send(&batch).refusals;
    let expected: Vec<u8> =
        batch.iter().zip(&refusals).filter(|(_, why)| **why == 0).flat_map(|((_, f), _)| record(f)).collect();
    assert!(expected.len() > 3_000_000, "more than the socket takes at once");
    let mut came = Vec::new();
    let mut few = [0; 4097];
    until(&[&link], || {
        // The endpoint is called between small reads, and writes what has found room.
        for _ in 0..50 {
            match far.read(&mut few) {
                Ok(length) => came.extend_from_slice(&few[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        came.len() >= expected.len()
    });
    // Keep-alives may stand between records, and only there.
    let mut rest = &came[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = 14 + u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
        if length > 14 {
            records.extend_from_slice(&rest[..length]);
        }
        rest = &rest[length..];
    }
    assert!(records == expected);
}

#[test]
fn a_length_that_no_frame_has_ends_the_connection_behind_the_frames_before_it() {
    for length in [1_u32, 13, 65_554, 1 << 20, u32::MAX] {
        let link = open_listening("127.0.0.1");
        let mut far = far_node(&link, "127.0.0.7");
        let wrong = [&length.to_be_bytes()[..], &[0; 10], &[0; 64]].concat();
        far.write_all(&[record(&numbered_frame(60, 1)), wrong].concat()).unwrap();
        assert_eq!(frames(&[&link], 1), [(1, numbered_frame(60, 1))]);
        until(&[&link], || link.counter("closed_malformed") == 1);
        let mut said = Vec::new();
        until(&[&link], || read_some(&mut far, &mut said));
    }
}

#[test]
fn metadata_that_contradict_their_frame_cost_that_frame_alone() {
    let link = open_listening("127.0.0.1");
    let mut far = far_node(&link, "127.0.0.8");
    for (kind, flags, segment_size, start) in [(77, 0, 0, 0), (1, 1, 0, 34), (5, 1, 1, 34), (0, 1, 0, 200)] {
        let mut wrong = record(&numbered_frame(100, 0));
        (wrong[4], wrong[5]) = (kind, flags);
        wrong[8..10].copy_from_slice(&u16::to_be_bytes(segment_size));
        wrong[10..12].copy_from_slice(&u16::to_be_bytes(start));
        far.write_all(&wrong).unwrap();
    }
    far.write_all(&record(&numbered_frame(60, 5))).unwrap();
    assert_eq!(frames(&[&link], 1), [(1, numbered_frame(60, 5))]);
    assert_eq!((link.counter("drop_malformed"), link.ended()), (4, 0));
}

#[test]
fn a_far_node_that_dials_anew_replaces_its_last_connection() {
    let link = open_listening("127.0.0.1");
    let mut first = far_node(&link, "127.0.0.13");
    let mut second = socket_towards(&link, "127.0.0.13");
    second.write_all(&[&GREETING[..], &record(&numbered_frame(60, 1))].concat()).unwrap();
    assert_eq!(frames(&[&link], 1), [(1, numbered_frame(60, 1))]);
    assert_eq!((link.counter("closed_replaced"), link.counter("connections")), (1, 2));
    let mut said = Vec::new();
    until(&[&link], || read_some(&mut first, &mut said));
}

#[test]
fn silence_ends_a_connection_and_an_introduction() {
    let config = r#"{"bind":"127.0.0.1:0","format":"clear","dial":"never","timeout":"500ms"}"#;
    let link = open(config).unwrap();
    let mut far = far_node(&link, "127.0.0.14");
    let mute = socket_towards(&link, "127.0.0.14");
    let mut said = Vec::new();
    until(&[&link], || read_some(&mut far, &mut said));
    assert_eq!(link.counter("closed_silent"), 1);
    assert!(said.len() >= 14 && said.iter().all(|byte| *byte == 0), "keep-alives came: {said:?}");
    assert_eq!(said_until_closed(&link, mute), [0; 0]);
    assert_eq!(link.counter("closed_silent"), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Whatever a far node says behind its greeting: frames, or an end that is counted; never a panic.
    #[test]
    fn any_stream_gives_frames_or_an_end(
        records in proptest::collection::vec(
            (0_u32..200, any::<[u8; 10]>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..40),
    ) {
        let link = open_listening("127.0.0.1");
        let mut far = far_node(&link, "127.0.0.15");
        for (length, metadata, bytes) in &records {
            far.write_all(&[&length.to_be_bytes()[..], metadata, bytes].concat()).unwrap();
        }
        far.shutdown(Shutdown::Write).unwrap();
        let came = RefCell::new(0_u64);
        drive(&[&link], |_, _, frame, _| {
            assert!(frame.len() >= 14);
            *came.borrow_mut() += 1;
        }, || link.ended() == 1);
        prop_assert!(came.into_inner() + link.counter("drop_malformed") <= records.len() as u64 * 16);
        prop_assert_eq!(link.ended(), link.counter("closed_lost") + link.counter("closed_malformed"));
    }
}

#[test]
fn an_address_that_nobody_listens_on_is_dialled_until_somebody_does() {
    let dialler = open_on("127.0.0.1");
    let free = TcpListener::bind("127.0.0.16:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    dialler.add_far(1, &address.to_string()).unwrap();
    until(&[&dialler], || dialler.counter("closed_lost") >= 2);
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let stream = RefCell::new(None);
    until(&[&dialler], || {
        *stream.borrow_mut() = listener.accept().ok();
        stream.borrow().is_some()
    });
    let (mut stream, from) = stream.into_inner().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.1", "it dials from the endpoint's address");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut greeting = [0; 16];
    until(&[&dialler], || true);
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting[..14], GREETING[..14]);
}
