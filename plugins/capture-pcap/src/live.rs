//! An interface through libpcap: frames out of the kernel's ring, and injected ones.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use pcap::{Active, Capture, Direction, Linktype};
use vreserve_packet::ifreq::Interface;
use vreserve_packet::{Limit, Unusable, netns, refuse};
use vreserve_sdk::{Batch, Failure, FrameSlot, InterfaceInfo, Refusal};

use crate::capture::words;
use crate::config::Config;
use crate::counters::Tally;
use crate::frames::{self, RECV_BYTES, SNAPLEN};

/// Milliseconds; without effect in immediate mode, where frames are there at once, but 0 would mean "wait for ever".
const READ_TIMEOUT: i32 = 1;
/// Frames taken out of the ring in one go: super-frames in them fill the cache that a batch is to stay in.
const AT_A_TIME: usize = 16;
/// How often the interface is asked whether it is up, while nothing comes.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Live {
    capture: Capture<Active>,
    interface: Interface,
    limit: Limit,
    pub(crate) info: InterfaceInfo,
    /// Frames that the kernel said it had dropped, when it was last asked.
    dropped: u32,
    /// Frames have come since then.
    is_busy: bool,
    asked: Instant,
}

impl Live {
    /// # Errors
    /// `Unavailable` if the interface, its namespace or a permission is missing, `Invalid` with the key if it is not what
    /// the configuration says.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        netns::within(config.netns.as_deref(), || open_here(config))
    }

    pub(crate) fn ready_fd(&self) -> RawFd {
        self.capture.as_raw_fd()
    }

    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        self.limit.begin();
        let (mut filled, mut bytes) = (0, 0);
        while filled < batch.len() && bytes < RECV_BYTES {
            let frame_max = self.limit.frame_max();
            let mut is_oversized = false;
            let room = (batch.len() - filled).min(AT_A_TIME);
            let came = self.capture.dispatch(Some(room), |packet| {
                let mut slot = batch.slot(filled);
                match frames::accept(&mut slot, packet.data, packet.header.len as usize, frame_max) {
                    Ok(frames) => {
                        filled += 1;
                        bytes += packet.data.len();
                        tally.count_in(packet.data.len(), frames);
                    }
                    Err(unusable) => {
                        is_oversized |= unusable == Unusable::Oversized;
                        tally.count_unusable(unusable);
                    }
                }
            });
            // What was too large may show that the MTU has grown: the next one passes.
            if is_oversized {
                self.limit.has_changed();
            }
            match came {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) if filled > 0 => break,
                Err(error) => return Err(io::Error::other(words(&error))),
            }
        }
        self.take_stock(filled, tally)?;
        Ok(filled)
    }

    /// Once whenever traffic pauses, asks the kernel what it dropped; now and then for the MTU, and whether the interface
    /// is still up: libpcap waits for one that is down to come back.
    fn take_stock(&mut self, filled: usize, tally: &mut Tally) -> io::Result<()> {
        let was_busy = std::mem::replace(&mut self.is_busy, filled > 0);
        if filled > 0 {
            return Ok(());
        }
        let now = Instant::now();
        if was_busy {
            let stats = self.capture.stats().map_err(|error| io::Error::other(words(&error)))?;
            tally.drop_busy += u64::from(stats.dropped.wrapping_sub(self.dropped));
            self.dropped = stats.dropped;
        }
        if now.saturating_duration_since(self.asked) >= ASK_EVERY {
            self.asked = now;
            self.limit.poll(now);
            if !self.interface.is_up()? {
                return Err(Errno::ENETDOWN.into());
            }
        }
        Ok(())
    }

    /// Injects the frames in order; returns how many slots were consumed.
    pub(crate) fn send(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        self.limit.begin();
        for mut slot in batch.iter_mut() {
            self.inject(&mut slot, tally)?;
        }
        Ok(batch.len())
    }

    fn inject(&mut self, slot: &mut FrameSlot<'_>, tally: &mut Tally) -> io::Result<()> {
        let length = slot.len();
        let plain = vreserve_offload::Offload::default();
        if let Err(unusable) = self.limit.check(slot.frame(), &plain) {
            refuse(slot, unusable, self.limit.frame_max());
            return Ok(());
        }
        if self.capture.sendpacket(&*slot.frame()).is_ok() {
            tally.count_out(length);
            return Ok(());
        }
        // libpcap gives words; the number is still the one of its last system call, which was the send.
        match Errno::last() {
            Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR => slot.refuse(Refusal::Busy),
            Errno::EMSGSIZE => {
                self.limit.has_changed();
                refuse(slot, Unusable::Oversized, self.limit.frame_max());
            }
            Errno::EINVAL => slot.refuse(Refusal::Malformed),
            errno => return Err(errno.into()),
        }
        Ok(())
    }
}

/// In the namespace of the calling thread.
fn open_here(config: &Config) -> Result<Live, Failure> {
    let name = config.interface.as_deref().unwrap_or_default();
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::unavailable(format!("interface {name}: {what}: {error}"))
    };
    if if_nametoindex(name).is_err() {
        return Err(Failure::unavailable(format!("there is no interface {name}")));
    }
    let interface = Interface::named(name).map_err(|error| cannot("socket", &error))?;
    if !interface.is_ethernet().map_err(|error| cannot("reading its type", &error))? {
        return Err(Failure::invalid("interface", format!("{name} is not an Ethernet interface")));
    }
    if let Some(mtu) = config.mtu {
        interface.set_mtu(mtu).map_err(|error| cannot(&format!("setting its MTU to {mtu}"), &error))?;
    }
    if config.up {
        interface.set_up().map_err(|error| cannot("setting it up", &error))?;
    }
    if !interface.is_up().map_err(|error| cannot("reading its state", &error))? {
        return Err(Failure::unavailable(format!("interface {name} is down")));
    }
    let mtu = interface.mtu().map_err(|error| cannot("reading its MTU", &error))?;
    let capture = open_capture(name, config).map_err(|error| cannot("capturing", &words(&error)))?;
    if capture.get_datalink() != Linktype::ETHERNET {
        return Err(Failure::invalid("interface", format!("{name} is not an Ethernet interface")));
    }
    let watched = Interface::named(name).map_err(|error| cannot("socket", &error))?;
    let now = Instant::now();
    let info = InterfaceInfo { interface: name.to_owned(), mtu, offload: false, queues: 1 };
    Ok(Live {
        capture,
        interface,
        limit: Limit::new(watched, mtu, now),
        info,
        dropped: 0,
        is_busy: false,
        asked: now,
    })
}

fn open_capture(name: &str, config: &Config) -> Result<Capture<Active>, pcap::Error> {
    let mut capture = Capture::from_device(name)?
        .promisc(true)
        .snaplen(SNAPLEN)
        .immediate_mode(true)
        .timeout(READ_TIMEOUT)
        .buffer_size(i32::try_from(config.buffer).unwrap_or(i32::MAX))
        .open()?
        .setnonblock()?;
    // What this node, or anybody on it, sends out of the interface is not from the guest. The expression `inbound` would
    // keep it out of the ring, but libpcap loses the first frame behind it (1.10: it judges that one in user space, where
    // the frame's direction is not to be had).
    capture.direction(Direction::In)?;
    if let Some(filter) = &config.filter {
        capture.filter(filter, true)?;
    }
    Ok(capture)
}
