//! Why a frame was dropped: a closed list of names, each a counter label and a log field.

use serde::{Deserialize, Serialize};

macro_rules! drop_reasons {
    ($($(#[doc = $sentence:literal])+ $variant:ident = $label:literal,)+) => {
        /// Why a frame was dropped. Dropping is a verdict, never an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum DropReason {
            $($(#[doc = $sentence])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)+];

            /// The counter label and log field.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)+ }
            }

            /// One sentence for a person.
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($sentence),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than an Ethernet header.
    Runt = "runt",
    /// The frame is longer than its way can carry.
    Oversized = "oversized",
    /// Headers and lengths of the frame contradict each other.
    Malformed = "malformed",
    /// The frame's offload metadata contradict it.
    BogusOffload = "bogus_offload",
    /// The source address is a group address or all zeroes.
    InvalidSource = "invalid_source",
    /// A guest sent a frame with the EtherType that nodes keep for signals among themselves.
    ReservedEtherType = "reserved_ethertype",
    /// A signal was malformed, of an unknown version, or for a link this node does not have.
    BadSignal = "bad_signal",
    /// The frame would leave where it came in.
    Hairpin = "hairpin",
    /// Neither a rule nor a flood target is left after split horizon.
    NoTarget = "no_target",
    /// A rule says so.
    Denied = "denied",
    /// The frame came over a link that has been removed.
    UnknownLink = "unknown_link",
    /// The link had no room for the datagram.
    LinkBusy = "link_busy",
    /// The interface had no room for the frame.
    InterfaceBusy = "interface_busy",
    /// The link is down.
    LinkDown = "link_down",
    /// Neither side of a planned cut-over had room for the frame.
    HoldOverflow = "hold_overflow",
    /// The plugin instance had failed and was being reopened.
    PluginFailed = "plugin_failed",
}

/// One count per drop reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        DropCounters([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts `frames` frames dropped for `reason`.
    pub fn count(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// The count of one reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.of(*reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_kept_per_reason_and_every_reason_has_a_label_and_a_sentence() {
        let mut counters = DropCounters::default();
        counters.count(DropReason::Hairpin, 2);
        counters.count(DropReason::PluginFailed, 1);
        assert_eq!(counters.of(DropReason::Hairpin), 2);
        assert_eq!(counters.iter().map(|(_, n)| n).sum::<u64>(), 3);
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
        assert!(DropReason::ALL.iter().all(|r| r.sentence().ends_with('.')));
    }
}
