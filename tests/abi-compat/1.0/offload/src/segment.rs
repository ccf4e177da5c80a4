//! Cutting a super-frame into wire frames (TSO and USO in software). Headers are written into the caller's
//! buffers; payload is borrowed where it lies, so that a link can gather both in one send.

use crate::bytes::{be16_at, write_be16};
use crate::checksum::{Wide, pseudo};
use crate::{Ip, IpVersion, Layout, Offload, OffloadError, OffloadKind, Transport};

const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const TCP_FIN_PSH: u8 = 0x01 | 0x08;
const TCP_CWR: u8 = 0x80;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// The wire frames of one super-frame, in order. At least one; [`ExactSizeIterator::len`] tells how many
/// before any is written, which is how a caller bounds what a hostile segment size of 1 makes.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    plan: Plan<'a>,
    next: usize,
}

impl<'a> Segments<'a> {
    /// Plans the segmentation of `frame` as `offload` asks.
    ///
    /// Segments always carry whole checksums, whether or not that of the super-frame was partial. The one
    /// exception is UDP over IPv4 that came without (field 0 and not partial): its segments have none either.
    ///
    /// # Errors
    /// [`OffloadError::NotSuperFrame`], [`SegmentSizeZero`](OffloadError::SegmentSizeZero),
    /// [`HeaderBeyondFrame`](OffloadError::HeaderBeyondFrame), [`Malformed`](OffloadError::Malformed),
    /// [`KindMismatch`](OffloadError::KindMismatch), [`LengthMismatch`](OffloadError::LengthMismatch),
    /// [`ChecksumElsewhere`](OffloadError::ChecksumElsewhere).
    pub fn plan(frame: &'a [u8], offload: &Offload) -> Result<Segments<'a>, OffloadError> {
        check_metadata(frame, offload)?;
        let mismatch = OffloadError::KindMismatch { kind: offload.kind };
        let ip = Layout::parse(frame)?.ip.ok_or(mismatch)?;
        let protocol = protocol_of(&ip, offload.kind).ok_or(mismatch)?;
        check_lengths(frame, &ip)?;
        check_checksum_place(offload, &ip, protocol)?;

        let (header, payload) = frame.split_at(ip.transport_start + protocol.header_len());
        let segment_size = usize::from(offload.segment_size);
        let count = payload.len().div_ceil(segment_size).max(1);
        let is_summed = offload.needs_checksum || !is_without_checksum(frame, &ip, protocol);
        let network = network_base(&header[ip.start..ip.transport_start], ip.version);
        let transport =
            Wide::from(pseudo(frame, &ip, 0)) + transport_base(&header[ip.transport_start..], protocol);
        let bases = Bases { network, transport };
        let plan = Plan { header, payload, segment_size, count, ip, protocol, is_summed, bases };
        Ok(Segments { plan, next: 0 })
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let index = self.next;
        if index == self.plan.count {
            return None;
        }
        self.next += 1;
        Some(Segment { plan: self.plan, index })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Segments<'_> {}

/// One wire frame of a super-frame, not yet written anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    plan: Plan<'a>,
    index: usize,
}

impl<'a> Segment<'a> {
    /// Length of all headers in bytes, the same for every segment of a super-frame.
    pub fn header_len(&self) -> usize {
        self.plan.header.len()
    }

    /// This segment's share of the payload, where it lies in the super-frame.
    pub fn payload(&self) -> &'a [u8] {
        let start = self.payload_offset();
        let end = self.plan.payload.len().min(start + self.plan.segment_size);
        &self.plan.payload[start..end]
    }

    /// Length of the whole wire frame in bytes.
    pub fn wire_len(&self) -> usize {
        self.header_len() + self.payload().len()
    }

    /// Writes the wire frame to the front of `buffer` and returns its length.
    ///
    /// # Errors
    /// [`OffloadError::ShortBuffer`] if it does not fit; `buffer` is then untouched.
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, OffloadError> {
        let payload = self.payload();
        let wire_len = self.wire_len();
        let room = buffer.len();
        let frame = buffer.get_mut(..wire_len).ok_or(OffloadError::ShortBuffer { needed: wire_len, room })?;
        let header_len = self.write_header(frame)?;
        frame[header_len..].copy_from_slice(payload);
        Ok(wire_len)
    }

    /// Writes only the headers, checksums over the payload included, and returns their length: for a
    /// scattered send with [`payload`](Segment::payload) behind.
    ///
    /// # Errors
    /// [`OffloadError::ShortBuffer`] if they do not fit; `buffer` is then untouched.
    pub fn write_header(&self, buffer: &mut [u8]) -> Result<usize, OffloadError> {
        let needed = self.header_len();
        let room = buffer.len();
        let header = buffer.get_mut(..needed).ok_or(OffloadError::ShortBuffer { needed, room })?;
        header.copy_from_slice(self.plan.header);
        let (network, transport) = header.split_at_mut(self.plan.ip.transport_start);
        self.rewrite_network(&mut network[self.plan.ip.start..]);
        let varying = match self.plan.protocol {
            Protocol::Tcp { .. } => self.rewrite_tcp(transport),
            Protocol::Udp => self.rewrite_udp(transport),
        };
        self.rewrite_checksum(transport, varying);
        Ok(needed)
    }

    fn payload_offset(&self) -> usize {
        self.index * self.plan.segment_size
    }

    fn is_first(&self) -> bool {
        self.index == 0
    }

    fn is_last(&self) -> bool {
        self.index + 1 == self.plan.count
    }

    /// Length of transport header and payload.
    fn transport_len(&self) -> u16 {
        narrow(self.plan.protocol.header_len() + self.payload().len())
    }

    /// `network` is the IP header with all that stands before the transport header.
    fn rewrite_network(&self, network: &mut [u8]) {
        let after_ip_header = self.wire_len() - self.plan.ip.start;
        match self.plan.ip.version {
            IpVersion::V6 => write_be16(network, 4, narrow(after_ip_header - 40)),
            IpVersion::V4 { .. } => {
                let id = u16::from_be_bytes([network[4], network[5]]).wrapping_add(self.index as u16);
                let total_len = narrow(after_ip_header);
                let sum = self.plan.bases.network + Wide::word(total_len) + Wide::word(id);
                write_be16(network, 2, total_len);
                write_be16(network, 4, id);
                write_be16(network, 10, sum.fold().checksum());
            }
        }
    }

    /// Writes the fields of the TCP header that differ between segments; returns their sum.
    fn rewrite_tcp(&self, tcp: &mut [u8]) -> Wide {
        let sequence = &mut tcp[TCP_SEQUENCE..TCP_SEQUENCE + 4];
        let first = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
        let own = first.wrapping_add(self.payload_offset() as u32);
        sequence.copy_from_slice(&own.to_be_bytes());
        if !self.is_last() {
            tcp[TCP_FLAGS] &= !TCP_FIN_PSH;
        }
        if !self.is_first() {
            tcp[TCP_FLAGS] &= !TCP_CWR;
        }
        Wide::word((own >> 16) as u16) + Wide::word(own as u16) + Wide::word(u16::from(tcp[TCP_FLAGS]))
    }

    /// Writes the UDP length; returns its sum.
    fn rewrite_udp(&self, udp: &mut [u8]) -> Wide {
        let length = self.transport_len();
        write_be16(udp, UDP_LENGTH, length);
        Wide::word(length)
    }

    /// `varying` is the sum of the transport header's fields that are not in the base.
    fn rewrite_checksum(&self, transport: &mut [u8], varying: Wide) {
        if !self.plan.is_summed {
            return;
        }
        // Transport headers are even in length, so the payload starts on a word.
        let header = self.plan.bases.transport + varying + Wide::word(self.transport_len());
        let sum = (header + Wide::of(self.payload())).fold();
        write_be16(transport, self.plan.protocol.checksum_offset(), sum.nonzero_checksum());
    }
}

/// What all segments of a super-frame share.
#[derive(Clone, Copy, Debug)]
struct Plan<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    segment_size: usize,
    count: usize,
    ip: Ip,
    protocol: Protocol,
    /// False only for UDP over IPv4 that goes without a checksum.
    is_summed: bool,
    bases: Bases,
}

