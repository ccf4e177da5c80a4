//! Reading a TAP: a frame per read, straight into its slot.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use vreserve_offload::VnetHeader;
use vreserve_packet::{Arrived, behind_header};
use vreserve_sdk::FrameSlot;

/// See the module.
pub(crate) struct TapReader {
    device: File,
    has_header: bool,
}

impl TapReader {
    /// `device` must be non-blocking.
    pub(super) fn new(device: OwnedFd, has_header: bool) -> Self {
        TapReader { device: device.into(), has_header }
    }

    /// Reads one frame; `EAGAIN` if none waits.
    pub(super) fn read(&mut self, slot: &mut FrameSlot<'_>) -> io::Result<Arrived> {
        if self.has_header {
            let (header, is_cut_off) = behind_header(slot, |space| read(&mut self.device, space))?;
            return Ok(Arrived { header, tag: None, mark: None, is_cut_off });
        }
        let (len, is_cut_off) = read(&mut self.device, slot.space())?;
        slot.set_len(len);
        Ok(Arrived { header: VnetHeader::default(), tag: None, mark: None, is_cut_off })
    }
}

/// A frame that leaves no byte of the space over may have been cut off.
fn read(device: &mut File, space: &mut [u8]) -> io::Result<(usize, bool)> {
    let len = device.read(space)?;
    Ok((len, len == space.len()))
}
