//! Capture files in pcap and pcapng format as a stream of frames, in bounded memory.
//!
//! Only the Ethernet header is looked at. A frame that is no use is told as such and the next one read; where the
//! file itself cannot be read on, that is its end, with the place.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader};
use thiserror::Error;
use vreserve_core::drops::DropReason;
use vreserve_core::frame::{EthernetHeader, SIGNAL_ETHERTYPE};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;
/// Whatever claims to be larger is damage: captures cut frames at 256 KiB.
const MAX_BLOCK: usize = 16 << 20;
/// The longest frame that is believed; super-frames have 64 KiB.
const MAX_FRAME: u32 = 256 << 10;
/// Interfaces of one section of a file.
const MAX_INTERFACES: usize = 1 << 16;
const NANOS: u128 = 1_000_000_000;
/// An older pcap file keeps the check sequence's length in the upper half of its link type.
const LINK_TYPE_MASK: i32 = 0xffff;

/// Why a capture cannot be read, at all or to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It begins as no capture does.
    #[error("{} is no capture: {reason}", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What is wrong with its beginning.
        reason: &'static str,
    },
    /// It cannot be read on.
    #[error("damaged at byte {offset}, after {frames} frames: {reason}")]
    Damaged {
        /// Where the part that cannot be read begins, from 0.
        offset: u64,
        /// Frames before that.
        frames: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// A file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcap,
    PcapNg,
}

/// One frame as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CapturedFrame {
    /// Nanoseconds since the Unix epoch by the capturing machine's clock; none if the file does not say.
    pub(super) at: Option<u64>,
    /// Its header.
    pub(super) header: Result<EthernetHeader, Unusable>,
    /// Its octets when it was sent, of which fewer may have been captured.
    pub(super) length: u64,
    /// Whether the file contradicts itself about that length.
    pub(super) is_length_wrong: bool,
}

/// Why nothing can be made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unusable {
    /// A node would drop it.
    Dropped(DropReason),
    /// It was captured on an interface without Ethernet headers.
    NotEthernet,
    /// The file does not say on what interface it was captured.
    UnknownInterface,
}

impl Unusable {
    pub(super) fn label(self) -> &'static str {
        match self {
            Unusable::Dropped(reason) => reason.label(),
            Unusable::NotEthernet => "not_ethernet",
            Unusable::UnknownInterface => "unknown_interface",
        }
    }
}

/// A capture that is being read.
pub(super) struct Capture {
    reader: Box<dyn PcapReaderIterator + Send>,
    section: Section,
    capacity: usize,
    offset: u64,
    frames: u64,
}

/// What the file has said of the frames that follow.
#[derive(Default)]
struct Section {
    file: Option<PcapHeader>,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: i32,
    /// Units of time in a second; none if it says nonsense.
    resolution: Option<u128>,
    /// Seconds that are added to all times.
    offset: i64,
}

/// Why no block came.
enum Stop {
    Finished,
    Incomplete,
    TooSmall,
    Damaged(&'static str),
}

impl Capture {
    /// Opens the file at `path` and reads its beginning.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let file =
            File::open(path).map_err(|source| CaptureError::Unreadable { path: path.to_owned(), source })?;
        Self::read(path, file)
    }

    /// Reads the beginning of what `source` gives.
    pub(super) fn read(path: &Path, source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let opened = create_reader(BUFFER, Filling(source));
        let reader = opened.map_err(|error| CaptureError::NotACapture {
            path: path.to_owned(),
            reason: match error {
                PcapError::Eof => "it is empty",
                PcapError::ReadError => "it cannot be read",
                PcapError::Incomplete(_) => "it ends within its header",
                _ => "it begins neither as pcap nor as pcapng",
            },
        })?;
        Ok(Capture { reader, section: Section::default(), capacity: BUFFER, offset: 0, frames: 0 })
    }

    /// The format, once a frame was asked for.
    pub(super) fn format(&self) -> Format {
        if self.section.file.is_some() { Format::Pcap } else { Format::PcapNg }
    }

    /// The next frame; none at the end.
    pub(super) fn next_frame(&mut self) -> Result<Option<CapturedFrame>, CaptureError> {
        loop {
            let block = match self.reader.next() {
                Ok((length, block)) => Ok((length, self.section.take(&block))),
                Err(error) => Err(stop(&error)),
            };
            match block {
                Ok((length, frame)) => {
                    self.reader.consume(length);
                    self.offset += length as u64;
                    if frame.is_some() {
                        self.frames += 1;
                        return Ok(frame);
                    }
                }
                Err(Stop::Finished) => return Ok(None),
                Err(Stop::Incomplete) => self.read_on()?,
                Err(Stop::TooSmall) => self.make_room()?,
                Err(Stop::Damaged(_)) if self.reader.data().is_empty() => return Ok(None),
                Err(Stop::Damaged(reason)) => return Err(self.damaged(reason)),
            }
        }
    }

