//! Numbered UDP datagrams from one guest to another, to see what was lost and what came out of order.
//!
//! A socket stays in the namespace that it was made in, so plain threads of the test can use it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::wait;
use crate::world::World;

const PORT: u16 = 9099;
const LENGTH: usize = 200;
/// A thousand a second: a cut-over of a few milliseconds meets several.
const SPACING: Duration = Duration::from_millis(1);
const RECEIVE_BUFFER: usize = 32 << 20;
const RECEIVE_WAIT: Duration = Duration::from_millis(100);
/// What is still under way arrives within this time, or never.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// A running sender and receiver.
#[derive(Debug)]
pub struct Gauge {
    is_sending: Arc<AtomicBool>,
    is_receiving: Arc<AtomicBool>,
    arrived: Arc<AtomicUsize>,
    sender: Option<JoinHandle<usize>>,
    receiver: Option<JoinHandle<Vec<usize>>>,
}

/// What became of the datagrams, from the first that arrived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub sent: usize,
    /// Never arrived.
    pub lost: usize,
    /// Arrived after one that was sent later.
    pub reordered: usize,
    /// Arrived again.
    pub duplicated: usize,
}

impl Gauge {
    /// Starts sending from one guest to another; the two must have reached each other before, so that none
    /// waits for an ARP answer.
    pub fn start(world: &World, from: &str, to: &str) -> Self {
        let at = world.address(to);
        let bind = |guest: &str, address| {
            let socket = world.lab().inside(guest, || UdpSocket::bind(address));
            socket.expect("the guest has a namespace").expect("the guest has this address")
        };
        let (receiver, sender) = (bind(to, (at, PORT)), bind(from, (world.address(from), 0)));
        setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER).expect("root may have large buffers");
        receiver.set_read_timeout(Some(RECEIVE_WAIT)).expect("the time-out is not zero");
        sender.connect((at, PORT)).expect("the guests share a subnet");
        let (is_sending, is_receiving) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let arrived = Arc::new(AtomicUsize::new(0));
        let (go_on, listen, count) = (is_sending.clone(), is_receiving.clone(), arrived.clone());
        Self {
            is_sending,
            is_receiving,
            arrived,
            sender: Some(thread::spawn(move || send(&sender, &go_on))),
            receiver: Some(thread::spawn(move || receive(&receiver, &listen, &count))),
        }
    }

    /// Waits until `more` further datagrams have arrived.
    #[track_caller]
    pub fn wait_for(&self, more: usize) {
        let goal = self.arrived.load(Ordering::Relaxed) + more;
        wait::until_true("the gauge's datagrams arrive", Duration::from_secs(20), || {
            self.arrived.load(Ordering::Relaxed) >= goal
        });
    }

    /// Stops sending, lets what is under way arrive, and tells what became of all.
    #[track_caller]
    pub fn finish(mut self) -> Tally {
        self.is_sending.store(false, Ordering::Relaxed);
        let sent = join(self.sender.take());
        let deadline = Instant::now() + UNDER_WAY;
        while self.arrived.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        self.is_receiving.store(false, Ordering::Relaxed);
        Tally::of(sent, &join(self.receiver.take()))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.is_sending.store(false, Ordering::Relaxed);
        self.is_receiving.store(false, Ordering::Relaxed);
    }
}

impl Tally {
    fn of(sent: usize, arrivals: &[usize]) -> Self {
        let mut seen = vec![false; sent];
        let (mut reordered, mut duplicated, mut highest) = (0, 0, 0);
        for &number in arrivals.iter().filter(|number| **number < sent) {
            if std::mem::replace(&mut seen[number], true) {
                duplicated += 1;
            } else if number < highest {
                reordered += 1;
            }
            highest = highest.max(number);
        }
        let lost = seen.iter().filter(|arrived| !**arrived).count();
        Self { sent, lost, reordered, duplicated }
    }
}

fn join<T>(thread: Option<JoinHandle<T>>) -> T {
    let thread = thread.expect("a gauge is finished once");
    thread.join().expect("the gauge's threads do not panic")
}

/// Sends in step with the clock; what the scheduler delayed is caught up with at once.
fn send(socket: &UdpSocket, go_on: &AtomicBool) -> usize {
    let mut sent = 0_usize;
    let mut due = Instant::now();
    let mut datagram = [0; LENGTH];
    while go_on.load(Ordering::Relaxed) {
        datagram[..8].copy_from_slice(&(sent as u64).to_be_bytes());
        sent += usize::from(socket.send(&datagram).is_ok());
        due += SPACING;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

fn receive(socket: &UdpSocket, listen: &AtomicBool, count: &AtomicUsize) -> Vec<usize> {
    let mut arrivals = Vec::new();
    let mut datagram = [0; LENGTH];
    while listen.load(Ordering::Relaxed) {
        if let Ok(LENGTH) = socket.recv(&mut datagram) {
            let number = u64::from_be_bytes(datagram[..8].try_into().expect("eight octets"));
            arrivals.push(usize::try_from(number).unwrap_or(usize::MAX));
            count.store(arrivals.len(), Ordering::Relaxed);
        }
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_lost_or_doubled_is_told_apart() {
        let tally = Tally::of(6, &[0, 2, 1, 3, 3, 5]);
        assert_eq!(tally, Tally { sent: 6, lost: 1, reordered: 1, duplicated: 1 });
    }
}
