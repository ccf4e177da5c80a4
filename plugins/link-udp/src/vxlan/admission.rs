//! Whether a datagram's frame enters the node, and under which name it is counted if not. Pure.

use vreserve_offload::Offload;
use vreserve_offload::partial::uncut;

use super::header;

/// Bytes of an Ethernet header: no frame is shorter.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// Bytes that an 802.1Q tag adds: a far kernel VXLAN device sends a full tagged frame that much longer.
const VLAN_TAG: usize = 4;

macro_rules! datagram_drops {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a datagram gave no frame. Nothing is ever sent back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DatagramDrop { $($(#[doc = $help])+ $variant,)+ }

        impl DatagramDrop {
            /// Every reason, with its counter's name and help.
            pub const ALL: [(DatagramDrop, &'static str, &'static str); [$($name),+].len()] =
                [$((DatagramDrop::$variant, $name, concat!($($help),+)),)+];
        }
    };
}

datagram_drops! {
    /// The datagram came from an address that is not a far node's.
    Stranger = "drop_stranger",
    /// The datagram is larger than this endpoint's MTU allows, and no super-frame of a kernel's.
    Oversized = "drop_oversized",
    /// The datagram has no whole VXLAN header, its I flag is not set, or no whole Ethernet header follows.
    Malformed = "drop_malformed",
    /// The datagram belongs to another VXLAN network.
    WrongVni = "drop_wrong_vni",
}

/// What this endpoint takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// The network identifier.
    pub(crate) vni: u32,
    /// The largest frame that this endpoint sends; a received one may have a VLAN tag more.
    pub(crate) largest_frame: usize,
}

impl Admission {
    /// Admits a datagram whose sender is `far`, and takes the frame out of it. With `segment` it holds a UDP
    /// super-frame whose segments are to have payloads of that size.
    pub(crate) fn admit<'a>(
        &self,
        far: Option<u32>,
        datagram: &'a mut [u8],
        segment: Option<usize>,
    ) -> Result<(u32, Admitted<'a>), DatagramDrop> {
        let far = far.ok_or(DatagramDrop::Stranger)?;
        let vni = header::decode(datagram).ok_or(DatagramDrop::Malformed)?;
        let frame = &mut datagram[header::HEADER..];
        if frame.len() < ETHERNET_HEADER {
            return Err(DatagramDrop::Malformed);
        }
        if vni != self.vni {
            return Err(DatagramDrop::WrongVni);
        }
        if segment.is_none() && frame.len() <= self.largest_frame + VLAN_TAG {
            return Ok((far, Admitted::Frame(frame)));
        }
        let offload = uncut(frame, self.largest_frame, segment).ok_or(DatagramDrop::Oversized)?;
        Ok((far, Admitted::SuperFrame(frame, offload)))
    }
}

/// What an admitted datagram holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted<'a> {
    /// A wire frame.
    Frame(&'a mut [u8]),
    /// A super-frame that a kernel VXLAN device on the same machine left uncut.
    SuperFrame(&'a mut [u8], Offload),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADMISSION: Admission = Admission { vni: 5, largest_frame: 100 };

    fn datagram(vni: u32, frame_len: usize) -> Vec<u8> {
        let mut bytes = header::encode(vni).to_vec();
        bytes.resize(header::HEADER + frame_len, 0xab);
        bytes
    }

    #[test]
    fn each_defect_has_its_name() {
        let admit =
            |far, mut datagram: Vec<u8>| ADMISSION.admit(far, &mut datagram, None).map(|(far, _)| far);
        assert_eq!(admit(Some(9), datagram(5, 60)), Ok(9));
        assert_eq!(admit(None, datagram(5, 60)), Err(DatagramDrop::Stranger));
        assert_eq!(admit(Some(9), datagram(6, 60)), Err(DatagramDrop::WrongVni));
        assert_eq!(admit(Some(9), datagram(5, 13)), Err(DatagramDrop::Malformed));
        assert_eq!(admit(Some(9), datagram(5, 60)[..7].to_vec()), Err(DatagramDrop::Malformed));
        assert_eq!(admit(Some(9), datagram(5, 104)), Ok(9), "a tagged full frame");
        assert_eq!(admit(Some(9), datagram(5, 105)), Err(DatagramDrop::Oversized));
    }

    #[test]
    fn counters_stand_in_the_order_of_the_enum() {
        for (index, (reason, name, help)) in DatagramDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(name.starts_with("drop_") && !help.is_empty());
        }
    }

    proptest! {
        /// A sender that is a stranger learns nothing and gets nothing in, whatever it sends.
        #[test]
        fn strangers_are_never_admitted(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(ADMISSION.admit(None, &mut bytes, None), Err(DatagramDrop::Stranger));
        }

        /// What is admitted is a frame of the right network and size, whatever was sent.
        #[test]
        fn admitted_datagrams_hold_a_frame(
            head in prop_oneof![Just(header::encode(5)), Just(header::encode(4)), any::<[u8; 8]>()],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..220,
        ) {
            let mut bytes = [head.as_slice(), rest.as_slice()].concat();
            bytes.truncate(cut);
            if ADMISSION.admit(Some(1), &mut bytes, None).is_ok() {
                prop_assert_eq!(header::decode(&bytes), Some(5));
                prop_assert!((22..=112).contains(&bytes.len()));
            }
        }
    }
}
