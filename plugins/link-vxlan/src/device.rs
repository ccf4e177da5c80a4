//! The kernel's VXLAN device of an endpoint: made when the endpoint is opened, gone when it is closed.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use vreserve_sdk::{Failure, tracing};

use crate::bpf::{self, Way};

/// How a device of ours is known: by its alias (`ip link` shows it).
const ALIAS: &str = "vreserve link-vxlan";

/// What the kernel has under a name.
struct Found {
    index: u32,
    is_ours: bool,
}

/// A VXLAN device without a network of its own: each frame says which, and where it goes (`external`). It goes with this
/// value.
pub(crate) struct Device {
    netlink: Netlink,
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Device {
    /// Makes a device that is down. One that a daemon left behind is replaced.
    ///
    /// # Errors
    /// `Unavailable` if the name or the port is somebody else's, or for want of permission.
    pub(crate) fn make(name: &str, port: u16, mtu: u32) -> Result<Self, Failure> {
        let cannot = |what: &str, error: io::Error| {
            Failure::unavailable(format!("device {name}: {what}: {}", with_permission(&error)))
        };
        let mut netlink = Netlink::open().map_err(|error| cannot("netlink", error))?;
        if let Some(found) = netlink.find(name).map_err(|error| cannot("looking for it", error))? {
            make_way(&mut netlink, name, &found)?;
        }
        netlink.create(name, port, mtu).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => port_taken(name, port),
            _ => cannot("making it", error),
        })?;
        let found = netlink.find(name).map_err(|error| cannot("looking for it", error))?;
        let found = found.ok_or_else(|| Failure::unavailable(format!("device {name} went at once")))?;
        // From here on it goes with this value.
        let mut device = Device { netlink, name: name.to_owned(), index: found.index };
        let alias = format!("{ALIAS} {port}");
        device.netlink.set_alias(found.index, &alias).map_err(|error| cannot("naming it", error))?;
        // The kernel's own frames (neighbour discovery) go nowhere in any case, for want of a mark.
        drop(std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1"));
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        match self.netlink.delete(self.index) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                tracing::warn!(device = self.name, %error, "the VXLAN device stays");
            }
            _ => {}
        }
    }
}

/// Removes a device that was left behind: ours by its alias, and without the programs of a living endpoint.
fn make_way(netlink: &mut Netlink, name: &str, found: &Found) -> Result<(), Failure> {
    if !found.is_ours {
        return Err(Failure::unavailable(format!("there is a device {name} that is none of this plugin's")));
    }
    if bpf::count(found.index, Way::Egress).is_ok_and(|count| count > 0) {
        return Err(Failure::unavailable(format!("device {name} is another endpoint's")));
    }
    tracing::info!(device = name, "replacing the VXLAN device that a daemon left behind");
    netlink
        .delete(found.index)
        .map_err(|error| Failure::unavailable(format!("device {name}: removing the old one: {error}")))
}

/// The failure of an endpoint whose port is another's.
pub(crate) fn port_taken(name: &str, port: u16) -> Failure {
    Failure::unavailable(format!("device {name}: UDP port {port} is used by another VXLAN device or program"))
}

/// An error that says which permission may be missing.
pub(crate) fn with_permission(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            format!("{error}; CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are needed")
        }
        _ => error.to_string(),
    }
}

/// A routing socket of the namespace it was opened in.
struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    fn find(&mut self, name: &str) -> io::Result<Option<Found>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(Some(link)) => Ok(Some(Found { index: link.header.index, is_ours: is_ours(&link) })),
            Ok(None) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&mut self, name: &str, port: u16, mtu: u32) -> io::Result<()> {
        let data = vec![InfoVxlan::CollectMetadata(true), InfoVxlan::Learning(false), InfoVxlan::Port(port)];
        let mut message = LinkMessage::default();
        message.attributes.extend([
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]),
        ]);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.ask(RouteNetlinkMessage::NewLink(message), flags).map(drop)
    }

    fn set_alias(&mut self, index: u32, alias: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    fn delete(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.ask(RouteNetlinkMessage::DelLink(message), NLM_F_ACK).map(drop)
    }

    /// Sends a request and waits for its answer: a link, or that it is done.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Option<LinkMessage>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(Some(link)),
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Ok(None),
            };
        }
    }
}

fn is_ours(link: &LinkMessage) -> bool {
    let is_vxlan = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Vxlan));
    let has_alias = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfAlias(alias) if alias.starts_with(ALIAS));
    let has_kind = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.iter().any(is_vxlan));
    link.attributes.iter().any(has_alias) && link.attributes.iter().any(has_kind)
}
