//! Joining wire frames into a super-frame (GRO in software), the inverse of [`crate::segment`]. Only headers
//! are read and written here: the caller places the payloads one behind the other, or gathers them in one
//! write, and so decides what is copied.
//!
//! Frames are taken in the order they came and only the newest is ever joined to the one before, so order
//! cannot change. What may be joined is what Linux joins: same addresses, ports, options (time stamps too),
//! acknowledgement, window, traffic class and hop limit; contiguous; of one size, but for a shorter last one.
//! Cut again, the super-frame gives the same wire frames, with two liberties that no receiver can tell: IPv4
//! identifications that stood still under "don't fragment", where they mean nothing (RFC 6864 §4.1), come out
//! counting, and a TCP checksum of 0 comes out as its equal, 0xffff.

mod shape;

use thiserror::Error;

use crate::bytes::{array_at, be16_at, write_be16};
use crate::checksum::Wide;
use crate::{Offload, OffloadKind};
use shape::{MAX_HEADER, Shape, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQUENCE};

/// Most frames in one super-frame: as many as the kernel sends datagrams for one UDP super-frame.
pub const MAX_FRAMES: usize = 64;

/// Most bytes from the IP header on: the 16-bit length of IPv4.
const MAX_IP_LEN: usize = 65_535;

/// What is made of the checksums of the frames to be joined. The super-frame gets a partial one, which the
/// receiver takes for right, so a wrong one must not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// Every frame's are verified, payload included. One that is wrong goes on alone and the guest sees it.
    Verify,
    /// They are taken for right: the datagram came authenticated from a node that had them right.
    Trust,
}

/// Why a frame cannot be joined to a super-frame. A closed set: each value may be a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum NotMergeable {
    /// A shorter frame, PSH or FIN has ended the super-frame.
    #[error("a shorter frame or a flag has ended the super-frame")]
    Closed,
    /// There is no room for another frame: 64 frames or 65,535 bytes of IP.
    #[error("the super-frame is full")]
    Full,
    /// The frame is of another flow, or differs in a header field that the whole super-frame shares.
    #[error("the headers differ")]
    Headers,
    /// The frame has no payload, or more than the first.
    #[error("the payload is empty or longer than that of the first frame")]
    PayloadLength,
    /// The lengths in the IP or UDP header are not those of the frame.
    #[error("the lengths in the headers are not those of the frame")]
    HeaderLengths,
    /// The TCP sequence number does not follow on.
    #[error("the sequence number does not follow on")]
    Sequence,
    /// The IPv4 identification does not follow on.
    #[error("the identification does not follow on")]
    Identification,
    /// CWR, which only the first frame of a super-frame may have (RFC 3168 §6.1.2).
    #[error("CWR is set on a later frame")]
    Cwr,
    /// The UDP checksum is absent. The kernel refuses super-frames without (`EINVAL`), and giving them one would
    /// alter what the guest sent.
    #[error("the frame has no checksum")]
    ChecksumAbsent,
    /// A checksum is wrong.
    #[error("a checksum is wrong")]
    WrongChecksum,
}

/// A super-frame in the making.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The first frame's.
    header: [u8; MAX_HEADER],
    shape: Shape,
    policy: ChecksumPolicy,
    segment_size: usize,
    payload_len: usize,
    frames: usize,
    is_closed: bool,
    /// By how much the IPv4 identification grows; known from the second frame on.
    id_step: u16,
    /// PSH and FIN of the newest frame.
    last_flags: u8,
    /// The pseudo-header without the length.
    pseudo: Wide,
}

impl Merge {
    /// Begins with a whole wire frame, if it may be part of a super-frame and, under
    /// [`ChecksumPolicy::Verify`], its checksums are right. Whoever gets `None` passes the frame on as it is.
    ///
    /// Never begins with SYN, RST or URG, without payload or UDP checksum, with IPv4 options, IPv6 extension headers, more than
    /// one VLAN tag, or Ethernet padding. PSH and FIN begin a super-frame that [is closed](Merge::is_closed).
    pub fn start(frame: &[u8], policy: ChecksumPolicy) -> Option<Merge> {
        let (shape, pseudo) = Shape::of(frame)?;
        let (own, payload) = frame.split_at_checked(shape.header_len)?;
        if !is_summed(&shape, own) {
            return None;
        }
        let mut header = [0; MAX_HEADER];
        header.get_mut(..own.len())?.copy_from_slice(own);
        let last_flags = ending_flags(&shape, own);
        let merge = Merge {
            header,
            shape,
            policy,
            segment_size: payload.len(),
            payload_len: payload.len(),
            frames: 1,
            is_closed: last_flags != 0,
            id_step: 0,
            last_flags,
            pseudo,
        };
        merge.has_right_checksums(own, payload).then_some(merge)
    }

