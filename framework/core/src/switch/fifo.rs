//! Held frames in order: copied into a few large chunks, so that a frame costs a copy and no allocation.
//!
//! Bounded by the octets of its chunks. Each frame lies in one piece, ready to be sent from where it is.

use std::collections::VecDeque;

/// Octets by which the room grows. Large beside a super-frame of 64 KiB: at most a sixteenth of a chunk is
/// lost at its end.
const CHUNK: usize = 1 << 20;

/// A frame takes at least so much room, which bounds the list of frames by the octets too.
const LEAST_ROOM: usize = 64;

/// The list of frames is made for so many, a chunk of frames of 1 KiB; longer lists grow by doubling.
const USUAL_FRAMES: usize = CHUNK / 1024;

/// A bounded first-in, first-out store of frames with their metadata.
#[derive(Clone, Debug)]
pub(super) struct FrameFifo<M> {
    limit: usize,
    /// Octets of all chunks, spare ones included.
    allocated: usize,
    /// The chunks in use, oldest first.
    chunks: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    entries: VecDeque<Entry<M>>,
}

#[derive(Clone, Debug)]
struct Chunk {
    octets: Box<[u8]>,
    filled: usize,
}

/// One frame. Entries and chunks have the same order; an entry at offset 0 is the first of its chunk.
#[derive(Clone, Copy, Debug)]
struct Entry<M> {
    offset: usize,
    length: usize,
    meta: M,
}

impl<M: Copy> FrameFifo<M> {
    /// Room for frames in chunks of at most `limit` octets together; the first one is allocated now.
    pub(super) fn new(limit: usize) -> FrameFifo<M> {
        let mut fifo = FrameFifo {
            limit,
            allocated: 0,
            chunks: VecDeque::new(),
            spare: Vec::new(),
            entries: VecDeque::with_capacity(USUAL_FRAMES),
        };
        let first = fifo.allocate();
        fifo.spare.extend(first);
        fifo
    }

    /// Copies a frame to the end; false, and nothing changes, if there is no room.
    pub(super) fn push(&mut self, frame: &[u8], meta: M) -> bool {
        let room = frame.len().max(LEAST_ROOM);
        if !self.chunks.back().is_some_and(|chunk| chunk.has_room(room)) && !self.open_chunk(room) {
            return false;
        }
        let Some(chunk) = self.chunks.back_mut() else { return false };
        let offset = chunk.filled;
        chunk.octets[offset..offset + frame.len()].copy_from_slice(frame);
        chunk.filled += room;
        self.entries.push_back(Entry { offset, length: frame.len(), meta });
        true
    }

    /// The frames, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], M)> {
        let mut chunk = 0;
        self.entries.iter().enumerate().map(move |(nth, entry)| {
            chunk += usize::from(entry.offset == 0 && nth > 0);
            (&self.chunks[chunk].octets[entry.offset..entry.offset + entry.length], entry.meta)
        })
    }

    /// Forgets the oldest frame.
    pub(super) fn pop(&mut self) {
        self.entries.pop_front();
        if self.entries.front().is_none_or(|next| next.offset == 0) {
            let drained = self.chunks.pop_front();
            self.spare.extend(drained.map(|chunk| Chunk { filled: 0, ..chunk }));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts an empty chunk with this much room at the end.
    fn open_chunk(&mut self, room: usize) -> bool {
        let spare = self.spare.iter().position(|chunk| chunk.has_room(room));
        let chunk = match spare {
            Some(index) => Some(self.spare.swap_remove(index)),
            None if room <= self.next_chunk() => self.allocate(),
            None => None,
        };
        let is_open = chunk.is_some();
        self.chunks.extend(chunk);
        is_open
    }

    fn next_chunk(&self) -> usize {
        CHUNK.min(self.limit - self.allocated)
    }

    fn allocate(&mut self) -> Option<Chunk> {
        let length = self.next_chunk();
        self.allocated += length;
        (length > 0).then(|| Chunk { octets: vec![0; length].into_boxed_slice(), filled: 0 })
    }
}

impl Chunk {
    fn has_room(&self, room: usize) -> bool {
        self.octets.len() - self.filled >= room
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_never_exceeds_the_limit_and_freed_room_is_used_again() {
        let limit = 2 * CHUNK + 1000;
        let mut fifo = FrameFifo::new(limit);
        let frame = [7; 60_000];
        for _ in 0..3 {
            let mut held = 0;
            while fifo.push(&frame, ()) {
                held += 1;
            }
            assert_eq!(held, 2 * (CHUNK / 60_000));
            assert!(fifo.push(&[1; 60], ()), "a short frame still fits behind them");
            assert!(fifo.allocated <= limit);
            while !fifo.is_empty() {
                fifo.pop();
            }
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused() {
        let mut fifo = FrameFifo::new(1000);
        assert!(!fifo.push(&[0; 1001], ()));
        assert!(fifo.push(&[0; 1000], ()));
        assert!(!FrameFifo::new(0).push(&[], ()));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            limit in 0_usize..3000,
            steps in proptest::collection::vec(proptest::option::of(0_usize..400), 0..200),
        ) {
            let (mut fifo, mut model) = (FrameFifo::new(limit), VecDeque::new());
            for (nth, step) in steps.into_iter().enumerate() {
                match step {
                    Some(length) => {
                        let frame = vec![nth as u8; length];
                        if fifo.push(&frame, nth) {
                            model.push_back((frame, nth));
                        }
                    }
                    None => {
                        fifo.pop();
                        model.pop_front();
                    }
                }
                let held: Vec<_> = fifo.iter().map(|(frame, meta)| (frame.to_vec(), meta)).collect();
                prop_assert_eq!(&held, &Vec::from(model.clone()));
                prop_assert_eq!(fifo.len(), held.len());
            }
        }
    }
}
