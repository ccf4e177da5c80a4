//! A TCP connection between two guests at a bounded rate, every octet of which is checked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::Serialize;
use vreserve_testbed::{Guest, Lab};

const PORT: u16 = 5980;
/// What is written at once, and how often: 4 Mbit/s.
const BLOCK: usize = 4096;
const SPACING: Duration = Duration::from_millis(8);
/// For the connection to be made.
const PATIENCE: Duration = Duration::from_secs(10);
/// For octets to come or to be taken: a connection that stands still for so long is broken.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Octets follow from their place; a prime, so that no frame's length hides a shift.
const CYCLE: usize = 251;

/// A running connection. Dropped, its threads end by themselves.
pub(in super::super) struct Stream {
    goes_on: Arc<AtomicBool>,
    sender: Option<JoinHandle<std::io::Result<u64>>>,
    receiver: Option<JoinHandle<std::io::Result<Received>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Received {
    octets: u64,
    wrong: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in super::super) struct Streamed {
    pub(in super::super) sent: u64,
    pub(in super::super) received: u64,
    /// Octets other than what was sent at their place.
    pub(in super::super) wrong: u64,
}

impl Stream {
    /// Connects one guest to another and begins to send.
    ///
    /// # Errors
    /// If the connection is not made.
    pub(in super::super) fn start(lab: &Lab, from: &Guest, to: &Guest) -> anyhow::Result<Self> {
        let at = (to.address.addr(), PORT);
        let listener = lab.inside(&to.name, || TcpListener::bind(at))?.context("listen in a guest")?;
        let connect = || TcpStream::connect_timeout(&at.into(), PATIENCE);
        let near = lab.inside(&from.name, connect)?.context("connect two guests")?;
        let (far, _) = listener.accept().context("accept a guest's connection")?;
        near.set_write_timeout(Some(STANDSTILL)).context("bound a sender's wait")?;
        far.set_read_timeout(Some(STANDSTILL)).context("bound a receiver's wait")?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let flag = goes_on.clone();
        Ok(Self {
            goes_on,
            sender: Some(std::thread::spawn(move || send(near, &flag))),
            receiver: Some(std::thread::spawn(move || receive(far))),
        })
    }

    /// Stops sending, waits for the last octet, and tells what became of all.
    ///
    /// # Errors
    /// If the connection broke or stood still.
    pub(in super::super) fn finish(mut self) -> anyhow::Result<Streamed> {
        self.goes_on.store(false, Ordering::Relaxed);
        let sent = join(self.sender.take())?.context("send over TCP")?;
        let Received { octets, wrong } = join(self.receiver.take())?.context("receive over TCP")?;
        Ok(Streamed { sent, received: octets, wrong })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
    }
}

fn join<T>(thread: Option<JoinHandle<T>>) -> anyhow::Result<T> {
    let thread = thread.expect("a stream is finished once");
    thread.join().map_err(|_| anyhow!("a thread of the TCP stream panicked"))
}

fn send(mut socket: TcpStream, goes_on: &AtomicBool) -> std::io::Result<u64> {
    let mut sent = 0;
    let mut due = Instant::now();
    let mut block = [0; BLOCK];
    while goes_on.load(Ordering::Relaxed) {
        block.iter_mut().zip(sent..).for_each(|(octet, place)| *octet = octet_of(place));
        socket.write_all(&block)?;
        sent += BLOCK as u64;
        // No hurry after a pause: a burst would be more than the demand that is asked for.
        due = (due + SPACING).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    socket.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn receive(mut socket: TcpStream) -> std::io::Result<Received> {
    let mut received = Received::default();
    let mut block = [0; BLOCK];
    loop {
        let length = socket.read(&mut block)?;
        if length == 0 {
            return Ok(received);
        }
        let places = received.octets..;
        let wrong = block[..length].iter().zip(places).filter(|(octet, place)| **octet != octet_of(*place));
        received.wrong += wrong.count() as u64;
        received.octets += length as u64;
    }
}

fn octet_of(place: u64) -> u8 {
    u8::try_from(place % CYCLE as u64).expect("the cycle is shorter than an octet's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_octet_is_wrong() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let right: Vec<u8> = (0..600).map(octet_of).collect();
        near.write_all(&right).unwrap();
        near.write_all(&[octet_of(601)]).unwrap();
        drop(near);
        let received = receive(far).unwrap();
        assert_eq!((received.octets, received.wrong), (601, 1));
    }
}
