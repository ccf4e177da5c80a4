//! From a configuration to open descriptors: which interface, in which namespace, with what MTU. The
//! descriptors keep working from any thread; only opening depends on the namespace.

mod tap;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use vreserve_packet::ifreq::Interface;
use vreserve_packet::{netns, socket};
use vreserve_sdk::{Failure, InterfaceInfo, Queue, tracing};

use crate::config::{Config, Kind};

/// MTU of a TAP that is created: what a link adds to a frame at most (Ethernet 14, IPv6 40, UDP 8, sealing 32) leaves
/// room for it in 1500 bytes.
const CREATED_MTU: u32 = 1400;

/// An interface that has been opened.
pub(crate) struct Attachment {
    pub(crate) kind: Kind,
    pub(crate) info: InterfaceInfo,
    /// Each frame has a virtio-net header in front, both ways.
    pub(crate) has_header: bool,
    /// Where frames of guests are read.
    pub(crate) incoming: OwnedFd,
    /// Where frames for guests are written; of a TAP the same device as `incoming`.
    pub(crate) outgoing: OwnedFd,
}

impl Attachment {
    /// The interface's queue, and the interface to ask for its MTU.
    ///
    /// # Errors
    /// `Unavailable` if the interface, its namespace or a permission is missing, `Retry` if somebody holds the
    /// TAP, `Invalid` with the key if it is not what the configuration says.
    pub(crate) fn open(config: &Config, queue: Queue) -> Result<(Self, Interface), Failure> {
        match (config.kind, config.fd) {
            (Kind::Tap, Some(fd)) => open_handed(config, fd),
            (Kind::Tap, None) => netns::within(config.netns.as_deref(), || open_tap(config, queue)),
            (Kind::Interface, _) => netns::within(config.netns.as_deref(), || open_interface(config, queue)),
        }
    }
}

fn open_tap(config: &Config, queue: Queue) -> Result<(Attachment, Interface), Failure> {
    let name = config.interface.as_str();
    let is_new = if_nametoindex(name).is_err();
    let attached =
        tap::attach(name, queue.count > 1).map_err(|error| attach_failure(name, is_new, &error))?;
    let offload = tap::accept_offloads(attached.device.as_raw_fd())
        .map_err(|error| attach_failure(name, is_new, &error))?;
    let mtu = config.mtu.or(is_new.then_some(CREATED_MTU));
    let (interface, mtu) = settle(name, mtu, config.up.unwrap_or(is_new))?;
    let queues = if attached.is_multi_queue { queue.count } else { 1 };
    let info = InterfaceInfo { interface: name.to_owned(), mtu, offload, queues };
    Ok((tap_attachment(info, true, attached.device)?, interface))
}

/// A TAP that comes as a descriptor is left as it is, but for what the configuration says outright: without a
/// virtio-net header, offload is not for it.
fn open_handed(config: &Config, fd: i32) -> Result<(Attachment, Interface), Failure> {
    let name = config.interface.as_str();
    let wrong = |reason: String| Failure::invalid("fd", reason);
    let incoming =
        tap::duplicate(fd).map_err(|error| wrong(format!("{fd} is no open descriptor: {error}")))?;
    let shape =
        tap::shape(incoming.as_fd()).map_err(|error| wrong(format!("descriptor {fd} is no TAP: {error}")))?;
    if !shape.is_tap {
        return Err(wrong(format!("descriptor {fd} is a TUN, which carries no Ethernet frames")));
    }
    if shape.has_packet_info {
        return Err(wrong(format!("descriptor {fd} was not opened with IFF_NO_PI")));
    }
    if shape.name != name {
        return Err(Failure::invalid("interface", format!("descriptor {fd} is {:?}", shape.name)));
    }
    let cannot = |error: io::Error| Failure::unavailable(format!("interface {name}: {error}"));
    let offload = if shape.has_vnet_header {
        tap::accept_offloads(incoming.as_raw_fd()).map_err(cannot)?
    } else {
        tap::refuse_offloads(incoming.as_raw_fd()).map_err(cannot)?;
        tracing::info!(interface = name, "its descriptor has no virtio-net header: no offload");
        false
    };
    let netns = tap::netns_of(incoming.as_fd()).map_err(cannot)?;
    let (interface, mtu) =
        netns::within_open(&netns, || settle(name, config.mtu, config.up.unwrap_or(false)))?;
    let info = InterfaceInfo { interface: name.to_owned(), mtu, offload, queues: 1 };
    Ok((tap_attachment(info, shape.has_vnet_header, incoming)?, interface))
}

