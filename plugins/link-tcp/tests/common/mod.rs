//! A small host around the plugin's tables: counters, slots, and a link instance as a test uses it.
#![allow(unsafe_code, reason = "the tables are C functions on raw slots; this is their caller")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    HostContext, HostTable, Identity, Pool, Queue, RSlice, RStr, RString, RawLink, STATUS_OK, Slot,
};
use vreserve_sdk::shim::failure_in;
use vreserve_sdk::{EndpointInfo, Failure, Offload};

/// Bytes before a frame in every slot.
pub(crate) const HEADROOM: usize = 256;
const SLOT: usize = 69_632;

static COUNTERS: Mutex<BTreeMap<(usize, String), &'static AtomicU64>> = Mutex::new(BTreeMap::new());
/// Of the instances that have one.
static IDENTITIES: Mutex<BTreeMap<usize, Identity>> = Mutex::new(BTreeMap::new());
static INSTANCES: AtomicU64 = AtomicU64::new(0);

extern "C" fn log(_: usize, level: u8, target: RStr<'_>, line: RStr<'_>) {
    eprintln!("{level} {target}: {line}");
}

extern "C" fn max_level(_: usize) -> u8 {
    4
}

extern "C" fn counter(context: usize, name: RStr<'_>, _help: RStr<'_>) -> &'static AtomicU64 {
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
extern "C" fn identity(context: usize) -> Identity {
    IDENTITIES.lock().unwrap().get(&context).copied().unwrap_or(Identity::NONE)
}

/// Says so where the test runner does not swallow it.
pub(crate) fn skip(reason: &str) {
    std::io::stderr().write_all(format!("{reason}\n").as_bytes()).unwrap();
}

/// An open instance.
pub(crate) struct TestLink {
    raw: RawLink,
    context: usize,
    /// Its public key; zeros without an identity.
    pub(crate) public: [u8; 32],
}

/// What became of a batch that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) consumed: usize,
    pub(crate) refusals: Vec<u32>,
    pub(crate) limits: Vec<u32>,
}

pub(crate) fn open(config: &str) -> Result<TestLink, Failure> {
    open_as(Identity::NONE, config)
}

/// An instance of a node that has a key pair made from `seed`.
pub(crate) fn open_secure(seed: u8, config: &str) -> TestLink {
    let secret = [seed; 32];
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
    dh.set(&secret);
    open_as(Identity { secret, public: dh.pubkey().try_into().unwrap() }, config).unwrap()
}

fn open_as(identity_of_it: Identity, config: &str) -> Result<TestLink, Failure> {
    let context = INSTANCES.fetch_add(1, Ordering::Relaxed) as usize;
    IDENTITIES.lock().unwrap().insert(context, identity_of_it);
    let table = HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix();
    let open = vreserve_link_tcp::plugin().open_link();
    match open(HostContext { table, context }, config.into()).into_result() {
        Ok(raw) => Ok(TestLink { raw, context, public: identity_of_it.public }),
        Err(failure) => Err(failure_in(&failure)),
    }
}

