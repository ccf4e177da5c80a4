//! Answers to local guests whose frames were refused as too large: kept while the queues are being sent,
//! delivered afterwards to the interface that the guest is behind.

use std::time::Duration;

use vreserve_core::frame::EthernetHeader;
use vreserve_core::ids::{Ingress, InterfaceId};
use vreserve_core::learn::GuestTable;
use vreserve_core::too_big::{Allowance, MAX_ANSWER, answer};
use vreserve_model::Timestamp;

use super::mailbox::TooBigCounts;

/// Answers at once and per second, as Linux limits its own by default (`icmp_msgs_burst`,
/// `icmp_msgs_per_sec`).
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(1);
/// Answers kept until the queues are sent; a pair of guests gets one of them.
const PENDING: usize = 8;

/// The answers of one worker.
pub(super) struct TooBig {
    pending: Vec<Answer>,
    allowance: Allowance,
    counts: TooBigCounts,
}

pub(super) struct Answer {
    pub(super) interface: InterfaceId,
    bytes: [u8; MAX_ANSWER],
    len: usize,
}

impl Answer {
    pub(super) fn frame(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl TooBig {
    pub(super) fn new() -> Self {
        TooBig {
            pending: Vec::with_capacity(PENDING),
            allowance: Allowance::new(BURST, EVERY),
            counts: TooBigCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> TooBigCounts {
        self.counts
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A frame was refused by a way that takes frames of `limit` bytes. Its sender is answered if it is behind
    /// an interface of this node, by what this worker has learned; a frame that came over a link has been
    /// looked at by the node of its guest.
    #[cold]
    pub(super) fn handle_refused(&mut self, frame: &[u8], limit: u32, guests: &GuestTable, now: Timestamp) {
        let Ok(header) = EthernetHeader::parse(frame) else { return };
        let Some(Ingress::Interface(interface)) = guests.locate(header.source()) else { return };
        let mut bytes = [0; MAX_ANSWER];
        let Some(len) = answer(frame, limit as usize, &mut bytes) else { return };
        let is_said = self.pending.iter().any(|answer| answer.bytes[..12] == bytes[..12]);
        if is_said || self.pending.len() == PENDING || !self.allowance.take(now) {
            self.counts.withheld += 1;
            return;
        }
        self.counts.answered += 1;
        self.pending.push(Answer { interface, bytes, len });
    }

    /// The oldest answer that waits.
    pub(super) fn poll(&mut self) -> Option<Answer> {
        (!self.pending.is_empty()).then(|| self.pending.remove(0))
    }
}
