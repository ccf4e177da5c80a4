//! Capture instances and endpoints as the worker holds them: open, or failed and waiting to be reopened.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use vreserve_abi::Slot;
use vreserve_core::counters::Weight;
use vreserve_core::frame::HEADER_LEN;
use vreserve_core::ids::{InterfaceId, LinkId};
use vreserve_model::{Failure, Timestamp};
use vreserve_sdk::{EndpointInfo, InterfaceInfo};

use super::mailbox::{LinkSpec, PortStatus};
use crate::keys::PublicKey;
use crate::plugin::{CaptureInstance, InstanceError, LinkInstance};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What both kinds of instance do on the data path. Called once per batch, so that it may be dynamic.
pub trait Instance: Send {
    /// Fills slots; see `vreserve_sdk::Capture::recv`.
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError>;
    /// Takes slots; see `vreserve_sdk::Capture::send`.
    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError>;
    /// What to poll.
    fn ready_fd(&mut self) -> Option<RawFd>;
    /// Times the plugin broke the contract.
    fn violations(&self) -> u64;
    /// What it can send.
    fn facts(&self) -> PortFacts;
}

/// What an instance said when it was opened of the frames that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// True if super-frames and partial checksums may be sent.
    pub offload: bool,
    /// The largest frame, Ethernet header included.
    pub largest_frame: u32,
}

/// Where frames of local guests come from and go to.
pub trait Interface: Instance {
    /// What it says of itself.
    fn info(&self) -> InterfaceInfo;
}

/// Where frames of far nodes come from and go to.
pub trait Endpoint: Instance {
    /// What it says of itself.
    fn info(&self) -> EndpointInfo;
    /// Admits a far node; see `vreserve_sdk::Link::add_far`.
    ///
    /// # Errors
    /// What the plugin says.
    fn add_far(&mut self, far: u32, address: &str, key: Option<&[u8; 32]>) -> Result<(), Failure>;
    /// Forgets a far node.
    fn remove_far(&mut self, far: u32);
}

macro_rules! instances {
    ($($kind:ty: $header:expr),+) => {$(
        impl Instance for $kind {
            fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
                <$kind>::recv(self, slots)
            }

            fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
                <$kind>::send(self, slots)
            }

            fn ready_fd(&mut self) -> Option<RawFd> {
                <$kind>::ready_fd(self)
            }

            fn violations(&self) -> u64 {
                <$kind>::violations(self)
            }

            fn facts(&self) -> PortFacts {
                let (info, header) = (self.info(), $header);
                PortFacts { offload: info.offload, largest_frame: info.mtu.saturating_add(header) }
            }
        }
    )+};
}

// An interface's MTU does not count the Ethernet header, that of an endpoint does.
instances!(CaptureInstance: HEADER_LEN as u32, LinkInstance: 0);

impl Interface for CaptureInstance {
    fn info(&self) -> InterfaceInfo {
        CaptureInstance::info(self)
    }
}

impl Endpoint for LinkInstance {
    fn info(&self) -> EndpointInfo {
        LinkInstance::info(self)
    }

    fn add_far(&mut self, far: u32, address: &str, key: Option<&[u8; 32]>) -> Result<(), Failure> {
        LinkInstance::add_far(self, far, address, key)
    }

    fn remove_far(&mut self, far: u32) {
        LinkInstance::remove_far(self, far);
    }
}

/// Opens an instance anew; called on the worker's thread.
pub type Opener<I> = Box<dyn FnMut() -> Result<Box<I>, Failure> + Send>;

/// One instance with its life: failures, back-off, counts.
pub struct Port<I: ?Sized> {
    name: String,
    opener: Opener<I>,
    state: State<I>,
    /// Of the last instance that was open.
    facts: PortFacts,
    backoff: Duration,
    /// It had to be interrupted. Each time holds up all ports of its worker, so the delay never starts anew.
    was_interrupted: bool,
    /// As last seen, for when the instance is gone.
    violations: u64,
    /// Frames and bytes in.
    pub received: Weight,
    /// Frames and bytes out.
    pub sent: Weight,
}

enum State<I: ?Sized> {
    Open(Box<I>),
    Failed { reason: String, retry_at: Timestamp },
}

/// A change in a port's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortChange {
    /// It failed, and is tried again after that time.
    Failed(String, Duration),
    /// It is open again.
    Reopened,
}

