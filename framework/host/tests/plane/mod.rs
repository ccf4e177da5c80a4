//! A data plane between interfaces and endpoints of memory: what a test puts in at one side comes out at the
//! other, without a kernel.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unsafe_code, reason = "slots are raw memory, which a plugin fills")]

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vreserve::clock::Clock;
use vreserve::dataplane::pool::{POOL_SLOTS, SlotPool};
use vreserve::dataplane::ports::{Endpoint, Instance, Interface, Port, PortFacts};
use vreserve::dataplane::{
    CapturePort, DataPlane, DataPlaneConfig, EndpointPort, Events, LinkSpec, WorkerConfig,
};
use vreserve::plugin::InstanceError;
use vreserve_abi::Slot;
use vreserve_core::ids::{InterfaceId, LinkClass, LinkId};
use vreserve_core::probe::RateTerms;
use vreserve_model::{Failure, MacAddr};
use vreserve_sdk::{EndpointInfo, InterfaceInfo};

pub(crate) const STAR: LinkId = LinkId(1 << 32);
pub(crate) const CIRCUIT: LinkId = LinkId((1 << 32) + 1);
pub(crate) const GUESTS: InterfaceId = InterfaceId(0);
/// Nothing here takes as long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One side of one queue: far node and frame.
type Frames = Arc<Mutex<VecDeque<(u32, Vec<u8>)>>>;

/// A queue of an interface or endpoint, as the test holds it.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    inward: Frames,
    outward: Frames,
}

/// The same, as the worker holds it.
struct Memory {
    queue: Queue,
}

impl Queue {
    /// It as an interface.
    pub(crate) fn interface(&self) -> Box<dyn Interface> {
        Box::new(Memory { queue: self.clone() })
    }

    /// Puts in a frame that came from a far node (any number at an interface).
    pub(crate) fn put(&self, far: u32, frame: &[u8]) {
        self.inward.lock().unwrap().push_back((far, frame.to_vec()));
    }

    /// The next frame that came out and that `wanted` accepts; others are thrown away.
    pub(crate) fn take(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> (u32, Vec<u8>) {
        let begun = Instant::now();
        loop {
            let next = self.outward.lock().unwrap().pop_front();
            match next {
                Some((far, frame)) if wanted(&frame) => return (far, frame),
                Some(_) => {}
                None if begun.elapsed() > PATIENCE => panic!("no {what} came out"),
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Everything that has come out so far.
    pub(crate) fn drain(&self) -> Vec<(u32, Vec<u8>)> {
        self.outward.lock().unwrap().drain(..).collect()
    }
}

impl Instance for Memory {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        let mut waiting = self.queue.inward.lock().unwrap();
        let frames = waiting.len().min(slots.len());
        for (slot, (far, frame)) in slots.iter_mut().zip(waiting.drain(..frames)) {
            assert!(frame.len() <= (slot.capacity - slot.offset) as usize);
            // SAFETY: the slot's memory is this call's alone, and the frame fits behind the offset.
            unsafe {
                let start = slot.base.add(slot.offset as usize);
                std::ptr::copy_nonoverlapping(frame.as_ptr(), start, frame.len());
            }
            (slot.len, slot.far) = (frame.len() as u32, far);
        }
        Ok(frames)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        let mut out = self.queue.outward.lock().unwrap();
        for slot in slots.iter() {
            // SAFETY: the frame lies in the slot's memory, which is this call's alone.
            let frame =
                unsafe { std::slice::from_raw_parts(slot.base.add(slot.offset as usize), slot.len as usize) };
            out.push_back((slot.far, frame.to_vec()));
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

/// A running data plane with one interface and one endpoint; per worker a queue of each.
pub(crate) struct Plane {
    pub(crate) plane: DataPlane,
    pub(crate) events: Events,
    pub(crate) guests: Vec<Queue>,
    pub(crate) nodes: Vec<Queue>,
}

impl Plane {
    /// Starts `workers` workers.
    pub(crate) fn start(workers: usize) -> Self {
        let queues = || (0..workers).map(|_| Queue::default()).collect::<Vec<_>>();
        let (guests, nodes) = (queues(), queues());
        let memory = |queue: &Queue| Box::new(Memory { queue: queue.clone() });
        let ports = guests.iter().zip(&nodes);
        let ports = ports.map(|(guest, node)| (memory(guest) as _, memory(node) as _)).collect();
        let (plane, events) = start(ports);
        Plane { plane, events, guests, nodes }
    }

    /// Adds a link; its far number is the order in which links were added.
    pub(crate) async fn add_link(&self, id: LinkId, class: LinkClass) {
        add_link(&self.plane, id, class).await;
    }
}

/// Starts a worker for each interface and endpoint.
pub(crate) fn start(ports: Vec<(Box<dyn Interface>, Box<dyn Endpoint>)>) -> (DataPlane, Events) {
    fn port<I: Instance + ?Sized>(name: &str, instance: Box<I>) -> Port<I> {
        Port::new(name.into(), instance, Box::new(|| Err(Failure::unavailable("gone for good"))))
    }
    let worker = |(interface, endpoint)| WorkerConfig {
        pool: SlotPool::new(POOL_SLOTS).unwrap(),
        captures: vec![CapturePort { id: GUESTS, port: port("capture.guests", interface) }],
        endpoints: vec![EndpointPort::new(port("link.internet", endpoint))],
        cpu: None,
    };
    let workers = ports.into_iter().map(worker).collect();
    let spin = Duration::from_micros(50);
    let (clock, rate_terms) = (Clock::start(), RateTerms::default());
    DataPlane::start(DataPlaneConfig { workers, clock, seed: 7, spin, rate_terms }).unwrap()
}

/// Adds a link over the one endpoint.
pub(crate) async fn add_link(plane: &DataPlane, id: LinkId, class: LinkClass) {
    let (endpoint, far_address) = ("internet".into(), id.to_string());
    let link = LinkSpec { id, class, endpoint, far_address, far_key: None };
    plane.workers().add_link(&link).await.unwrap();
}

/// A guest's frame: addresses, IPv4's EtherType, and a number.
pub(crate) fn frame(source: MacAddr, destination: MacAddr, number: u32) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

/// The number in a guest's frame; none for signals.
pub(crate) fn number_of(frame: &[u8]) -> Option<u32> {
    (frame[12..14] == [8, 0]).then(|| u32::from_be_bytes(frame[14..18].try_into().unwrap()))
}
