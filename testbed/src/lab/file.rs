//! The lab file as written (TOML), and its checks. Every complaint says file, line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use ipnet::Ipv4Net;
use serde::Deserialize;
use toml::Spanned;

use super::layout::CORE_NET;
use super::spec::{
    Attachment, COMMODITY, Commodity, Core, Guest, GuestInterface, Host, LabSpec, Network, NetworkKind, Role,
};
use crate::error::{Error, Result, hint, suggest};
use crate::mac::Mac;
use crate::units::{BitsPerSecond, Bytes};

/// Longest member name: `vg-<guest>` and `p-<host>` must fit the kernel's 15 characters.
const LONGEST_NAME: usize = 12;
/// Interfaces a network must not be named after: the host has them already.
const TAKEN: [&str; 4] = ["inet0", "lo", "eth0", COMMODITY];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabFile {
    name: Spanned<String>,
    commodity: CommodityTable,
    #[serde(default)]
    network: Vec<NetworkTable>,
    #[serde(default)]
    host: Vec<HostTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommodityTable {
    rate: Option<BitsPerSecond>,
    #[serde(default = "default_queue")]
    queue: Bytes,
    subnet: Spanned<Ipv4Net>,
    #[serde(default = "default_mtu")]
    mtu: Spanned<u32>,
    core: Option<CoreTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoreTable {
    rate: BitsPerSecond,
    #[serde(default = "default_core_queue")]
    queue: Bytes,
    routers: (Spanned<String>, Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkTable {
    name: Spanned<String>,
    kind: NetworkKind,
    rate: BitsPerSecond,
    #[serde(default = "default_queue")]
    queue: Bytes,
    subnet: Spanned<Ipv4Net>,
    #[serde(default = "default_mtu")]
    mtu: Spanned<u32>,
    lambdas: Spanned<u16>,
    switch: Vec<SwitchTable>,
    #[serde(default)]
    fibres: Vec<Spanned<(String, String)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchTable {
    name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    name: Spanned<String>,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    attach: BTreeMap<String, Spanned<String>>,
    router: Option<Spanned<String>>,
    #[serde(default)]
    guest: Vec<GuestTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestTable {
    name: Spanned<String>,
    address: Spanned<Ipv4Net>,
    mac: Option<Spanned<Mac>>,
    #[serde(default)]
    interface: GuestInterface,
}

fn default_queue() -> Bytes {
    Bytes(2 << 20)
}

/// 20 ms of 100 Mbit/s.
fn default_core_queue() -> Bytes {
    Bytes(256 << 10)
}

fn default_mtu() -> Spanned<u32> {
    Spanned::new(0..0, 1500)
}

/// Where in the text, and what is wrong there.
type Complaint = (Range<usize>, String);
type Checked<T> = std::result::Result<T, Complaint>;

/// Reads and checks a lab file's text.
pub(super) fn parse(text: &str, path: &Path) -> Result<LabSpec> {
    let file: LabFile = toml::from_str(text).map_err(|error| {
        let message = with_suggestion(error.message().lines().next().unwrap_or("not a lab file"));
        positioned(text, path, (error.span().unwrap_or(0..0), message))
    })?;
    check(file).map_err(|complaint| positioned(text, path, complaint))
}

/// The parser names the unknown word and those it expected, each in backquotes: say which looks like it.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let like = quoted.next().and_then(|word| suggest(word, quoted));
    format!("{message}{}", hint(&like))
}

fn positioned(text: &str, path: &Path, (span, message): Complaint) -> Error {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Error::File { file: path.to_owned(), line, column, message }
}

fn check(file: LabFile) -> Checked<LabSpec> {
    check_lab_name(file.name.as_ref()).map_err(|message| (file.name.span(), message))?;
    let mut names = BTreeSet::from([COMMODITY.to_owned()]);
    let mtu = check_mtu(&file.commodity.mtu)?;
    check_subnets(&file)?;
    let CommodityTable { rate, queue, subnet, core: core_table, .. } = file.commodity;
    if core_table.is_some() && rate.is_none() {
        let message = "a commodity network with routers needs a rate for its hosts";
        return Err((file.name.span(), message.to_owned()));
    }
    let core = core_table.map(|table| core(table, &subnet, &mut names)).transpose()?;
    let networks: Vec<Network> = file
        .network
        .into_iter()
        .map(|table| network(table, &mut names))
        .collect::<std::result::Result<_, _>>()?;
    let mut hosts = Vec::new();
    for (index, table) in file.host.into_iter().enumerate() {
        let address = nth_address(&subnet, index)?;
        if table.role == Role::Proxy && hosts.iter().any(|host: &Host| host.role == Role::Proxy) {
            return Err((table.name.span(), "a lab has one proxy, and there is one above".to_owned()));
        }
        let router = router(core.as_ref(), &table, address)?;
        hosts.push(Host { router, ..host(table, address, index, &networks, &mut names)? });
    }
    if rate.is_none() && hosts.len() != 2 {
        let message = "a commodity network without a rate is a wire between exactly two hosts";
        return Err((file.name.span(), message.to_owned()));
    }
    check_guests(&hosts).map_err(|message| (file.name.span(), message))?;
    let commodity = Commodity { rate, queue, subnet: subnet.into_inner(), mtu, core };
    Ok(LabSpec { name: file.name.into_inner(), commodity, networks, hosts })
}

fn core(table: CoreTable, subnet: &Spanned<Ipv4Net>, names: &mut BTreeSet<String>) -> Checked<Core> {
    let (one, other) = table.routers;
    check_name(&one, names)?;
    check_name(&other, names)?;
    let net = *subnet.as_ref();
    if net.contains(&CORE_NET) || CORE_NET.contains(&net) {
        return Err((subnet.span(), format!("{net} overlaps {CORE_NET}, the core link's own")));
    }
    let Some(gateway) = net.hosts().last() else {
        return Err((subnet.span(), format!("{net} has no address for the routers")));
    };
    let routers = [one.into_inner(), other.into_inner()];
    Ok(Core { rate: table.rate, queue: table.queue, routers, gateway })
}

/// The router that a host is at: named where there are routers, and only there.
fn router(core: Option<&Core>, table: &HostTable, address: Ipv4Net) -> Checked<Option<String>> {
    match (core, &table.router) {
        (None, None) => Ok(None),
        (None, Some(name)) => Err((name.span(), "the commodity network has no routers".to_owned())),
        (Some(_), None) => {
            Err((table.name.span(), "which router is this host at? write router = \"…\"".to_owned()))
        }
        (Some(core), Some(_)) if core.gateway == address.addr() => {
            Err((table.name.span(), format!("{} is the routers' address: the subnet is full", core.gateway)))
        }
        (Some(core), Some(name)) if core.routers.contains(name.as_ref()) => Ok(Some(name.as_ref().clone())),
        (Some(core), Some(name)) => {
            let like = suggest(name.as_ref(), core.routers.iter().map(String::as_str));
            Err((name.span(), format!("there is no router {}{}", name.as_ref(), hint(&like))))
        }
    }
}

fn network(table: NetworkTable, names: &mut BTreeSet<String>) -> Checked<Network> {
    check_name(&table.name, names)?;
    if TAKEN.contains(&table.name.as_ref().as_str()) || table.name.as_ref().starts_with("vg-") {
        return Err((table.name.span(), "hosts have an interface of this name already".to_owned()));
    }
    if !(1..=1000).contains(table.lambdas.as_ref()) {
        return Err((table.lambdas.span(), "a fibre carries 1 to 1000 lambdas".to_owned()));
    }
    let switches = switch_names(table.switch)?;
    check_fibres(&table.fibres, &switches)?;
    Ok(Network {
        mtu: check_mtu(&table.mtu)?,
        name: table.name.into_inner(),
        kind: table.kind,
        rate: table.rate,
        queue: table.queue,
        subnet: table.subnet.into_inner(),
        lambdas: table.lambdas.into_inner(),
        switches,
        fibres: table.fibres.into_iter().map(Spanned::into_inner).collect(),
    })
}

fn switch_names(tables: Vec<SwitchTable>) -> Checked<Vec<String>> {
    let mut switches: Vec<String> = Vec::new();
    for SwitchTable { name } in tables {
        let text = name.as_ref();
        if text.is_empty() || text.contains(char::is_whitespace) || switches.contains(text) {
            return Err((name.span(), "a switch needs a name of its own, without blanks".to_owned()));
        }
        switches.push(name.into_inner());
    }
    Ok(switches)
}

fn check_fibres(fibres: &[Spanned<(String, String)>], switches: &[String]) -> Checked<()> {
    for fibre in fibres {
        let (a, b) = fibre.as_ref();
        for end in [a, b] {
            known_switch(end, switches).map_err(|message| (fibre.span(), message))?;
        }
        if a == b {
            return Err((fibre.span(), "a fibre joins two different switches".to_owned()));
        }
    }
    Ok(())
}

fn host(
    table: HostTable,
    commodity: Ipv4Net,
    index: usize,
    networks: &[Network],
    names: &mut BTreeSet<String>,
) -> Checked<Host> {
    check_name(&table.name, names)?;
    let mut attachments = BTreeMap::new();
    for (network, switch) in table.attach {
        let span = switch.span();
        let Some(known) = networks.iter().find(|known| known.name == network) else {
            let like = suggest(&network, networks.iter().map(|known| known.name.as_str()));
            return Err((span, format!("there is no network {network}{}", hint(&like))));
        };
        known_switch(switch.as_ref(), &known.switches).map_err(|message| (span.clone(), message))?;
        let address = nth_address(&Spanned::new(span, known.subnet), index)?;
        attachments.insert(network, Attachment { switch: switch.into_inner(), address });
    }
    let guests = table.guest.into_iter().map(|guest_table| guest(guest_table, names));
    let guests = guests.collect::<std::result::Result<_, _>>()?;
    Ok(Host { name: table.name.into_inner(), role: table.role, commodity, attachments, guests, router: None })
}

fn guest(table: GuestTable, names: &mut BTreeSet<String>) -> Checked<Guest> {
    check_name(&table.name, names)?;
    let address = table.address.into_inner();
    let mac = table.mac.map_or_else(|| Mac::of_guest(table.name.as_ref()), Spanned::into_inner);
    Ok(Guest { name: table.name.into_inner(), address, mac, interface: table.interface })
}

/// The name becomes part of namespace names, where a hyphen separates it from the member's.
pub(super) fn check_lab_name(name: &str) -> std::result::Result<(), String> {
    let fits = (1..=32).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if fits {
        Ok(())
    } else {
        Err("a lab is named with up to 32 lower-case letters, digits and `_`".to_owned())
    }
}

fn check_name(name: &Spanned<String>, names: &mut BTreeSet<String>) -> Checked<()> {
    let text = name.as_ref();
    let fits = (1..=LONGEST_NAME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        let rule = "a letter first, then lower-case letters, digits and hyphens";
        return Err((
            name.span(),
            format!("`{text}` is no name here: up to {LONGEST_NAME} characters, {rule}"),
        ));
    }
    if !names.insert(text.clone()) {
        return Err((name.span(), format!("{text} is the name of another member")));
    }
    Ok(())
}

fn check_mtu(mtu: &Spanned<u32>) -> Checked<u32> {
    let value = *mtu.as_ref();
    // 576 is what every IPv4 host must take (RFC 791); 65535 is the most a veth does.
    if (576..=65535).contains(&value) {
        Ok(value)
    } else {
        Err((mtu.span(), "an MTU lies between 576 and 65535".to_owned()))
    }
}

fn known_switch(name: &str, switches: &[String]) -> std::result::Result<(), String> {
    if switches.iter().any(|switch| switch == name) {
        return Ok(());
    }
    let like = suggest(name, switches.iter().map(String::as_str));
    Err(format!("there is no switch {name}{}", hint(&like)))
}

/// The address of the host with this index, with the subnet's prefix length.
fn nth_address(subnet: &Spanned<Ipv4Net>, index: usize) -> Checked<Ipv4Net> {
    let net = subnet.as_ref();
    let address: Option<Ipv4Addr> = net.hosts().nth(index);
    address
        .and_then(|address| Ipv4Net::new(address, net.prefix_len()).ok())
        .ok_or_else(|| (subnet.span(), format!("{net} has no address for host number {}", index + 1)))
}

/// Overlapping subnets would make a host send on the wrong interface.
fn check_subnets(file: &LabFile) -> Checked<()> {
    let mut seen = vec![*file.commodity.subnet.as_ref()];
    for subnet in file.network.iter().map(|network| &network.subnet) {
        let net = *subnet.as_ref();
        if let Some(other) = seen.iter().find(|other| other.contains(&net) || net.contains(*other)) {
            return Err((subnet.span(), format!("{net} overlaps {other}")));
        }
        seen.push(net);
    }
    Ok(())
}

fn check_guests(hosts: &[Host]) -> std::result::Result<(), String> {
    let (mut macs, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for guest in hosts.iter().flat_map(|host| &host.guests) {
        if let Some(other) = macs.insert(guest.mac, &guest.name) {
            return Err(format!(
                "guests {other} and {} have the same Ethernet address {}",
                guest.name, guest.mac
            ));
        }
        if let Some(other) = addresses.insert(guest.address.addr(), &guest.name) {
            return Err(format!("guests {other} and {} have the same address {}", guest.name, guest.address));
        }
    }
    Ok(())
}