impl<I: Instance + ?Sized> Port<I> {
    /// A port over an open instance. `name` is the one in the configuration, `opener` makes the next instance.
    pub fn new(name: String, instance: Box<I>, opener: Opener<I>) -> Self {
        Port {
            name,
            opener,
            facts: instance.facts(),
            state: State::Open(instance),
            backoff: RETRY_MIN,
            was_interrupted: false,
            violations: 0,
            received: Weight::ZERO,
            sent: Weight::ZERO,
        }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can send.
    pub fn facts(&self) -> PortFacts {
        self.facts
    }

    /// The instance, while it is open.
    pub fn instance(&mut self) -> Option<&mut I> {
        match &mut self.state {
            State::Open(instance) => Some(instance),
            State::Failed { .. } => None,
        }
    }

    /// Fills slots; a failed port fills none. An error is the port's end until it is reopened.
    pub fn recv(&mut self, slots: &mut [Slot], now: Timestamp) -> Result<usize, PortChange> {
        self.call(now, |instance| instance.recv(slots))
    }

    /// Takes slots; a failed port takes none.
    pub fn send(&mut self, slots: &mut [Slot], now: Timestamp) -> Result<usize, PortChange> {
        self.call(now, |instance| instance.send(slots))
    }

    fn call(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut I) -> Result<usize, InstanceError>,
    ) -> Result<usize, PortChange> {
        let State::Open(instance) = &mut self.state else { return Ok(0) };
        match call(instance) {
            Ok(n) => {
                if !self.was_interrupted {
                    self.backoff = RETRY_MIN;
                }
                Ok(n)
            }
            Err(InstanceError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(InstanceError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {
                self.was_interrupted = true;
                Err(self.fail("it waited where it must not, and was interrupted".to_owned(), now))
            }
            Err(error) => Err(self.fail(error.to_string(), now)),
        }
    }

    fn fail(&mut self, reason: String, now: Timestamp) -> PortChange {
        if let State::Open(instance) = &self.state {
            self.violations = instance.violations();
        }
        let retry_in = self.backoff;
        self.backoff = (self.backoff * 2).min(RETRY_MAX);
        self.state = State::Failed { reason: reason.clone(), retry_at: now + retry_in };
        PortChange::Failed(reason, retry_in)
    }

    /// Reopens a failed port when its time has come.
    pub fn poll(&mut self, now: Timestamp) -> Option<PortChange> {
        match &self.state {
            State::Failed { retry_at, .. } if now >= *retry_at => match (self.opener)() {
                Ok(instance) => {
                    self.facts = instance.facts();
                    self.state = State::Open(instance);
                    Some(PortChange::Reopened)
                }
                Err(failure) => Some(self.fail(failure.to_string(), now)),
            },
            _ => None,
        }
    }

    /// When `poll` has something to do.
    pub fn poll_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Failed { retry_at, .. } => Some(retry_at),
            State::Open(_) => None,
        }
    }

    /// What to show.
    pub fn status(&self) -> PortStatus {
        let (failure, violations) = match &self.state {
            State::Open(instance) => (None, instance.violations()),
            State::Failed { reason, .. } => (Some(reason.clone()), self.violations),
        };
        PortStatus { name: self.name.clone(), failure, violations, received: self.received, sent: self.sent }
    }
}

/// A capture instance and its interface's identity.
pub struct CapturePort {
    /// The interface.
    pub id: InterfaceId,
    /// The instance.
    pub port: Port<dyn Interface>,
}

/// A link plugin's instance and the far nodes behind it.
pub struct EndpointPort {
    /// The instance.
    pub port: Port<dyn Endpoint>,
    /// The far nodes by number; numbers are reused once free.
    fars: Vec<Option<Far>>,
}

/// A far node, as it is admitted to each next instance.
struct Far {
    link: LinkId,
    /// Where the worker keeps the link.
    position: usize,
    address: String,
    key: Option<PublicKey>,
}

impl Far {
    fn admit(&self, instance: &mut dyn Endpoint, number: u32) -> Result<(), Failure> {
        instance.add_far(number, &self.address, self.key.as_ref().map(|key| &key.0))
    }
}

impl EndpointPort {
    /// An endpoint without far nodes.
    pub fn new(port: Port<dyn Endpoint>) -> Self {
        EndpointPort { port, fars: Vec::new() }
    }

    /// The endpoint's name in the configuration, without its kind.
    pub fn endpoint(&self) -> &str {
        self.port.name().strip_prefix("link.").unwrap_or(self.port.name())
    }

    /// The link of a far number, and where the worker keeps it.
    #[inline]
    pub fn link_of(&self, far: u32) -> Option<(LinkId, usize)> {
        self.fars.get(far as usize)?.as_ref().map(|far| (far.link, far.position))
    }

    /// Admits the far node of the link that the worker keeps at `position`, and returns its number. On a
    /// failed port it is admitted when the port is back.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn add(&mut self, link: &LinkSpec, position: usize) -> Result<u32, Failure> {
        let free = self.fars.iter().position(Option::is_none).unwrap_or(self.fars.len());
        let number = u32::try_from(free).map_err(|_| Failure::internal("too many far nodes"))?;
        let far = Far { link: link.id, position, address: link.far_address.clone(), key: link.far_key };
        if let Some(instance) = self.port.instance() {
            far.admit(instance, number)?;
        }
        if free == self.fars.len() {
            self.fars.push(None);
        }
        self.fars[free] = Some(far);
        Ok(number)
    }

    /// Forgets a far node.
    pub fn remove(&mut self, far: u32) {
        if let Some(instance) = self.port.instance() {
            instance.remove_far(far);
        }
        if let Some(entry) = self.fars.get_mut(far as usize) {
            *entry = None;
        }
    }

    /// Admits every far node to a reopened instance; returns what failed.
    pub fn readmit(&mut self) -> Vec<(LinkId, Failure)> {
        let Some(instance) = self.port.instance() else { return Vec::new() };
        let mut failed = Vec::new();
        for (number, entry) in self.fars.iter().enumerate() {
            let Some(far) = entry else { continue };
            let number = u32::try_from(number).expect("`add` keeps far numbers in range");
            if let Err(failure) = far.admit(instance, number) {
                failed.push((far.link, failure));
            }
        }
        failed
    }
}
