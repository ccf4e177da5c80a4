//! Capture files, written by hand.

use vreserve_model::MacAddr;

pub(super) fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// When the first second of every file is, since the Unix epoch.
const BEGIN_US: u64 = 1_700_000_000_000_000;
/// Octets kept of a frame.
const KEPT: usize = 20;

/// Microseconds from the beginning on, the head of the frame, its whole length.
type Frame = (u64, Vec<u8>, u32);

/// A pcap file with microseconds, as tcpdump with `-s 20` makes it.
pub(super) struct PcapFile {
    frames: Vec<Frame>,
}

impl PcapFile {
    pub(super) fn new() -> Self {
        PcapFile { frames: Vec::new() }
    }

    pub(super) fn frame(&mut self, at_us: u64, destination: MacAddr, source: MacAddr, length: u32) {
        let mut head = [destination.0, source.0].concat();
        head.extend([0x08, 0x00]);
        head.resize(KEPT, 0);
        self.frames.push((at_us, head, length));
    }

    /// The file with its frames in order.
    pub(super) fn sorted(mut self) -> Vec<u8> {
        self.frames.sort_by_key(|frame| frame.0);
        self.bytes()
    }

    /// Every other frame comes before the one that it was sent after.
    pub(super) fn swap_neighbours(&mut self) {
        self.frames.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = header(1);
        for (at, head, length) in &self.frames {
            let at = BEGIN_US + at;
            let words = [(at / 1_000_000) as u32, (at % 1_000_000) as u32, head.len() as u32, *length];
            file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            file.extend(head);
        }
        file
    }
}

/// The beginning of a pcap file with this link type.
pub(super) fn header(link_type: u32) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    file.extend([0, 0, 262_144, link_type].iter().flat_map(|word: &u32| word.to_le_bytes()));
    file
}

/// A pcapng file with nanoseconds, in the other order of octets.
pub(super) struct PcapNgFile(Vec<u8>);

impl PcapNgFile {
    /// The same frames in order.
    pub(super) fn of(file: &PcapFile) -> Self {
        let mut frames = file.frames.clone();
        frames.sort_by_key(|frame| frame.0);
        let mut file = PcapNgFile(Vec::new());
        file.block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
        let resolution = [0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0];
        file.block(1, &[&[0, 1, 0, 0, 0, 0, 0, 0][..], &resolution].concat());
        for (at, head, length) in frames {
            let nanos = (BEGIN_US + at) * 1_000;
            let words = [0, (nanos >> 32) as u32, nanos as u32, head.len() as u32, length];
            let mut body: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
            body.extend(head);
            file.block(6, &body);
        }
        file
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        self.0.extend(kind.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(body);
        self.0.extend(vec![0; padding]);
        self.0.extend(length.to_be_bytes());
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}
