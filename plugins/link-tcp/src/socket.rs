//! Opening sockets: one that listens, and one that dials from the same address.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket,
    sockopt,
};
use vreserve_sdk::Failure;

use crate::config::Config;

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Opens the socket that listens, and says which address it got.
pub(crate) fn open(config: &Config) -> Result<(TcpListener, SocketAddr), Failure> {
    let unavailable = |what: String, errno: Errno| Failure::unavailable(format!("{what}: {}", errno.desc()));
    let fd = new(config.bind, config.device.as_deref())
        .map_err(|errno| unavailable("cannot open a TCP socket".to_owned(), errno))?;
    // After a restart, connections of the last run may still have the port.
    setsockopt(&fd, sockopt::ReuseAddr, &true)
        .map_err(|errno| unavailable("cannot take the port over".to_owned(), errno))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(config.bind))
        .map_err(|errno| unavailable(format!("cannot bind {}", config.bind), errno))?;
    let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
    listen(&fd, backlog).map_err(|errno| unavailable(format!("cannot listen on {}", config.bind), errno))?;
    let listener = TcpListener::from(fd);
    let local = listener.local_addr();
    let local = local
        .map_err(|error| Failure::unavailable(format!("cannot read the address listened on: {error}")))?;
    Ok((listener, local))
}

/// Begins to dial a far node. The socket becomes writable when that has succeeded or failed.
pub(crate) fn dial(local: SocketAddr, far: SocketAddr, device: Option<&str>) -> nix::Result<TcpStream> {
    let fd = new(far, device)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(local.ip(), 0)))?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(far)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno),
    }
}

/// What every connection is set to: small frames leave at once, and what the far node does not acknowledge for
/// `timeout` ends it.
pub(crate) fn tune(stream: &TcpStream, timeout: Duration) -> nix::Result<()> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpNoDelay, &true)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &milliseconds)
}

/// A socket that does not block.
fn new(address: SocketAddr, device: Option<&str>) -> nix::Result<OwnedFd> {
    let is_ipv4 = address.is_ipv4();
    let family = if is_ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    if !is_ipv4 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if let Some(device) = device {
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(device))?;
    }
    Ok(fd)
}
