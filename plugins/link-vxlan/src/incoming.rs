//! Frames from far nodes into the host's slots.

use std::io;
use std::os::fd::OwnedFd;

use vreserve_packet::{Arrived, PacketReader, Unusable, accept, fill};
use vreserve_sdk::{Batch, Counter, FrameSlot, Host};

use crate::drops::{Drops, FrameDrop};
use crate::fars::Fars;
use crate::limit::Limit;
use crate::programs::ELSEWHERE;

/// See the module.
pub(crate) struct Incoming {
    reader: PacketReader,
    pub(crate) drops: Drops,
    frames_received: Counter,
}

impl Incoming {
    pub(crate) fn new(socket: OwnedFd, host: &Host) -> Self {
        Incoming {
            reader: PacketReader::new(socket),
            drops: Drops::new(host),
            frames_received: host.counter("frames_received", "Frames received from far nodes."),
        }
    }

    /// Fills slots from the first on; 0 if no frames wait.
    ///
    /// # Errors
    /// What ends the instance.
    pub(crate) fn recv(
        &mut self,
        batch: &mut Batch<'_>,
        fars: &mut Fars,
        limit: &mut Limit,
    ) -> io::Result<usize> {
        let Incoming { reader, drops, frames_received } = self;
        let mut received = 0;
        let result = fill(
            batch,
            |slot| reader.read(slot),
            |slot, arrived| match admit(slot, arrived, fars, limit) {
                Ok(frames) => {
                    received += frames as u64;
                    true
                }
                Err(reason) => {
                    drops.note(reason, 1);
                    false
                }
            },
        );
        frames_received.add(received);
        drops.settle();
        result
    }
}

/// Finds out whose frame it is and gives it its metadata; returns how many wire frames it stands for.
fn admit(
    slot: &mut FrameSlot<'_>,
    arrived: Result<&Arrived, Unusable>,
    fars: &mut Fars,
    limit: &mut Limit,
) -> Result<usize, FrameDrop> {
    let arrived = arrived?;
    let far = fars.number(arrived.mark.unwrap_or(ELSEWHERE))?;
    let frames = accept(slot, arrived, |frame, offload| limit.check_in(frame, offload))?;
    slot.set_far(far);
    Ok(frames)
}
