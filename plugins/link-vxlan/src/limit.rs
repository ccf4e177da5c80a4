//! The largest frame: known from the underlay's MTU, which is asked for again when traffic pauses or a frame is too large.

use std::time::Instant;

use vreserve_offload::Offload;
use vreserve_packet::ifreq::Interface;
use vreserve_packet::{Checked, MtuWatch, Unusable, check};
use vreserve_sdk::tracing;

use crate::config::MTU_RANGE;

/// Outer IPv4, UDP and VXLAN headers.
const OUTER: u32 = 20 + 8 + 8;
/// With the frame's own Ethernet header, which an interface's MTU does not count.
const OUTER_AND_ETHERNET: u32 = OUTER + 14;
/// A far kernel VXLAN device sends a full frame with a VLAN tag that much longer.
const TAG: usize = 4;

/// See the module.
pub(crate) struct Limit {
    /// Whom to ask; nobody if the configuration says it.
    underlay: Option<MtuWatch>,
    device: Interface,
    /// The underlay's.
    mtu: u32,
}

/// The MTU of a VXLAN device on an underlay of this MTU.
pub(crate) fn device_mtu(underlay: u32) -> u32 {
    underlay - OUTER_AND_ETHERNET
}

impl Limit {
    /// `mtu` is the underlay's at `now`.
    pub(crate) fn new(underlay: Option<Interface>, device: Interface, mtu: u32, now: Instant) -> Self {
        Limit { underlay: underlay.map(|interface| MtuWatch::new(interface, now)), device, mtu }
    }

    /// The largest frame, Ethernet header included, that one unfragmented datagram can carry.
    pub(crate) fn largest_frame(&self) -> usize {
        (self.mtu - OUTER) as usize
    }

    /// Starts a call.
    pub(crate) fn begin(&mut self) {
        self.underlay.iter_mut().for_each(MtuWatch::begin);
    }

    /// To be called when traffic pauses: asks if that was long ago.
    pub(crate) fn poll(&mut self, now: Instant) {
        if self.underlay.as_mut().is_some_and(|watch| watch.is_due(now)) {
            self.has_changed();
        }
    }

    /// Checks a frame that is to be sent.
    pub(crate) fn check_out(&mut self, frame: &[u8], offload: &Offload) -> Result<Checked, Unusable> {
        self.check(frame, offload, 0)
    }

    /// Checks a frame that came.
    pub(crate) fn check_in(&mut self, frame: &[u8], offload: &Offload) -> Result<Checked, Unusable> {
        self.check(frame, offload, TAG)
    }

    fn check(&mut self, frame: &[u8], offload: &Offload, more: usize) -> Result<Checked, Unusable> {
        match check(frame, offload, self.largest_frame() + more) {
            Err(Unusable::Oversized) if self.has_changed() => {
                check(frame, offload, self.largest_frame() + more)
            }
            verdict => verdict,
        }
    }

    /// Asks for the MTU, unless this call has done so. An interface without a name any more keeps what it had.
    pub(crate) fn has_changed(&mut self) -> bool {
        let asked = self.underlay.as_mut().and_then(MtuWatch::ask).and_then(usable);
        let Some(mtu) = asked.filter(|mtu| *mtu != self.mtu) else { return false };
        if let Err(error) = self.device.set_mtu(device_mtu(mtu)) {
            tracing::warn!(device = self.device.name(), mtu, %error, "the underlay's MTU cannot be followed");
            return false;
        }
        tracing::info!(device = self.device.name(), from = self.mtu, to = mtu, "the underlay's MTU changed");
        self.mtu = mtu;
        true
    }
}

/// The MTU of an underlay interface, if it has one that IPv4 can use.
pub(crate) fn underlay_mtu(interface: &Interface) -> Option<u32> {
    usable(interface.mtu().ok()?)
}

fn usable(mtu: u32) -> Option<u32> {
    let mtu = mtu.min(*MTU_RANGE.end());
    MTU_RANGE.contains(&mtu).then_some(mtu)
}
