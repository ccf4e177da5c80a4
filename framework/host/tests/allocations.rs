//! Heap allocations on a frame's way: none, once everything has been seen.
#![allow(unsafe_code, reason = "counts what the allocator is asked for")]

mod plane;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane::{GUESTS, frame, start};
use vreserve::dataplane::ports::{Endpoint, Instance, Interface, PortFacts};
use vreserve::plugin::InstanceError;
use vreserve_abi::Slot;
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::rules::{RuleSetBuilder, StarRole};
use vreserve_model::{Failure, MacAddr};
use vreserve_sdk::{EndpointInfo, InterfaceInfo};

const HERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Nobody answers probes on it, so that nothing changes on its own.
const DEVICE: LinkId = LinkId(1);
/// Guests on this side: each pair has an entry of its own.
const GUEST_COUNT: u32 = 100;
const FRAMES: u64 = 200_000;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// True on a worker's thread.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Has always frames waiting, in batches of changing length, and takes all that come.
struct Busy {
    frames: Vec<Vec<u8>>,
    next: usize,
}

impl Busy {
    fn new(frame_of: impl Fn(MacAddr) -> Vec<u8>) -> Box<Self> {
        let guest = |number: u32| MacAddr([2, 0, 1, 0, 0, number as u8]);
        let frames = (0..GUEST_COUNT).map(|number| frame_of(guest(number))).collect();
        Box::new(Busy { frames, next: 0 })
    }
}

impl Instance for Busy {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        COUNTED.with(|counted| counted.set(true));
        let batch = self.next % (slots.len() + 1);
        for slot in &mut slots[..batch] {
            let frame = &self.frames[self.next % self.frames.len()];
            self.next += 1;
            // SAFETY: the slot's memory is this call's alone, and has room for a short frame.
            unsafe {
                let start = slot.base.add(slot.offset as usize);
                std::ptr::copy_nonoverlapping(frame.as_ptr(), start, frame.len());
            }
            (slot.len, slot.far) = (frame.len() as u32, 0);
        }
        self.next += 1;
        Ok(batch)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        SENT.fetch_add(slots.len() as u64, Ordering::Relaxed);
        Ok(slots.len())
    }

    fn ready_fd(&mut self) -> Option<RawFd> {
        None
    }

    fn violations(&self) -> u64 {
        0
    }

    fn facts(&self) -> PortFacts {
        PortFacts { offload: true, largest_frame: 1514 }
    }
}

impl Interface for Busy {
    fn info(&self) -> InterfaceInfo {
        InterfaceInfo { interface: "memory".into(), mtu: 1500, offload: true, queues: 1 }
    }
}

impl Endpoint for Busy {
    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "memory".into(), mtu: 1600, offload: true, queues: 1 }
    }

    fn add_far(&mut self, _: u32, _: &str, _: Option<&[u8; 32]>) -> Result<(), Failure> {
        Ok(())
    }

    fn remove_far(&mut self, _: u32) {}
}

fn wait_for_frames(frames: u64) {
    let until = SENT.load(Ordering::Relaxed) + frames;
    while SENT.load(Ordering::Relaxed) < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_frame_costs_no_allocation_once_its_pair_is_known() {
    let guests = Busy::new(|guest| frame(guest, THERE, 0));
    let device = Busy::new(|guest| frame(THERE, if guest.0[5] == 0 { HERE } else { guest }, 0));
    let (plane, _events) = start(vec![(guests, device)]);
    plane::add_link(&plane, DEVICE, LinkClass::Static).await;
    let mut rules = RuleSetBuilder::new(1, StarRole::Leaf);
    rules.interface(GUESTS);
    rules.link(DEVICE, LinkClass::Static);
    plane.workers().install(&rules.build().unwrap().into(), &[], &[]);
    wait_for_frames(FRAMES);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "the count works: learning allocates");
    wait_for_frames(FRAMES);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "in {FRAMES} frames and more");
}
