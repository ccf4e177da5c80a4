//! Whether a datagram's frame enters the node, and under which name it is counted if not. Pure.

use vreserve_sdk::{Counter, Host};

use crate::vxlan;

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
    /// The datagram is larger than this endpoint's MTU allows.
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
    /// Admits a datagram whose sender is `far`. It is `truncated` if the slot could not hold it all.
    pub(crate) fn admit(
        &self,
        far: Option<u32>,
        datagram: &[u8],
        truncated: bool,
    ) -> Result<u32, DatagramDrop> {
        let far = far.ok_or(DatagramDrop::Stranger)?;
        if truncated || datagram.len() > vxlan::HEADER + self.largest_frame + VLAN_TAG {
            return Err(DatagramDrop::Oversized);
        }
        let vni = vxlan::decode(datagram)
            .filter(|_| datagram.len() >= vxlan::HEADER + ETHERNET_HEADER)
            .ok_or(DatagramDrop::Malformed)?;
        if vni == self.vni { Ok(far) } else { Err(DatagramDrop::WrongVni) }
    }
}

/// Counts of one batch by reason, added to the host's counters once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DropTally([u64; DatagramDrop::ALL.len()]);

impl DropTally {
    pub(crate) fn note(&mut self, reason: DatagramDrop) {
        self.0[reason as usize] += 1;
    }
}

/// The host's counters for what comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropCounters([Counter; DatagramDrop::ALL.len()]);

impl DropCounters {
    pub(crate) fn new(host: &Host) -> Self {
        DropCounters(DatagramDrop::ALL.map(|(_, name, help)| host.counter(name, help.trim())))
    }

    pub(crate) fn add(&self, tally: DropTally) {
        for (counter, count) in self.0.iter().zip(tally.0) {
            counter.add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADMISSION: Admission = Admission { vni: 5, largest_frame: 100 };

    fn datagram(vni: u32, frame_len: usize) -> Vec<u8> {
        let mut bytes = vxlan::encode(vni).to_vec();
        bytes.resize(vxlan::HEADER + frame_len, 0xab);
        bytes
    }

    #[test]
    fn each_defect_has_its_name() {
        let good = datagram(5, 60);
        assert_eq!(ADMISSION.admit(Some(9), &good, false), Ok(9));
        assert_eq!(ADMISSION.admit(None, &good, false), Err(DatagramDrop::Stranger));
        assert_eq!(ADMISSION.admit(Some(9), &good, true), Err(DatagramDrop::Oversized));
        assert_eq!(ADMISSION.admit(Some(9), &datagram(6, 60), false), Err(DatagramDrop::WrongVni));
        assert_eq!(ADMISSION.admit(Some(9), &datagram(5, 13), false), Err(DatagramDrop::Malformed));
        assert_eq!(ADMISSION.admit(Some(9), &good[..7], false), Err(DatagramDrop::Malformed));
        assert_eq!(ADMISSION.admit(Some(9), &datagram(5, 104), false), Ok(9), "a tagged full frame");
        assert_eq!(ADMISSION.admit(Some(9), &datagram(5, 105), false), Err(DatagramDrop::Oversized));
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
        fn strangers_are_never_admitted(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(ADMISSION.admit(None, &bytes, false), Err(DatagramDrop::Stranger));
        }

        /// What is admitted is a frame of the right network and size, whatever was sent.
        #[test]
        fn admitted_datagrams_hold_a_frame(
            head in prop_oneof![Just(vxlan::encode(5)), Just(vxlan::encode(4)), any::<[u8; 8]>()],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..220,
        ) {
            let mut bytes = [head.as_slice(), rest.as_slice()].concat();
            bytes.truncate(cut);
            if ADMISSION.admit(Some(1), &bytes, false).is_ok() {
                prop_assert_eq!(vxlan::decode(&bytes), Some(5));
                prop_assert!((22..=112).contains(&bytes.len()));
            }
        }
    }
}
