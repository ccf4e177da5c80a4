//! One connection: its stream, what waits in both directions, and how far it has come.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::channel::{Channel, Filled, Lost};
use crate::counters::Ended;
use crate::fars::Fars;
use crate::inbox::Inbox;
use crate::introduction::{Credentials, INBOX, Introduction, Party};
use crate::outbox::Outbox;
use crate::record::{self, KEEP_ALIVE};

/// Bytes read before their frames are taken out: several super-frames.
const UP_INBOX: usize = 4 * record::LARGEST.next_power_of_two();

/// How far a connection has come.
pub(crate) enum Stage {
    /// The system is making it.
    Connecting,
    /// The two ends do not know each other yet.
    Introducing(Introduction),
    /// It carries frames of this far node.
    Up(u32),
}

/// See the module.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) stage: Stage,
    pub(crate) peer: SocketAddr,
    /// The far node that this node has dialled, if it has.
    pub(crate) dialled: Option<u32>,
    pub(crate) began: Instant,
    /// When something last came, and last went.
    pub(crate) heard: Instant,
    pub(crate) said: Instant,
    /// It is among those that frames are taken from next.
    pub(crate) is_queued: bool,
    /// The system tells when there is room to send.
    pub(crate) awaits_room: bool,
    /// All that had come was in the inbox when it was last filled.
    pub(crate) is_drained: bool,
}

impl From<Lost> for Ended {
    fn from(lost: Lost) -> Self {
        match &lost {
            Lost::Ended => Ended::Lost,
            Lost::Broken(error) => {
                tracing::debug!(%error, "connection broken");
                Ended::Lost
            }
            Lost::Forged(error) => {
                tracing::debug!(%error, "TLS failed");
                Ended::Forged
            }
            Lost::Stranger => Ended::Stranger,
        }
    }
}

impl Connection {
    /// One over this channel, of which nothing is known yet.
    pub(crate) fn new(
        channel: Channel,
        stage: Stage,
        peer: SocketAddr,
        dialled: Option<u32>,
        buffer: usize,
        now: Instant,
    ) -> Self {
        Connection {
            channel,
            inbox: Inbox::new(INBOX),
            outbox: Outbox::new(buffer),
            stage,
            peer,
            dialled,
            began: now,
            heard: now,
            said: now,
            is_queued: false,
            awaits_room: false,
            is_drained: false,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.channel.socket()
    }

    /// The far node whose frames it carries.
    pub(crate) fn far(&self) -> Option<u32> {
        match self.stage {
            Stage::Up(far) => Some(far),
            _ => None,
        }
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// Why it is over.
    pub(crate) fn fill(&mut self, now: Instant) -> Result<usize, Ended> {
        let filled = self.channel.fill(&mut self.inbox)?;
        self.is_drained = matches!(filled, Filled::All(_));
        let (Filled::All(bytes) | Filled::Full(bytes)) = filled;
        if bytes > 0 {
            self.heard = now;
        }
        Ok(bytes)
    }

    /// Sends what goes; returns how many frames have gone whole.
    ///
    /// # Errors
    /// Why it is over.
    pub(crate) fn drain(&mut self) -> Result<u64, Ended> {
        let (frames, is_all) = self.channel.drain(&mut self.outbox)?;
        self.awaits_room = !is_all;
        Ok(frames)
    }

    /// Goes on with the introduction; returns the far node when it is over.
    ///
    /// # Errors
    /// Why it is to be closed.
    pub(crate) fn introduce(
        &mut self,
        credentials: &Credentials,
        fars: &Fars,
        now: Instant,
    ) -> Result<Option<u32>, Ended> {
        if let Stage::Connecting = self.stage {
            if !matches!(self.socket().take_error(), Ok(None)) || self.socket().peer_addr().is_err() {
                return Err(Ended::Lost);
            }
            self.stage = Stage::Introducing(match credentials {
                Credentials::Secure { .. } => Introduction::Securing,
                Credentials::Clear { .. } => Introduction::Greeting,
            });
            Introduction::open_in_clear(credentials, &mut self.outbox);
            self.drain()?;
        }
        self.fill(now)?;
        let Connection { channel, inbox, outbox, stage, peer, dialled, .. } = self;
        let Stage::Introducing(introduction) = stage else { return Ok(None) };
        let mut party = Party { channel, inbox, outbox, peer: *peer, dialled: *dialled };
        let far = introduction.advance(&mut party, credentials, fars)?;
        // In TLS, what has come may have to be answered before anything of ours goes.
        self.drain()?;
        if let Some(far) = far {
            self.inbox.grow(UP_INBOX);
            self.channel.grow();
            self.stage = Stage::Up(far);
        }
        Ok(far)
    }

    /// Tells the far node that this one lives, unless something is on its way to it anyhow.
    pub(crate) fn keep_alive(&mut self, now: Instant) {
        self.said = now;
        if self.outbox.is_empty() {
            self.outbox.push_own(&KEEP_ALIVE);
        }
    }
}
