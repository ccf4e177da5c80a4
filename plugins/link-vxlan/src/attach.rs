//! From a configuration to a device with its programs, and the two sockets on it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use vreserve_packet::ifreq::Interface;
use vreserve_packet::socket;
use vreserve_sdk::{Failure, Queue};

use crate::bpf::{self, Way};
use crate::config::Config;
use crate::device::{Device, port_taken, with_permission};
use crate::limit::{Limit, device_mtu, underlay_mtu};
use crate::programs;

/// An open endpoint of the kernel's.
pub(crate) struct Attachment {
    /// Where frames of far nodes are read.
    pub(crate) incoming: OwnedFd,
    /// Where frames for far nodes are written.
    pub(crate) outgoing: OwnedFd,
    pub(crate) limit: Limit,
    /// The programs are gone with these, before the device.
    _programs: [OwnedFd; 2],
    _device: Device,
}

impl Attachment {
    /// Makes the device, binds the programs, sets it up, opens the sockets: in that order, so that no frame passes it
    /// without the programs.
    ///
    /// # Errors
    /// `Unavailable` if the address, the port, the name or a permission is missing, or the kernel is too old.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let name = config.device();
        let cannot = |what: &str, error: io::Error| {
            Failure::unavailable(format!("device {name}: {what}: {}", with_permission(&error)))
        };
        let underlay = underlay_of(*config.bind.ip())?;
        let mtu = config.mtu.or_else(|| underlay_mtu(&underlay)).ok_or_else(|| {
            Failure::unavailable(format!("the MTU of {} is too small for IPv4", underlay.name()))
        })?;
        let device = Device::make(&name, config.bind.port(), device_mtu(mtu))?;
        let programs = attach_programs(config, &device)?;
        let interface = Interface::named(&name).map_err(|error| cannot("socket", error))?;
        interface.set_up().map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => port_taken(&name, config.bind.port()),
            _ => cannot("setting it up", error),
        })?;
        let filter =
            bpf::load_filter(&programs::filter()).map_err(|error| cannot("loading the filter", error))?;
        let incoming = socket::open_capturing(device.index, Queue::ONLY, |socket| {
            bpf::attach_filter(socket, &filter)?;
            socket::receive_marks(socket)
        });
        let incoming = incoming.map_err(|error| cannot("receiving", error))?;
        let outgoing = socket::open_injecting(device.index).map_err(|error| cannot("sending", error))?;
        let underlay = Some(underlay).filter(|_| config.mtu.is_none());
        let limit = Limit::new(underlay, interface, mtu, Instant::now());
        Ok(Attachment { incoming, outgoing, limit, _programs: programs, _device: device })
    }
}

fn attach_programs(config: &Config, device: &Device) -> Result<[OwnedFd; 2], Failure> {
    let local = *config.bind.ip();
    let attach = |program: &[programs::Instruction], way| {
        let cannot = |error: &io::Error| {
            let name = &device.name;
            Failure::unavailable(format!("device {name}: a program for it: {}", with_permission(error)))
        };
        let program = bpf::load_classifier(program).map_err(|error| cannot(&error))?;
        bpf::attach(&program, device.index, way).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Failure::unavailable("this kernel has no TCX (Linux 6.6); use link-udp"),
            _ => cannot(&error),
        })
    };
    Ok([
        attach(&programs::egress(config.vni, local), Way::Egress)?,
        attach(&programs::ingress(config.vni, local, device.index), Way::Ingress)?,
    ])
}

/// The interface that has this address.
fn underlay_of(ip: Ipv4Addr) -> Result<Interface, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::unavailable(format!("the interface of {ip}: {error}"));
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| cannot(&error))?;
    let is_it = |address: &nix::ifaddrs::InterfaceAddress| {
        address
            .address
            .as_ref()
            .and_then(|address| address.as_sockaddr_in())
            .is_some_and(|name| name.ip() == ip)
    };
    let found = addresses.into_iter().find(is_it);
    let found = found.ok_or_else(|| Failure::unavailable(format!("no interface has the address {ip}")))?;
    Interface::named(&found.interface_name).map_err(|error| cannot(&error))
}
