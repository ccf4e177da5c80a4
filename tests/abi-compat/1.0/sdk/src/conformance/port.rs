//! A capture or link instance with its own pool: batches in and out, and a note of every breach of the contract.
#![allow(unsafe_code, reason = "calls the C functions of instances")]

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vreserve_abi::{
    Batch, PluginFailure, PluginRef, RResult, RSlice, RStr, RString, STATUS_OK, STATUS_PANICKED, Slot,
};
use vreserve_model::Failure;

use super::frames::Frame;
use super::host::Offer;
use super::keys;
use super::pool::GuardedPool;
use super::watch::watched;
use crate::shim::failure_in;

/// The highest reason for which a frame may be refused.
const LAST_REFUSAL: u32 = 4;

/// An open instance.
pub(super) struct Port {
    instance: *mut (),
    calls: Calls,
    offer: Offer,
    pool: GuardedPool,
    /// Writes past slots.
    pub(super) overruns: Vec<String>,
    /// Counts, lengths, places and reasons that cannot be.
    pub(super) lies: Vec<String>,
}

// SAFETY: the ABI says that an instance may move between threads between calls.
unsafe impl Send for Port {}

/// The functions of both kinds, and what only links have.
#[derive(Clone, Copy)]
struct Calls {
    recv: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    send: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    ready_fd: unsafe extern "C" fn(*mut ()) -> i32,
    describe: unsafe extern "C" fn(*mut ()) -> RString,
    close: unsafe extern "C" fn(*mut ()),
    far: Option<FarCalls>,
}

#[derive(Clone, Copy)]
struct FarCalls {
    add: unsafe extern "C" fn(*mut (), u32, RStr<'_>, RSlice<'_, u8>) -> RResult<(), PluginFailure>,
    remove: unsafe extern "C" fn(*mut (), u32),
}

/// What became of a batch that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// Slots that were taken or refused.
    pub(super) consumed: usize,
    /// For each slot the refusal, 0 if it was taken, and its limit.
    pub(super) refusals: Vec<(u32, u32)>,
    /// The frames as the call left them.
    pub(super) left: Vec<Vec<u8>>,
}

impl Port {
    pub(super) fn open_link(plugin: PluginRef, number: u32, config: &Value) -> Result<Self, Failure> {
        let (pool, offer) = offer(number);
        let open = plugin.open_link();
        let raw = watched(
            || "open".to_owned(),
            || open(offer.context(), config.to_string().as_str().into()).into_result(),
        );
        let raw = raw.map_err(|failure| failure_in(&failure))?;
        let calls = Calls {
            recv: raw.table.recv(),
            send: raw.table.send(),
            ready_fd: raw.table.ready_fd(),
            describe: raw.table.describe(),
            close: raw.table.close(),
            far: Some(FarCalls { add: raw.table.add_far(), remove: raw.table.remove_far() }),
        };
        Ok(Self::with(raw.instance, calls, offer, pool))
    }

    pub(super) fn open_capture(plugin: PluginRef, number: u32, config: &Value) -> Result<Self, Failure> {
        let (pool, offer) = offer(number);
        let open = plugin.open_capture();
        let raw = watched(
            || "open".to_owned(),
            || open(offer.context(), config.to_string().as_str().into()).into_result(),
        );
        let raw = raw.map_err(|failure| failure_in(&failure))?;
        let calls = Calls {
            recv: raw.table.recv(),
            send: raw.table.send(),
            ready_fd: raw.table.ready_fd(),
            describe: raw.table.describe(),
            close: raw.table.close(),
            far: None,
        };
        Ok(Self::with(raw.instance, calls, offer, pool))
    }

    fn with(instance: *mut (), calls: Calls, offer: Offer, pool: GuardedPool) -> Self {
        Port { instance, calls, offer, pool, overruns: Vec::new(), lies: Vec::new() }
    }

