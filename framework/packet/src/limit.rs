//! The largest frame of an interface: known from its MTU, and asked for again when a frame says otherwise.

use std::time::Instant;

use vreserve_offload::Offload;
use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_sdk::tracing;

use crate::frame::{Checked, Unusable, check};
use crate::ifreq::Interface;
use crate::mtu::MtuWatch;

/// A frame may have one VLAN tag beyond what the MTU says.
const TAG: usize = 4;

/// See the module.
pub struct Limit {
    watch: MtuWatch,
    mtu: u32,
}

impl Limit {
    /// `mtu` is what the interface said at `now`.
    pub fn new(interface: Interface, mtu: u32, now: Instant) -> Self {
        Limit { watch: MtuWatch::new(interface, now), mtu }
    }

    /// To be called when traffic pauses: asks if that was long ago.
    pub fn poll(&mut self, now: Instant) {
        if self.watch.is_due(now) {
            self.has_changed();
        }
    }

    /// Starts a call.
    #[inline]
    pub fn begin(&mut self) {
        self.watch.begin();
    }

    /// The largest wire frame, tag included.
    #[inline]
    pub fn frame_max(&self) -> usize {
        self.mtu as usize + ETHERNET_HEADER + TAG
    }

    /// Checks a frame; one that is too large may show that the MTU has grown.
    ///
    /// # Errors
    /// Why it is to be dropped, or refused.
    #[inline]
    pub fn check(&mut self, frame: &[u8], offload: &Offload) -> Result<Checked, Unusable> {
        match check(frame, offload, self.frame_max()) {
            Err(Unusable::Oversized) if self.has_changed() => check(frame, offload, self.frame_max()),
            verdict => verdict,
        }
    }

    /// Asks for the MTU, unless this call has done so. An interface without a name any more keeps what it had.
    pub fn has_changed(&mut self) -> bool {
        let Some(mtu) = self.watch.ask().filter(|mtu| *mtu != self.mtu) else { return false };
        tracing::info!(interface = self.watch.name(), from = self.mtu, to = mtu, "MTU changed");
        self.mtu = mtu;
        true
    }
}