/// The sums of all header fields that no segment changes, made once for the super-frame.
#[derive(Clone, Copy, Debug)]
struct Bases {
    /// Of the IPv4 header without lengths, identification and checksum; of IPv6, which has no checksum,
    /// nothing.
    network: Wide,
    /// Of the pseudo-header without the length, and of the transport header without sequence, flags, length
    /// and checksum.
    transport: Wide,
}

fn network_base(network: &[u8], version: IpVersion) -> Wide {
    match version {
        IpVersion::V4 { .. } => {
            Wide::of(&network[..2]) + Wide::of(&network[6..10]) + Wide::of(&network[12..])
        }
        IpVersion::V6 => Wide::default(),
    }
}

fn transport_base(transport: &[u8], protocol: Protocol) -> Wide {
    let ports = Wide::of(&transport[..4]);
    match protocol {
        Protocol::Tcp { .. } => {
            let data_offset = Wide::word(u16::from(transport[TCP_FLAGS - 1]) << 8);
            ports
                + Wide::of(&transport[8..12])
                + data_offset
                + Wide::of(&transport[14..TCP_CHECKSUM])
                + Wide::of(&transport[TCP_CHECKSUM + 2..])
        }
        Protocol::Udp => ports,
    }
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Tcp { header_len: usize },
    Udp,
}

