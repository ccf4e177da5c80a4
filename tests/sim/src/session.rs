//! Control sessions: in order and without loss while they last, as TCP is; what is under way when one ends is lost.
//! In a partition messages wait, and if it lasts the session ends on both sides.

use std::time::Duration;

use vreserve_core::ids::LinkId;
use vreserve_core::lead::{PairOutcome, ProbeOutcome};
use vreserve_core::overlay::NodeOverlay;
use vreserve_model::{BitsPerSecond, MacAddr, Timestamp};

/// One session of one node; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);

/// From a node to the lead, after what it joins with (framework/host/src/control/messages.rs).
pub(crate) enum Up {
    Guests(Vec<MacAddr>),
    Report(Vec<u8>),
    Applied { revision: u64, error: Option<String> },
    Switched { revision: u64, outcome: PairOutcome },
    Proved { link: LinkId, outcome: ProbeOutcome },
    LinkState { link: LinkId, up: bool },
    LinkDegraded { link: LinkId, reason: String },
}

/// From the lead to a node.
pub(crate) enum Down {
    Welcome,
    Overlay(NodeOverlay),
    Prove { link: LinkId, rate: BitsPerSecond },
    ForgetGuest(MacAddr),
}

/// A message on its way.
pub(crate) enum Letter {
    Up(Up),
    Down(Down),
}

/// One session.
pub(crate) struct Session {
    pub(crate) node: usize,
    /// Which run of the node, and of the lead, it is with.
    pub(crate) boot: u64,
    pub(crate) epoch: u32,
    /// One way.
    pub(crate) delay: Duration,
    /// When the last message arrives, up and down.
    pub(crate) last: [Timestamp; 2],
    /// Messages that wait for a partition to be over.
    pub(crate) waiting: Vec<Letter>,
}

impl Session {
    /// When a message that is sent now arrives: never before one that was sent earlier.
    pub(crate) fn arrival(&mut self, letter: &Letter, now: Timestamp) -> Timestamp {
        let last = &mut self.last[usize::from(matches!(letter, Letter::Down(_)))];
        *last = (*last).max(now + self.delay);
        *last
    }
}
