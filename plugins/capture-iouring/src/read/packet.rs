//! Reading an AF_PACKET socket: a frame per recvmsg, straight into its slot, its VLAN tag in control data.
#![allow(unsafe_code, reason = "recvmsg with control data")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use vreserve_sdk::FrameSlot;

use super::{Arrived, behind_header};
use crate::frame::Tag;

/// `struct cmsghdr` on 64-bit machines: length, level, type.
const CONTROL_HEADER_LEN: usize = size_of::<usize>() + 8;
/// `struct tpacket_auxdata`.
const AUXILIARY_LEN: usize = 20;
/// Room for one control message with a `tpacket_auxdata`, aligned as `CMSG_SPACE` does.
pub(crate) const CONTROL_LEN: usize = CONTROL_HEADER_LEN + AUXILIARY_LEN.next_multiple_of(size_of::<usize>());

/// See the module.
pub(crate) struct PacketReader {
    socket: OwnedFd,
}

/// Aligned as a `struct cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

impl PacketReader {
    pub(super) fn new(socket: OwnedFd) -> Self {
        PacketReader { socket }
    }

    /// Reads one frame; `EAGAIN` if none waits.
    pub(super) fn read(&mut self, slot: &mut FrameSlot<'_>) -> io::Result<Arrived> {
        let mut control = Control([0; CONTROL_LEN]);
        let (header, is_cut_off) = behind_header(slot, |space| receive(&self.socket, space, &mut control))?;
        Ok(Arrived { header, tag: tag_in(&control.0), is_cut_off })
    }
}

/// One recvmsg: how many bytes came, and whether there were more than the space holds.
fn receive(socket: &OwnedFd, space: &mut [u8], control: &mut Control) -> io::Result<(usize, bool)> {
    let mut part = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), CONTROL_LEN);
    // SAFETY: the message names the space and the control data, both borrowed for this call, with their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok((len, message.msg_flags & libc::MSG_TRUNC != 0))
}

/// The VLAN tag in control data, which the kernel takes out of every frame before it shows it to anybody.
pub(crate) fn tag_in(control: &[u8]) -> Option<Tag> {
    let word = size_of::<usize>();
    let level = number(control, word)?.cast_signed();
    let kind = number(control, word + 4)?.cast_signed();
    if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    let auxiliary = control.get(CONTROL_HEADER_LEN..)?;
    let half = |at: usize| Some(u16::from_ne_bytes(*auxiliary.get(at..)?.first_chunk()?));
    let status = number(auxiliary, 0)?;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    // Kernels that do not say which protocol the tag has mean 802.1Q.
    let has_protocol = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if has_protocol { half(18)? } else { libc::ETH_P_8021Q as u16 };
    let [p0, p1] = protocol.to_be_bytes();
    let [t0, t1] = half(16)?.to_be_bytes();
    Some([p0, p1, t0, t1])
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(status: u32, tag: u16, protocol: u16) -> Vec<u8> {
        let mut control = (CONTROL_HEADER_LEN + AUXILIARY_LEN).to_ne_bytes().to_vec();
        control.extend(libc::SOL_PACKET.to_ne_bytes());
        control.extend(libc::PACKET_AUXDATA.to_ne_bytes());
        control.extend(status.to_ne_bytes());
        control.extend([0; 12]);
        control.extend(tag.to_ne_bytes());
        control.extend(protocol.to_ne_bytes());
        control
    }

    #[test]
    fn a_tag_is_found_with_and_without_its_protocol() {
        let valid = libc::TP_STATUS_VLAN_VALID;
        assert_eq!(tag_in(&control(valid, 0x602a, 0)), Some([0x81, 0x00, 0x60, 0x2a]));
        let with_protocol = valid | libc::TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(tag_in(&control(with_protocol, 5, 0x88a8)), Some([0x88, 0xa8, 0, 5]));
        assert_eq!(tag_in(&control(0, 5, 0x88a8)), None);
    }

    #[test]
    fn control_data_of_any_length_give_a_tag_or_none() {
        let whole = control(libc::TP_STATUS_VLAN_VALID, 1, 0);
        (0..whole.len() - 2).for_each(|len| assert_eq!(tag_in(&whole[..len]), None));
    }
}
