//! What the wire formats have in common: each makes datagrams of frames and frames of datagrams.

use std::net::SocketAddr;
use std::time::Instant;

use vreserve_sdk::{Batch, Failure, FarId, FarNode, FrameSlot, Refusal};

use crate::incoming::Incoming;
use crate::mmsg::Arrival;
use crate::outgoing::Outgoing;

/// A wire format on one endpoint.
pub(crate) trait Wire: Send {
    /// As [`vreserve_sdk::Link::add_far`].
    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure>;

    /// As [`vreserve_sdk::Link::remove_far`].
    fn remove_far(&mut self, far: FarId);

    /// The largest frame that any far node can be sent.
    fn largest_frame(&self) -> usize;

    /// Says what time it is: called before the calls of a batch.
    fn begin(&mut self, now: Instant);

    /// Collects the datagrams of the frame in slot number `index`, for a super-frame from segment `first` on.
    /// Returns at which segment to go on once what has been collected is sent, if there was no room for all.
    ///
    /// # Errors
    /// Why the frame cannot be sent.
    fn collect(
        &mut self,
        slot: FrameSlot<'_>,
        index: usize,
        first: usize,
        outgoing: &mut Outgoing,
    ) -> Result<Option<usize>, Refused>;

    /// Places the frames in the datagrams of a message from byte `offset` on, which moves with them; false if
    /// there was no slot left for the datagram at `offset`.
    fn place(
        &mut self,
        arrival: &mut Arrival<'_>,
        offset: &mut usize,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
    ) -> bool;

    /// The system called a datagram of `length` bytes too large; returns the largest frame that is known to go.
    fn handle_too_large(&mut self, far: u32, length: usize) -> usize;

    /// Writes the next datagram that is due by itself to `out`, and returns its length, where it goes to, and
    /// for which far node, if for one.
    fn poll(&mut self, out: &mut [u8]) -> Option<(usize, SocketAddr, Option<u32>)>;

    /// Adds what was counted to the host's counters.
    fn settle(&mut self);
}

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It, or a segment of it, is larger than this.
    Oversized(usize),
    /// For another reason.
    For(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused::For(refusal)
    }
}

impl Refused {
    /// Says so in the slot.
    pub(crate) fn mark(self, mut slot: FrameSlot<'_>) {
        match self {
            Refused::Oversized(limit) => slot.refuse_oversized(u32::try_from(limit).unwrap_or(0)),
            Refused::For(refusal) => slot.refuse(refusal),
        }
    }
}
