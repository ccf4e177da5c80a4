//! `recvmmsg` with `UDP_GRO` and `sendmmsg` with `UDP_SEGMENT`: one system call for up to [`BATCH`] messages of
//! up to 64 datagrams each; no allocation after an instance's first call.
#![allow(unsafe_code, reason = "message headers of the kernel hold raw pointers")]

use std::mem::{offset_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

/// Messages per system call.
pub(crate) const BATCH: usize = 64;
/// The largest payload of a UDP datagram, or of several that the kernel has coalesced.
const LARGEST: usize = 65_535;
/// Bytes from one message's space to the next. A power of two would put the first lines of all messages, the
/// only ones that small datagrams use, into a few sets of the caches.
const STRIDE: usize = LARGEST + 1 + 1664;

/// A socket's name, of either IP version.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    /// Large enough for `sockaddr_in` as well.
    bytes: libc::sockaddr_in6,
    len: libc::socklen_t,
}

impl Name {
    fn unset() -> Self {
        // SAFETY: a name of zeros is of no family.
        Name { bytes: unsafe { zeroed() }, len: size_of::<libc::sockaddr_in6>() as libc::socklen_t }
    }

    /// The address, if the name is of an IP version.
    fn address(&self) -> Option<SocketAddr> {
        let name = &self.bytes;
        match libc::c_int::from(name.sin6_family) {
            libc::AF_INET => {
                // SAFETY: the family says that it is such a name, and it is no longer than the one it lies in.
                let name = unsafe { *ptr::from_ref(name).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some((ip, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 => {
                Some((Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port)).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Name::unset();
        match address {
            SocketAddr::V4(address) => {
                // SAFETY: as in `Name::address`.
                let short = unsafe { &mut *ptr::from_mut(&mut name.bytes).cast::<libc::sockaddr_in>() };
                short.sin_family = libc::AF_INET as libc::sa_family_t;
                short.sin_port = address.port().to_be();
                short.sin_addr.s_addr = u32::from(*address.ip()).to_be();
                name.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(address) => {
                name.bytes.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                name.bytes.sin6_port = address.port().to_be();
                name.bytes.sin6_addr.s6_addr = address.ip().octets();
                name.bytes.sin6_scope_id = address.scope_id();
            }
        }
        name
    }
}

/// One control message with a number: the segment size, as the kernel takes it (16 bits) and gives it (32).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control<T> {
    header: libc::cmsghdr,
    value: T,
}

/// `CMSG_LEN` of a control message with a `T`.
const fn control_len<T>() -> usize {
    offset_of!(Control<T>, value) + size_of::<T>()
}

/// What has been received and not been read yet: messages of one or more datagrams of equal size, the last of
/// which may be shorter.
pub(crate) struct Inbox {
    space: Box<[u8]>,
    headers: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control<libc::c_int>]>,
}

// SAFETY: the pointers in `headers` and `parts` are into the inbox's own boxes; they are written anew before each
// call and not read after it.
unsafe impl Send for Inbox {}

/// A message.
pub(crate) struct Arrival<'a> {
    /// Its datagrams, one behind the other.
    pub(crate) bytes: &'a mut [u8],
    /// Bytes of each datagram but the last; at least 1.
    pub(crate) segment: usize,
    /// Who sent it.
    pub(crate) from: Option<SocketAddr>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        // SAFETY: zeros are valid for these structs of numbers and pointers.
        let (header, part, control) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Inbox {
            // The system gives pages as they are first written to: small datagrams never touch most of it.
            space: vec![0; BATCH * STRIDE].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            parts: vec![part; BATCH].into_boxed_slice(),
            names: vec![Name::unset(); BATCH].into_boxed_slice(),
            controls: vec![control; BATCH].into_boxed_slice(),
        }
    }

    /// Receives up to `limit` messages; returns how many came, at least one. What had been received before is
    /// gone.
    ///
    /// # Errors
    /// EAGAIN if nothing waits.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, limit: usize) -> nix::Result<usize> {
        let limit = limit.min(BATCH);
        for index in 0..limit {
            self.parts[index] =
                libc::iovec { iov_base: self.space[index * STRIDE..].as_mut_ptr().cast(), iov_len: LARGEST };
            self.names[index].len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[index].bytes).cast();
            header.msg_namelen = self.names[index].len;
            header.msg_iov = &raw mut self.parts[index];
            header.msg_iovlen = 1;
            header.msg_control = ptr::from_mut(&mut self.controls[index]).cast();
            header.msg_controllen = size_of::<Control<libc::c_int>>();
        }
        // SAFETY: every header points to a name, a control message and a space of the lengths that it says, all
        // of which are the inbox's own and outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                limit as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        Errno::result(count).map(|count| count as usize)
    }

    /// Bytes of message number `index` of the last call.
    pub(crate) fn len(&self, index: usize) -> usize {
        (self.headers[index].msg_len as usize).min(LARGEST)
    }

    /// Message number `index` of the last call.
    pub(crate) fn arrival(&mut self, index: usize) -> Arrival<'_> {
        let len = self.len(index);
        let bytes = &mut self.space[index * STRIDE..][..len];
        let (header, control) = (&self.headers[index].msg_hdr, &self.controls[index]);
        let is_coalesced = header.msg_controllen >= control_len::<libc::c_int>()
            && (control.header.cmsg_level, control.header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO);
        let segment = if is_coalesced { usize::try_from(control.value).unwrap_or(len) } else { len };
        Arrival { bytes, segment: segment.max(1), from: self.names[index].address() }
    }
}

