//! What has come from one far node and has not been read yet: a buffer of fixed size whose contents stay in one piece.
//! Pure.

/// See the module.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// A buffer of that many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Inbox { bytes: vec![0; capacity], start: 0, end: 0 }
    }

    /// Makes it larger.
    pub(crate) fn grow(&mut self, capacity: usize) {
        if self.bytes.len() < capacity {
            self.bytes.resize(capacity, 0);
        }
    }

    /// Room behind what has come. What is there moves to the front when less than half of the buffer is behind it.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.bytes.len() - self.end < self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// Says how many bytes have been written into `space`.
    pub(crate) fn commit(&mut self, length: usize) {
        self.end = (self.end + length).min(self.bytes.len());
    }

    /// What has come.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes bytes out at the front.
    pub(crate) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_wherever_they_lie() {
        let mut inbox = Inbox::new(10);
        let (mut next_in, mut next_out) = (0_u8, 0_u8);
        for (write, read) in [(7, 3), (6, 6), (4, 8), (10, 1), (1, 9), (9, 9)] {
            let space = inbox.space();
            let written = space.len().min(write);
            space[..written].iter_mut().for_each(|byte| {
                *byte = next_in;
                next_in += 1;
            });
            inbox.commit(written);
            let length = inbox.filled().len().min(read);
            for byte in &inbox.filled()[..length] {
                assert_eq!(*byte, next_out);
                next_out += 1;
            }
            inbox.consume(length);
            assert_eq!(inbox.filled().len(), usize::from(next_in - next_out));
        }
        assert!(next_out > 20, "it went round");
    }
}
