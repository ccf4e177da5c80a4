//! Numbered frames between two guests, both ways, a thousand a second each: small ones all the time, or large ones as a
//! demand that is worth a circuit.
//!
//! Sockets live in the guests' namespaces, the threads that use them in this process, so that one clock stamps both
//! ends. Each datagram travels as one frame.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::socket::{setsockopt, sockopt};
use vreserve_testbed::{Guest, Lab};

use super::log::{Log, Tally};
use crate::demo::clock::now_us;
use crate::interrupt;

/// Between two frames of one direction.
const SPACING: Duration = Duration::from_millis(1);
/// Octets of a payload: 0.9 Mbit/s with all headers, and 11.2.
const SMALL: usize = 64;
const LARGE: usize = 1360;
const FIRST_PORT: u16 = 5990;
/// A receiver that is not scheduled for seconds must not count as loss on the way.
const BUFFER: usize = 8 << 20;
/// How long the receiver waits for one datagram before it looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is still under way when it is asked for arrives within this time, or never.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// What another has overtaken arrives within this time after it, or never.
const OVERTAKEN: Duration = Duration::from_millis(50);
/// Between two looks whether it has.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// How large frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Size {
    /// Too little to be worth a circuit.
    Small,
    /// Worth one.
    Large,
}

/// Running flows in both directions. Dropped, their threads end by themselves.
pub(in super::super) struct Frames {
    flows: [Flow; 2],
}

/// A moment between two frames of each direction.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Mark([u64; 2]);

struct Flow {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    goes_on: AtomicBool,
    length: AtomicUsize,
    log: Mutex<Log>,
}

impl Frames {
    /// Starts small frames both ways; `nth` tells pairs of one lab apart.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub(in super::super) fn start(lab: &Lab, a: &Guest, b: &Guest, nth: u16) -> anyhow::Result<Self> {
        let port = FIRST_PORT - 2 * nth;
        Ok(Self { flows: [Flow::start(lab, a, b, port)?, Flow::start(lab, b, a, port + 1)?] })
    }

    /// From here on frames have this size.
    pub(in super::super) fn set_size(&self, size: Size) {
        let length = if size == Size::Large { LARGE } else { SMALL };
        self.flows.iter().for_each(|flow| flow.shared.length.store(length, Ordering::Relaxed));
    }

    /// Now.
    pub(in super::super) fn mark(&self) -> Mark {
        Mark([0, 1].map(|way| self.log(way).next()))
    }

    /// How many have come, whatever the way.
    pub(in super::super) fn arrived(&self) -> usize {
        (0..2).map(|way| self.log(way).arrived()).sum()
    }

    /// Waits, within bounds, until the last frame before `to` has come in both directions; and a moment longer for
    /// those that it has overtaken, if any is missing since `from`.
    ///
    /// # Errors
    /// If a signal comes.
    pub(in super::super) fn collect(&self, from: Mark, to: Mark) -> anyhow::Result<()> {
        let deadline = Instant::now() + UNDER_WAY;
        let are =
            |is: fn(&Log, Range<u64>) -> bool| (0..2).all(|way| is(&self.log(way), from.0[way]..to.0[way]));
        while !are(|log, numbers| log.has_reached(numbers.end)) && Instant::now() < deadline {
            interrupt::check()?;
            std::thread::sleep(ASK_EVERY);
        }
        if !are(Log::has_all) {
            std::thread::sleep(OVERTAKEN);
        }
        Ok(())
    }

    /// What became of the frames between two marks, by direction.
    pub(in super::super) fn tally(&self, from: Mark, to: Mark) -> [Tally; 2] {
        let now = now_us();
        [0, 1].map(|way| self.log(way).tally(from.0[way]..to.0[way], now))
    }

    /// When frames came in both directions that were sent at `from` or later, in microseconds since the Unix epoch:
    /// the later of the two.
    pub(in super::super) fn first_sent_since(&self, from: u64) -> Option<u64> {
        let of = |way: usize| self.log(way).first_sent_since(from);
        of(0).zip(of(1)).map(|(a, b)| a.max(b))
    }

    /// Forgets what was sent before a mark.
    pub(in super::super) fn forget(&self, before: Mark) {
        (0..2).for_each(|way| self.log(way).forget(before.0[way]));
    }

    fn log(&self, way: usize) -> MutexGuard<'_, Log> {
        self.flows[way].shared.log()
    }
}

impl Flow {
    fn start(lab: &Lab, from: &Guest, to: &Guest, port: u16) -> anyhow::Result<Self> {
        let at = (to.address.addr(), port);
        let receiver = lab.inside(&to.name, || UdpSocket::bind(at))?.context("bind a receiver")?;
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let sender = lab.inside(&from.name, bind)?.context("bind a sender")?;
        setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER).context("enlarge a receiver's buffer")?;
        receiver.set_read_timeout(Some(LOOK_EVERY)).context("bound a receiver's wait")?;
        sender.connect(at).context("address a receiver")?;
        let shared = Arc::new(Shared {
            goes_on: AtomicBool::new(true),
            length: AtomicUsize::new(SMALL),
            log: Mutex::default(),
        });
        let (sending, receiving) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::spawn(move || sending.send(&sender)),
            std::thread::spawn(move || receiving.receive(&receiver)),
        ];
        Ok(Self { shared, threads })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.goes_on.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends in step with the clock; what the scheduler delayed is caught up with at once.
    fn send(&self, socket: &UdpSocket) {
        let mut payload = [0; LARGE];
        let mut due = Instant::now();
        let mut number = 0_u64;
        while self.goes_on.load(Ordering::Relaxed) {
            payload[..8].copy_from_slice(&number.to_be_bytes());
            let at = now_us();
            // One that the guest's own kernel refuses was never on its way; its number is used for the next.
            if socket.send(&payload[..self.length.load(Ordering::Relaxed)]).is_ok() {
                self.log().handle_sent(at);
                number += 1;
            }
            due += SPACING;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn receive(&self, socket: &UdpSocket) {
        let mut payload = [0; LARGE];
        while self.goes_on.load(Ordering::Relaxed) {
            if let Ok(SMALL | LARGE) = socket.recv(&mut payload) {
                let number = u64::from_be_bytes(payload[..8].try_into().expect("eight octets"));
                self.log().handle_arrival(number, now_us());
            }
        }
    }
}
