//! `recvmmsg` and `sendmmsg` on the slots of a batch: one system call for up to [`BATCH`] datagrams, the
//! frames where they lie, no allocation after a thread's first call.
//!
//! The kernel's message headers hold raw pointers and so cannot live in an instance, which moves between
//! threads; each thread keeps its own. Sending and receiving have separate ones, and so have the IP versions:
//! the kernel writes the length of the sender's name back into a header, where the next call reads it.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg, sendmmsg};
use vreserve_sdk::Batch;

/// Datagrams per system call.
pub(crate) const BATCH: usize = 64;

/// The headers of one thread for one direction.
pub(crate) struct Headers<N>(MultiHeaders<N>);

/// A socket name of one IP version.
pub(crate) trait Name: SockaddrLike + Copy + Send + 'static {
    /// The name of an address, or `None` if it is of the other version.
    fn of(address: SocketAddr) -> Option<Self>;

    /// The address without its port.
    fn ip(&self) -> IpAddr;

    /// Runs `call` with this thread's headers for receiving.
    fn with_receiving<R>(call: impl FnOnce(&mut Headers<Self>) -> R) -> R;

    /// Runs `call` with this thread's headers for sending.
    fn with_sending<R>(call: impl FnOnce(&mut Headers<Self>) -> R) -> R;
}

macro_rules! name {
    ($name:ty, $version:path) => {
        impl Name for $name {
            fn of(address: SocketAddr) -> Option<Self> {
                match address {
                    $version(address) => Some(address.into()),
                    _ => None,
                }
            }

            fn ip(&self) -> IpAddr {
                SocketAddr::from(*self).ip()
            }

            fn with_receiving<R>(call: impl FnOnce(&mut Headers<Self>) -> R) -> R {
                thread_local! {
                    static HEADERS: RefCell<Headers<$name>> = RefCell::new(Headers::new());
                }
                HEADERS.with_borrow_mut(call)
            }

            fn with_sending<R>(call: impl FnOnce(&mut Headers<Self>) -> R) -> R {
                thread_local! {
                    static HEADERS: RefCell<Headers<$name>> = RefCell::new(Headers::new());
                }
                HEADERS.with_borrow_mut(call)
            }
        }
    };
}

name!(SockaddrIn, SocketAddr::V4);
name!(SockaddrIn6, SocketAddr::V6);

impl<N: Name> Headers<N> {
    fn new() -> Self {
        Headers(MultiHeaders::preallocate(BATCH, None))
    }
}

/// A datagram that lies in a slot's space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Bytes in the slot.
    pub(crate) len: usize,
    /// True if the datagram was longer.
    pub(crate) truncated: bool,
    /// Who sent it.
    pub(crate) from: Option<IpAddr>,
}

/// Receives up to `limit` (at most [`BATCH`]) datagrams into the slots from `first` on, and writes down in
/// `arrivals` what came.
pub(crate) fn recv<N: Name>(
    fd: BorrowedFd<'_>,
    batch: &mut Batch<'_>,
    first: usize,
    limit: usize,
    arrivals: &mut Vec<Arrival>,
) -> nix::Result<()> {
    arrivals.clear();
    N::with_receiving(|headers| {
        let mut spaces: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(&mut [])]);
        let mut count = 0;
        let slots = batch.iter_mut().skip(first).take(limit);
        for (space, slot) in spaces.iter_mut().zip(slots) {
            *space = [IoSliceMut::new(slot.into_space())];
            count += 1;
        }
        let spaces = spaces[..count].iter_mut();
        let received = recvmmsg(fd.as_raw_fd(), &mut headers.0, spaces, MsgFlags::MSG_DONTWAIT, None)?;
        arrivals.extend(received.map(|datagram| Arrival {
            len: datagram.bytes,
            truncated: datagram.flags.contains(MsgFlags::MSG_TRUNC),
            from: datagram.address.map(|name| name.ip()),
        }));
        Ok(())
    })
}

/// Sends the frames of the slots at `indices` (ascending, at most [`BATCH`]) to `names`; returns how many
/// were sent, at least one. An error is the first one's.
pub(crate) fn send<N: Name>(
    fd: BorrowedFd<'_>,
    batch: &mut Batch<'_>,
    indices: &[usize],
    names: &[Option<N>],
) -> nix::Result<usize> {
    N::with_sending(|headers| {
        let mut frames = [[IoSlice::new(&[])]; BATCH];
        let mut left = indices;
        for (index, slot) in batch.iter_mut().enumerate() {
            let Some((next, rest)) = left.split_first() else { break };
            if index == *next {
                frames[indices.len() - left.len()] = [IoSlice::new(slot.into_frame())];
                left = rest;
            }
        }
        let frames = frames[..indices.len()].iter();
        sendmmsg(fd.as_raw_fd(), &mut headers.0, frames, names, [], MsgFlags::MSG_DONTWAIT)
            .map(|sent| sent.count())
    })
}
