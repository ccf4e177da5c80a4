//! What a lab consists of, checked and with every address filled in. A value: it makes nothing.
//!
//! [`LabSpec::load`] reads it from a lab file; the state file of a standing lab carries it as JSON.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::file;
use crate::error::{Error, Result, suggest};
use crate::mac::Mac;
use crate::units::{BitsPerSecond, Bytes};

/// Largest frame of a guest, without the Ethernet header: with what a link adds at most it fits 1500 bytes.
pub const GUEST_MTU: u32 = 1400;

/// Member name of the commodity network's switch.
pub const COMMODITY: &str = "commodity";

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabSpec {
    /// Name, part of every namespace's name.
    pub name: String,
    /// The network everybody shares.
    pub commodity: Commodity,
    /// Networks whose paths must be reserved.
    pub networks: Vec<Network>,
    /// The machines, in the order of the file; the n-th has the n-th address of the commodity network.
    pub hosts: Vec<Host>,
}

/// The commodity network: one bridge, a port per host; or, where no rate is enforced, a wire between two hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commodity {
    /// Enforced on each host's port, in both directions. `None`: the lab has two hosts, and their `inet0` are
    /// the two ends of one veth pair with nothing between that would take time.
    pub rate: Option<BitsPerSecond>,
    /// Buffer in front of each enforced rate.
    pub queue: Bytes,
    /// Addresses of `inet0`.
    pub subnet: Ipv4Net,
    /// MTU of its ports.
    pub mtu: u32,
    /// Two routers and the link between them, in place of the one switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
}

/// The routed kind of commodity network: hosts, edge router, core link, edge router, hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// Enforced on the core link, in both directions: the bottleneck.
    pub rate: BitsPerSecond,
    /// Buffer in front of the bottleneck for traffic without a reservation.
    pub queue: Bytes,
    /// The two routers; each is a member of the lab.
    pub routers: [String; 2],
    /// The address that every host sends through; both routers have it.
    pub gateway: Ipv4Addr,
}

/// A reservable network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Name; the hosts' interface on it carries it too.
    pub name: String,
    /// What it is made of.
    pub kind: NetworkKind,
    /// Enforced on each path, in both directions.
    pub rate: BitsPerSecond,
    /// Buffer in front of each enforced rate.
    pub queue: Bytes,
    /// Addresses of the hosts' interfaces.
    pub subnet: Ipv4Net,
    /// MTU of its ports.
    pub mtu: u32,
    /// Lambdas per fibre, numbered from 1.
    pub lambdas: u16,
    /// Names of the switches.
    pub switches: Vec<String>,
    /// Pairs of switches.
    pub fibres: Vec<(String, String)>,
}

/// Kinds of reservable network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Optical switches joined by fibres, set up by an ODIN server.
    Optical,
}

/// A machine that runs one daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Name.
    pub name: String,
    /// Its place in the star.
    pub role: Role,
    /// Address of `inet0` on the commodity network.
    pub commodity: Ipv4Net,
    /// Its port on each reservable network, by the network's name.
    pub attachments: BTreeMap<String, Attachment>,
    /// Guests it serves.
    pub guests: Vec<Guest>,
    /// The edge router it is at, where the commodity network has routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

/// Place of a host in the star.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A leaf.
    #[default]
    Host,
    /// The hub.
    Proxy,
}

/// A host's port on a reservable network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The switch the port is on.
    pub switch: String,
    /// Address of the interface, which is named after the network.
    pub address: Ipv4Net,
}

/// A guest: a namespace of its own, with `eth0` and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Name.
    pub name: String,
    /// Address of `eth0`.
    pub address: Ipv4Net,
    /// Ethernet address of `eth0`.
    pub mac: Mac,
    /// How its frames reach the daemon.
    pub interface: GuestInterface,
}

