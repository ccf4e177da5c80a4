//! `ifreq` requests: an interface's MTU, whether it is up, what hardware it is.
#![allow(unsafe_code, reason = "ioctl requests on struct ifreq")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Whether an interface can be known by this name and no other: as the kernel's `dev_valid_name`, printable, and no
/// pattern for names (`%d`).
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    (1..libc::IFNAMSIZ).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_plain)
}

/// A struct ifreq with its name filled in and the rest zero.
pub fn named(name: &str) -> libc::ifreq {
    // SAFETY: all-zero is a valid value of this plain C struct with a union of plain C types.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The name keeps a final zero: configuration allows 15 of the 16 bytes, and `take` makes sure here.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from.cast_signed();
    }
    request
}

/// The name in a struct ifreq that the kernel filled in.
pub fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().take_while(|byte| **byte != 0);
    String::from_utf8_lossy(&bytes.map(|byte| byte.cast_unsigned()).collect::<Vec<_>>()).into_owned()
}

/// Carries out `request` on `fd`.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// `code` is a request that takes a struct ifreq without pointers in it.
pub unsafe fn carry_out(fd: RawFd, code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: by the caller's word the request reads and writes one struct ifreq, which the reference covers.
    let result = unsafe { libc::ioctl(fd, code, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One interface, addressed by name in the network namespace of the thread that made this; the thread that
/// uses it may be in another.
pub struct Interface {
    name: String,
    socket: OwnedFd,
}

impl Interface {
    /// Says nothing about whether the interface exists.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn named(name: &str) -> io::Result<Self> {
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor has just been made and nobody else has it.
        Ok(Interface { name: name.to_owned(), socket: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The MTU in bytes.
    ///
    /// # Errors
    /// There is no such interface (any more), or no permission.
    pub fn mtu(&self) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFMTU, |_| ())?;
        // SAFETY: the kernel wrote this field of the union in answer to SIOCGIFMTU.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        u32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// There is no such interface (any more), or no permission.
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        self.ask(libc::SIOCSIFMTU, |request| request.ifr_ifru.ifru_mtu = mtu.cast_signed()).map(drop)
    }

    /// Whether it is up.
    ///
    /// # Errors
    /// There is no such interface (any more), or no permission.
    pub fn is_up(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::IFF_UP != 0)
    }

    /// Sets it up.
    ///
    /// # Errors
    /// There is no such interface (any more), or no permission.
    pub fn set_up(&self) -> io::Result<()> {
        let flags = (self.flags()? | libc::IFF_UP) as libc::c_short;
        self.ask(libc::SIOCSIFFLAGS, |request| request.ifr_ifru.ifru_flags = flags).map(drop)
    }

    /// Whether frames of this interface have an Ethernet header.
    ///
    /// # Errors
    /// There is no such interface (any more), or no permission.
    pub fn is_ethernet(&self) -> io::Result<bool> {
        let request = self.ask(libc::SIOCGIFHWADDR, |_| ())?;
        // SAFETY: the kernel wrote this field of the union in answer to SIOCGIFHWADDR.
        Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family } == libc::ARPHRD_ETHER)
    }

    fn flags(&self) -> io::Result<libc::c_int> {
        let request = self.ask(libc::SIOCGIFFLAGS, |_| ())?;
        // SAFETY: the kernel wrote this field of the union in answer to SIOCGIFFLAGS.
        Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
    }

    fn ask(&self, code: libc::Ioctl, fill: impl FnOnce(&mut libc::ifreq)) -> io::Result<libc::ifreq> {
        let mut request = named(&self.name);
        fill(&mut request);
        // SAFETY: all requests of this type are SIOC[GS]IF…, which take a struct ifreq of numbers.
        unsafe { carry_out(self.socket.as_raw_fd(), code, &mut request) }?;
        Ok(request)
    }
}
