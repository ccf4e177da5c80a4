//! What ours is measured against: the same two guests without any overlay, and over the kernel's VXLAN.

use super::ground::{A, B, GUEST_MTU, Ground, Subject, UNDERLAY};
use crate::processes::Processes;

/// Guests on one veth pair.
pub(crate) const RAW: &str = "raw";
/// Guests on veth pairs, bridges and VXLAN devices of the kernel.
pub(crate) const VXLAN: &str = "vxlan";

/// The kernel's default port (RFC 7348); ours use others.
const VXLAN_PORT: u16 = 4789;
/// Out of reach of the other end's, and not the underlay's: a veth pair whose ends have the same index takes a
/// second to come up.
const FAR_INDEX: u32 = 100_001;

/// Joins the guests of [`RAW`].
///
/// # Errors
/// What `ip` said.
pub(crate) fn raw(ground: &Ground) -> anyhow::Result<Subject> {
    let (a, b) = ground.guests(RAW);
    let far = ground.lab().spec().namespace(&b.name);
    let pair =
        format!("link add eth0 index {FAR_INDEX} mtu {GUEST_MTU} type veth peer name eth0 netns {far}");
    ground.lab().ip(&a.name, vec![pair])?;
    ground.address(RAW, GUEST_MTU)?;
    Ok(ground.subject(RAW, Processes::default(), Vec::new()))
}

/// Joins the guests of [`VXLAN`].
///
/// # Errors
/// What `ip` said.
pub(crate) fn vxlan(ground: &Ground) -> anyhow::Result<Subject> {
    let (a, b) = ground.guests(VXLAN);
    for (node, far, guest) in [(A, B, a), (B, A, b)] {
        let (local, remote) = (ground.address_of(node), ground.address_of(far));
        let namespace = ground.lab().spec().namespace(&guest.name);
        let lines = [
            "link add br0 type bridge mcast_snooping 0".to_owned(),
            format!(
                "link add vx0 mtu {GUEST_MTU} type vxlan id 1 local {local} remote {remote} \
                 dstport {VXLAN_PORT} dev {UNDERLAY}"
            ),
            format!(
                "link add guest0 index {FAR_INDEX} mtu {GUEST_MTU} type veth peer name eth0 netns {namespace}"
            ),
            "link set vx0 master br0 up".to_owned(),
            "link set guest0 master br0 up".to_owned(),
            "link set br0 up".to_owned(),
        ];
        ground.lab().ip(node, lines.into())?;
    }
    ground.address(VXLAN, GUEST_MTU)?;
    Ok(ground.subject(VXLAN, Processes::default(), Vec::new()))
}
