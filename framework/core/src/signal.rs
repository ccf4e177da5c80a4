//! Signals: the frames that nodes exchange in-band, over the same links as the guests' frames.
//!
//! Probes and their replies measure a link, loads and theirs the rate that it delivers, barriers and their
//! acknowledgements order a planned cut-over. What lives here: the layout and its reading. What does not:
//! when a signal is sent (`liveness`, `probe`, `switch`) and whether the link it names is the one it came
//! over (the caller knows that).
//!
//! Layout, big endian: destination, source, EtherType 0x88B5, magic `VRSV`, version, kind, link (8 octets),
//! nonce (8), stamp (8); for loads and all replies number, counted, elapsed and idle (4 each); padding.
//! Any frame can be handed to [`Signal::decode`]: signals cross networks that are not ours.

use thiserror::Error;
use vreserve_model::{MacAddr, Timestamp};

use crate::ids::LinkId;

/// The EtherType of signals: IEEE 802 Local Experimental EtherType 1. Guests may not use it.
pub use crate::frame::SIGNAL_ETHERTYPE;

/// Source and destination of signals that end at the far node of a link; no guest may own it.
pub const SIGNAL_STATION: MacAddr = MacAddr([0x02, 0x56, 0x52, 0x00, 0x00, 0x01]);

/// Of a barrier: its pair's ingress and egress nodes share no circuit, as a node between relays the pair's frames. No
/// link has this identity.
pub const NO_LINK: LinkId = LinkId(0);

/// The shortest signal in octets: the least Ethernet frame without its check sequence.
pub const SIGNAL_LENGTH: usize = 60;

const MAGIC: [u8; 4] = *b"VRSV";
const VERSION: u8 = 1;
/// Octets before the padding.
const FIELDS: usize = 44;

/// What a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SignalKind {
    /// Asks the far node of the link for a reply of the same length.
    Probe = 1,
    /// Answers a probe.
    ProbeReply = 2,
    /// Follows a pair's last frame down the old path of a planned cut-over.
    Barrier = 3,
    /// Says that the barrier has come out at the pair's egress node: over the circuit named, or as a frame of the
    /// pair the other way round if none was.
    BarrierAck = 4,
    /// One of many that are sent at the rate to be measured; asks for a reply of the same length.
    Load = 5,
    /// Answers a load, and says what has arrived of its measurement so far.
    LoadReply = 6,
}

/// What loads and their replies carry besides. Replies to probes carry `idle` only, as a count without a
/// beginning; in all other signals it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadMark {
    /// The load's number in its measurement, from 0; echoed in the reply.
    pub number: u32,
    /// Loads of the measurement that have come in at the answering node, this one included.
    pub counted: u32,
    /// Microseconds since the first of them, by the answering node's clock.
    pub elapsed_us: u32,
    /// How often since then the answering worker found nothing left to do: one that never did was itself
    /// what held the loads up.
    pub idle: u32,
}

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What it is for.
    pub kind: SignalKind,
    /// The pair's source for a barrier, its destination for the acknowledgement of one that names no circuit, else
    /// [`SIGNAL_STATION`].
    pub source: MacAddr,
    /// Likewise the pair's destination, its source, or [`SIGNAL_STATION`].
    pub destination: MacAddr,
    /// The link it is sent over; for a barrier the circuit that the acknowledgement must take. [`NO_LINK`] for a
    /// barrier without one, and for its acknowledgement.
    pub link: LinkId,
    /// Random; ties an answer to its question.
    pub nonce: u64,
    /// The asking node's clock at the time of asking; echoed in the answer.
    pub stamp: Timestamp,
    /// For loads and replies.
    pub load: LoadMark,
}

/// Why a frame is not a signal that this node can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadSignal {
    /// Shorter than any node sends.
    #[error("signal of {0} octets, at least {SIGNAL_LENGTH} expected")]
    TooShort(usize),
    /// Not the EtherType of signals.
    #[error("ethertype {0:#06x} is not that of signals")]
    EtherType(u16),
    /// The EtherType is free for anyone's experiments; this is somebody else's.
    #[error("not a signal of this overlay")]
    Magic,
    /// From a node of another generation.
    #[error("signal version {0}, {VERSION} expected")]
    Version(u8),
    /// No such kind in this version.
    #[error("unknown signal kind {0}")]
    Kind(u8),
    /// The addresses do not fit the kind.
    #[error("addresses {source_address} to {destination} do not fit the signal's kind")]
    Addresses {
        /// The frame's source.
        source_address: MacAddr,
        /// The frame's destination.
        destination: MacAddr,
    },
}