impl Protocol {
    fn header_len(self) -> usize {
        match self {
            Protocol::Tcp { header_len } => header_len,
            Protocol::Udp => 8,
        }
    }

    fn checksum_offset(self) -> usize {
        match self {
            Protocol::Tcp { .. } => TCP_CHECKSUM,
            Protocol::Udp => UDP_CHECKSUM,
        }
    }
}

fn check_metadata(frame: &[u8], offload: &Offload) -> Result<(), OffloadError> {
    let header_len = usize::from(offload.header_len);
    if !offload.is_super_frame() {
        return Err(OffloadError::NotSuperFrame);
    }
    if offload.segment_size == 0 {
        return Err(OffloadError::SegmentSizeZero);
    }
    if header_len > frame.len() {
        return Err(OffloadError::HeaderBeyondFrame { header_len, frame_len: frame.len() });
    }
    Ok(())
}

/// The protocol to segment by, if the frame is what the metadata calls it.
fn protocol_of(ip: &Ip, kind: OffloadKind) -> Option<Protocol> {
    match (kind, ip.version, ip.transport) {
        (OffloadKind::Tcp4, IpVersion::V4 { .. }, Transport::Tcp { header_len })
        | (OffloadKind::Tcp6, IpVersion::V6, Transport::Tcp { header_len }) => {
            Some(Protocol::Tcp { header_len })
        }
        (OffloadKind::Udp, _, Transport::Udp { .. }) => Some(Protocol::Udp),
        _ => None,
    }
}

/// A super-frame has no padding: its headers must account for every byte.
fn check_lengths(frame: &[u8], ip: &Ip) -> Result<(), OffloadError> {
    let claimed = match ip.transport {
        Transport::Udp { length } => ip.transport_start + length,
        _ => ip.end,
    };
    let frame_len = frame.len();
    if claimed == frame_len { Ok(()) } else { Err(OffloadError::LengthMismatch { claimed, frame_len }) }
}

/// A partial checksum elsewhere than in this transport header belongs to something inside the payload (a
/// tunnel of the guest's), whose inner headers would be left wrong.
fn check_checksum_place(offload: &Offload, ip: &Ip, protocol: Protocol) -> Result<(), OffloadError> {
    let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
    let is_ours = start == ip.transport_start && offset == protocol.checksum_offset();
    if !offload.needs_checksum || is_ours {
        Ok(())
    } else {
        Err(OffloadError::ChecksumElsewhere { start, offset })
    }
}

/// UDP over IPv4 may go without a checksum (RFC 768); over IPv6 only certain tunnels may (RFC 6935), and one
/// that is right harms nobody.
fn is_without_checksum(frame: &[u8], ip: &Ip, protocol: Protocol) -> bool {
    matches!((ip.version, protocol), (IpVersion::V4 { .. }, Protocol::Udp))
        && be16_at(frame, ip.transport_start + UDP_CHECKSUM) == Some(0)
}

/// A length no longer than the super-frame's own, which stood in a 16-bit field.
fn narrow(length: usize) -> u16 {
    u16::try_from(length).expect("a segment is no longer than its super-frame, whose lengths have 16 bits")
}