    fn read_on(&mut self) -> Result<(), CaptureError> {
        let before = self.reader.data().len();
        if self.reader.refill().is_err() {
            return Err(self.damaged("it cannot be read on"));
        }
        let is_stuck = self.reader.data().len() == before && !self.reader.reader_exhausted();
        if is_stuck { self.make_room() } else { Ok(()) }
    }

    fn make_room(&mut self) -> Result<(), CaptureError> {
        self.capacity *= 2;
        if self.capacity > MAX_BLOCK || !self.reader.grow(self.capacity) {
            return Err(self.damaged("a block claims to be larger than 16 MiB"));
        }
        if self.reader.refill().is_err() {
            return Err(self.damaged("it cannot be read on"));
        }
        Ok(())
    }

    fn damaged(&self, reason: &str) -> CaptureError {
        CaptureError::Damaged { offset: self.offset, frames: self.frames, reason: reason.to_owned() }
    }
}

fn stop(error: &PcapError<&[u8]>) -> Stop {
    match error {
        PcapError::Eof => Stop::Finished,
        PcapError::Incomplete(_) => Stop::Incomplete,
        PcapError::BufferTooSmall => Stop::TooSmall,
        PcapError::UnexpectedEof => Stop::Damaged("the file ends within a block"),
        PcapError::ReadError => Stop::Damaged("it cannot be read on"),
        _ => Stop::Damaged("what stands here is no block"),
    }
}

impl Section {
    /// Takes one block; gives its frame if it has one.
    fn take(&mut self, block: &PcapBlockOwned<'_>) -> Option<CapturedFrame> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.file = Some(header.clone());
                None
            }
            PcapBlockOwned::Legacy(block) => {
                let header = self.file.as_ref()?;
                let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                let at = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * unit;
                let link_type = Ok(header.network.0 & LINK_TYPE_MASK);
                Some(frame(Some(at), link_type, block.data, block.origlen))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                if self.interfaces.len() < MAX_INTERFACES {
                    self.interfaces.push(Interface {
                        link_type: block.linktype.0,
                        resolution: resolution(block.if_tsresol),
                        offset: block.if_tsoffset,
                    });
                }
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let interface = self.interface(block.if_id);
                let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let at = interface.ok().and_then(|interface| interface.time(units));
                let link_type = interface.map(|interface| interface.link_type);
                Some(frame(at, link_type, block.packet_data(), block.origlen))
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let link_type = self.interface(0).map(|interface| interface.link_type);
                Some(frame(None, link_type, block.packet_data(), block.origlen))
            }
            PcapBlockOwned::NG(_) => None,
        }
    }

    fn interface(&self, id: u32) -> Result<Interface, Unusable> {
        let interface = usize::try_from(id).ok().and_then(|id| self.interfaces.get(id));
        interface.copied().ok_or(Unusable::UnknownInterface)
    }
}

impl Interface {
    fn time(self, units: u64) -> Option<u64> {
        let nanos = u128::from(units) * NANOS / self.resolution?;
        let nanos = i128::try_from(nanos).ok()? + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(nanos).ok()
    }
}

/// Units in a second, by an interface's option: a power of ten, or of two.
fn resolution(option: u8) -> Option<u128> {
    match option {
        0..0x80 => 10_u128.checked_pow(u32::from(option)),
        _ => 1_u128.checked_shl(u32::from(option & 0x7f)),
    }
}

fn frame(at: Option<u64>, link_type: Result<i32, Unusable>, data: &[u8], length: u32) -> CapturedFrame {
    let captured = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let is_length_wrong = !(captured..=MAX_FRAME.max(captured)).contains(&length);
    let length = if is_length_wrong { captured } else { length };
    let header = match link_type {
        Ok(link_type) if Linktype(link_type) == Linktype::ETHERNET => header(data),
        Ok(_) => Err(Unusable::NotEthernet),
        Err(reason) => Err(reason),
    };
    CapturedFrame { at, header, length: length.into(), is_length_wrong }
}

fn header(data: &[u8]) -> Result<EthernetHeader, Unusable> {
    let header = EthernetHeader::parse(data).map_err(Unusable::Dropped)?;
    let is_reserved = header.ethertype() == SIGNAL_ETHERTYPE;
    if is_reserved { Err(Unusable::Dropped(DropReason::ReservedEtherType)) } else { Ok(header) }
}

/// Gives as much as is asked for, as long as there is that much: the parser wants a header in one piece.
struct Filling<R>(R);

impl<R: Read> Read for Filling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                // What was read comes first; the next call meets the error again.
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}
