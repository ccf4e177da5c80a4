//! Why a datagram of the secure format gave nothing.

macro_rules! secure_drops {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a datagram was dropped. Nothing is sent back for any of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SecureDrop { $($(#[doc = $help])+ $variant,)+ }

        impl SecureDrop {
            /// Every reason, with its counter's name and help.
            pub const ALL: [(SecureDrop, &'static str, &'static str); [$($name),+].len()] =
                [$((SecureDrop::$variant, $name, concat!($($help),+)),)+];
        }
    };
}

secure_drops! {
    /// The datagram is of no kind, too short or too long for its kind, or holds what its kind cannot.
    Malformed = "drop_malformed",
    /// The initiation belongs to another of this node's workers.
    WrongLane = "drop_wrong_lane",
    /// The sender does not know this node's public key, or is not a far node of this endpoint.
    Stranger = "drop_stranger",
    /// No session or handshake has the datagram's index.
    UnknownIndex = "drop_unknown_index",
    /// The datagram is forged or damaged: it does not open.
    Forged = "drop_forged",
    /// The datagram was received before.
    Replayed = "drop_replayed",
    /// The datagram's counter lies behind the replay window.
    Late = "drop_late",
    /// The initiation is not newer than the newest of this far node's worker.
    StaleInitiation = "drop_stale_initiation",
    /// Both nodes began at once, and this node's handshake goes first.
    Simultaneous = "drop_simultaneous",
    /// Too many handshakes: a cookie was asked for, or the sender's share is used up.
    Limited = "drop_limited",
    /// The session is too old or has carried too much.
    Expired = "drop_expired",
}

#[cfg(test)]
mod tests {
    use super::SecureDrop;

    #[test]
    fn counters_stand_in_the_order_of_the_enum() {
        for (index, (reason, name, help)) in SecureDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(name.starts_with("drop_") && !help.is_empty());
        }
    }
}
