//! Many guests on two nodes, and many links from one node to kernel VXLAN devices.
//!
//! ```text
//!  guests: namespace a3 [eth0 … eth511] ── node a ════ node b ── [eth0 … eth511] namespace b3
//!  links:  namespace a5 [eth0] ── node a ════ macvlan of node b's inet0 ── namespace far17 [vx0], one per link
//! ```
//!
//! Guests of one node share a namespace: each has an interface, an address and a subnet of its own with its partner.

use std::net::Ipv4Addr;

use super::ground::{A, B, GUEST_MTU, Ground, UNDERLAY};

/// Node `A` on the subnet of the far ends of links, as seen by the nth set of links.
pub(super) fn endpoint(set: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, 255, 254 - set)
}

/// A far end's address on the underlay.
pub(super) fn far_underlay(nth: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 1)) + nth as u32)
}

/// The guest on the far end of a link.
fn far_guest(nth: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 65, 0, 1)) + nth as u32)
}

/// The guest on node `A` that talks over the nth set of links.
fn near_guest(set: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 65, 255, 254 - set)
}

/// Addresses of the nth partners: subnets of four.
fn partners(nth: usize) -> [Ipv4Addr; 2] {
    let subnet = u32::from(Ipv4Addr::new(10, 64, 0, 0)) + 4 * nth as u32;
    [Ipv4Addr::from(subnet + 1), Ipv4Addr::from(subnet + 2)]
}

/// Of node `A` on the underlay: known to all far ends, so that hundreds of them need not ask at once.
const NEAR_UNDERLAY: &str = "02:a2:00:00:00:01";

fn mac(kind: u8, set: u8, nth: usize) -> String {
    mac_bytes(kind, set, nth).map(|byte| format!("{byte:02x}")).join(":")
}

fn mac_bytes(kind: u8, set: u8, nth: usize) -> [u8; 6] {
    [0x02, kind, set, 0, (nth >> 8) as u8, nth as u8]
}

/// Ethernet address of the first guest of a set, on node `A` or the other.
pub(super) fn first_guest(is_at_a: bool, set: u8) -> [u8; 6] {
    mac_bytes(if is_at_a { 0xa0 } else { 0xa1 }, set, 0)
}

/// Gives all guests of a subject their addresses; returns what those on node `B` are reached at.
///
/// # Errors
/// If an interface is missing.
pub(super) fn address_guests(
    ground: &Ground,
    subject: &str,
    set: u8,
    count: usize,
) -> anyhow::Result<Vec<(String, Ipv4Addr)>> {
    let (a, b) = ground.guests(subject);
    for (side, guest) in [(0, a), (1, b)] {
        let lines = (0..count).flat_map(|nth| {
            let (own, far) = (partners(nth)[side], partners(nth)[1 - side]);
            let (own_mac, far_mac) = (mac(0xa0 + side as u8, set, nth), mac(0xa1 - side as u8, set, nth));
            [
                format!("link set eth{nth} address {own_mac} mtu {GUEST_MTU} up"),
                format!("address replace {own}/30 dev eth{nth}"),
                format!("neigh replace {far} lladdr {far_mac} dev eth{nth} nud permanent"),
            ]
        });
        ground.lab().ip(&guest.name, lines.collect())?;
    }
    Ok((0..count).map(|nth| (b.name.clone(), partners(nth)[1])).collect())
}

/// Makes the far ends of one set of links, which are the lab's `far` members from `first` on; returns what their
/// guests are reached at.
///
/// # Errors
/// What `ip` said.
pub(super) fn make_far_ends(
    ground: &Ground,
    set: u8,
    first: usize,
    count: usize,
) -> anyhow::Result<Vec<(String, Ipv4Addr)>> {
    let (near, spec) = (near_guest(set), ground.lab().spec());
    let mut lines = vec![
        format!("link set {UNDERLAY} address {NEAR_UNDERLAY}"),
        format!("address replace {}/16 dev {UNDERLAY}", endpoint(set)),
    ];
    lines.extend((first..first + count).map(|nth| {
        let (at, known) = (far_underlay(nth), mac(0xb2, set, nth));
        format!("neigh replace {at} lladdr {known} dev {UNDERLAY} nud permanent")
    }));
    ground.lab().ip(A, lines)?;
    let far = |nth: usize| format!("far{nth}");
    let move_in = |nth: usize| {
        let namespace = spec.namespace(&far(nth));
        format!("link add link {UNDERLAY} name m{nth} netns {namespace} type macvlan mode bridge")
    };
    ground.lab().ip(B, (first..first + count).map(move_in).collect())?;
    for nth in first..first + count {
        let lines = [
            format!("link set m{nth} address {} up", mac(0xb2, set, nth)),
            format!("address add {}/16 dev m{nth}", far_underlay(nth)),
            format!("neigh replace {} lladdr {NEAR_UNDERLAY} dev m{nth} nud permanent", endpoint(set)),
            format!(
                "link add vx0 mtu {GUEST_MTU} address {} type vxlan id 1 local {} remote {} dstport 4789",
                mac(0xb0, set, nth),
                far_underlay(nth),
                endpoint(set)
            ),
            format!("address add {}/16 dev vx0", far_guest(nth)),
            "link set vx0 up".to_owned(),
            format!("neigh replace {near} lladdr {} dev vx0 nud permanent", mac(0xb1, set, 0)),
        ];
        ground.lab().ip(&far(nth), lines.into())?;
    }
    Ok((first..first + count).map(|nth| (far(nth), far_guest(nth))).collect())
}

/// Gives the guest that talks over a set of links its addresses.
///
/// # Errors
/// If its interface is missing.
pub(super) fn address_near_guest(
    ground: &Ground,
    subject: &str,
    set: u8,
    first: usize,
    count: usize,
) -> anyhow::Result<()> {
    let (a, _) = ground.guests(subject);
    let mut lines = vec![
        format!("link set eth0 address {} mtu {GUEST_MTU} up", mac(0xb1, set, 0)),
        format!("address replace {}/16 dev eth0", near_guest(set)),
    ];
    lines.extend((first..first + count).map(|nth| {
        format!("neigh replace {} lladdr {} dev eth0 nud permanent", far_guest(nth), mac(0xb0, set, nth))
    }));
    Ok(ground.lab().ip(&a.name, lines)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_guests_or_far_ends_share_an_address() {
        let guests = (0..512).flat_map(partners);
        let far = (0..600).flat_map(|nth| [far_guest(nth), far_underlay(nth)]);
        let near = (0..8).flat_map(|set| [near_guest(set), endpoint(set)]);
        let mut all: Vec<_> = guests.chain(far).chain(near).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_ne!(mac(0xa0, 0, 256), mac(0xa0, 0, 1));
    }
}
