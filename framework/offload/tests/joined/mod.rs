//! Joining and cutting whole batches with the crate, as a link does.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use vreserve_offload::{ChecksumPolicy, Merge, Offload, Segment, Segments};

/// What leaves a receiver: a frame with its metadata.
pub(crate) type Joined = (Vec<u8>, Offload);

/// Joins whatever may be joined, as a link does it with a batch.
pub(crate) fn coalesce(frames: &[Vec<u8>], policy: ChecksumPolicy) -> Vec<Joined> {
    let mut joined = Vec::new();
    let mut open: Option<(Merge, Vec<u8>)> = None;
    for frame in frames {
        if let Some((merge, super_frame)) = &mut open {
            let at = merge.header_len().min(frame.len());
            if merge.push(&frame[..at], &frame[at..]).is_ok() {
                super_frame.extend(&frame[at..]);
                continue;
            }
        }
        joined.extend(open.take().map(finish));
        match Merge::start(frame, policy) {
            Some(merge) => open = Some((merge, frame.clone())),
            None => joined.push((frame.clone(), Offload::default())),
        }
    }
    joined.extend(open.map(finish));
    joined
}

fn finish((merge, mut super_frame): (Merge, Vec<u8>)) -> Joined {
    assert_eq!(merge.header_len() + merge.payload_len(), super_frame.len());
    let offload = merge.finish(&mut super_frame);
    (super_frame, offload)
}

pub(crate) fn cut(frame: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    if !offload.is_super_frame() {
        return vec![frame.to_vec()];
    }
    let wire = |segment: Segment| {
        let mut wire = vec![0; segment.wire_len()];
        segment.write(&mut wire).unwrap();
        wire
    };
    Segments::plan(frame, offload).unwrap().map(wire).collect()
}

pub(crate) fn cut_all(joined: &[Joined]) -> Vec<Vec<u8>> {
    joined.iter().flat_map(|(frame, offload)| cut(frame, offload)).collect()
}