/// True if the frame has the EtherType of signals. Says nothing about the rest of it.
pub fn is_signal(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&SIGNAL_ETHERTYPE.to_be_bytes())
}

impl Signal {
    /// A probe of `link`.
    pub fn probe(link: LinkId, nonce: u64, stamp: Timestamp) -> Signal {
        Signal::between_nodes(SignalKind::Probe, link, nonce, stamp)
    }

    /// The load with this number of the measurement `nonce` over `link`.
    pub fn load(link: LinkId, nonce: u64, number: u32, stamp: Timestamp) -> Signal {
        let load = LoadMark { number, ..LoadMark::default() };
        Signal { load, ..Signal::between_nodes(SignalKind::Load, link, nonce, stamp) }
    }

    /// A barrier behind the frames from `source` to `destination`, to be acknowledged over `circuit`, or the way that
    /// frames between the two guests take if there is none.
    pub fn barrier(
        circuit: Option<LinkId>,
        source: MacAddr,
        destination: MacAddr,
        nonce: u64,
        stamp: Timestamp,
    ) -> Signal {
        let (link, load) = (circuit.unwrap_or(NO_LINK), LoadMark::default());
        Signal { kind: SignalKind::Barrier, source, destination, link, nonce, stamp, load }
    }

    /// The answer to this signal; `None` for answers themselves, which nobody answers.
    ///
    /// Encode it with the length of the frame that was received: a reply as long as its probe proves that
    /// length in both directions, and an answer is never longer than its question.
    pub fn answer(&self) -> Option<Signal> {
        let kind = match self.kind {
            SignalKind::Probe => SignalKind::ProbeReply,
            SignalKind::Barrier => SignalKind::BarrierAck,
            SignalKind::Load => SignalKind::LoadReply,
            SignalKind::ProbeReply | SignalKind::BarrierAck | SignalKind::LoadReply => return None,
        };
        let answer =
            Signal { load: self.load, ..Signal::between_nodes(kind, self.link, self.nonce, self.stamp) };
        if self.kind == SignalKind::Barrier && self.link == NO_LINK {
            return Some(Signal { source: self.destination, destination: self.source, ..answer });
        }
        Some(answer)
    }

    /// The circuit that a barrier or its acknowledgement names.
    pub fn circuit(&self) -> Option<LinkId> {
        (self.link != NO_LINK).then_some(self.link)
    }

    /// True if it goes where frames between its two guests go, by the rules, and not to the far end of a link.
    pub fn is_between_guests(&self) -> bool {
        self.kind == SignalKind::Barrier || self.kind == SignalKind::BarrierAck && self.link == NO_LINK
    }

