//! A wire between two instances, and traffic of unmodified programs over it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::PATIENCE;
use super::host::Instance;
use super::netns::Netns;

/// Moves frames one way; returns whether there were any.
fn forward(from: &mut Instance, to: &mut Instance, batch: usize, largest: &mut usize) -> bool {
    let (count, longest) = from.forward(to, batch).unwrap();
    *largest = longest.max(*largest);
    count > 0
}

/// Joins the two interfaces while `traffic` runs; returns the largest frame that passed.
pub(crate) fn joined<T: Send>(
    a: &mut Instance,
    b: &mut Instance,
    batch: usize,
    traffic: impl FnOnce() -> T + Send,
) -> (T, usize) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let wire = scope.spawn(|| {
            let mut largest = 0;
            while !is_over.load(Ordering::Relaxed) {
                let to_b = forward(a, b, batch, &mut largest);
                let to_a = forward(b, a, batch, &mut largest);
                if !to_b && !to_a {
                    wait_for_either(a, b);
                }
            }
            largest
        });
        // The wire must stop also if the traffic fails, or the test would wait for it instead of failing.
        let result = panic::catch_unwind(AssertUnwindSafe(traffic));
        is_over.store(true, Ordering::Relaxed);
        let largest = wire.join().unwrap();
        (result.unwrap_or_else(|failure| panic::resume_unwind(failure)), largest)
    })
}

fn wait_for_either(a: &Instance, b: &Instance) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [a.ready_fd(), b.ready_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    poll(&mut fds, PollTimeout::from(20u8)).unwrap();
}

/// Sends `len` patterned bytes from guest A to guest B and returns what came.
pub(crate) fn transfer(a: &Netns, b: &Netns, len: usize) -> (Vec<u8>, Vec<u8>) {
    let sent: Vec<u8> = (0..len).map(|index| (index * 31 % 251) as u8).collect();
    let listener = b.inside(|| TcpListener::bind("10.9.0.2:0").unwrap());
    let address = listener.local_addr().unwrap();
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut received = Vec::new();
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = a.inside(|| TcpStream::connect_timeout(&address, PATIENCE).unwrap());
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    (sent, received)
}
