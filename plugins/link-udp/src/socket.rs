//! Opening an endpoint's UDP socket: bound, non-blocking, never fragmenting, with large buffers.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockname, setsockopt, socket, sockopt,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use vreserve_sdk::{Failure, Queue};

use crate::config::Config;
use crate::steering;

/// Opens the socket, and says which address it got.
pub(crate) fn open(config: &Config, queue: Queue) -> Result<(OwnedFd, SocketAddr), Failure> {
    let unavailable = |what: &str, errno: Errno| Failure::unavailable(format!("{what}: {}", errno.desc()));
    let is_ipv4 = config.bind.is_ipv4();
    let family = if is_ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)
        .map_err(|errno| unavailable("cannot open a UDP socket", errno))?;
    if !is_ipv4 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)
            .map_err(|errno| unavailable("cannot keep IPv4 off an IPv6 endpoint", errno))?;
    }
    never_fragment(&fd, is_ipv4).map_err(|errno| unavailable("cannot forbid fragmentation", errno))?;
    if let Some(device) = &config.device {
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(device))
            .map_err(|errno| unavailable(&format!("cannot tie the endpoint to device {device}"), errno))?;
    }
    if queue.count > 1 {
        setsockopt(&fd, sockopt::ReusePort, &true)
            .map_err(|errno| unavailable("cannot share the address among workers", errno))?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(config.bind))
        .map_err(|errno| unavailable(&format!("cannot bind {}", config.bind), errno))?;
    if queue.count > 1 {
        steering::attach(fd.as_fd(), config.format, queue.count)
            .map_err(|errno| unavailable("cannot spread datagrams over workers", errno))?;
    }
    size_buffers(&fd, config.socket_buffer as usize);
    coalesce(&fd);
    let local = local_address(&fd).map_err(|errno| unavailable("cannot read the bound address", errno))?;
    Ok((fd, local))
}

/// RFC 7348 §4.3: VTEPs must not fragment. A datagram beyond the path's MTU fails with EMSGSIZE instead.
fn never_fragment(fd: &OwnedFd, is_ipv4: bool) -> nix::Result<()> {
    let set = if is_ipv4 {
        set_ip_mtu_discover(fd, Ipv4PathMtuDiscovery::DO)
    } else {
        set_ipv6_mtu_discover(fd, Ipv6PathMtuDiscovery::DO)
    };
    set.map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// Asks for buffers beyond the system's limit, which takes CAP_NET_ADMIN, and else for what the limit gives.
/// Small buffers cost frames under load and nothing else, so this never fails.
fn size_buffers(fd: &OwnedFd, bytes: usize) {
    let receive =
        setsockopt(fd, sockopt::RcvBufForce, &bytes).or_else(|_| setsockopt(fd, sockopt::RcvBuf, &bytes));
    let send =
        setsockopt(fd, sockopt::SndBufForce, &bytes).or_else(|_| setsockopt(fd, sockopt::SndBuf, &bytes));
    if let Err(errno) = receive.and(send) {
        tracing::warn!(bytes, reason = errno.desc(), "socket buffers stay at the system's default");
    }
}

/// Has the kernel join datagrams of one sender into messages. Kernels that cannot (before Linux 5.0) give single
/// datagrams, which cost more and nothing else.
fn coalesce(fd: &OwnedFd) {
    if let Err(errno) = setsockopt(fd, sockopt::UdpGroSegment, &true) {
        tracing::warn!(reason = errno.desc(), "the kernel does not coalesce datagrams");
    }
}

fn local_address(fd: &OwnedFd) -> nix::Result<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = name.as_sockaddr_in().map(|name| SocketAddr::from(*name));
    v4.or_else(|| name.as_sockaddr_in6().map(|name| SocketAddr::from(*name))).ok_or(Errno::EAFNOSUPPORT)
}
