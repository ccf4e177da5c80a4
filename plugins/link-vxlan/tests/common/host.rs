//! A small host around the plugin's tables: counters, slots, and a link instance as a test uses it.
#![allow(unsafe_code, reason = "the tables are C functions on raw slots; this is their caller")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    Batch, HostContext, HostTable, HostTableRef, Identity, Pool, Queue, RSlice, RStr, RString, RawLink,
    STATUS_OK, Slot,
};
use vreserve_sdk::shim::failure_in;
use vreserve_sdk::{EndpointInfo, Failure, Offload};

use super::frames::Frame;
use super::netns::Netns;

const HEADROOM: usize = 256;
const SLOT: usize = 69_632;

static COUNTERS: Mutex<BTreeMap<(usize, String), &'static AtomicU64>> = Mutex::new(BTreeMap::new());
static INSTANCES: AtomicUsize = AtomicUsize::new(0);

/// An open instance.
pub(crate) struct TestLink {
    raw: RawLink,
    context: usize,
}

// SAFETY: the ABI says that an instance may move between threads between calls.
unsafe impl Send for TestLink {}

/// What became of a batch that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) consumed: usize,
    pub(crate) refusals: Vec<u32>,
    pub(crate) limits: Vec<u32>,
}

impl TestLink {
    /// Opens an instance in a namespace.
    pub(crate) fn open(netns: &Netns, config: &str) -> Result<Self, Failure> {
        let context = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let open = vreserve_link_vxlan::plugin().open_link();
        netns.inside(|| {
            let opened = open(HostContext { table: table(), context }, config.into()).into_result();
            opened.map(|raw| TestLink { raw, context }).map_err(|failure| failure_in(&failure))
        })
    }

    pub(crate) fn info(&self) -> EndpointInfo {
        // SAFETY: the instance is open and used by this thread alone.
        let document = unsafe { (self.raw.table.describe())(self.raw.instance) };
        serde_json::from_str(document.as_str()).unwrap()
    }

    pub(crate) fn add_far(&self, far: u32, address: &str) {
        // SAFETY: as above.
        let result = unsafe {
            (self.raw.table.add_far())(self.raw.instance, far, address.into(), RSlice::from_slice(&[]))
        };
        result.into_result().map_err(|failure| failure_in(&failure)).unwrap();
    }

    pub(crate) fn remove_far(&self, far: u32) {
        // SAFETY: as above.
        unsafe { (self.raw.table.remove_far())(self.raw.instance, far) }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        COUNTERS.lock().unwrap()[&(self.context, name.to_owned())].load(Ordering::Relaxed)
    }

    /// One `recv` with that many slots: far node and frame of each slot that was filled.
    pub(crate) fn recv(&self, slots: usize) -> io::Result<Vec<(u32, Frame)>> {
        let mut memory = vec![vec![0_u8; SLOT]; slots];
        let mut raw: Vec<Slot> = memory.iter_mut().map(|bytes| slot(bytes, 0)).collect();
        // SAFETY: the slots point into `memory`, which outlives the call.
        let batch = unsafe { (self.raw.table.recv())(self.raw.instance, raw.as_mut_ptr(), raw.len() as u32) };
        let filled = raw.iter().zip(&memory).take(number(batch)?);
        let frame = |(slot, bytes): (&Slot, &Vec<u8>)| {
            let bytes = bytes[slot.offset as usize..][..slot.len as usize].to_vec();
            (slot.far, Frame { bytes, offload: slot.offload })
        };
        Ok(filled.map(frame).collect())
    }

    /// Receives, waiting as the host does, until frames were received that stand for `count` wire frames.
    pub(crate) fn recv_wire_frames(&self, count: usize) -> Vec<(u32, Frame)> {
        let (mut slots, mut frames) = (Vec::new(), 0);
        while frames < count {
            assert!(self.wait(), "only {frames} of {count} frames came");
            let received = self.recv(64).unwrap();
            frames += received.iter().map(|(_, frame)| frame.wire_frames().len()).sum::<usize>();
            slots.extend(received);
        }
        slots
    }

    /// Receives until the counter has that value.
    pub(crate) fn recv_until_counted(&self, name: &str, value: u64) {
        while self.counter(name) < value {
            assert!(self.wait(), "{name} is {}", self.counter(name));
            assert!(self.recv(64).unwrap().is_empty(), "a frame came");
        }
        assert_eq!(self.counter(name), value);
    }

    /// Waits until a frame, or an error, is there.
    pub(crate) fn wait(&self) -> bool {
        // SAFETY: the instance is open; the descriptor lives as long as it.
        let fd = unsafe { BorrowedFd::borrow_raw((self.raw.table.ready_fd())(self.raw.instance)) };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(5_000_u16)).unwrap() == 1
    }

    /// One `send`.
    pub(crate) fn send(&self, frames: &[(u32, Frame)]) -> io::Result<Sent> {
        let mut memory = vec![vec![0_u8; SLOT]; frames.len()];
        let mut raw = Vec::new();
        for ((far, frame), bytes) in frames.iter().zip(&mut memory) {
            bytes[HEADROOM..HEADROOM + frame.bytes.len()].copy_from_slice(&frame.bytes);
            raw.push(Slot { far: *far, offload: frame.offload, ..slot(bytes, frame.bytes.len()) });
        }
        // SAFETY: as above.
        let batch = unsafe { (self.raw.table.send())(self.raw.instance, raw.as_mut_ptr(), raw.len() as u32) };
        Ok(Sent {
            consumed: number(batch)?,
            refusals: raw.iter().map(|slot| slot.refusal).collect(),
            limits: raw.iter().map(|slot| slot.limit).collect(),
        })
    }
}

impl Drop for TestLink {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { (self.raw.table.close())(self.raw.instance) }
    }
}

fn number(batch: Batch) -> io::Result<usize> {
    match batch.status {
        STATUS_OK => Ok(batch.n as usize),
        status if status > 0 => Err(io::Error::from_raw_os_error(status)),
        status => panic!("status {status}: the plugin panicked"),
    }
}

fn slot(bytes: &mut [u8], len: usize) -> Slot {
    Slot {
        base: bytes.as_mut_ptr(),
        capacity: SLOT as u32,
        offset: HEADROOM as u32,
        len: len as u32,
        far: u32::MAX,
        offload: Offload::default(),
        refusal: 0,
        buffer: 0,
        limit: 0,
    }
}

fn table() -> HostTableRef {
    extern "C" fn log(_: usize, level: u8, target: RStr<'_>, line: RStr<'_>) {
        eprintln!("{level} {target}: {line}");
    }
    extern "C" fn max_level(_: usize) -> u8 {
        4
    }
    extern "C" fn counter(context: usize, name: RStr<'_>, help: RStr<'_>) -> &'static AtomicU64 {
        assert!(!help.is_empty());
        let mut counters = COUNTERS.lock().unwrap();
        counters.entry((context, name.to_string())).or_insert_with(|| Box::leak(Box::default()))
    }
    extern "C" fn state_dir(_: usize) -> RString {
        RString::new()
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
