//! Numbered datagrams from one guest to another, all the time: the exact count of what was lost or overtaken.
//!
//! Both sockets live in the guests' namespaces, the threads that use them in this process, so that one clock
//! stamps both ends. Each datagram travels as one frame.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::socket::{setsockopt, sockopt};
use vreserve_testbed::Lab;

use super::clock::now_us;
use super::tally::{Arrival, Tally, Window};

/// Between two datagrams: a thousand a second bracket a cut-over to the millisecond, and are too little
/// traffic (0.85 Mbit/s with all headers) to be inferred as demand or to disturb what is measured.
const SPACING: Duration = Duration::from_millis(1);
/// Of one datagram: its number, and room so that no header compression or padding is in play.
const LENGTH: usize = 64;
const PORT: u16 = 5999;
/// A receiver that is not scheduled for seconds must not count as loss on the way.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the receiver waits for one datagram before it looks whether it shall end.
const RECEIVE_WAIT: Duration = Duration::from_millis(50);
/// What is still under way when the sender ends; far more than both commodity queues hold (0.34 s).
const UNDER_WAY: Duration = Duration::from_secs(1);

/// A running gauge. Dropped, its threads end by themselves.
pub(crate) struct Gauge {
    is_sending: Arc<AtomicBool>,
    is_receiving: Arc<AtomicBool>,
    arrived: Arc<AtomicUsize>,
    sender: Option<JoinHandle<Vec<u64>>>,
    receiver: Option<JoinHandle<Vec<Arrival>>>,
}

/// All that a gauge saw.
pub(crate) struct Log {
    /// When each number was sent, in microseconds since the Unix epoch.
    sent: Vec<u64>,
    arrivals: Vec<Arrival>,
}

impl Gauge {
    /// Starts sending from one guest to the address of another.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub(crate) fn start(lab: &Lab, from: &str, to: &str, at: Ipv4Addr) -> anyhow::Result<Self> {
        let receiver =
            lab.inside(to, || UdpSocket::bind((at, PORT)))?.context("bind the gauge's receiver")?;
        let sender =
            lab.inside(from, || UdpSocket::bind(("0.0.0.0", 0)))?.context("bind the gauge's sender")?;
        setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("set the receive buffer")?;
        receiver.set_read_timeout(Some(RECEIVE_WAIT)).context("set the receiver's time-out")?;
        sender.connect((at, PORT)).context("address the gauge's receiver")?;
        let (is_sending, is_receiving) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let arrived = Arc::new(AtomicUsize::new(0));
        let (go_on, listen, count) = (is_sending.clone(), is_receiving.clone(), arrived.clone());
        Ok(Self {
            is_sending,
            is_receiving,
            arrived,
            sender: Some(std::thread::spawn(move || send(&sender, &go_on))),
            receiver: Some(std::thread::spawn(move || receive(&receiver, &listen, &count))),
        })
    }

    /// How many have arrived so far.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Stops sending, lets what is under way arrive, and hands out what was seen.
    ///
    /// # Errors
    /// If a thread panicked.
    pub(crate) fn finish(mut self) -> anyhow::Result<Log> {
        self.is_sending.store(false, Ordering::Relaxed);
        let sent = join(self.sender.take())?;
        std::thread::sleep(UNDER_WAY);
        self.is_receiving.store(false, Ordering::Relaxed);
        Ok(Log { sent, arrivals: join(self.receiver.take())? })
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.is_sending.store(false, Ordering::Relaxed);
        self.is_receiving.store(false, Ordering::Relaxed);
    }
}

impl Log {
    /// What happened to the datagrams that were sent within a window.
    pub(crate) fn tally(&self, window: Window) -> Tally {
        Tally::of(&self.sent, &self.arrivals, window)
    }

    /// What happened to all from the first that arrived: before it, guests did not know each other's addresses.
    pub(crate) fn total(&self) -> Tally {
        let first = self.arrivals.iter().filter_map(|arrival| self.sent.get(arrival.number)).min();
        self.tally(Window { from_us: first.copied().unwrap_or(0), until_us: u64::MAX })
    }
}

fn join<T>(thread: Option<JoinHandle<T>>) -> anyhow::Result<T> {
    let thread = thread.expect("a gauge is finished once");
    thread.join().map_err(|_| anyhow!("a thread of the gauge panicked"))
}

/// Sends in step with the clock; what the scheduler delayed is caught up with at once.
fn send(socket: &UdpSocket, go_on: &AtomicBool) -> Vec<u64> {
    let mut sent = Vec::new();
    let mut due = Instant::now();
    let mut datagram = [0; LENGTH];
    while go_on.load(Ordering::Relaxed) {
        datagram[..8].copy_from_slice(&(sent.len() as u64).to_be_bytes());
        let at = now_us();
        // Refused by the sending guest itself, for want of an ARP answer: never on the way, so no loss there.
        if socket.send(&datagram).is_ok() {
            sent.push(at);
        }
        due += SPACING;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

fn receive(socket: &UdpSocket, listen: &AtomicBool, count: &AtomicUsize) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut datagram = [0; LENGTH];
    while listen.load(Ordering::Relaxed) {
        if let Ok(LENGTH) = socket.recv(&mut datagram) {
            let number = u64::from_be_bytes(datagram[..8].try_into().expect("eight bytes"));
            arrivals.push(Arrival { number: usize::try_from(number).unwrap_or(usize::MAX) });
            count.store(arrivals.len(), Ordering::Relaxed);
        }
    }
    arrivals
}