    /// Joins the next frame, given as its headers and its payload, or says why it must go on alone; the
    /// super-frame is then as before.
    ///
    /// # Errors
    /// [`NotMergeable`]. Whatever the reason, frames of the same flow that follow must not be joined to this
    /// super-frame any more, or they would overtake the refused one: finish it and start anew.
    #[inline]
    pub fn push(&mut self, header: &[u8], payload: &[u8]) -> Result<(), NotMergeable> {
        self.check_room(payload.len())?;
        if !self.shape.agrees(header, &self.header) {
            return Err(NotMergeable::Headers);
        }
        self.check_lengths(header, payload.len())?;
        let id_step = self.check_identification(header)?;
        if !self.shape.is_udp {
            self.check_tcp(header)?;
        } else if !is_summed(&self.shape, header) {
            return Err(NotMergeable::ChecksumAbsent);
        }
        if !self.has_right_checksums(header, payload) {
            return Err(NotMergeable::WrongChecksum);
        }
        self.frames += 1;
        self.payload_len += payload.len();
        self.id_step = id_step;
        self.last_flags = ending_flags(&self.shape, header);
        self.is_closed = payload.len() < self.segment_size || self.last_flags != 0;
        Ok(())
    }

    /// Ends the super-frame: writes its headers to the front of `header`, where those of the first frame may
    /// stand, and returns its metadata. The payloads belong right behind, in order.
    ///
    /// A super-frame of one frame keeps that frame's headers; its metadata say
    /// [`data_valid`](Offload::data_valid), as its checksum has been verified or is trusted.
    ///
    /// # Panics
    /// If `header` is shorter than [`header_len`](Merge::header_len).
    pub fn finish(self, header: &mut [u8]) -> Offload {
        let header = &mut header[..self.shape.header_len];
        header.copy_from_slice(&self.header[..self.shape.header_len]);
        if self.frames == 1 {
            return Offload { data_valid: true, ..Offload::default() };
        }
        self.write_network(&mut header[self.shape.ip..]);
        self.write_transport(&mut header[self.shape.transport..]);
        self.metadata()
    }

    /// Length of all headers of each frame, and of the super-frame, in bytes.
    pub fn header_len(&self) -> usize {
        self.shape.header_len
    }

    /// Payload bytes of every frame but perhaps the last.
    pub fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// Payload bytes joined so far.
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// How many frames are joined so far; at least 1.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Whether no frame can follow: the last was shorter than the first, or had PSH or FIN.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    #[inline]
    fn check_room(&self, payload_len: usize) -> Result<(), NotMergeable> {
        if self.is_closed {
            return Err(NotMergeable::Closed);
        }
        if payload_len == 0 || payload_len > self.segment_size {
            return Err(NotMergeable::PayloadLength);
        }
        let ip_len = self.shape.ip_overhead() + self.payload_len + payload_len;
        if self.frames == MAX_FRAMES || ip_len > MAX_IP_LEN {
            return Err(NotMergeable::Full);
        }
        Ok(())
    }

    #[inline]
    fn check_lengths(&self, header: &[u8], payload_len: usize) -> Result<(), NotMergeable> {
        let shape = &self.shape;
        let (field, expected) = if shape.is_ipv6 {
            (shape.ip + 4, shape.transport_len() + payload_len)
        } else {
            (shape.ip + 2, shape.ip_overhead() + payload_len)
        };
        let is_right = |field, expected| be16_at(header, field).map(usize::from) == Some(expected);
        let is_udp_right =
            !shape.is_udp || is_right(shape.transport + 4, shape.transport_len() + payload_len);
        if is_right(field, expected) && is_udp_right { Ok(()) } else { Err(NotMergeable::HeaderLengths) }
    }

