//! The secure format on an endpoint: frames are sealed into the arena, and opened where they arrived.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vreserve_sdk::{Batch, Failure, FarId, FarNode, FrameSlot, Host, Identity, Queue, Refusal};

use crate::drops::Drops;
use crate::frames;
use crate::incoming::{Incoming, Placed};
use crate::mmsg::{Arrival, Name};
use crate::outgoing::{Outgoing, Part};
use crate::secure::{
    Event, Kind, Lane, OVERHEAD, PathLimits, Preference, Sealer, Secure, SecureDrop, Setup, SystemEntropy,
};
use crate::wire::{Refused, Wire};

/// The longest header of a segment: Ethernet with a tag, IPv4 or IPv6 with options, TCP with options.
const MAX_HEADER: usize = 256;

/// The secure format on one endpoint.
pub(crate) struct Sealed {
    core: Secure,
    largest_frame: usize,
    is_ipv4: bool,
    now: Instant,
    drops: Drops<{ SecureDrop::ALL.len() }>,
}

impl Sealed {
    /// # Errors
    /// If the host has more workers than a lane can name.
    pub(crate) fn new(
        identity: Identity,
        queue: Queue,
        limits: PathLimits,
        is_ipv4: bool,
        host: &Host,
    ) -> Result<Self, Failure> {
        let lane = Lane::new(queue.index, queue.count)
            .ok_or_else(|| Failure::unsupported(format!("{} workers are more than 255", queue.count)))?;
        let now = Instant::now();
        let setup = Setup {
            secret: identity.secret,
            public: identity.public,
            lane,
            preference: Preference::of_this_processor(),
            limits,
            now,
            since_1970: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        Ok(Sealed {
            core: Secure::new(setup, Box::new(SystemEntropy)),
            largest_frame: limits.ceiling - OVERHEAD,
            is_ipv4,
            now,
            drops: Drops::new(host, SecureDrop::ALL.map(|(_, name, help)| (name, help))),
        })
    }

    /// Places the frames of data datagrams from byte `offset` on, which moves with them, for as long as they are of
    /// one session; false if there was no slot left.
    ///
    /// # Errors
    /// If the first is of no session; it is then still to be stepped over.
    fn open_run(
        &mut self,
        source: SocketAddr,
        arrival: &mut Arrival<'_>,
        offset: &mut usize,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
    ) -> Result<bool, SecureDrop> {
        let mut opener = self.core.opener(self.now, source, &arrival.bytes[*offset..])?;
        let far = opener.far().0;
        loop {
            // A datagram opens only once, so there must be a slot for it.
            if !incoming.has_slot(batch) {
                return Ok(false);
            }
            let end = arrival.bytes.len().min(*offset + arrival.segment);
            let datagram = &mut arrival.bytes[*offset..end];
            if !opener.serves(datagram) {
                return Ok(true);
            }
            *offset = end;
            let placed =
                opener.open_in_place(datagram).map(|frame| incoming.place(batch, far, &datagram[frame]));
            match placed {
                Ok(Placed::TooLarge) => self.drops.note(SecureDrop::Malformed as usize),
                Ok(_) => {}
                Err(reason) => self.drops.note(reason as usize),
            }
        }
    }

    fn tell_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Up(FarId(far)) => tracing::info!(far, "session with far node"),
                Event::Down(FarId(far)) => tracing::info!(far, "no session with far node any more"),
                Event::Moved(FarId(far), address) => tracing::info!(far, %address, "far node has moved"),
                Event::LargestFrame(FarId(far), bytes) => {
                    tracing::info!(far, bytes, "largest frame that the path takes");
                }
            }
        }
    }
}

/// Seals one datagram into the arena; false if there is no room.
fn seal(
    sealer: &mut Sealer<'_>,
    head: &[u8],
    payload: &[u8],
    (index, far, to): (usize, u32, Name),
    outgoing: &mut Outgoing,
) -> bool {
    let len = head.len() + payload.len() + OVERHEAD;
    let Some((start, datagram)) = outgoing.take_arena(len) else { return false };
    sealer.seal(head, payload, datagram);
    outgoing.push(index, far, to, [Part::Arena { start, len }, Part::NONE]);
    true
}

impl Wire for Sealed {
    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        let invalid = |key: &str, reason: String| Err(Failure::invalid(key, reason));
        let Some(key) = node.key else {
            return invalid("public_key", format!("the far node {} has no public key", node.address));
        };
        let Ok(address) = node.address.parse::<SocketAddr>() else {
            return invalid("address", format!("{:?} is not an address with a port", node.address));
        };
        if address.is_ipv4() != self.is_ipv4 || address.ip().is_unspecified() || address.port() == 0 {
            return invalid("address", format!("{address} cannot be reached from this endpoint"));
        }
        self.core.add_far(self.now, far, key, Some(address))
    }

    fn remove_far(&mut self, far: FarId) {
        self.core.remove_far(far);
    }

    fn largest_frame(&self) -> usize {
        self.largest_frame
    }

    fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    fn collect(
        &mut self,
        mut slot: FrameSlot<'_>,
        index: usize,
        first: usize,
        outgoing: &mut Outgoing,
    ) -> Result<Option<usize>, Refused> {
        if !outgoing.has_room() {
            return Ok(Some(first));
        }
        let far = slot.far();
        let mut sealer = self.core.sealer(self.now, FarId(far)).ok_or(Refusal::Down)?;
        let (largest_frame, to) = (sealer.largest_frame(), sealer.address().into());
        let offload = frames::prepare(&mut slot, largest_frame)?;
        if !offload.is_super_frame() {
            let is_sealed = seal(&mut sealer, &[], slot.frame(), (index, far, to), outgoing);
            return Ok((!is_sealed).then_some(first));
        }
        let mut header = [0; MAX_HEADER];
        let segments = frames::segments(slot.frame(), &offload, largest_frame)?;
        for (number, segment) in segments.enumerate().skip(first) {
            if !outgoing.has_room() {
                return Ok(Some(number));
            }
            let len = segment.write_header(&mut header).map_err(|_| Refusal::Malformed)?;
            if !seal(&mut sealer, &header[..len], segment.payload(), (index, far, to), outgoing) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn place(
        &mut self,
        arrival: &mut Arrival<'_>,
        offset: &mut usize,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
    ) -> bool {
        let Some(source) = arrival.from else { return true };
        if arrival.bytes.is_empty() {
            self.drops.note(SecureDrop::Malformed as usize);
        }
        while *offset < arrival.bytes.len() {
            let end = arrival.bytes.len().min(*offset + arrival.segment);
            let datagram = &mut arrival.bytes[*offset..end];
            let taken = if Kind::of(datagram) == Some(Kind::Data) {
                self.open_run(source, arrival, offset, batch, incoming)
            } else {
                *offset = end;
                self.core.handle(self.now, source, datagram).map(|()| true)
            };
            match taken {
                Ok(true) => {}
                Ok(false) => return false,
                Err(reason) => {
                    self.drops.note(reason as usize);
                    *offset = end;
                }
            }
        }
        true
    }

    fn handle_too_large(&mut self, far: u32, length: usize) -> usize {
        self.core.handle_refusal(self.now, FarId(far), length);
        self.core.largest_frame(FarId(far)).unwrap_or(0)
    }

    fn poll(&mut self, out: &mut [u8]) -> Option<(usize, SocketAddr, Option<u32>)> {
        let transmit = self.core.poll(self.now, out);
        self.tell_events();
        transmit.map(|transmit| (transmit.length, transmit.to, transmit.far.map(|FarId(far)| far)))
    }

    fn settle(&mut self) {
        self.drops.settle();
    }
}
