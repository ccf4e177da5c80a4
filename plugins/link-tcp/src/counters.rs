//! What an instance counts: frames, connections, and why either came to nothing.

use vreserve_sdk::{Counter, Host};

/// Why a frame that came, or that waited to go, went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDrop {
    /// It contradicts its metadata.
    Malformed,
    /// It is larger than the slot that it was for.
    Oversized,
    /// It had not gone whole when its connection ended.
    Disconnected,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Whoever dialled is no far node.
    Stranger,
    /// TLS, the proof or the greeting was not as the right node's would be.
    Forged,
    /// A length that no frame has.
    Malformed,
    /// It was not introduced in time, or fell silent.
    Silent,
    /// The far end, or the system, ended it.
    Lost,
    /// Too many were being introduced at once.
    Crowded,
    /// Another with the same far node took its place.
    Replaced,
    /// The host forgot the far node.
    Removed,
}

impl FrameDrop {
    /// Every reason, with its counter and what that counts.
    pub const ALL: [(FrameDrop, &'static str, &'static str); 3] = [
        (FrameDrop::Malformed, "drop_malformed", "Frames that contradict their metadata."),
        (FrameDrop::Oversized, "drop_oversized", "Frames that are larger than the slot that they were for."),
        (FrameDrop::Disconnected, "drop_disconnected", "Frames that waited when their connection ended."),
    ];
}

impl Ended {
    /// Every reason, with its counter and what that counts.
    pub const ALL: [(Ended, &'static str, &'static str); 8] = [
        (Ended::Stranger, "closed_stranger", "Connections of somebody who is no far node."),
        (Ended::Forged, "closed_forged", "Connections whose introduction was not the right node's."),
        (Ended::Malformed, "closed_malformed", "Connections in which a length was wrong."),
        (Ended::Silent, "closed_silent", "Connections that were not introduced in time, or fell silent."),
        (Ended::Lost, "closed_lost", "Connections that the far end or the system ended."),
        (Ended::Crowded, "closed_crowded", "Connections closed as too many were being introduced."),
        (Ended::Replaced, "closed_replaced", "Connections that another with the same far node replaced."),
        (Ended::Removed, "closed_removed", "Connections with far nodes that the host forgot."),
    ];

    /// In a few words, for the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Ended::Stranger => "no far node",
            Ended::Forged => "not the right node",
            Ended::Malformed => "a length that no frame has",
            Ended::Silent => "silent for too long",
            Ended::Lost => "ended by the far end or the system",
            Ended::Crowded => "too many at once",
            Ended::Replaced => "replaced by another",
            Ended::Removed => "the host has forgotten the far node",
        }
    }
}

/// The host's cells of one instance.
pub(crate) struct Counters {
    pub(crate) frames_received: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) connections: Counter,
    drops: [Counter; FrameDrop::ALL.len()],
    ended: [Counter; Ended::ALL.len()],
}

impl Counters {
    pub(crate) fn new(host: &Host) -> Self {
        Counters {
            frames_received: host.counter("frames_received", "Frames received from far nodes."),
            frames_sent: host.counter("frames_sent", "Frames sent to far nodes."),
            connections: host.counter("connections", "Connections with far nodes that were made."),
            drops: FrameDrop::ALL.map(|(_, name, help)| host.counter(name, help)),
            ended: Ended::ALL.map(|(_, name, help)| host.counter(name, help)),
        }
    }

    pub(crate) fn drop_frames(&self, reason: FrameDrop, frames: u64) {
        self.drops[reason as usize].add(frames);
    }

    pub(crate) fn end(&self, reason: Ended) {
        self.ended[reason as usize].add(1);
    }
}