    /// By how much the identification grows from frame to frame: by one, or under "don't fragment" not at all.
    #[inline]
    fn check_identification(&self, header: &[u8]) -> Result<u16, NotMergeable> {
        const DONT_FRAGMENT: u8 = 0x40;
        if self.shape.is_ipv6 {
            return Ok(0);
        }
        let id = |header| be16_at(header, self.shape.ip + 4).ok_or(NotMergeable::Headers);
        let grown = id(header)?.wrapping_sub(id(&self.header)?);
        let may_stand = self.header[self.shape.ip + 6] & DONT_FRAGMENT != 0;
        let step = match grown {
            0 if may_stand && (self.frames == 1 || self.id_step == 0) => 0,
            grown if usize::from(grown) == self.frames && (self.frames == 1 || self.id_step == 1) => 1,
            _ => return Err(NotMergeable::Identification),
        };
        Ok(step)
    }

    #[inline]
    fn check_tcp(&self, header: &[u8]) -> Result<(), NotMergeable> {
        let sequence = |header| {
            array_at(header, self.shape.transport + TCP_SEQUENCE)
                .map(u32::from_be_bytes)
                .ok_or(NotMergeable::Headers)
        };
        if sequence(header)?.wrapping_sub(sequence(&self.header)?) as usize != self.payload_len {
            return Err(NotMergeable::Sequence);
        }
        if header[self.shape.transport + TCP_FLAGS] & TCP_CWR != 0 {
            return Err(NotMergeable::Cwr);
        }
        Ok(())
    }

    #[inline]
    fn has_right_checksums(&self, header: &[u8], payload: &[u8]) -> bool {
        if self.policy == ChecksumPolicy::Trust {
            return true;
        }
        let (network, transport) = header.split_at(self.shape.transport);
        if !self.shape.is_ipv6 && !Wide::of(&network[self.shape.ip..]).fold().is_valid() {
            return false;
        }
        // Bounded by the IP length, which has been checked to be that of the frame.
        let length = Wide::word((transport.len() + payload.len()) as u16);
        (self.pseudo + length + Wide::of(transport) + Wide::of(payload)).fold().is_valid()
    }

    fn write_network(&self, network: &mut [u8]) {
        let after_ip_header = narrow(self.shape.transport_len() + self.payload_len);
        if self.shape.is_ipv6 {
            write_be16(network, 4, after_ip_header);
            return;
        }
        write_be16(network, 2, narrow(self.shape.ip_overhead() + self.payload_len));
        write_be16(network, 10, 0);
        let checksum = Wide::of(&network[..self.shape.transport - self.shape.ip]).fold().checksum();
        write_be16(network, 10, checksum);
    }

    fn write_transport(&self, transport: &mut [u8]) {
        let length = narrow(self.shape.transport_len() + self.payload_len);
        if self.shape.is_udp {
            write_be16(transport, 4, length);
        } else {
            transport[TCP_FLAGS] |= self.last_flags;
        }
        let partial = (self.pseudo + Wide::word(length)).fold().partial();
        write_be16(transport, self.shape.checksum_offset(), partial);
    }

    fn metadata(&self) -> Offload {
        let kind = match (self.shape.is_udp, self.shape.is_ipv6) {
            (true, _) => OffloadKind::Udp,
            (false, false) => OffloadKind::Tcp4,
            (false, true) => OffloadKind::Tcp6,
        };
        let has_cwr = !self.shape.is_udp && self.header[self.shape.transport + TCP_FLAGS] & TCP_CWR != 0;
        Offload {
            kind,
            ecn: has_cwr,
            needs_checksum: true,
            data_valid: false,
            header_len: narrow(self.shape.header_len),
            segment_size: narrow(self.segment_size),
            checksum_start: narrow(self.shape.transport),
            checksum_offset: narrow(self.shape.checksum_offset()),
        }
    }
}

/// PSH and FIN, which end a super-frame.
#[inline]
fn ending_flags(shape: &Shape, header: &[u8]) -> u8 {
    if shape.is_udp { 0 } else { header[shape.transport + TCP_FLAGS] & (TCP_PSH | TCP_FIN) }
}

/// Whether there is a transport checksum: UDP over IPv4 may go without (RFC 768), and some of its tunnels over
/// IPv6 (RFC 6935).
#[inline]
fn is_summed(shape: &Shape, header: &[u8]) -> bool {
    !shape.is_udp || header[shape.transport + 6..][..2] != [0, 0]
}

/// A length that has been checked against the largest IP length.
fn narrow(length: usize) -> u16 {
    u16::try_from(length).expect("no frame is joined past the largest IP length")
}
