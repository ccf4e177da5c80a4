//! What waits to be sent to one far node: a bounded queue of bytes that remembers where its frames end. Pure.

use std::collections::VecDeque;

/// See the module.
pub(crate) struct Outbox {
    bytes: VecDeque<u8>,
    /// Bytes of each record that are still in the queue, first record first, and how many wire frames it stands for.
    records: VecDeque<(usize, u64)>,
    limit: usize,
}

impl Outbox {
    /// At most `limit` bytes of frames will wait.
    pub(crate) fn new(limit: usize) -> Self {
        Outbox { bytes: VecDeque::new(), records: VecDeque::new(), limit }
    }

    /// Puts a frame that stands for so many wire frames behind its header into the queue; false if there is no room.
    #[must_use]
    pub(crate) fn push_frame(&mut self, header: &[u8], frame: &[u8], frames: u64) -> bool {
        let length = header.len() + frame.len();
        if self.bytes.len() + length > self.limit {
            return false;
        }
        self.bytes.extend(header);
        self.bytes.extend(frame);
        self.records.push_back((length, frames));
        true
    }

    /// Puts in what the link itself has to say, which is short and always has room.
    pub(crate) fn push_own(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.records.push_back((bytes.len(), 0));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that go next, in up to two pieces.
    pub(crate) fn pieces(&self) -> (&[u8], &[u8]) {
        self.bytes.as_slices()
    }

    /// Takes out bytes that have gone; returns how many frames have gone whole with them.
    pub(crate) fn consume(&mut self, length: usize) -> u64 {
        self.bytes.drain(..length);
        let (mut left, mut frames) = (length, 0);
        while let Some((record, of_record)) = self.records.front_mut() {
            if *record > left {
                *record -= left;
                break;
            }
            left -= *record;
            frames += *of_record;
            self.records.pop_front();
        }
        frames
    }

    /// Frames that have not gone whole.
    pub(crate) fn frames_left(&self) -> u64 {
        self.records.iter().map(|(_, frames)| frames).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_has_gone_in_part_is_still_there() {
        let mut outbox = Outbox::new(30);
        assert!(outbox.push_frame(&[1; 4], &[2; 6], 1));
        outbox.push_own(&[9; 3]);
        assert!(outbox.push_frame(&[3; 4], &[4; 6], 5));
        assert!(!outbox.push_frame(&[5; 4], &[6; 4], 1), "23 of 30 bytes are taken");
        assert_eq!((outbox.consume(9), outbox.frames_left()), (0, 6));
        assert_eq!((outbox.consume(4), outbox.frames_left()), (1, 5));
        let (first, second) = outbox.pieces();
        assert_eq!([first, second].concat(), [[3; 4].as_slice(), &[4; 6]].concat());
        assert_eq!((outbox.consume(10), outbox.frames_left(), outbox.is_empty()), (5, 0, true));
    }
}
