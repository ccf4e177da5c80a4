//! A packet socket on one interface: the kernel's side of a capture, as tcpdump or a guest's program would see it.
#![allow(unsafe_code, reason = "socket calls of AF_PACKET")]

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::netns::Netns;
use super::{PATIENCE, is_readable};

/// A socket that sees all frames of one interface and can send on it. It has no virtio-net header.
pub(crate) struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    pub(crate) fn open(netns: &Netns, interface: &str) -> Self {
        netns.inside(|| {
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            // SAFETY: system calls with a pointer to an address of the size given.
            let socket = unsafe {
                let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
                assert!(fd >= 0, "{}", io::Error::last_os_error());
                let room: libc::c_int = 32 << 20;
                let len = size_of::<libc::c_int>() as u32;
                let option = libc::SO_RCVBUFFORCE;
                assert_eq!(libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const room).cast(), len), 0);
                let mut address: libc::sockaddr_ll = std::mem::zeroed();
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
                address.sll_ifindex = index as i32;
                let len = size_of::<libc::sockaddr_ll>() as u32;
                assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
                OwnedFd::from_raw_fd(fd)
            };
            RawSocket { socket }
        })
    }

    /// Sends a frame out of the interface.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap();
    }

    pub(crate) fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to that many bytes.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that `is_wanted` picks.
    pub(crate) fn recv_wanted(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            assert!(is_readable(self.socket.as_fd(), PATIENCE), "no frame came");
            let mut frame = vec![0; 70_000];
            // SAFETY: the pointer is to that many bytes.
            let len =
                unsafe { libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
            frame.truncate(usize::try_from(len).expect("a readable socket"));
            if is_wanted(&frame) {
                return frame;
            }
        }
    }
}

/// A TAP of the namespace that somebody else than the plugin opened.
pub(crate) fn tap_of_the_parent(netns: &Netns, name: &str, more_flags: libc::c_int) -> OwnedFd {
    netns.inside(|| {
        let device = std::fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: the request reads and writes one struct ifreq, of which all-zero is a valid value.
        let result = unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | more_flags) as libc::c_short;
            libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        device.into()
    })
}

/// Sends `payload` as one datagram that the kernel is to cut into segments (UDP_SEGMENT).
pub(crate) fn send_segmented(socket: &UdpSocket, to: SocketAddr, payload: &[u8], segment_size: libc::c_int) {
    let len = size_of::<libc::c_int>() as u32;
    let value = (&raw const segment_size).cast();
    // SAFETY: the pointer is to a value of the size given.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, len) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    assert_eq!(socket.send_to(payload, to).unwrap(), payload.len());
}

/// Takes an interface's segmentation and checksum offload away, or gives it back.
pub(crate) fn set_offloads(netns: &Netns, interface: &str, on: bool) {
    const TRANSMIT_CHECKSUMS: u32 = 0x17;
    const SCATTER_GATHER: u32 = 0x19;
    const TCP_SEGMENTATION: u32 = 0x1f;
    const SOFTWARE_SEGMENTATION: u32 = 0x24;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut commands = [TRANSMIT_CHECKSUMS, SCATTER_GATHER, TCP_SEGMENTATION, SOFTWARE_SEGMENTATION];
    if !on {
        commands.reverse();
    }
    netns.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for command in commands {
            let mut value = [command, u32::from(on)];
            // SAFETY: the request reads one struct ifreq, of which all-zero is a valid value, and the struct
            // ethtool_value of two u32 that it points to.
            let result = unsafe {
                let mut request: libc::ifreq = std::mem::zeroed();
                for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
                    *to = from as libc::c_char;
                }
                request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
                libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request)
            };
            assert_eq!(result, 0, "{command:#x}: {}", io::Error::last_os_error());
        }
    });
}