/// Messages on their way out.
pub(crate) struct Outbox {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[Name]>,
    controls: Box<[Control<u16>]>,
    parts: Vec<libc::iovec>,
    /// For each message where its parts begin, and where the last one's end.
    bounds: Vec<usize>,
}

// SAFETY: the pointers are only followed by `send`, which is called while what they point to is borrowed.
unsafe impl Send for Outbox {}

/// The parts of one call, borrowed until they are sent.
pub(crate) struct Loading<'a, 'b> {
    outbox: &'a mut Outbox,
    borrowed: std::marker::PhantomData<&'b [u8]>,
}

impl Outbox {
    /// An outbox for [`BATCH`] messages of together `parts` parts.
    pub(crate) fn new(parts: usize) -> Self {
        // SAFETY: as in `Inbox::new`.
        let (header, mut control): (_, Control<u16>) = unsafe { (zeroed(), zeroed()) };
        control.header.cmsg_level = libc::SOL_UDP;
        control.header.cmsg_type = libc::UDP_SEGMENT;
        control.header.cmsg_len = control_len::<u16>();
        Outbox {
            headers: vec![header; BATCH].into_boxed_slice(),
            names: vec![Name::unset(); BATCH].into_boxed_slice(),
            controls: vec![control; BATCH].into_boxed_slice(),
            parts: Vec::with_capacity(parts),
            bounds: Vec::with_capacity(BATCH + 1),
        }
    }

    /// Begins to fill an empty outbox.
    pub(crate) fn load<'b>(&mut self) -> Loading<'_, 'b> {
        self.parts.clear();
        self.bounds.clear();
        Loading { outbox: self, borrowed: std::marker::PhantomData }
    }
}

impl<'b> Loading<'_, 'b> {
    /// Adds a message to `to`, of `parts`; if `segment` is not 0 the kernel cuts it into datagrams of that size.
    pub(crate) fn push(&mut self, to: Name, segment: u16, parts: impl Iterator<Item = &'b [u8]>) {
        let index = self.outbox.bounds.len();
        self.outbox.bounds.push(self.outbox.parts.len());
        self.outbox.names[index] = to;
        self.outbox.controls[index].value = segment;
        self.outbox.parts.extend(
            parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }),
        );
    }

    /// Sends messages from number `first` on; returns how many were sent, at least one.
    ///
    /// # Errors
    /// What went wrong with message `first`.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, first: usize) -> nix::Result<usize> {
        let Outbox { headers, names, controls, parts, bounds } = &mut *self.outbox;
        for index in first..bounds.len() {
            let end = bounds.get(index + 1).copied().unwrap_or(parts.len());
            let header = &mut headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut names[index].bytes).cast();
            header.msg_namelen = names[index].len;
            header.msg_iov = parts[bounds[index]..].as_mut_ptr();
            header.msg_iovlen = end - bounds[index];
            let is_cut = controls[index].value != 0;
            header.msg_control =
                if is_cut { ptr::from_mut(&mut controls[index]).cast() } else { ptr::null_mut() };
            header.msg_controllen = if is_cut { size_of::<Control<u16>>() } else { 0 };
        }
        let count = bounds.len() - first;
        // SAFETY: every header points to a name, a control message and parts of the lengths that it says; they
        // are the outbox's own, and what the parts point to is borrowed for as long as `self`. The kernel only
        // reads them.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                headers[first..].as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        Errno::result(sent).map(|sent| sent as usize)
    }
}

/// Sends one datagram.
pub(crate) fn send_one(fd: BorrowedFd<'_>, to: Name, datagram: &[u8]) -> nix::Result<()> {
    // SAFETY: the datagram and the name are of the lengths that are said, and outlive the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            datagram.as_ptr().cast(),
            datagram.len(),
            libc::MSG_DONTWAIT,
            ptr::from_ref(&to.bytes).cast(),
            to.len,
        )
    };
    Errno::result(sent).map(drop)
}
