//! The guest's side of an interface that a capture plugin serves: a packet socket, as the guest's kernel would use it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, setsockopt,
    socket, sockopt,
};

use super::frames::number_of;

/// Of what the guest is given and has not taken.
const BUFFER: usize = 32 << 20;
/// `PACKET_OUTGOING`: what the guest itself sent.
const OUTGOING: u8 = 4;

/// The guest on a captured interface.
pub trait Guest: Send {
    /// Sends a frame, which the instance is to receive.
    ///
    /// # Errors
    /// Why it cannot.
    fn send(&mut self, frame: &[u8]) -> Result<(), String>;

    /// The next frame of the kit that the guest is given, `None` if none comes within `patience`.
    ///
    /// # Errors
    /// Why it cannot be received.
    fn recv(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, String>;
}

/// A guest that is a packet socket on an interface of this thread's network namespace.
pub struct PacketGuest {
    socket: OwnedFd,
    address: LinkAddr,
}

impl PacketGuest {
    /// On that interface.
    ///
    /// # Errors
    /// If there is none by that name, or without the right to do so.
    pub fn on(interface: &str) -> Result<Self, String> {
        let mut addresses = getifaddrs().map_err(|error| format!("listing interfaces: {error}"))?;
        let address = addresses
            .find_map(|entry| {
                entry.address.filter(|_| entry.interface_name == interface)?.as_link_addr().copied()
            })
            .ok_or_else(|| format!("there is no Ethernet interface {interface} here"))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .and_then(|socket| {
                bind(socket.as_raw_fd(), &address)?;
                // A batch of the largest frames, whatever the system's default is. Without the right to that, small ones.
                setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
                    .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
                Ok(socket)
            })
            .map_err(|error| format!("a packet socket for interface {interface}: {error}"))?;
        Ok(PacketGuest { socket, address })
    }
}

impl Guest for PacketGuest {
    fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.address, MsgFlags::empty());
        sent.map(drop).map_err(|error| format!("the guest cannot send {} bytes: {error}", frame.len()))
    }

    fn recv(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, String> {
        let until = Instant::now() + patience;
        loop {
            let mut bytes = vec![0; 70_000];
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((len, from)) => {
                    let is_here = from.is_some_and(|from| {
                        from.ifindex() == self.address.ifindex() && from.pkttype() != OUTGOING
                    });
                    bytes.truncate(len);
                    if is_here && number_of(&bytes).is_some() {
                        return Ok(Some(bytes));
                    }
                }
                Err(Errno::EAGAIN) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                    let ready =
                        poll(&mut fds, timeout).map_err(|error| format!("the guest's poll: {error}"))?;
                    if ready == 0 {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(format!("the guest cannot receive: {error}")),
            }
        }
    }
}