/// An endpoint in clear text on a loopback address and a free port.
pub(crate) fn open_on(ip: &str) -> TestLink {
    open(&format!(r#"{{"bind":"{ip}:0","format":"clear"}}"#)).unwrap()
}

/// The same endpoint, sealed, of a node with the key of `seed`.
pub(crate) fn open_sealed(seed: u8, ip: &str) -> TestLink {
    open_secure(seed, &format!(r#"{{"bind":"{ip}:0"}}"#))
}

impl TestLink {
    pub(crate) fn info(&self) -> EndpointInfo {
        // SAFETY: the instance is open and used by this thread alone.
        let document = unsafe { (self.raw.table.describe())(self.raw.instance) };
        serde_json::from_str(document.as_str()).unwrap()
    }

    pub(crate) fn add_far(&self, far: u32, address: &str) -> Result<(), Failure> {
        self.add_far_with_key(far, address, &[])
    }

    /// With the far node's public key.
    pub(crate) fn add_far_with_key(&self, far: u32, address: &str, key: &[u8]) -> Result<(), Failure> {
        let key = RSlice::from_slice(key);
        // SAFETY: as above.
        let result = unsafe { (self.raw.table.add_far())(self.raw.instance, far, address.into(), key) };
        result.into_result().map_err(|failure| failure_in(&failure))
    }

    pub(crate) fn remove_far(&self, far: u32) {
        // SAFETY: as above.
        unsafe { (self.raw.table.remove_far())(self.raw.instance, far) }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = COUNTERS.lock().unwrap();
        counters.get(&(self.context, name.to_owned())).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Every counter of dropped frames together.
    pub(crate) fn drops(&self) -> u64 {
        vreserve_link_tcp::FrameDrop::ALL.iter().map(|(_, name, _)| self.counter(name)).sum()
    }

    /// Every counter of ended connections together.
    pub(crate) fn ended(&self) -> u64 {
        vreserve_link_tcp::Ended::ALL.iter().map(|(_, name, _)| self.counter(name)).sum()
    }

    /// One `recv` with that many slots: far node and frame of each slot that was filled.
    pub(crate) fn recv(&self, slots: usize) -> Vec<(u32, Vec<u8>)> {
        self.recv_offloaded(slots).into_iter().map(|(far, frame, _)| (far, frame)).collect()
    }

    /// As `recv`, with the offload metadata.
    pub(crate) fn recv_offloaded(&self, slots: usize) -> Vec<(u32, Vec<u8>, Offload)> {
        let mut memory = vec![vec![0_u8; SLOT]; slots];
        let mut raw: Vec<Slot> = memory.iter_mut().map(|bytes| slot(bytes, 0)).collect();
        // SAFETY: the slots point into `memory`, which outlives the call.
        let batch = unsafe { (self.raw.table.recv())(self.raw.instance, raw.as_mut_ptr(), raw.len() as u32) };
        assert_eq!(batch.status, STATUS_OK);
        raw.iter()
            .zip(&memory)
            .take(batch.n as usize)
            .map(|(slot, bytes)| (slot.far, frame(slot, bytes), slot.offload))
            .collect()
    }

    /// The descriptor to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the instance is open; the descriptor lives as long as it.
        unsafe { BorrowedFd::borrow_raw((self.raw.table.ready_fd())(self.raw.instance)) }
    }

    /// Whether its descriptor is readable now.
    pub(crate) fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    pub(crate) fn send(&self, frames: &[(u32, Vec<u8>)]) -> Sent {
        self.send_with(frames, Offload::default())
    }

    pub(crate) fn send_with(&self, frames: &[(u32, Vec<u8>)], offload: Offload) -> Sent {
        let mut memory = vec![vec![0_u8; SLOT]; frames.len()];
        let mut raw = Vec::new();
        for ((far, frame), bytes) in frames.iter().zip(&mut memory) {
            bytes[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
            raw.push(Slot { far: *far, offload, ..slot(bytes, frame.len()) });
        }
        // SAFETY: the slots point into `memory`, which outlives the call.
        let batch = unsafe { (self.raw.table.send())(self.raw.instance, raw.as_mut_ptr(), raw.len() as u32) };
        assert_eq!(batch.status, STATUS_OK);
        Sent {
            consumed: batch.n as usize,
            refusals: raw.iter().map(|slot| slot.refusal).collect(),
            limits: raw.iter().map(|slot| slot.limit).collect(),
        }
    }
}

impl Drop for TestLink {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { (self.raw.table.close())(self.raw.instance) }
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

fn frame(slot: &Slot, bytes: &[u8]) -> Vec<u8> {
    bytes[slot.offset as usize..][..slot.len as usize].to_vec()
}

/// Generous: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Calls all instances as a host does, waiting on their descriptors for 20 ms at most, until `is_so`. Whatever frames
/// come are given to `take` with the number of the instance.
#[track_caller]
pub(crate) fn drive(
    links: &[&TestLink],
    mut take: impl FnMut(usize, u32, Vec<u8>, Offload),
    mut is_so: impl FnMut() -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut came = false;
        for (number, link) in links.iter().enumerate() {
            for (far, frame, offload) in link.recv_offloaded(64) {
                came = true;
                take(number, far, frame, offload);
            }
        }
        if is_so() {
            return;
        }
        assert!(Instant::now() < deadline, "it did not come to that");
        if !came {
            let mut fds: Vec<_> =
                links.iter().map(|link| PollFd::new(link.fd(), PollFlags::POLLIN)).collect();
            poll(&mut fds, PollTimeout::from(20_u8)).unwrap();
        }
    }
}

/// Calls all instances until `is_so`; no frame may come.
#[track_caller]
pub(crate) fn until(links: &[&TestLink], is_so: impl FnMut() -> bool) {
    drive(links, |link, far, frame, _| panic!("instance {link} got {frame:?} of {far}"), is_so);
}

/// Frames that the first instance gets until there are that many, while all are called.
#[track_caller]
pub(crate) fn frames(links: &[&TestLink], count: usize) -> Vec<(u32, Vec<u8>)> {
    let frames = RefCell::new(Vec::new());
    let take = |link, far, frame, _| {
        assert_eq!(link, 0, "only the first is to get frames");
        frames.borrow_mut().push((far, frame));
    };
    drive(links, take, || frames.borrow().len() >= count);
    frames.into_inner()
}

/// Calls both until each can send to the other; `a` has the far number 10 at `b`, and `b` 20 at `a`.
#[track_caller]
pub(crate) fn connect(a: &TestLink, b: &TestLink) {
    b.add_far_with_key(10, &a.info().address, &a.public).unwrap();
    a.add_far_with_key(20, &b.info().address, &b.public).unwrap();
    let (at_a, at_b) = (a.counter("connections"), b.counter("connections"));
    until(&[a, b], || a.counter("connections") > at_a && b.counter("connections") > at_b);
}

/// An Ethernet frame between two stations of that many bytes, told apart by `mark`.
pub(crate) fn numbered_frame(len: usize, mark: u32) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..18].copy_from_slice(&mark.to_be_bytes());
    frame
}
