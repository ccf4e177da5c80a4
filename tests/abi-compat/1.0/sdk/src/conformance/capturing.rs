//! A capture instance and the guest on its interface.

use std::time::{Duration, Instant};

use super::case::{Subject, Unmet};
use super::frames::{Frame, number_of};
use super::guest::Guest;
use super::linking::MOMENT;
use super::opened::{PATIENCE, port};
use super::port::Port;
use crate::InterfaceInfo;

/// An instance with its guest.
pub(super) struct Site {
    pub(super) port: Port,
    pub(super) guest: Box<dyn Guest>,
    pub(super) info: InterfaceInfo,
}

impl Site {
    /// Instance `number`.
    pub(super) fn open(subject: &Subject, number: u32) -> Result<Self, Unmet> {
        let port = port(subject, number)?;
        let info: InterfaceInfo = port.describe()?;
        let guest = subject.surroundings.guest(number, &info).map_err(Unmet::Skipped)?;
        Ok(Site { port, guest, info })
    }

    /// Sends frames as the guest, and returns those of the kit that the instance receives with `batch` slots a call.
    pub(super) fn sent_by_guest(&mut self, frames: &[Frame], batch: usize) -> Result<Vec<Frame>, String> {
        frames.iter().try_for_each(|frame| self.guest.send(&frame.bytes))?;
        let (mut received, since) = (Vec::new(), Instant::now());
        while received.len() < frames.len() {
            if since.elapsed() > PATIENCE {
                let (came, sent) = (received.len(), frames.len());
                return Err(format!("{came} frames of {sent} that the guest sent came within {PATIENCE:?}"));
            }
            let arrived = self.port.recv(batch)?;
            if arrived.is_empty() {
                self.port.is_ready_within(MOMENT)?;
            }
            received.extend(arrived.into_iter().filter(|frame| number_of(&frame.bytes).is_some()));
        }
        Ok(received)
    }

    /// Sends frames as one batch, and returns those that the guest is given.
    pub(super) fn given_to_guest(&mut self, frames: &[Frame]) -> Result<Vec<Vec<u8>>, String> {
        // What it sent itself, and sees too, takes room in its socket.
        while self.guest.recv(Duration::ZERO)?.is_some() {}
        let sent = self.port.send(frames)?;
        if sent.consumed != frames.len() || sent.refusals.iter().any(|(refusal, _)| *refusal != 0) {
            return Err(format!("not all of {} frames were taken: {:?}", frames.len(), sent.refusals));
        }
        let mut given = Vec::new();
        while given.len() < frames.len() {
            match self.guest.recv(PATIENCE)? {
                Some(frame) => given.push(frame),
                None => return Err(format!("{} frames of {} reached the guest", given.len(), frames.len())),
            }
        }
        Ok(given)
    }
}
