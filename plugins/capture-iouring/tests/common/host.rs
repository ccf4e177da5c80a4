//! A host for one instance: the plugin's tables called as the real host calls them, with slots of this module.
#![allow(unsafe_code, reason = "calling the plugin's C tables with slots made by hand")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::PATIENCE;
use vreserve_capture_iouring::plugin;
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    Batch, HostContext, HostTable, Identity, Offload, Pool, Queue, RStr, RString, RawCapture, STATUS_OK, Slot,
};
use vreserve_sdk::{Failure, FailureKind, InterfaceInfo};

/// Bytes of a test slot: less than a real one, enough for a wire frame.
const SLOT_LEN: usize = 4096;
/// Room before the frame.
const HEADROOM: usize = 128;

static CELLS: Mutex<BTreeMap<(usize, String), &'static AtomicU64>> = Mutex::new(BTreeMap::new());
static NEXT_CONTEXT: AtomicUsize = AtomicUsize::new(1);

/// An open instance.
pub(crate) struct Instance {
    raw: RawCapture,
    context: usize,
    memory: Vec<u8>,
}

// SAFETY: the ABI says that an instance may move between threads between calls.
unsafe impl Send for Instance {}

/// What became of a frame in `send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Oversized,
    Busy,
    Down,
    Malformed,
}

impl Instance {
    pub(crate) fn open(config: &str) -> Result<Self, Failure> {
        let context = NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed);
        let open_capture = plugin().open_capture();
        let opened = open_capture(HostContext { table: table(), context }, RStr::from(config));
        match opened.into_result() {
            Ok(raw) => Ok(Instance { raw, context, memory: Vec::new() }),
            Err(failure) => Err(Failure {
                kind: FailureKind::from_code(failure.code),
                reason: failure.reason.into(),
                key: Some(String::from(failure.key)).filter(|key| !key.is_empty()),
                retry_after: None,
            }),
        }
    }

    /// As `open`, again as long as the plugin asks for it. A TAP that was just closed stays held while another
    /// test's thread is between fork and exec, as the child has all descriptors until then.
    pub(crate) fn reopen(config: &str) -> Self {
        let patience = Instant::now() + PATIENCE;
        loop {
            match Self::open(config) {
                Err(failure) if failure.kind == FailureKind::Retry && Instant::now() < patience => {
                    thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// One `recv` with `count` slots: the frames that came. Slots come back as the ABI demands, which this checks.
    pub(crate) fn recv(&mut self, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut slots = self.slots(count, |_| &[]);
        // SAFETY: the instance is open, and the slots are into this value's memory, used by nobody else.
        let batch = unsafe { self.raw.table.recv()(self.raw.instance, slots.as_mut_ptr(), count as u32) };
        let filled = number(batch)?;
        assert!(filled <= count);
        let frame = |slot: &Slot| {
            assert_eq!(slot.offload, Offload::default(), "a plain wire frame");
            assert!(slot.offset as usize == HEADROOM && slot.len > 0);
            let start = slot.buffer as usize * SLOT_LEN + HEADROOM;
            self.memory[start..start + slot.len as usize].to_vec()
        };
        Ok(slots[..filled].iter().map(frame).collect())
    }

    /// One `send`: what became of each frame.
    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<Vec<Fate>> {
        let mut slots = self.slots(frames.len(), |index| &frames[index]);
        let count = slots.len() as u32;
        // SAFETY: as in `recv`.
        let batch = unsafe { self.raw.table.send()(self.raw.instance, slots.as_mut_ptr(), count) };
        assert_eq!(number(batch)?, frames.len(), "everything is consumed");
        let fates = [Fate::Taken, Fate::Oversized, Fate::Busy, Fate::Down, Fate::Malformed];
        Ok(slots.iter().map(|slot| fates[slot.refusal as usize]).collect())
    }

    pub(crate) fn ready_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the instance is open; its descriptor lives as long.
        unsafe { BorrowedFd::borrow_raw(self.raw.table.ready_fd()(self.raw.instance)) }
    }

    pub(crate) fn info(&self) -> InterfaceInfo {
        // SAFETY: the instance is open.
        let document = unsafe { self.raw.table.describe()(self.raw.instance) };
        vreserve_sdk::serde_json::from_str(&document).unwrap()
    }

    /// The instance's counter of that name, which it must have.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        CELLS.lock().unwrap()[&(self.context, name.to_owned())].load(Ordering::Relaxed)
    }

    fn slots<'a>(&mut self, count: usize, frame: impl Fn(usize) -> &'a [u8]) -> Vec<Slot> {
        let len = |index| frame(index).len();
        self.memory.resize(self.memory.len().max(count * SLOT_LEN), 0);
        for index in 0..count {
            let room = &mut self.memory[index * SLOT_LEN + HEADROOM..(index + 1) * SLOT_LEN];
            room[..len(index)].copy_from_slice(frame(index));
        }
        let base = self.memory.as_mut_ptr();
        let slot = |index: usize| Slot {
            // SAFETY: `memory` has room for `count` slots.
            base: unsafe { base.add(index * SLOT_LEN) },
            capacity: SLOT_LEN as u32,
            offset: HEADROOM as u32,
            len: len(index) as u32,
            far: 0,
            offload: Offload::default(),
            refusal: 0,
            buffer: index as u32,
            limit: 0,
        };
        (0..count).map(slot).collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the instance is open and not used again.
        unsafe { self.raw.table.close()(self.raw.instance) };
    }
}

fn number(batch: Batch) -> io::Result<usize> {
    match batch.status {
        STATUS_OK => Ok(batch.n as usize),
        status if status > 0 => Err(io::Error::from_raw_os_error(status)),
        status => panic!("status {status}: the plugin panicked"),
    }
}

fn table() -> vreserve_sdk::abi::HostTableRef {
    extern "C" fn log(_: usize, _: u8, _: RStr<'_>, message: RStr<'_>) {
        eprintln!("plugin: {message}");
    }
    extern "C" fn max_level(_: usize) -> u8 {
        5
    }
    extern "C" fn counter(context: usize, name: RStr<'_>, help: RStr<'_>) -> &'static AtomicU64 {
        assert!(!help.is_empty());
        let mut cells = CELLS.lock().unwrap();
        cells.entry((context, name.into())).or_insert_with(|| Box::leak(Box::default()))
    }
    extern "C" fn state_dir(_: usize) -> RString {
        RString::from("/nonexistent")
    }
    extern "C" fn pool(_: usize) -> Pool {
        Pool::NONE
    }
    extern "C" fn queue(_: usize) -> Queue {
        Queue::ONLY
    }
    extern "C" fn identity(_: usize) -> Identity {
        Identity::NONE
    }
    HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix()
}
