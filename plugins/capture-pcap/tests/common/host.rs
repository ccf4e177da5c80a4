//! A host for one instance: the plugin's tables called as the real host calls them, with slots of this module.
#![allow(unsafe_code, reason = "calling the plugin's C tables with slots made by hand")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use vreserve_capture_pcap::plugin;
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    Batch, HostContext, HostTable, Identity, Offload, Pool, Queue, RStr, RString, RawCapture, STATUS_OK, Slot,
};
use vreserve_sdk::{Failure, FailureKind, InterfaceInfo};

/// Bytes of a slot, as the real host has it.
const SLOT_LEN: usize = 68 << 10;
/// Room before the frame.
pub(crate) const HEADROOM: usize = 256;
/// Slots for batches; those lent come behind.
const BATCH_SLOTS: usize = 300;

static CELLS: Mutex<BTreeMap<(usize, String), &'static AtomicU64>> = Mutex::new(BTreeMap::new());
static SETUPS: Mutex<BTreeMap<usize, Setup>> = Mutex::new(BTreeMap::new());
static POOLS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
static NEXT_CONTEXT: AtomicUsize = AtomicUsize::new(1);

/// What the host offers an instance.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// Slots lent to it.
    pub(crate) lent: usize,
    /// Its queue.
    pub(crate) queue: Queue,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { lent: 64, queue: Queue::ONLY }
    }
}

/// A frame with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

impl Frame {
    pub(crate) fn plain(bytes: &[u8]) -> Self {
        Frame { bytes: bytes.to_vec(), offload: Offload::default() }
    }

    pub(crate) fn is_super_frame(&self) -> bool {
        self.offload.kind != 0
    }
}