    /// Writes the signal at the start of `buffer`, padded with zeroes to `length` octets (at least
    /// [`SIGNAL_LENGTH`]), and returns the length of the frame; `None`, and nothing is written, if the
    /// buffer is shorter than that.
    pub fn encode(&self, length: usize, buffer: &mut [u8]) -> Option<usize> {
        let length = length.max(SIGNAL_LENGTH);
        let frame = buffer.get_mut(..length)?;
        frame[..6].copy_from_slice(&self.destination.0);
        frame[6..12].copy_from_slice(&self.source.0);
        frame[12..14].copy_from_slice(&SIGNAL_ETHERTYPE.to_be_bytes());
        frame[14..18].copy_from_slice(&MAGIC);
        frame[18] = VERSION;
        frame[19] = self.kind as u8;
        frame[20..28].copy_from_slice(&self.link.0.to_be_bytes());
        frame[28..36].copy_from_slice(&self.nonce.to_be_bytes());
        frame[36..FIELDS].copy_from_slice(&self.stamp.0.to_be_bytes());
        frame[FIELDS..].fill(0);
        if self.kind.has_mark() {
            let LoadMark { number, counted, elapsed_us, idle } = self.load;
            for (field, value) in frame[FIELDS..].chunks_exact_mut(4).zip([number, counted, elapsed_us, idle])
            {
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        Some(length)
    }

    /// Reads a signal; what the padding holds does not matter.
    pub fn decode(frame: &[u8]) -> Result<Signal, BadSignal> {
        let short = BadSignal::TooShort(frame.len());
        let fields: &[u8; SIGNAL_LENGTH] = frame.first_chunk().ok_or(short)?;
        let mac_at = |at: usize| MacAddr(std::array::from_fn(|i| fields[at + i]));
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
        let ethertype = u16::from_be_bytes([fields[12], fields[13]]);
        if ethertype != SIGNAL_ETHERTYPE {
            return Err(BadSignal::EtherType(ethertype));
        }
        if fields[14..18] != MAGIC {
            return Err(BadSignal::Magic);
        }
        if fields[18] != VERSION {
            return Err(BadSignal::Version(fields[18]));
        }
        let kind = SignalKind::from_octet(fields[19])?;
        let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
        let load = |from: usize| LoadMark {
            number: u32_at(from),
            counted: u32_at(from + 4),
            elapsed_us: u32_at(from + 8),
            idle: u32_at(from + 12),
        };
        let signal = Signal {
            kind,
            source: mac_at(6),
            destination: mac_at(0),
            link: LinkId(u64_at(20)),
            nonce: u64_at(28),
            stamp: Timestamp(u64_at(36)),
            load: if kind.has_mark() { load(FIELDS) } else { LoadMark::default() },
        };
        if signal.has_fitting_addresses() { Ok(signal) } else { Err(signal.misaddressed()) }
    }

    fn between_nodes(kind: SignalKind, link: LinkId, nonce: u64, stamp: Timestamp) -> Signal {
        let (source, destination, load) = (SIGNAL_STATION, SIGNAL_STATION, LoadMark::default());
        Signal { kind, source, destination, link, nonce, stamp, load }
    }

    /// What goes where frames between guests go never goes to a group; everything else stays on its link.
    fn has_fitting_addresses(&self) -> bool {
        let addresses = [self.source, self.destination];
        if self.is_between_guests() {
            addresses.iter().all(|mac| mac.is_station() && *mac != SIGNAL_STATION)
        } else {
            addresses == [SIGNAL_STATION; 2]
        }
    }

    fn misaddressed(&self) -> BadSignal {
        BadSignal::Addresses { source_address: self.source, destination: self.destination }
    }
}

impl SignalKind {
    fn from_octet(octet: u8) -> Result<SignalKind, BadSignal> {
        use SignalKind::{Barrier, BarrierAck, Load, LoadReply, Probe, ProbeReply};
        [Probe, ProbeReply, Barrier, BarrierAck, Load, LoadReply]
            .into_iter()
            .find(|kind| *kind as u8 == octet)
            .ok_or(BadSignal::Kind(octet))
    }

    fn has_mark(self) -> bool {
        matches!(self, SignalKind::ProbeReply | SignalKind::Load | SignalKind::LoadReply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUEST_A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
    const GUEST_B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

    fn signals(link: u64, nonce: u64, stamp: u64) -> [Signal; 8] {
        let (link, stamp) = (LinkId(link), Timestamp(stamp));
        let probe = Signal::probe(link, nonce, stamp);
        let barrier = Signal::barrier(Some(link), GUEST_A, GUEST_B, nonce, stamp);
        let relayed = Signal::barrier(None, GUEST_A, GUEST_B, nonce, stamp);
        let load = Signal::load(link, nonce, 0x0102_0304, stamp);
        let reply = load.answer().unwrap();
        let reply = Signal { load: LoadMark { counted: 5, elapsed_us: 6, idle: 7, ..reply.load }, ..reply };
        let [ack, relayed_ack] = [barrier, relayed].map(|barrier| barrier.answer().unwrap());
        [probe, probe.answer().unwrap(), barrier, ack, relayed, relayed_ack, load, reply]
    }

    #[test]
    fn the_layout_on_the_wire_is_fixed() {
        let mut frame = [0xff; SIGNAL_LENGTH];
        let barrier = Signal::barrier(Some(LinkId(7)), GUEST_A, GUEST_B, 0x0102_0304_0506_0708, Timestamp(9));
        assert_eq!(barrier.encode(0, &mut frame), Some(60));
        let mut expected = vec![2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x88, 0xb5];
        expected.extend(b"VRSV\x01\x03");
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        expected.resize(60, 0);
        assert_eq!(frame.as_slice(), expected);
    }

    #[test]
    fn a_load_carries_its_number_and_its_reply_what_was_counted() {
        let mut frame = [0xff; 100];
        let [.., load, reply] = signals(7, 8, 9);
        reply.encode(100, &mut frame);
        assert_eq!(frame[19], 6);
        assert_eq!(frame[44..60], [1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7]);
        assert!(frame[60..].iter().all(|octet| *octet == 0));
        assert_eq!((load.load.number, reply.load.number), (0x0102_0304, 0x0102_0304));
        assert_eq!(reply.answer(), None);
    }

    #[test]
    fn a_signal_that_does_not_fit_its_buffer_is_not_sent_shorter_than_asked() {
        let probe = Signal::probe(LinkId(1), 2, Timestamp(3));
        assert_eq!(probe.encode(1515, &mut [0; 1514]), None);
        assert_eq!(probe.encode(1514, &mut [0; 1514]), Some(1514));
        assert_eq!(probe.encode(0, &mut [0; SIGNAL_LENGTH - 1]), None);
    }

    #[test]
    fn answers_are_not_answered() {
        let [probe, reply, barrier, ack, _, relayed, ..] = signals(1, 2, 3);
        assert_eq!((probe.kind, reply.kind), (SignalKind::Probe, SignalKind::ProbeReply));
        assert_eq!((reply.answer(), ack.answer(), relayed.answer()), (None, None, None));
        assert_eq!((ack.link, ack.nonce, ack.stamp), (barrier.link, barrier.nonce, barrier.stamp));
        assert_eq!(ack.destination, SIGNAL_STATION, "the acknowledgement stays on the circuit");
    }

    #[test]
    fn a_barrier_without_a_circuit_is_answered_as_one_guest_would_answer_the_other() {
        let [.., relayed, ack, _, _] = signals(1, 2, 3);
        assert_eq!((relayed.link, ack.link), (NO_LINK, NO_LINK));
        assert_eq!((ack.source, ack.destination), (GUEST_B, GUEST_A));
        assert_eq!((ack.kind, ack.nonce, ack.stamp), (SignalKind::BarrierAck, relayed.nonce, relayed.stamp));
    }

    #[test]
    fn each_defect_is_named() {
        let mut good = [0; 64];
        signals(1, 2, 3)[0].encode(64, &mut good);
        let broken = |at: usize, octet: u8| {
            let mut frame = good;
            frame[at] = octet;
            Signal::decode(&frame)
        };
        assert_eq!(Signal::decode(&good[..59]), Err(BadSignal::TooShort(59)));
        assert_eq!(broken(13, 0xb6), Err(BadSignal::EtherType(0x88b6)));
        assert_eq!(broken(14, b'X'), Err(BadSignal::Magic));
        assert_eq!(broken(18, 2), Err(BadSignal::Version(2)));
        assert_eq!(broken(19, 7), Err(BadSignal::Kind(7)));
        assert!(matches!(broken(11, 2), Err(BadSignal::Addresses { .. })), "a probe from a guest's address");
        assert!(matches!(broken(19, 3), Err(BadSignal::Addresses { .. })), "a barrier between nodes");
        assert!(broken(63, 0xff).is_ok(), "padding is not looked at");
    }

    #[test]
    fn a_barrier_to_a_group_is_refused() {
        let mut frame = [0; SIGNAL_LENGTH];
        let barrier = Signal::barrier(Some(LinkId(1)), GUEST_A, MacAddr::BROADCAST, 2, Timestamp(3));
        barrier.encode(0, &mut frame);
        assert!(matches!(Signal::decode(&frame), Err(BadSignal::Addresses { .. })));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(link: u64, nonce: u64, stamp: u64, length in 0_usize..9000) {
            let mut buffer = vec![0xaa; 9000];
            for signal in signals(link, nonce, stamp) {
                let written = signal.encode(length, &mut buffer).unwrap();
                prop_assert_eq!(written, length.max(SIGNAL_LENGTH));
                prop_assert!(is_signal(&buffer[..written]));
                prop_assert_eq!(Signal::decode(&buffer[..written]), Ok(signal));
            }
        }

        #[test]
        fn any_octets_decode_without_a_panic_and_are_never_amplified(
            mut frame in proptest::collection::vec(any::<u8>(), 0..200),
            looks_right: bool,
            kind in 0_u8..8,
        ) {
            if looks_right && frame.len() >= 20 {
                frame[..12].copy_from_slice(&[SIGNAL_STATION.0, SIGNAL_STATION.0].concat());
                frame[12..20].copy_from_slice(&[0x88, 0xb5, b'V', b'R', b'S', b'V', VERSION, kind]);
            }
            if let Some(answer) = Signal::decode(&frame).ok().and_then(|signal| signal.answer()) {
                let written = answer.encode(frame.len(), &mut vec![0; 9000]);
                prop_assert_eq!(written, Some(frame.len()));
            }
        }
    }
}
