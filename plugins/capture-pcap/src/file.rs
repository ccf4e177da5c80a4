//! A capture file, played in its own time: frames come as far apart as they were captured, times a factor. Read only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use pcap::{Capture, Linktype, Offline};
use vreserve_sdk::{Batch, Failure, InterfaceInfo, tracing};

use crate::capture::words;
use crate::config::Config;
use crate::counters::Tally;
use crate::frames::{self, RECV_BYTES};

/// The MTU of most guests.
const COMMON_MTU: u32 = 1500;
/// An Ethernet header with a VLAN tag.
const HEADER: usize = 18;
/// The longest name of an interface that a host takes.
const LONGEST_NAME: usize = 256;
/// A timer that is set to nothing would never run out.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// See the module.
pub(crate) struct File {
    capture: Capture<Offline>,
    /// Readable when the next frame is due.
    timer: TimerFd,
    clock: Clock,
    next: Option<Pending>,
    /// Where the frame in `next` is kept.
    bytes: Vec<u8>,
    is_over: bool,
    frames: u64,
    pub(crate) info: InterfaceInfo,
}

/// The next frame of the file.
#[derive(Clone, Copy)]
struct Pending {
    due: Instant,
    whole_length: usize,
}

/// Turns times of a file into times of now. Pure.
struct Clock {
    /// When the first frame came, and when it had been captured.
    begun: Option<(Instant, Duration)>,
    speed: f64,
}

impl Clock {
    /// When a frame that was captured at `captured` since 1970 is due. Time in a file may go backwards; nothing is due
    /// before the first frame.
    fn due(&mut self, captured: Duration, now: Instant) -> Instant {
        let (begun, first) = *self.begun.get_or_insert((now, captured));
        if self.speed <= 0.0 {
            return now;
        }
        let since = captured.saturating_sub(first).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(since).ok().and_then(|since| begun.checked_add(since)).unwrap_or(begun)
    }
}

impl File {
    /// # Errors
    /// `Invalid` with the key if it is no capture of Ethernet frames, `Unavailable` if it cannot be read.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let path = config.file.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        let named = path.display();
        std::fs::File::open(path).map_err(|error| Failure::unavailable(format!("{named}: {error}")))?;
        let mut capture = Capture::from_file(path)
            .map_err(|error| Failure::invalid("file", format!("{named}: {}", words(&error))))?;
        if capture.get_datalink() != Linktype::ETHERNET {
            return Err(Failure::invalid("file", format!("{named}: its frames are not of Ethernet")));
        }
        if let Some(filter) = &config.filter {
            capture.filter(filter, true).map_err(|error| Failure::invalid("filter", words(&error)))?;
        }
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(|errno| Failure::unavailable(format!("a timer: {}", errno.desc())))?;
        let mut interface = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        while interface.len() > LONGEST_NAME {
            interface.pop();
        }
        let mtu = config.mtu.unwrap_or(COMMON_MTU);
        let file = File {
            capture,
            timer,
            clock: Clock { begun: None, speed: config.speed },
            next: None,
            bytes: Vec::new(),
            is_over: false,
            frames: 0,
            info: InterfaceInfo { interface, mtu, offload: false, queues: 1 },
        };
        file.wake(Some(AT_ONCE)).map_err(|error| Failure::unavailable(format!("a timer: {error}")))?;
        Ok(file)
    }

    pub(crate) fn ready_fd(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }

    /// Fills slots with the frames that are due.
    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        let now = Instant::now();
        let frame_max = self.info.mtu as usize + HEADER;
        let (mut filled, mut bytes) = (0, 0);
        while filled < batch.len() && bytes < RECV_BYTES {
            let Some(pending) = self.peek(now, tally) else { break };
            if pending.due > now {
                break;
            }
            self.next = None;
            let mut slot = batch.slot(filled);
            match frames::accept(&mut slot, &self.bytes, pending.whole_length, frame_max) {
                Ok(frames) => {
                    filled += 1;
                    bytes += self.bytes.len();
                    tally.count_in(self.bytes.len(), frames);
                }
                Err(unusable) => tally.count_unusable(unusable),
            }
        }
        let due = self.peek(now, tally).map(|next| next.due.saturating_duration_since(now).max(AT_ONCE));
        self.wake(due)?;
        Ok(filled)
    }

    /// The next frame, read ahead. A file that ends in the middle of a frame has ended.
    fn peek(&mut self, now: Instant, tally: &mut Tally) -> Option<Pending> {
        if self.next.is_some() || self.is_over {
            return self.next;
        }
        let reason = match self.capture.next_packet() {
            Ok(packet) => {
                self.bytes.clear();
                self.bytes.extend_from_slice(packet.data);
                self.frames += 1;
                let due = self.clock.due(since_1970(packet.header), now);
                self.next = Some(Pending { due, whole_length: packet.header.len as usize });
                return self.next;
            }
            Err(pcap::Error::NoMorePackets) => None,
            Err(error) => Some(words(&error)),
        };
        self.is_over = true;
        tally.files_ended += 1;
        let (file, frames) = (&self.info.interface, self.frames);
        match reason {
            None => tracing::info!(file, frames, "the file has been played"),
            Some(reason) => tracing::warn!(file, frames, reason, "the file ends early"),
        }
        None
    }

    /// Has the descriptor become readable after that time, or not at all.
    fn wake(&self, after: Option<Duration>) -> io::Result<()> {
        let result = match after {
            Some(after) => {
                let expiration = Expiration::OneShot(TimeSpec::from_duration(after));
                self.timer.set(expiration, TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        };
        result.map_err(io::Error::from)
    }
}

/// When a frame was captured.
fn since_1970(header: &pcap::PacketHeader) -> Duration {
    let seconds = u64::try_from(header.ts.tv_sec).unwrap_or(0);
    let micros = u64::try_from(header.ts.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_as_far_apart_as_they_were_captured_times_the_speed() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        for (speed, expected) in [(1.0, 3000), (0.5, 6000), (3.0, 1000)] {
            let mut clock = Clock { begun: None, speed };
            assert_eq!(clock.due(Duration::from_secs(1_000_000), now), now);
            let due = clock.due(Duration::from_secs(1_000_003), later);
            assert_eq!(due, now + Duration::from_millis(expected), "at speed {speed}");
            assert_eq!(clock.due(Duration::from_secs(999_999), later), now, "time went backwards");
        }
        let mut clock = Clock { begun: None, speed: 0.0 };
        clock.due(Duration::ZERO, now);
        assert_eq!(clock.due(Duration::from_secs(9), later), later, "without waiting");
        let mut clock = Clock { begun: None, speed: 1e-300 };
        clock.due(Duration::ZERO, now);
        clock.due(Duration::MAX, later);
    }
}
