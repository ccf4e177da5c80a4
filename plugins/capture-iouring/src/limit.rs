//! The largest frame of an interface: known from its MTU, and asked for again when a frame says otherwise.

use std::time::{Duration, Instant};

use vreserve_offload::Offload;
use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_packet::ifreq::Interface;
use vreserve_packet::{Checked, Unusable, check};
use vreserve_sdk::tracing;

/// A frame may have one VLAN tag beyond what the MTU says.
const TAG: usize = 4;

/// How often the MTU is asked for though no frame says anything: a smaller one shows in none. Asked only when
/// traffic pauses, it costs nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Limit {
    interface: Interface,
    mtu: u32,
    asked_at: Instant,
    /// The MTU has been asked for in this call: however many frames are too large, one system call.
    is_asked: bool,
}

impl Limit {
    /// `mtu` is what the interface said at `now`.
    pub(crate) fn new(interface: Interface, mtu: u32, now: Instant) -> Self {
        Limit { interface, mtu, asked_at: now, is_asked: false }
    }

    /// To be called when traffic pauses: asks if that was long ago.
    pub(crate) fn poll(&mut self, now: Instant) {
        if now.saturating_duration_since(self.asked_at) >= ASK_EVERY {
            self.asked_at = now;
            self.has_changed();
        }
    }

    /// Starts a call.
    pub(crate) fn begin(&mut self) {
        self.is_asked = false;
    }

    /// The largest wire frame, tag included.
    pub(crate) fn frame_max(&self) -> usize {
        self.mtu as usize + ETHERNET_HEADER + TAG
    }

    /// Checks a frame; one that is too large may show that the MTU has grown.
    pub(crate) fn check(&mut self, frame: &[u8], offload: &Offload) -> Result<Checked, Unusable> {
        match check(frame, offload, self.frame_max()) {
            Err(Unusable::Oversized) if self.has_changed() => check(frame, offload, self.frame_max()),
            verdict => verdict,
        }
    }

    /// Asks for the MTU, unless this call has done so. An interface without a name any more keeps what it had.
    pub(crate) fn has_changed(&mut self) -> bool {
        if std::mem::replace(&mut self.is_asked, true) {
            return false;
        }
        match self.interface.mtu() {
            Ok(mtu) if mtu != self.mtu => {
                tracing::info!(interface = self.interface.name(), from = self.mtu, to = mtu, "MTU changed");
                self.mtu = mtu;
                true
            }
            _ => false,
        }
    }
}