fn tap_attachment(info: InterfaceInfo, has_header: bool, incoming: OwnedFd) -> Result<Attachment, Failure> {
    let outgoing = incoming.try_clone().map_err(|error| {
        Failure::unavailable(format!("interface {}: duplicating: {error}", info.interface))
    })?;
    Ok(Attachment { kind: Kind::Tap, info, has_header, incoming, outgoing })
}

fn open_interface(config: &Config, queue: Queue) -> Result<(Attachment, Interface), Failure> {
    let name = config.interface.as_str();
    let cannot = |what: &str, error: io::Error| {
        Failure::unavailable(format!("interface {name}: {what}: {}", with_permission(&error)))
    };
    let index =
        if_nametoindex(name).map_err(|_| Failure::unavailable(format!("there is no interface {name}")))?;
    let interface = Interface::named(name).map_err(|error| cannot("socket", error))?;
    if !interface.is_ethernet().map_err(|error| cannot("reading its type", error))? {
        return Err(Failure::invalid("interface", format!("{name} is not an Ethernet interface")));
    }
    let (interface, mtu) = settle(name, config.mtu, config.up.unwrap_or(false))?;
    if !interface.is_up().map_err(|error| cannot("reading its state", error))? {
        return Err(Failure::unavailable(format!("interface {name} is down")));
    }
    let incoming =
        socket::open_capturing(index, queue, |_| Ok(())).map_err(|error| cannot("capturing", error))?;
    let outgoing = socket::open_injecting(index).map_err(|error| cannot("injecting", error))?;
    let info = InterfaceInfo { interface: name.to_owned(), mtu, offload: true, queues: queue.count };
    Ok((Attachment { kind: Kind::Interface, info, has_header: true, incoming, outgoing }, interface))
}

/// Sets what is to be set and returns the interface with the MTU in force.
fn settle(name: &str, mtu: Option<u32>, up: bool) -> Result<(Interface, u32), Failure> {
    let cannot = |what: &str, error: io::Error| {
        Failure::unavailable(format!("interface {name}: {what}: {}", with_permission(&error)))
    };
    let interface = Interface::named(name).map_err(|error| cannot("socket", error))?;
    if let Some(mtu) = mtu {
        interface.set_mtu(mtu).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Failure::invalid("mtu", format!("{name} does not take an MTU of {mtu}")),
            _ => cannot("setting its MTU", error),
        })?;
    }
    if up {
        interface.set_up().map_err(|error| cannot("setting it up", error))?;
    }
    let mtu = interface.mtu().map_err(|error| cannot("reading its MTU", error))?;
    Ok((interface, mtu))
}

fn attach_failure(name: &str, is_new: bool, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EINVAL) if !is_new => Failure::invalid(
            "interface",
            format!("{name} is not a TAP (kind = \"interface\" captures anything Ethernet)"),
        ),
        // An instance that was closed on another thread lets go of its TAP a moment later.
        Some(libc::EBUSY) => Failure::retry(
            std::time::Duration::from_millis(100),
            format!("interface {name} is held by another process or instance"),
        ),
        Some(libc::ENOENT | libc::ENODEV) => {
            Failure::unavailable(format!("interface {name}: no /dev/net/tun here: {error}"))
        }
        _ => Failure::unavailable(format!("interface {name}: attaching: {}", with_permission(error))),
    }
}

fn with_permission(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!("{error}; CAP_NET_ADMIN and CAP_NET_RAW are needed"),
        _ => error.to_string(),
    }
}
