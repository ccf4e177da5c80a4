//! The first look at a frame: a checked view of its Ethernet header, and the key that forwarding caches
//! it under.
//!
//! Nothing here knows a rule. Whatever fails the check is a [`DropReason`], so that no later code meets
//! a frame without a header or a sender.

use std::hash::{Hash, Hasher};

use vreserve_model::MacAddr;

use crate::drops::DropReason;
use crate::ids::InterfaceId;

/// The EtherType of signals between nodes: IEEE 802 "local experimental 1". Guests may not send it.
pub const SIGNAL_ETHERTYPE: u16 = 0x88b5;

/// Octets of an Ethernet header without a VLAN tag.
pub const HEADER_LEN: usize = 14;

/// How a [`Cell`](crate::counters::Cell) says that its frames carried no VLAN tag.
pub const NO_VLAN: u16 = 0xffff;

pub(crate) const VLAN_ETHERTYPE: u16 = 0x8100;
const VLAN_TAG_LEN: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;
const GROUP_BIT: u64 = 1 << 40;

/// The Ethernet header of one frame, checked: long enough, and sent by a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    destination: u64,
    source: u64,
    vlan: Option<u16>,
    ethertype: u16,
}

impl EthernetHeader {
    /// Reads the header of `frame`, which starts at the destination address.
    ///
    /// # Errors
    /// [`DropReason::Runt`] if the frame ends inside its header or its outer VLAN tag,
    /// [`DropReason::InvalidSource`] if no station can have sent it.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let header = frame.first_chunk::<HEADER_LEN>().ok_or(DropReason::Runt)?;
        let head = header.first_chunk::<8>().expect("14 octets hold 8");
        let tail = header.last_chunk::<8>().expect("14 octets hold 8");
        // Two unaligned loads: each holds an address in its upper 48 bits.
        let destination = u64::from_be_bytes(*head) >> 16;
        let tail = u64::from_be_bytes(*tail);
        let (source, ethertype) = (tail >> 16, tail as u16);
        if source == 0 || source & GROUP_BIT != 0 {
            return Err(DropReason::InvalidSource);
        }
        let untagged = EthernetHeader { destination, source, vlan: None, ethertype };
        if ethertype == VLAN_ETHERTYPE { untagged.with_tag(frame) } else { Ok(untagged) }
    }

    /// Where the frame goes; may be a group.
    pub fn destination(&self) -> MacAddr {
        mac(self.destination)
    }

    /// Who sent the frame; always a station.
    pub fn source(&self) -> MacAddr {
        mac(self.source)
    }

    /// The VLAN id of the outer 802.1Q tag, 1 to 4095. A tag with id 0 only carries a priority, so the
    /// frame counts as untagged (IEEE 802.1Q §6.9).
    pub fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// The EtherType, behind the outer 802.1Q tag if there is one.
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    fn with_tag(self, frame: &[u8]) -> Result<Self, DropReason> {
        let tag = frame[HEADER_LEN..].first_chunk::<VLAN_TAG_LEN>().ok_or(DropReason::Runt)?;
        let id = u16::from_be_bytes([tag[0], tag[1]]) & VLAN_ID_MASK;
        let ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        Ok(EthernetHeader { vlan: (id != 0).then_some(id), ethertype, ..self })
    }
}

/// A small number for the place where a frame came in: an interface's id, or the position of a link
/// among the links of one [`RuleSet`](crate::rules::RuleSet). 19 bits, so that a key fits 128 bits;
/// a link's number means nothing under another rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngressSlot(u32);

impl IngressSlot {
    /// How many links have a slot.
    pub const MAX_LINKS: usize = (1 << SLOT_BITS) - LINK_BASE as usize;

    /// The slot of an interface.
    pub const fn interface(id: InterfaceId) -> Self {
        IngressSlot(id.0 as u32)
    }

    /// The slot of the link at `position`, or none from [`Self::MAX_LINKS`] on.
    pub const fn link(position: usize) -> Option<Self> {
        if position < Self::MAX_LINKS { Some(IngressSlot(LINK_BASE + position as u32)) } else { None }
    }
}

const SLOT_BITS: u32 = 19;
const LINK_BASE: u32 = 1 << 16;
const SLOT_HIGH_BITS: u32 = SLOT_BITS - 16;
const UNTAGGED: u64 = 1 << 12;

/// What forwarding depends on: ingress, destination, source and VLAN, in 128 bits that differ whenever
/// one of the four does. (VNET's 2009 key builder overwrote the source's type: two frames, one key.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKey {
    /// Destination, 48 bits; slot, low 16 bits.
    high: u64,
    /// Source, 48 bits; VLAN or untagged, 13 bits; slot, high 3 bits.
    low: u64,
}

impl FrameKey {
    /// The key of no frame: the sender of a frame is never zero.
    pub(crate) const NOBODY: FrameKey = FrameKey { high: 0, low: 0 };

    /// True for [`Self::NOBODY`] alone.
    #[inline]
    pub(crate) fn is_nobody(self) -> bool {
        self.low == 0
    }

