//! Small datagrams, as many as one sender can make: how many arrive per second, and how many do not.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use vreserve_testbed::Lab;

use super::super::ground::Subject;

/// Payload of a datagram.
const BYTES: usize = 64;
/// Datagrams per system call, at both ends.
const BATCH: usize = 64;
const PORT: u16 = 5301;
/// Counting begins when the first have gone all the way and queues have filled.
const WARM_UP: Duration = Duration::from_millis(300);
/// What is still under way when the sender stops arrives within this.
const STRAGGLERS: Duration = Duration::from_millis(200);
/// Of the receiver's socket: what it holds is not lost.
const BUFFER: usize = 16 << 20;

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) received_per_second: f64,
    /// Of all that were sent.
    pub(crate) lost_percent: f64,
}

/// Sends for so long.
///
/// # Errors
/// If nothing arrives.
pub(crate) fn run(lab: &Lab, subject: &Subject, length: Duration) -> anyhow::Result<Run> {
    let receiver = lab.inside(&subject.to, receiver)??;
    let senders = lab.inside(&subject.from, || {
        let ends = subject.ends.iter().map(|(_, at)| sender(SocketAddrV4::new(*at, PORT)));
        ends.collect::<anyhow::Result<Vec<_>>>()
    })??;
    let received = AtomicU64::new(0);
    let begin = Instant::now();
    let stop = begin + WARM_UP + length;
    let (sent, counted) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, stop + STRAGGLERS, &received));
        let sending = scope.spawn(|| send(&senders, stop));
        let count_at = |moment: Instant| {
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            (Instant::now(), received.load(Ordering::Relaxed))
        };
        let (first, last) = (count_at(begin + WARM_UP), count_at(stop));
        let sent = sending.join().expect("sending does not panic");
        receiving.join().expect("receiving does not panic")?;
        anyhow::Ok((sent?, (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()))
    })?;
    let received = received.into_inner();
    if received == 0 || sent == 0 {
        bail!("{sent} small datagrams were sent and {received} arrived");
    }
    let lost_percent = 100.0 * sent.saturating_sub(received) as f64 / sent as f64;
    Ok(Run { received_per_second: counted, lost_percent })
}

fn receiver() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).context("bind the receiver")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarge the receiver's buffer")?;
    socket.set_read_timeout(Some(STRAGGLERS / 4)).context("bound the receiver's wait")?;
    Ok(socket)
}

fn sender(to: SocketAddrV4) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind the sender")?;
    socket.connect(to).context("connect the sender")?;
    Ok(socket)
}

/// Counts what arrives; the count is only ever read by others.
fn receive(socket: &UdpSocket, until: Instant, received: &AtomicU64) -> anyhow::Result<()> {
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut buffers = [[0_u8; BYTES]; BATCH];
    while Instant::now() < until {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
            Ok(messages) => {
                received.fetch_add(messages.count() as u64, Ordering::Relaxed);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("receive small datagrams"),
        }
    }
    Ok(())
}

/// Each batch from another socket; returns how many the kernel took.
fn send(sockets: &[UdpSocket], until: Instant) -> anyhow::Result<u64> {
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let payload = [0_u8; BYTES];
    let slices = [[IoSlice::new(&payload)]; BATCH];
    let nobody: [Option<()>; BATCH] = [None; BATCH];
    let mut sent = 0;
    for socket in sockets.iter().cycle().take_while(|_| Instant::now() < until) {
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nobody, [], MsgFlags::empty()) {
            Ok(messages) => sent += messages.count() as u64,
            // A full queue, or the word of a datagram that nobody was there to take.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(errno) => return Err(errno).context("send small datagrams"),
        }
    }
    Ok(sent)
}
