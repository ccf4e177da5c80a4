//! The kernel's own segmentation as the measure: each file of `tests/kernel/` holds one super-frame as
//! AF_PACKET gave it with its virtio-net header, and the wire frames that Linux 6.18 made of it on a veth
//! without any offload.
//!
//! guest a (offload) ── veth, super-frame recorded ── bridge ── veth (no offload), wire frames recorded ──
//! guest b

#![allow(clippy::unwrap_used, reason = "tests may")]

use vreserve_offload::{Integrity, Offload, OffloadKind, Segments, VnetHeader, checksum};

struct Recording {
    offload: Offload,
    super_frame: Vec<u8>,
    wire_frames: Vec<Vec<u8>>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The recordings were made on a little-endian machine; the header is in the byte order of this one.
fn vnet_header(hex: &str) -> VnetHeader {
    let mut header: [u8; VnetHeader::LEN] = bytes(hex).try_into().unwrap();
    for field in header[2..].chunks_exact_mut(2) {
        let value = u16::from_le_bytes([field[0], field[1]]);
        field.copy_from_slice(&value.to_ne_bytes());
    }
    VnetHeader(header)
}

fn read(text: &str) -> Recording {
    let mut lines = text.lines();
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    Recording {
        offload: vnet_header(first[1]).decode().unwrap(),
        super_frame: bytes(first[2]),
        wire_frames: lines.map(|line| bytes(line.strip_prefix("wire ").unwrap())).collect(),
    }
}

fn check(text: &str, kind: OffloadKind) {
    let Recording { offload, mut super_frame, wire_frames } = read(text);
    assert_eq!((offload.kind, offload.segment_size, wire_frames.len()), (kind, 200, 5));
    let segments = Segments::plan(&super_frame, &offload).unwrap();
    assert_eq!(segments.len(), wire_frames.len());
    let mut buffer = [0; 2_000];
    for (segment, expected) in segments.zip(&wire_frames) {
        let len = segment.write(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], expected);
    }

    let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
    checksum::complete(&mut super_frame, start, offset).unwrap();
    assert_eq!(checksum::verify(&super_frame), Ok(Integrity::Valid));
}

#[test]
fn tcp_over_ipv4_is_cut_as_the_kernel_cuts_it() {
    check(include_str!("kernel/tcp4.txt"), OffloadKind::Tcp4);
}

#[test]
fn tcp_over_ipv6_is_cut_as_the_kernel_cuts_it() {
    check(include_str!("kernel/tcp6.txt"), OffloadKind::Tcp6);
}

#[test]
fn udp_over_ipv4_is_cut_as_the_kernel_cuts_it() {
    check(include_str!("kernel/udp4.txt"), OffloadKind::Udp);
}

#[test]
fn udp_over_ipv6_is_cut_as_the_kernel_cuts_it() {
    check(include_str!("kernel/udp6.txt"), OffloadKind::Udp);
}
