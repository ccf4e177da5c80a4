//! The ordered cut-over of one (source, destination) pair from an old to a new path, at its ingress node.
//!
//! The pair's frames are held, a barrier goes down the old path behind the last one sent there, and when the
//! egress node acknowledges it, everything sent before has arrived: held frames then leave
//! on the new path, in order, and later ones behind them. Nothing is lost, nothing overtakes.
//! If no acknowledgement comes, the held frames go down the old path as if nothing had
//! been. The egress node keeps no state: it answers each barrier once it has passed on what came before.
//!
//! What lives here: what is held, when a barrier is due, and where frames go. What does not: sending, and
//! choosing paths. Each worker that forwards frames of a pair runs a switch of its own, with its own nonce.
//!
//! ```text
//!   begin ─▶ Holding ── ack ──▶ Draining ─▶ Done         to the new path
//!             │   ▲ full
//!             │   └──▶ Flushing                          to the old path, then a fresh barrier
//!             └─ no ack in time, full too often, new path dead ─▶ Aborting ─▶ Aborted     to the old path
//! ```
//!
//! The caller, for each frame of the pair, calls [`Switch::admit`]; and whenever it comes by: sends what
//! [`Switch::waiting`] gives, as far as the path takes it, [`Switch::pop`]s what was taken, then sends what
//! [`Switch::poll`] gives. All frames and barriers of one path must leave in the order handed out.

mod fifo;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{MacAddr, Timestamp};

use self::fifo::FrameFifo;
use crate::ids::{LinkId, SwitchId};
use crate::signal::Signal;

/// One of the two ways a pair may take out of its ingress node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// Over the star to the proxy, as the rules say.
    Star,
    /// Over this link.
    Link(LinkId),
}

/// What is to be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSpec {
    /// The switch's identity.
    pub id: SwitchId,
    /// The sending guest, local to this node.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// The circuit between this node and the egress node, over which the acknowledgement comes: the new path when a
    /// circuit is taken and the old one when it is given back. None if a node between relays the pair's frames;
    /// the acknowledgement then comes the way that frames between the two guests take.
    pub circuit: Option<LinkId>,
    /// Where frames have gone so far.
    pub old: Path,
    /// Where they are to go.
    pub new: Path,
}

/// How far a switch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchLimits {
    /// Octets that held frames may take, the room lost between them included.
    pub hold_bytes: usize,
    /// An unanswered barrier is sent again after this time.
    pub resend_after: Duration,
    /// A switch without an acknowledgement is aborted this long after its beginning.
    pub give_up_after: Duration,
    /// So often may the hold fill up and the switch start again with a fresh barrier.
    pub restarts: u32,
}

/// Where a switch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Frames are held until the barrier is acknowledged.
    Holding {
        /// 1 for the first barrier, one more for each restart.
        attempt: u32,
    },
    /// The hold was full: its frames leave on the old path, then a fresh barrier follows them.
    Flushing {
        /// The attempt that has ended.
        attempt: u32,
    },
    /// The barrier has arrived: held frames leave on the new path.
    Draining,
    /// Frames go straight to the new path.
    Done,
    /// Held frames leave on the old path.
    Aborting,
    /// Frames go straight to the old path.
    Aborted,
}

/// What becomes of a frame that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has been copied and will come out of [`Switch::waiting`].
    Held,
    /// Nothing is held: send it on this path now.
    Pass(Path),
    /// There is no room. Send what waits, offer it again; if there still is none, the path takes nothing:
    /// drop it for `hold_overflow` and say so with [`Switch::count_dropped`].
    Full,
}

/// A held frame that may leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFrame<'a, M> {
    /// Where to.
    pub path: Path,
    /// The frame as it was offered.
    pub frame: &'a [u8],
    /// What was offered with it.
    pub meta: M,
}

/// Why a switch was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortReason {
    /// No acknowledgement came in time.
    NoAcknowledgement,
    /// The hold filled up more often than allowed before an acknowledgement came.
    HoldFull,
    /// The new path died.
    NewPathDown,
}

/// How a switch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchEnd {
    /// The pair is on the new path; every frame stayed in order.
    Completed,
    /// The old path died; the pair is on the new one, and what was under way on the old is lost.
    Released,
    /// The pair is on the old path.
    Aborted(AbortReason),
}

