//! A worker of the host between an interface and an endpoint of memory: all that the host does with a frame, and no
//! kernel.
#![allow(unsafe_code, reason = "slots are raw memory, which a plugin fills")]

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use vreserve::clock::Clock;
use vreserve::dataplane::pool::{POOL_SLOTS, SlotPool};
use vreserve::dataplane::ports::{Endpoint, Instance, Interface, Port, PortFacts};
use vreserve::dataplane::{CapturePort, DataPlane, DataPlaneConfig, EndpointPort, LinkSpec, WorkerConfig};
use vreserve::plugin::InstanceError;
use vreserve_abi::Slot;
use vreserve_core::ids::LinkClass;
use vreserve_core::probe::RateTerms;
use vreserve_core::rules::{Action, Rule, RuleSetBuilder, StarRole};
use vreserve_model::Failure;
use vreserve_sdk::{EndpointInfo, InterfaceInfo};

use super::{LINK, TAP, frame, guest};

/// Frames per call of the interface, and of one pair in a row.
const BATCH: u32 = 32;
const BURST: u32 = 8;
const PAIRS: u32 = 16;
/// Between two turns until the rules are in force.
const IDLE: Duration = Duration::from_millis(5);

/// An interface that has `left` frames, or an endpoint that has none and says when it has sent all.
struct Memory {
    frames: Vec<[u8; 60]>,
    given: u32,
    left: u32,
    /// True once the rules are in force.
    may_give: Arc<AtomicBool>,
    /// Frames that are not sent yet.
    awaited: usize,
    all_sent: Sender<()>,
}

impl Instance for Memory {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        if !self.may_give.load(Relaxed) {
            // The fewer turns without a frame, the less they add to the count.
            std::thread::sleep(IDLE);
            return Ok(0);
        }
        let batch = slots.len().min(BATCH.min(self.left) as usize);
        for slot in &mut slots[..batch] {
            let frame = &self.frames[(self.given / BURST % PAIRS) as usize];
            self.given += 1;
            // SAFETY: the slot's memory is this call's alone, and has room for a short frame.
            unsafe {
                let start = slot.base.add(slot.offset as usize);
                std::ptr::copy_nonoverlapping(frame.as_ptr(), start, frame.len());
            }
            (slot.len, slot.far) = (frame.len() as u32, 0);
        }
        self.left -= batch as u32;
        Ok(batch)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        let awaited = self.awaited;
        self.awaited = awaited.saturating_sub(slots.len());
        if awaited > 0 && self.awaited == 0 {
            self.all_sent.send(()).expect("somebody waits for it");
            // Nothing that the worker would do from here on is to be counted.
            loop {
                std::thread::park();
            }
        }
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

impl Interface for Memory {
    fn info(&self) -> InterfaceInfo {
        InterfaceInfo { interface: "memory".into(), mtu: 1500, offload: true, queues: 1 }
    }
}

impl Endpoint for Memory {
    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "memory".into(), mtu: 1600, offload: true, queues: 1 }
    }

    fn add_far(&mut self, _: u32, _: &str, _: Option<&[u8; 32]>) -> Result<(), Failure> {
        Ok(())
    }

    fn remove_far(&mut self, _: u32) {}
}

/// Has a worker take `frames` frames from guests and send them on a link. Returns when it has, and stands still.
pub(crate) fn run(frames: u32) {
    let (all_sent, end) = channel();
    let may_give = Arc::new(AtomicBool::new(false));
    let memory = |left| {
        Box::new(Memory {
            frames: (0..PAIRS).map(frame).collect(),
            given: 0,
            left,
            may_give: Arc::clone(&may_give),
            awaited: frames as usize,
            all_sent: all_sent.clone(),
        })
    };
    let (interface, endpoint): (Box<dyn Interface>, Box<dyn Endpoint>) = (memory(frames), memory(0));
    let worker = WorkerConfig {
        pool: SlotPool::new(POOL_SLOTS).expect("memory for the slots"),
        captures: vec![CapturePort { id: TAP, port: port("capture.guests", interface) }],
        endpoints: vec![EndpointPort::new(port("link.internet", endpoint))],
        cpu: None,
    };
    let config = DataPlaneConfig {
        workers: vec![worker],
        clock: Clock::start(),
        seed: 7,
        spin: Duration::ZERO,
        rate_terms: RateTerms::default(),
    };
    let (plane, _events) = DataPlane::start(config).expect("a thread for the worker");
    set_up(&plane);
    may_give.store(true, Relaxed);
    end.recv().expect("the endpoint says when it has sent all");
    // Its end would wait for the worker, which stands still now; the program ends with it.
    std::mem::forget(plane);
}

fn port<I: Instance + ?Sized>(name: &str, instance: Box<I>) -> Port<I> {
    Port::new(name.into(), instance, Box::new(|| Err(Failure::unavailable("there is only one"))))
}

/// Puts the link and its rules in force.
fn set_up(plane: &DataPlane) {
    let link = LinkSpec {
        id: LINK,
        class: LinkClass::Static,
        endpoint: "internet".into(),
        far_address: "memory".into(),
        far_key: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(plane.workers().add_link(&link)).expect("an endpoint that takes every far node");
    let mut rules = RuleSetBuilder::new(1, StarRole::Leaf);
    rules.interface(TAP).link(LINK, LinkClass::Static);
    (0..PAIRS).for_each(|to| _ = rules.rule(Rule::pair(guest(u32::MAX), guest(to), Action::Send(LINK))));
    let rules = rules.build().expect("the rules name what the node has");
    plane.workers().install(&rules.into(), &[], &[]);
}