/// An open instance.
pub(crate) struct Instance {
    raw: RawCapture,
    context: usize,
    slots: Vec<Slot>,
    memory: Vec<u8>,
    setup: Setup,
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
        Self::open_with(config, Setup::default())
    }

    pub(crate) fn open_with(config: &str, setup: Setup) -> Result<Self, Failure> {
        let context = NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed);
        SETUPS.lock().unwrap().insert(context, setup);
        let mut memory = vec![0; (BATCH_SLOTS + setup.lent) * SLOT_LEN];
        POOLS.lock().unwrap().insert(context, memory.as_mut_ptr().expose_provenance());
        let open_capture = plugin().open_capture();
        let opened = open_capture(HostContext { table: table(), context }, RStr::from(config));
        match opened.into_result() {
            Ok(raw) => Ok(Instance { raw, context, slots: Vec::with_capacity(BATCH_SLOTS), memory, setup }),
            Err(failure) => Err(Failure {
                kind: FailureKind::from_code(failure.code),
                reason: failure.reason.into(),
                key: Some(String::from(failure.key)).filter(|key| !key.is_empty()),
                retry_after: None,
            }),
        }
    }

    /// One `recv` with `count` slots: how many frames came, which `frame` shows until the next call. Slots come
    /// back as the ABI demands, which this checks.
    pub(crate) fn recv_slots(&mut self, count: usize) -> io::Result<usize> {
        self.empty_slots(count);
        // SAFETY: the instance is open, and the slots are into this value's memory, used by nobody else.
        let batch =
            unsafe { self.raw.table.recv()(self.raw.instance, self.slots.as_mut_ptr(), count as u32) };
        let filled = number(batch)?;
        assert!(filled <= count);
        for (index, slot) in self.slots[..filled].iter().enumerate() {
            let number = slot.buffer as usize;
            let is_lent = (BATCH_SLOTS..BATCH_SLOTS + self.setup.lent).contains(&number);
            assert!(number == index || is_lent, "slot {number} is none of the instance's");
            assert!(slot.len > 0 && slot.offset + slot.len <= slot.capacity);
            let seen = self.slots[..index].iter().any(|earlier| earlier.buffer == slot.buffer);
            assert!(!seen, "slot {number} stands twice in a batch");
        }
        Ok(filled)
    }

    /// The bytes of a slot that the last call filled.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let slot = &self.slots[index];
        let start = slot.buffer as usize * SLOT_LEN + slot.offset as usize;
        &self.memory[start..start + slot.len as usize]
    }

    /// The number in the pool of a slot that the last call filled.
    pub(crate) fn is_lent(&self, index: usize) -> bool {
        self.slots[index].buffer as usize >= BATCH_SLOTS
    }

    /// One `recv` with `count` slots: the frames that came, with their metadata.
    pub(crate) fn recv_whole(&mut self, count: usize) -> io::Result<Vec<Frame>> {
        let filled = self.recv_slots(count)?;
        let frame =
            |index: usize| Frame { bytes: self.bytes(index).to_vec(), offload: self.slots[index].offload };
        Ok((0..filled).map(frame).collect())
    }

    /// As `recv_whole`, of frames that have no metadata.
    pub(crate) fn recv(&mut self, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let frames = self.recv_whole(count)?.into_iter();
        Ok(frames.inspect(|frame| assert_eq!(frame.offload.kind, 0)).map(|frame| frame.bytes).collect())
    }

    /// One `send`: what became of each frame.
    pub(crate) fn send_whole(&mut self, frames: &[Frame]) -> io::Result<Vec<Fate>> {
        self.empty_slots(frames.len());
        for (slot, frame) in self.slots.iter_mut().zip(frames) {
            let start = slot.buffer as usize * SLOT_LEN + HEADROOM;
            self.memory[start..start + frame.bytes.len()].copy_from_slice(&frame.bytes);
            (slot.len, slot.offload) = (frame.bytes.len() as u32, frame.offload);
        }
        self.send_slots()?;
        let fates = [Fate::Taken, Fate::Oversized, Fate::Busy, Fate::Down, Fate::Malformed];
        Ok(self.slots.iter().map(|slot| fates[slot.refusal as usize]).collect())
    }

    /// As `send_whole`, of frames without metadata.
    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<Vec<Fate>> {
        self.send_whole(&frames.iter().map(|frame| Frame::plain(frame)).collect::<Vec<_>>())
    }

    fn send_slots(&mut self) -> io::Result<()> {
        let count = self.slots.len();
        let slots = self.slots.as_mut_ptr();
        // SAFETY: the slots are into this value's memory.
        unsafe { self.send_raw(slots, count) }
    }

    /// # Safety
    /// The slots' memory is used by nobody else.
    unsafe fn send_raw(&mut self, slots: *mut Slot, count: usize) -> io::Result<()> {
        // SAFETY: the instance is open; the rest is the caller's word.
        let batch = unsafe { self.raw.table.send()(self.raw.instance, slots, count as u32) };
        assert_eq!(number(batch)?, count, "everything is consumed");
        Ok(())
    }

    /// The limit that came with a refusal of the last `send`.
    pub(crate) fn limit(&self, index: usize) -> u32 {
        self.slots[index].limit
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

    fn empty_slots(&mut self, count: usize) {
        assert!(count <= BATCH_SLOTS);
        let base = self.memory.as_mut_ptr();
        let slot = |index: usize| Slot {
            // SAFETY: `memory` has room for all slots of batches.
            base: unsafe { base.add(index * SLOT_LEN) },
            capacity: SLOT_LEN as u32,
            offset: HEADROOM as u32,
            len: 0,
            far: 0,
            offload: Offload::default(),
            refusal: 0,
            buffer: index as u32,
            limit: 0,
        };
        self.slots.clear();
        self.slots.extend((0..count).map(slot));
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
    extern "C" fn pool(context: usize) -> Pool {
        let (lent, base) = (SETUPS.lock().unwrap()[&context].lent, POOLS.lock().unwrap()[&context]);
        Pool {
            base: std::ptr::with_exposed_provenance_mut(base),
            slot_size: SLOT_LEN,
            count: BATCH_SLOTS + lent,
            lent_first: BATCH_SLOTS,
            lent_count: lent,
        }
    }
    extern "C" fn queue(context: usize) -> Queue {
        SETUPS.lock().unwrap()[&context].queue
    }
    extern "C" fn identity(_: usize) -> Identity {
        Identity::NONE
    }
    HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix()
}