/// How a guest's frames reach the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestInterface {
    /// `eth0` is a persistent TAP in the guest's namespace; a daemon attaches to it there.
    #[default]
    Tap,
    /// `eth0` is one end of a veth pair; the other is `vg-<guest>` in the host's namespace.
    Veth,
    /// No `eth0` at all: whoever uses the lab puts it there, such as a daemon that creates the TAP.
    Absent,
}

impl LabSpec {
    /// Reads and checks a lab file.
    ///
    /// # Errors
    /// [`Error::File`] with line and column; [`Error::Unreadable`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Unreadable { file: path.to_owned(), source })?;
        file::parse(&text, path)
    }

    /// Reads and checks the text of a lab file; `path` is only named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        file::parse(text, path)
    }

    /// The same lab under another name, with namespaces of its own.
    pub fn named(mut self, name: &str) -> Result<Self> {
        file::check_lab_name(name).map_err(|message| Error::File {
            file: name.into(),
            line: 1,
            column: 1,
            message,
        })?;
        self.name = name.to_owned();
        Ok(self)
    }

    /// Name of a member's namespace. `member` is a host, a guest, a network, a router or [`COMMODITY`].
    ///
    /// A lab's name holds no hyphen, so namespaces of different labs never have the same name.
    pub fn namespace(&self, member: &str) -> String {
        format!("vr-{}-{member}", self.name)
    }

    /// Every member: the commodity network unless it is a mere wire, its routers if it has any, the reservable
    /// networks, hosts, guests.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let core = self.commodity.core.as_ref();
        let routers = core.into_iter().flat_map(|core| core.routers.iter().map(String::as_str));
        let commodity = self.commodity.rate.filter(|_| core.is_none()).map(|_| COMMODITY);
        commodity
            .into_iter()
            .chain(routers)
            .chain(self.networks.iter().map(|network| network.name.as_str()))
            .chain(self.hosts.iter().map(|host| host.name.as_str()))
            .chain(self.guests().map(|(_, guest)| guest.name.as_str()))
    }

    /// Every namespace of the lab.
    pub fn namespaces(&self) -> Vec<String> {
        self.members().map(|member| self.namespace(member)).collect()
    }

    /// Namespace of a member that must exist.
    pub fn member_namespace(&self, member: &str) -> Result<String> {
        if self.members().any(|known| known == member) {
            return Ok(self.namespace(member));
        }
        let suggestion = suggest(member, self.members());
        Err(Error::UnknownMember { lab: self.name.clone(), member: member.to_owned(), suggestion })
    }

    /// Every guest with its host.
    pub fn guests(&self) -> impl Iterator<Item = (&Host, &Guest)> {
        self.hosts.iter().flat_map(|host| host.guests.iter().map(move |guest| (host, guest)))
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// A guest by name.
    pub fn guest(&self, name: &str) -> Option<&Guest> {
        self.guests().map(|(_, guest)| guest).find(|guest| guest.name == name)
    }

    /// A reservable network by name.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    /// The hub of the star, if the file names one.
    pub fn proxy(&self) -> Option<&Host> {
        self.hosts.iter().find(|host| host.role == Role::Proxy)
    }
}

impl Core {
    /// The router at the other end of the core link.
    pub fn other(&self, router: &str) -> &str {
        let [one, other] = &self.routers;
        if one == router { other } else { one }
    }
}

impl Host {
    /// Address on a reservable network.
    pub fn address_on(&self, network: &str) -> Option<Ipv4Addr> {
        self.attachments.get(network).map(|attachment| attachment.address.addr())
    }
}

impl Guest {
    /// The interface that a daemon captures from: `vg-<guest>` in the host's namespace for a veth, else `eth0`
    /// in the guest's.
    pub fn capture_interface(&self) -> String {
        match self.interface {
            GuestInterface::Tap | GuestInterface::Absent => "eth0".to_owned(),
            GuestInterface::Veth => format!("vg-{}", self.name),
        }
    }
}