    /// One `recv` with that many slots: the frames that came.
    pub(super) fn recv(&mut self, count: usize) -> Result<Vec<Frame>, String> {
        let mut slots: Vec<Slot> = (0..count).map(|index| self.pool.slot(index)).collect();
        let before = slots.clone();
        let (instance, recv) = (self.instance, self.calls.recv);
        // SAFETY: the instance is open, and the slots are its pool's and this call's alone.
        let batch = watched(
            || format!("recv with {count} slots"),
            || unsafe { recv(instance, slots.as_mut_ptr(), count as u32) },
        );
        let filled = self.judge("recv", batch, count)?;
        let mut seen = BTreeSet::new();
        for (index, (slot, given)) in slots.iter_mut().zip(&before).enumerate() {
            let is_given =
                (slot.base, slot.capacity, slot.buffer) == (given.base, given.capacity, given.buffer);
            let may_be_lent = index < filled && self.pool.is_lent(slot);
            if !is_given && !may_be_lent {
                self.lies.push(format!("recv put memory that is not its own into slot {index}"));
                *slot = *given;
            }
            if index >= filled {
                continue;
            }
            if !seen.insert(slot.buffer) {
                self.lies.push(format!("recv put slot number {} twice into a batch", slot.buffer));
            }
            if u64::from(slot.offset) + u64::from(slot.len) > u64::from(slot.capacity) {
                let (len, offset, capacity) = (slot.len, slot.offset, slot.capacity);
                let lie = format!("recv says {len} bytes at {offset} in slot {index} of {capacity} bytes");
                self.lies.push(lie);
            }
        }
        Ok(slots[..filled]
            .iter()
            .map(|slot| Frame { bytes: self.pool.bytes(slot), far: slot.far, offload: slot.offload })
            .collect())
    }

    /// One `send`.
    pub(super) fn send(&mut self, frames: &[Frame]) -> Result<Sent, String> {
        let mut slots: Vec<Slot> = Vec::with_capacity(frames.len());
        for (index, frame) in frames.iter().enumerate() {
            let mut slot = Slot { far: frame.far, offload: frame.offload, ..self.pool.slot(index) };
            self.pool.write(&mut slot, &frame.bytes);
            slots.push(slot);
        }
        let before = slots.clone();
        let (instance, send, count) = (self.instance, self.calls.send, frames.len());
        // SAFETY: as in `recv`.
        let batch = watched(
            || format!("send with {count} frames"),
            || unsafe { send(instance, slots.as_mut_ptr(), count as u32) },
        );
        let consumed = self.judge("send", batch, count)?;
        for (index, (slot, given)) in slots.iter().zip(&before).enumerate() {
            if (slot.base, slot.capacity, slot.buffer) != (given.base, given.capacity, given.buffer) {
                self.lies.push(format!("send changed where the memory of slot {index} is"));
            }
            if slot.refusal > LAST_REFUSAL {
                self.lies
                    .push(format!("send refused slot {index} for reason {}, which is none", slot.refusal));
            }
        }
        let left = before.iter().map(|given| self.pool.bytes(given)).collect();
        let refusals = slots.iter().map(|slot| (slot.refusal.min(LAST_REFUSAL), slot.limit)).collect();
        Ok(Sent { consumed, refusals, left })
    }

    /// `recv` and `send` without any slot and without an address of slots.
    pub(super) fn call_with_nothing(&mut self) -> Result<(), String> {
        for (what, call) in [("recv", self.calls.recv), ("send", self.calls.send)] {
            let instance = self.instance;
            // SAFETY: the instance is open; there are no slots to be read.
            let batch = watched(
                || format!("{what} with 0 slots"),
                || unsafe { call(instance, std::ptr::null_mut(), 0) },
            );
            self.judge(what, batch, 0)?;
        }
        Ok(())
    }

