//! What the tests of this plugin share: a host of nothing but counters, slots made by hand, and network
//! namespaces that go away with the test.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod host;
pub(crate) mod netns;
pub(crate) mod raw;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use host::Instance;

/// Generous: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether `fd` wakes who polls it for reading within `patience`: frames, or an error to be read.
pub(crate) fn is_readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap();
    poll(&mut fds, timeout).unwrap() > 0
        && fds[0].revents().unwrap().intersects(PollFlags::POLLIN | PollFlags::POLLERR)
}

/// Receives until `wanted` frames that `is_wanted` picks have come, waiting on the ready descriptor as the host
/// does.
pub(crate) fn recv_until(
    instance: &mut Instance,
    wanted: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while frames.len() < wanted {
        let batch = instance.recv(64).unwrap();
        if batch.is_empty() {
            assert!(is_readable(instance.ready_fd(), PATIENCE), "{} of {wanted} frames came", frames.len());
        }
        frames.extend(batch.into_iter().filter(|frame| is_wanted(frame)));
    }
    frames
}

/// An Ethernet frame of `len` bytes of an experimental type (IEEE 802), told apart by `number`.
pub(crate) fn numbered_frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0xbb]);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0xaa]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    for (index, byte) in frame[18..].iter_mut().enumerate() {
        *byte = (index as u32 ^ number) as u8;
    }
    frame
}

/// Whether it is a frame of `numbered_frame`.
pub(crate) fn is_numbered(frame: &[u8]) -> bool {
    frame.len() >= 18 && frame[12..14] == [0x88, 0xb5]
}
