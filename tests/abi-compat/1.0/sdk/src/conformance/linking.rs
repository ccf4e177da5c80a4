//! Two endpoints that admit each other, and frames carried between them.

use std::time::{Duration, Instant};

use super::case::{Subject, Unmet, said};
use super::frames::{Frame, SHORTEST, number_of, numbered};
use super::keys;
use super::opened::{PATIENCE, port};
use super::port::Port;
use crate::EndpointInfo;

/// How each knows the other.
pub(super) const FAR_OF_A: u32 = 7;
pub(super) const FAR_OF_B: u32 = 3;
/// How long to wait for a descriptor before both ends are asked again.
pub(super) const MOMENT: Duration = Duration::from_millis(20);
/// Numbers of frames that only find out whether frames pass.
const HELLO: u32 = 0xffff_0000;

/// Two endpoints.
pub(super) struct Pair {
    pub(super) a: Port,
    pub(super) b: Port,
}

/// What became of frames that were sent.
pub(super) struct Carried {
    /// Those that the sender took.
    pub(super) taken: Vec<Frame>,
    /// Those that came.
    pub(super) received: Vec<Frame>,
}

impl Pair {
    /// Instances `first` and `first + 1`, between which frames pass.
    pub(super) fn open(subject: &Subject, first: u32) -> Result<Self, Unmet> {
        let (a, b) = (port(subject, first)?, port(subject, first + 1)?);
        let mut pair = Pair { a, b };
        admit(&mut pair.a, FAR_OF_A, &pair.b, first + 1)?;
        admit(&mut pair.b, FAR_OF_B, &pair.a, first)?;
        pair.establish()?;
        Ok(pair)
    }

    /// Returns once frames pass both ways, as after a handshake.
    pub(super) fn establish(&mut self) -> Result<(), Unmet> {
        let (mut there, mut back) = (false, false);
        let since = Instant::now();
        while !(there && back) {
            if since.elapsed() > PATIENCE {
                let reason =
                    format!("of frames that two endpoints sent each other none came within {PATIENCE:?}");
                return Err(Unmet::Failed(reason));
            }
            self.a.send(&[numbered(HELLO, SHORTEST, FAR_OF_A)])?;
            self.b.send(&[numbered(HELLO + 1, SHORTEST, FAR_OF_B)])?;
            self.b.is_ready_within(MOMENT)?;
            there |= hears(&mut self.b, HELLO)?;
            self.a.is_ready_within(MOMENT)?;
            back |= hears(&mut self.a, HELLO + 1)?;
        }
        drain(&mut self.a)?;
        drain(&mut self.b)?;
        Ok(())
    }
}

fn hears(port: &mut Port, hello: u32) -> Result<bool, String> {
    Ok(port.recv(64)?.iter().any(|frame| number_of(&frame.bytes) == Some(hello)))
}

/// Receives until nothing waits.
pub(super) fn drain(port: &mut Port) -> Result<(), String> {
    let since = Instant::now();
    while !port.recv(64)?.is_empty() || port.ready_fd().is_some() && port.is_ready_within(Duration::ZERO)? {
        if since.elapsed() > PATIENCE {
            return Err(format!("ready_fd polls readable for {PATIENCE:?}, though recv gives nothing more"));
        }
    }
    Ok(())
}

/// Makes `port` admit the endpoint `other`, which is instance `number`, under number `far`.
pub(super) fn admit(port: &mut Port, far: u32, other: &Port, number: u32) -> Result<(), Unmet> {
    let info: EndpointInfo = other.describe()?;
    let admitted = port.add_far(far, &info.address, &keys::identity(number).public);
    admitted.map_err(|failure| format!("add_far of {}: {}", info.address, said(&failure)).into())
}

/// Sends frames in batches of `batch` and receives them with as many slots, until all that were taken have come.
pub(super) fn carry(
    from: &mut Port,
    to: &mut Port,
    frames: &[Frame],
    batch: usize,
) -> Result<Carried, String> {
    let (mut carried, mut next) = (Carried { taken: Vec::new(), received: Vec::new() }, 0);
    let since = Instant::now();
    while next < frames.len() || carried.received.len() < carried.taken.len() {
        if since.elapsed() > PATIENCE {
            let (came, taken) = (carried.received.len(), carried.taken.len());
            return Err(format!("{came} frames of {taken} that were taken came within {PATIENCE:?}"));
        }
        if next < frames.len() {
            let chunk = &frames[next..frames.len().min(next + batch)];
            let sent = from.send(chunk)?;
            next += sent.consumed;
            let taken = chunk.iter().zip(&sent.refusals).take(sent.consumed);
            carried
                .taken
                .extend(taken.filter(|(_, (refusal, _))| *refusal == 0).map(|(frame, _)| frame.clone()));
        }
        let arrived = to.recv(batch)?;
        let is_idle = arrived.is_empty();
        let ours =
            arrived.into_iter().filter(|frame| number_of(&frame.bytes).is_some_and(|number| number < HELLO));
        carried.received.extend(ours);
        // An instance has timers, which its calls drive.
        from.recv(batch)?;
        if is_idle {
            to.is_ready_within(MOMENT)?;
        }
    }
    Ok(carried)
}