    pub(super) fn add_far(&mut self, far: u32, address: &str, key: &[u8]) -> Result<(), Failure> {
        let Some(FarCalls { add, .. }) = self.calls.far else {
            return Err(Failure::unsupported("a capture has no far nodes"));
        };
        let instance = self.instance;
        // SAFETY: the instance is open.
        let answer = watched(
            || "add_far".to_owned(),
            || unsafe { add(instance, far, address.into(), RSlice::from_slice(key)) },
        );
        answer.into_result().map_err(|failure| failure_in(&failure))
    }

    pub(super) fn remove_far(&mut self, far: u32) {
        if let Some(FarCalls { remove, .. }) = self.calls.far {
            let instance = self.instance;
            // SAFETY: as above.
            watched(|| "remove_far".to_owned(), || unsafe { remove(instance, far) });
        }
    }

    /// The document of `describe`.
    pub(super) fn describe<T: DeserializeOwned>(&self) -> Result<T, String> {
        let (instance, describe) = (self.instance, self.calls.describe);
        // SAFETY: as above.
        let document = watched(|| "describe".to_owned(), || unsafe { describe(instance) });
        serde_json::from_str(document.as_str()).map_err(|error| format!("describe cannot be read: {error}"))
    }

    pub(super) fn ready_fd(&self) -> Option<RawFd> {
        let (instance, ready_fd) = (self.instance, self.calls.ready_fd);
        // SAFETY: as above.
        let fd = watched(|| "ready_fd".to_owned(), || unsafe { ready_fd(instance) });
        (fd >= 0).then_some(fd)
    }

    /// Whether the instance becomes ready within `patience`. Without a descriptor nobody can say: after a moment
    /// it is asked again, as the host does.
    pub(super) fn is_ready_within(&self, patience: Duration) -> Result<bool, String> {
        let Some(fd) = self.ready_fd() else {
            poll(&mut [], PollTimeout::from(1_u8)).map_err(|error| format!("poll: {error}"))?;
            return Ok(true);
        };
        // SAFETY: the descriptor is the instance's, which is open until this returns.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        poll(&mut fds, patience).map_err(|error| format!("polling ready_fd: {error}"))?;
        let events = fds[0].revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLNVAL) {
            return Err("ready_fd is not an open descriptor".to_owned());
        }
        Ok(events.intersects(PollFlags::POLLIN | PollFlags::POLLERR | PollFlags::POLLHUP))
    }

    /// The status of one `recv`, for those who expect a panic.
    pub(super) fn status_of_recv(&mut self) -> i32 {
        let mut slots = [self.pool.slot(0)];
        let (instance, recv) = (self.instance, self.calls.recv);
        // SAFETY: as in `recv`.
        watched(|| "recv with 1 slots".to_owned(), || unsafe { recv(instance, slots.as_mut_ptr(), 1) }).status
    }

    /// Of `passed` slots, how many the call may claim to have used.
    fn judge(&mut self, what: &str, batch: Batch, passed: usize) -> Result<usize, String> {
        if let Some(overrun) = self.pool.inspect() {
            self.overruns.push(format!("{what}: {overrun}"));
        }
        let claimed = batch.n as usize;
        match batch.status {
            STATUS_OK if claimed > passed => {
                self.lies.push(format!("{what} says that it used {claimed} slots of {passed}"));
                Ok(passed)
            }
            STATUS_OK => Ok(claimed),
            STATUS_PANICKED => Err(format!("{what} panicked{}", self.offer.last_words())),
            errno if errno > 0 => Err(format!("{what} failed: {}", std::io::Error::from_raw_os_error(errno))),
            status => {
                self.lies.push(format!("{what} answered with status {status}, which is none"));
                Err(format!("{what} answered with status {status}, which is none"))
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let (instance, close) = (self.instance, self.calls.close);
        // SAFETY: the last call.
        watched(|| "close".to_owned(), || unsafe { close(instance) });
    }
}

fn offer(number: u32) -> (GuardedPool, Offer) {
    let pool = GuardedPool::new();
    let offer = Offer::new(pool.as_pool(), keys::identity(number), std::path::Path::new("/nonexistent"));
    (pool, offer)
}
