//! Lanes: which of a node's workers serves a datagram.
//!
//! A node with several workers has as many instances on one address and port, each with sessions of its own.
//! The second byte of every datagram names a worker of the node that *receives* it, and that node's kernel
//! steers by `byte % workers`, before anything is decrypted. So a session lives on one worker at each end:
//!
//! - An initiation carries its sender's own lane, since nothing is known of the far node yet: lane `i` of a
//!   node with `n` workers lands on lane `i % m` of a node with `m`.
//! - Each side tells the other its lane and number of workers within the handshake. All later datagrams carry
//!   the lane that the other side told.
//!
//! With as many workers on both sides, lane `i` speaks to lane `i`. With fewer on one side, several lanes of
//! the larger side have sessions with one of the smaller; that one sends on the session with its own
//! counterpart, `i % n`, which is called primary and is the only one that it starts itself.

/// One worker's place among those of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    index: u8,
    count: u8,
}

impl Lane {
    /// Lane `index` of `count`: 0 to `count` - 1, of 1 to 255. `None` for anything else.
    pub fn new(index: u32, count: u32) -> Option<Lane> {
        let lane = Lane { index: u8::try_from(index).ok()?, count: u8::try_from(count).ok()? };
        (lane.index < lane.count).then_some(lane)
    }

    /// The only lane of a node with one worker.
    pub const ONLY: Lane = Lane { index: 0, count: 1 };

    /// This lane's number.
    pub fn index(self) -> u8 {
        self.index
    }

    /// The node's number of lanes.
    pub(super) fn count(self) -> u8 {
        self.count
    }

    /// Whether a datagram whose lane byte is `lane` is this lane's.
    pub fn serves(self, lane: u8) -> bool {
        lane % self.count == self.index
    }

    /// Whether this lane is the one that `far` reaches, and is reached by, first.
    pub(super) fn is_counterpart_of(self, far: Lane) -> bool {
        self.index % far.count == far.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_has_exactly_one_counterpart_which_its_initiation_reaches() {
        for (ours, theirs) in [(1, 1), (4, 4), (1, 4), (4, 1), (2, 3), (5, 3)] {
            for index in 0..ours {
                let own = Lane::new(index, ours).unwrap();
                let far = (0..theirs).map(|index| Lane::new(index, theirs).unwrap());
                let reached: Vec<Lane> = far.clone().filter(|far| far.serves(own.index())).collect();
                let counterparts: Vec<Lane> = far.filter(|far| own.is_counterpart_of(*far)).collect();
                assert_eq!(reached, counterparts, "lane {index} of {ours} to {theirs}");
                assert_eq!(reached.len(), 1);
            }
        }
    }

    #[test]
    fn a_lane_lies_below_the_number_of_lanes() {
        assert_eq!(Lane::new(0, 1), Some(Lane::ONLY));
        assert_eq!(Lane::new(1, 1), None);
        assert_eq!(Lane::new(0, 0), None);
        assert_eq!(Lane::new(0, 256), None);
    }
}