/// The account of a switch that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchOutcome {
    /// How it ended.
    pub end: SwitchEnd,
    /// Frames that were held.
    pub held_frames: u64,
    /// Octets of these.
    pub held_bytes: u64,
    /// From the beginning until frames went straight to their path again.
    pub held_for: Duration,
    /// Barriers sent, repetitions included.
    pub barriers: u32,
    /// Frames dropped because neither the hold nor the path had room.
    pub dropped: u64,
}

/// One cut-over under way. `M` goes through the hold with each frame and means nothing here.
#[derive(Clone, Debug)]
pub struct Switch<M> {
    spec: SwitchSpec,
    limits: SwitchLimits,
    phase: Phase,
    held: FrameFifo<M>,
    began: Timestamp,
    /// The current attempt's nonce and when its barrier last went out; `None` before it has.
    barrier: Option<(u64, Timestamp)>,
    end: SwitchEnd,
    account: SwitchOutcome,
}

impl Default for SwitchLimits {
    fn default() -> Self {
        SwitchLimits {
            hold_bytes: 16 << 20,
            resend_after: Duration::from_millis(100),
            give_up_after: Duration::from_secs(3),
            restarts: 4,
        }
    }
}

impl<M: Copy> Switch<M> {
    /// Begins to hold the pair's frames; the first barrier is due at once.
    pub fn begin(spec: SwitchSpec, limits: SwitchLimits, now: Timestamp) -> Switch<M> {
        let end = SwitchEnd::Completed;
        let account = SwitchOutcome {
            end,
            held_frames: 0,
            held_bytes: 0,
            held_for: Duration::ZERO,
            barriers: 0,
            dropped: 0,
        };
        let held = FrameFifo::new(limits.hold_bytes);
        let phase = Phase::Holding { attempt: 1 };
        Switch { spec, limits, phase, held, began: now, barrier: None, end, account }
    }

    /// What is being switched.
    pub fn spec(&self) -> &SwitchSpec {
        &self.spec
    }

    /// Where the switch stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Offers the pair's next frame.
    pub fn admit(&mut self, frame: &[u8], meta: M, now: Timestamp) -> Admission {
        if let Some(path) = self.straight_path() {
            return Admission::Pass(path);
        }
        if self.held.push(frame, meta) {
            self.account.held_frames += 1;
            self.account.held_bytes += frame.len() as u64;
            return Admission::Held;
        }
        self.handle_full(now);
        self.straight_path().map_or(Admission::Full, Admission::Pass)
    }