    /// The key of a frame with this header that came in at `slot`.
    #[inline]
    pub fn new(slot: IngressSlot, header: &EthernetHeader) -> Self {
        let slot = u64::from(slot.0);
        let vlan = header.vlan.map_or(UNTAGGED, u64::from);
        FrameKey {
            high: header.destination << 16 | slot & 0xffff,
            low: header.source << 16 | vlan << SLOT_HIGH_BITS | slot >> 16,
        }
    }

    /// The sender.
    pub fn source(&self) -> MacAddr {
        mac(self.low >> 16)
    }

    /// The receiver.
    pub fn destination(&self) -> MacAddr {
        mac(self.high >> 16)
    }

    /// The VLAN id, or [`NO_VLAN`].
    pub fn vlan_or_none(&self) -> u16 {
        let code = self.low >> SLOT_HIGH_BITS & (UNTAGGED | u64::from(VLAN_ID_MASK));
        if code == UNTAGGED { NO_VLAN } else { code as u16 }
    }
}

impl Hash for FrameKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high);
        state.write_u64(self.low);
    }
}

fn mac(low_48_bits: u64) -> MacAddr {
    let [_, _, a, b, c, d, e, f] = low_48_bits.to_be_bytes();
    MacAddr([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(destination: [u8; 6], source: [u8; 6], rest: &[u8]) -> Vec<u8> {
        [&destination[..], &source[..], rest].concat()
    }

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_header_shows_addresses_type_and_outer_vlan() {
        let plain = EthernetHeader::parse(&frame(A, B, &[0x08, 0x00])).unwrap();
        assert_eq!((plain.destination(), plain.source()), (MacAddr(A), MacAddr(B)));
        assert_eq!((plain.vlan(), plain.ethertype()), (None, 0x0800));

        let tagged = EthernetHeader::parse(&frame(A, B, &[0x81, 0, 0xe0, 0x2a, 0x86, 0xdd])).unwrap();
        assert_eq!((tagged.vlan(), tagged.ethertype()), (Some(42), 0x86dd));

        let priority = EthernetHeader::parse(&frame(A, B, &[0x81, 0, 0xe0, 0x00, 0x08, 0x06])).unwrap();
        assert_eq!((priority.vlan(), priority.ethertype()), (None, 0x0806));
    }

    #[test]
    fn what_is_cut_short_is_a_runt() {
        let whole = frame(A, B, &[0x81, 0, 0, 1, 0x08, 0x00]);
        for length in 0..whole.len() {
            assert_eq!(EthernetHeader::parse(&whole[..length]), Err(DropReason::Runt), "{length} octets");
        }
    }

    #[test]
    fn groups_and_zero_are_no_senders() {
        for source in [[0; 6], [0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
            let answer = EthernetHeader::parse(&frame(A, source, &[8, 0]));
            assert_eq!(answer, Err(DropReason::InvalidSource));
        }
    }

    #[test]
    fn links_beyond_the_last_slot_have_none() {
        assert!(IngressSlot::link(IngressSlot::MAX_LINKS - 1).is_some());
        assert!(IngressSlot::link(IngressSlot::MAX_LINKS).is_none());
    }

    prop_compose! {
        /// Values that often differ in one bit only, where a packing mistake would show.
        fn identity()(
            slot in prop_oneof![
                any::<u16>().prop_map(|id| IngressSlot::interface(InterfaceId(id))),
                (0..IngressSlot::MAX_LINKS).prop_map(|at| IngressSlot::link(at).unwrap()),
            ],
            destination in any::<[u8; 6]>(),
            source in any::<[u8; 6]>().prop_filter("a station", |m| MacAddr(*m).is_station()),
            vlan in proptest::option::of(1u16..=4095),
        ) -> (IngressSlot, [u8; 6], [u8; 6], Option<u16>) {
            (slot, destination, source, vlan)
        }
    }

    fn key((slot, destination, source, vlan): (IngressSlot, [u8; 6], [u8; 6], Option<u16>)) -> FrameKey {
        let rest = match vlan {
            Some(id) => vec![0x81, 0, (id >> 8) as u8, id as u8, 8, 0],
            None => vec![8, 0],
        };
        FrameKey::new(slot, &EthernetHeader::parse(&frame(destination, source, &rest)).unwrap())
    }

    proptest! {
        #[test]
        fn distinct_frames_never_share_a_key(one in identity(), other in identity(), take in 0u8..16) {
            // `other` keeps a random part of `one`, so that near misses are tried, not only strangers.
            let mixed = (
                if take & 1 == 0 { one.0 } else { other.0 },
                if take & 2 == 0 { one.1 } else { other.1 },
                if take & 4 == 0 { one.2 } else { other.2 },
                if take & 8 == 0 { one.3 } else { other.3 },
            );
            prop_assert_eq!(key(one) == key(mixed), one == mixed);
        }

        #[test]
        fn a_key_gives_back_what_it_was_made_of(one in identity()) {
            let made = key(one);
            prop_assert_eq!(made.destination(), MacAddr(one.1));
            prop_assert_eq!(made.source(), MacAddr(one.2));
            prop_assert_eq!(made.vlan_or_none(), one.3.unwrap_or(NO_VLAN));
        }

        #[test]
        fn any_octets_are_parsed_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = EthernetHeader::parse(&octets);
        }
    }
}
