//! Joining frames: whatever comes, joined and cut again, is what came.

use vreserve_offload::{ChecksumPolicy, Layout, Merge, Offload, Segments, Transport};

use crate::input::Input;
use crate::offload::{read_frame, wire};

/// How many edits and frames an input may ask for.
const EDITS: usize = 16;
const FRAMES: usize = 80;

/// An operation per byte: a number of edits, then a super-frame whose wire frames are dropped, doubled, swapped
/// and damaged by them; joined and cut again, frames are what they were, in order.
pub fn offload_merge(data: &[u8]) {
    let mut input = Input(data);
    let edits: Vec<[u16; 3]> =
        (0..usize::from(input.byte()) % EDITS).map(|_| [input.word(), input.word(), input.word()]).collect();
    let Some((offload, frame)) = read_frame(&mut input) else { return };
    let mut frames = match Segments::plan(frame, &offload) {
        Ok(segments) => segments.take(FRAMES).map(|segment| wire(&segment)).collect(),
        Err(_) => vec![frame.to_vec(), frame.to_vec()],
    };
    for [which, at, kind] in edits {
        edit(&mut frames, usize::from(which), usize::from(at), kind);
    }
    let again = cut(&coalesce(&frames));
    assert_eq!(again.len(), frames.len(), "number of frames");
    for (again, frame) in again.iter().zip(&frames) {
        assert_eq!(comparable(again), comparable(frame));
    }
}

fn edit(frames: &mut Vec<Vec<u8>>, which: usize, at: usize, kind: u16) {
    let Some(which) = which.checked_rem(frames.len()) else { return };
    let [kind, value] = kind.to_be_bytes();
    match kind % 5 {
        0 => _ = frames.remove(which),
        1 => frames.insert(which, frames[which].clone()),
        2 => {
            let other = at % frames.len();
            frames.swap(which, other);
        }
        3 => {
            let len = at % (frames[which].len() + 1);
            frames[which].truncate(len);
        }
        _ => {
            let frame = &mut frames[which];
            if let Some(at) = at.checked_rem(frame.len()) {
                frame[at] ^= value;
            }
        }
    }
}

/// Joins as a link does it with a batch.
fn coalesce(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, Offload)> {
    let mut joined = Vec::new();
    let mut open: Option<(Merge, Vec<u8>)> = None;
    for frame in frames {
        if let Some((merge, super_frame)) = &mut open {
            let (header, payload) = frame.split_at(merge.header_len().min(frame.len()));
            if merge.push(header, payload).is_ok() {
                super_frame.extend(payload);
                continue;
            }
        }
        joined.extend(open.take().map(finish));
        match Merge::start(frame, ChecksumPolicy::Verify) {
            Some(merge) => open = Some((merge, frame.clone())),
            None => joined.push((frame.clone(), Offload::default())),
        }
    }
    joined.extend(open.map(finish));
    joined
}

fn finish((merge, mut super_frame): (Merge, Vec<u8>)) -> (Vec<u8>, Offload) {
    assert_eq!(merge.header_len() + merge.payload_len(), super_frame.len());
    let offload = merge.finish(&mut super_frame);
    (super_frame, offload)
}

fn cut(joined: &[(Vec<u8>, Offload)]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (frame, offload) in joined {
        if offload.is_super_frame() {
            let segments = Segments::plan(frame, offload).expect("a joined super-frame can be cut");
            frames.extend(segments.map(|segment| wire(&segment)));
        } else {
            frames.push(frame.clone());
        }
    }
    frames
}

/// The frame without what joining may alter: the identification under "don't fragment" with the checksum that
/// covers it, and which of the two zeros a TCP checksum is.
fn comparable(frame: &[u8]) -> Vec<u8> {
    let mut comparable = frame.to_vec();
    let Ok(Layout { ip: Some(ip), .. }) = Layout::parse(frame) else { return comparable };
    if matches!(ip.version, vreserve_offload::IpVersion::V4 { .. }) && frame[ip.start + 6] & 0x40 != 0 {
        comparable[ip.start + 4..][..2].fill(0);
        comparable[ip.start + 10..][..2].fill(0);
    }
    if let Transport::Tcp { .. } = ip.transport {
        let field = &mut comparable[ip.transport_start + 16..][..2];
        if field == [0xff, 0xff] {
            field.fill(0);
        }
    }
    comparable
}