    /// The held frames that may leave now, in order; none while the barrier is awaited.
    pub fn waiting(&self) -> impl Iterator<Item = HeldFrame<'_, M>> {
        let path = self.exit();
        let frames = self.held.iter().take(if path.is_some() { usize::MAX } else { 0 });
        let path = path.unwrap_or(self.spec.old);
        frames.map(move |(frame, meta)| HeldFrame { path, frame, meta })
    }

    /// Forgets the first `frames` of those waiting: their path has taken them.
    pub fn pop(&mut self, frames: usize, now: Timestamp) {
        if self.exit().is_some() {
            (0..frames.min(self.held.len())).for_each(|_| self.held.pop());
            self.finish_if_drained(now);
        }
    }

    /// The barrier to send down [`SwitchSpec::old`] now, if one is due; also where time ends a switch.
    ///
    /// `fresh_nonce` is asked for a random number once per attempt. Within an attempt the barrier keeps its
    /// nonce: nothing was sent after it, so that any copy proves the same.
    pub fn poll(&mut self, now: Timestamp, fresh_nonce: impl FnOnce() -> u64) -> Option<Signal> {
        match self.phase {
            Phase::Holding { .. } | Phase::Flushing { .. } if now >= self.give_up_at() => {
                self.abort(AbortReason::NoAcknowledgement, now);
                return None;
            }
            Phase::Flushing { attempt } if self.held.is_empty() => {
                self.phase = Phase::Holding { attempt: attempt + 1 };
                self.barrier = None;
            }
            Phase::Holding { .. } => {}
            _ => return None,
        }
        let nonce = match self.barrier {
            Some((_, sent)) if now < sent + self.limits.resend_after => return None,
            Some((nonce, _)) => nonce,
            None => fresh_nonce(),
        };
        self.barrier = Some((nonce, now));
        self.account.barriers += 1;
        let SwitchSpec { circuit, source, destination, .. } = self.spec;
        Some(Signal::barrier(circuit, source, destination, nonce, now))
    }

    /// When [`Switch::poll`] has something to do; `None` while that depends on frames being sent.
    pub fn poll_at(&self) -> Option<Timestamp> {
        match (self.phase, self.barrier) {
            (Phase::Holding { .. }, Some((_, sent))) => {
                Some(self.give_up_at().min(sent + self.limits.resend_after))
            }
            (Phase::Holding { .. }, None) => Some(self.began),
            (Phase::Flushing { .. }, _) if self.held.is_empty() => Some(self.began),
            (Phase::Flushing { .. }, _) => Some(self.give_up_at()),
            _ => None,
        }
    }

    /// Takes an acknowledgement that came as [`SwitchSpec::circuit`] says; false, and nothing changes, unless
    /// it answers the barrier that is awaited.
    pub fn handle_ack(&mut self, nonce: u64, now: Timestamp) -> bool {
        let is_holding = matches!(self.phase, Phase::Holding { .. });
        let is_awaited = is_holding && self.barrier.is_some_and(|(awaited, _)| awaited == nonce);
        if is_awaited {
            self.start_drain(Phase::Draining, SwitchEnd::Completed, now);
        }
        is_awaited
    }

    /// The old path is dead: what is held goes to the new path at once, unless the switch has ended.
    ///
    /// Frames still under way on the old path may then arrive late or never.
    pub fn release(&mut self, now: Timestamp) {
        if !matches!(self.phase, Phase::Draining | Phase::Done | Phase::Aborted) {
            self.start_drain(Phase::Draining, SwitchEnd::Released, now);
        }
    }

    /// The new path is dead: what is held goes to the old path at once, unless the switch has ended.
    ///
    /// In order, unless frames have already left on the new path; those may then be lost.
    pub fn abandon(&mut self, now: Timestamp) {
        if !matches!(self.phase, Phase::Aborting | Phase::Done | Phase::Aborted) {
            self.abort(AbortReason::NewPathDown, now);
        }
    }

    /// Counts frames that were dropped because there was no room for them, [`Admission::Full`].
    pub fn count_dropped(&mut self, frames: u64) {
        self.account.dropped += frames;
    }

    /// The account, once frames go straight to their path again.
    pub fn outcome(&self) -> Option<SwitchOutcome> {
        matches!(self.phase, Phase::Done | Phase::Aborted).then_some(self.account)
    }

    /// The path of held frames; `None` while they must not leave.
    fn exit(&self) -> Option<Path> {
        match self.phase {
            Phase::Holding { .. } => None,
            Phase::Flushing { .. } | Phase::Aborting | Phase::Aborted => Some(self.spec.old),
            Phase::Draining | Phase::Done => Some(self.spec.new),
        }
    }

    /// The path of a new frame if none is held before it.
    fn straight_path(&self) -> Option<Path> {
        self.exit().filter(|_| self.held.is_empty())
    }

    fn handle_full(&mut self, now: Timestamp) {
        if let Phase::Holding { attempt } = self.phase {
            if attempt > self.limits.restarts {
                self.abort(AbortReason::HoldFull, now);
            } else {
                self.phase = Phase::Flushing { attempt };
            }
        }
    }

    fn give_up_at(&self) -> Timestamp {
        self.began + self.limits.give_up_after
    }

    fn abort(&mut self, reason: AbortReason, now: Timestamp) {
        self.start_drain(Phase::Aborting, SwitchEnd::Aborted(reason), now);
    }

    fn start_drain(&mut self, phase: Phase, end: SwitchEnd, now: Timestamp) {
        (self.phase, self.end) = (phase, end);
        self.finish_if_drained(now);
    }

    fn finish_if_drained(&mut self, now: Timestamp) {
        self.phase = match self.phase {
            Phase::Draining if self.held.is_empty() => Phase::Done,
            Phase::Aborting if self.held.is_empty() => Phase::Aborted,
            _ => return,
        };
        self.account = SwitchOutcome { end: self.end, held_for: now.since(self.began), ..self.account };
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AbortReason::NoAcknowledgement => "the barrier was not acknowledged in time",
            AbortReason::HoldFull => "the hold filled up before the barrier was acknowledged",
            AbortReason::NewPathDown => "the new path died",
        })
    }
}

#[cfg(test)]
mod tests;
