//! Control data of AF_PACKET sockets: the VLAN tag that the kernel took out of a frame, and the frame's mark. Pure.

use crate::frame::Tag;

/// `struct cmsghdr` on 64-bit machines: length, level, type.
const HEADER_LEN: usize = size_of::<usize>() + 8;
/// `struct tpacket_auxdata`.
const AUXILIARY_LEN: usize = 20;
/// `CMSG_SPACE` of one control message with a `tpacket_auxdata`.
pub const AUXILIARY_SPACE: usize = HEADER_LEN + AUXILIARY_LEN.next_multiple_of(size_of::<usize>());
/// `CMSG_SPACE` of one with a mark.
pub(crate) const MARK_SPACE: usize = HEADER_LEN + size_of::<usize>();

/// The VLAN tag in control data, which the kernel takes out of every frame before it shows it to anybody.
pub fn tag_in(control: &[u8]) -> Option<Tag> {
    let auxiliary = value_of(control, libc::SOL_PACKET, libc::PACKET_AUXDATA)?;
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

/// The mark in control data: there if the socket asked for marks (`SO_RCVMARK`).
pub(crate) fn mark_in(control: &[u8]) -> Option<u32> {
    number(value_of(control, libc::SOL_SOCKET, libc::SO_MARK)?, 0)
}

/// The value of the first control message of this level and type.
fn value_of(mut control: &[u8], level: i32, kind: i32) -> Option<&[u8]> {
    loop {
        let len = usize::from_ne_bytes(*control.first_chunk()?);
        let value = control.get(HEADER_LEN..len)?;
        let word = size_of::<usize>();
        if (number(control, word)?, number(control, word + 4)?) == (level as u32, kind as u32) {
            return Some(value);
        }
        control = control.get(len.next_multiple_of(word)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, value: &[u8]) -> Vec<u8> {
        let mut message = (HEADER_LEN + value.len()).to_ne_bytes().to_vec();
        message.extend(level.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()));
        message.extend(value);
        message.resize(message.len().next_multiple_of(size_of::<usize>()), 0);
        message
    }

    fn auxiliary(status: u32, tag: u16, protocol: u16) -> Vec<u8> {
        let mut value = status.to_ne_bytes().to_vec();
        value.extend([0; 12]);
        value.extend(tag.to_ne_bytes().into_iter().chain(protocol.to_ne_bytes()));
        message(libc::SOL_PACKET, libc::PACKET_AUXDATA, &value)
    }

    #[test]
    fn a_tag_is_found_with_and_without_its_protocol() {
        let valid = libc::TP_STATUS_VLAN_VALID;
        assert_eq!(tag_in(&auxiliary(valid, 0x602a, 0)), Some([0x81, 0x00, 0x60, 0x2a]));
        let with_protocol = valid | libc::TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(tag_in(&auxiliary(with_protocol, 5, 0x88a8)), Some([0x88, 0xa8, 0, 5]));
        assert_eq!(tag_in(&auxiliary(0, 5, 0x88a8)), None);
    }

    #[test]
    fn a_mark_and_a_tag_are_found_in_either_order() {
        let tag = auxiliary(libc::TP_STATUS_VLAN_VALID, 7, 0);
        let mark = message(libc::SOL_SOCKET, libc::SO_MARK, &0xc633_6401_u32.to_ne_bytes());
        assert_eq!((tag.len(), mark.len()), (AUXILIARY_SPACE, MARK_SPACE));
        for control in [[&tag[..], &mark].concat(), [&mark[..], &tag].concat()] {
            assert_eq!(tag_in(&control), Some([0x81, 0x00, 0, 7]));
            assert_eq!(mark_in(&control), Some(0xc633_6401));
        }
        assert_eq!(mark_in(&tag), None);
    }

    #[test]
    fn control_data_of_any_length_give_a_tag_or_none() {
        let whole = auxiliary(libc::TP_STATUS_VLAN_VALID, 1, 0);
        let end = HEADER_LEN + AUXILIARY_LEN;
        (0..end).for_each(|len| assert_eq!(tag_in(&whole[..len]), None));
        for len in [0, 1, HEADER_LEN - 1, usize::MAX] {
            let lying = [&len.to_ne_bytes()[..], &whole[size_of::<usize>()..], &[0; 64]].concat();
            assert_eq!(tag_in(&lying), None, "{len}");
        }
    }
}
