//! A frame's way through a node, for frames from guests and frames from links alike:
//!
//! 1. its header is checked ([`frame`](crate::frame));
//! 2. the place it came in is one of the node's, and only nodes may send signals;
//! 3. the cache knows its verdict: it is counted, and that is all (`cache`);
//! 4. or its sender is learned, if it is local ([`learn`](crate::learn)), the rules are asked
//!    ([`rules`](crate::rules)), and the cache is told.
//!
//! Nothing is sent here: the worker that calls does what the verdict says. One forwarder per worker,
//! nothing shared but the rule set.

mod fan_out;

pub use fan_out::FanOut;

use std::sync::Arc;

use vreserve_model::{MacAddr, Timestamp};

use crate::cache::{ForwardingCache, NEVER, Resolved, Tally};
use crate::counters::{Cell, Weight};
use crate::drops::DropReason;
use crate::frame::{EthernetHeader, FrameKey, HEADER_LEN, IngressSlot, SIGNAL_ETHERTYPE, VLAN_ETHERTYPE};
use crate::ids::{Ingress, InterfaceId, LinkId, SwitchId};
use crate::learn::{GuestTable, LearnEvent, LearnLimits, Observation};
use crate::rules::{Resolution, RuleSet, Target};
use fan_out::FanOuts;

/// What happens to one frame.
// Tag and payload are a machine word each: with a one-octet tag the copies out of the cache are fifteen
// octets at odd offsets, and each stalls on the one before (20 ns per hit instead of 5).
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Hand it out on an interface.
    Deliver(InterfaceId),
    /// Send it on a link.
    Send(LinkId),
    /// Do both or either with each target of a list.
    Flood(FanOut),
    /// Keep it until the cut-over of its pair ends.
    Hold(SwitchId),
    /// Drop it, and count why.
    Drop(DropReason),
}

/// Sizes and limits of one worker's forwarder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwarderConfig {
    /// Keys in the forwarding cache, 64 octets each, taken from the start; at least 1. Running pairs may be
    /// three quarters of it before they begin to take one another's places.
    pub cache_capacity: usize,
    /// Pairs whose counts survive the loss of their cache entry under their own name until the next
    /// report; past it they are only counted.
    pub spill_capacity: usize,
    /// Random and secret: the seed of the cache's hash.
    pub seed: u64,
    /// Limits of learning.
    pub learning: LearnLimits,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        ForwarderConfig {
            cache_capacity: 1 << 17,
            spill_capacity: 1 << 14,
            seed: 0,
            learning: LearnLimits::default(),
        }
    }
}

/// How well the cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwarderStats {
    /// Frames that had to be resolved by rules, ever.
    pub misses: u64,
    /// Keys that had to go for others, ever.
    pub evictions: u64,
    /// Keys in the cache now.
    pub cached: usize,
    /// Target lists in use now.
    pub fan_outs: usize,
}

/// Past this many target lists a report starts them afresh: combinations of rules that no longer occur
/// must not stay for ever.
const FAN_OUT_LIMIT: usize = 4096;

/// From so many entries on (512 KiB) a processor's nearer caches do not hold them all, and to look ahead pays.
const FAR_AWAY: usize = 8192;

/// How many entries are asked for at once; a processor waits for ten to fifty at a time.
const AHEAD: usize = 64;

/// The place that the last frame came in: frames come in batches from one place.
#[derive(Clone, Copy, Debug)]
struct Entrance {
    ingress: Ingress,
    slot: IngressSlot,
    is_local: bool,
}

/// What the last frame that the cache was asked about looked like: frames come in bursts of one pair, and one
/// that looks the same has the same key, without making it (half the instructions of a hit).
///
/// Never of a frame with a tag, even one that only carries a priority: the VLAN is part of the key but stands
/// behind what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memo {
    /// The Ethernet header: its first eight octets and its last eight.
    header: [u64; 2],
    ingress: Ingress,
}

impl Memo {
    /// No frame that is forwarded looks like this: its source is zero.
    const NOTHING: Memo = Memo { header: [0; 2], ingress: Ingress::Link(LinkId(0)) };

    #[inline]
    fn of(ingress: Ingress, frame: &[u8]) -> Option<Memo> {
        let header = frame.first_chunk::<HEADER_LEN>()?;
        let (head, tail) = (header.first_chunk()?, header.last_chunk()?);
        Some(Memo { header: [u64::from_be_bytes(*head), u64::from_be_bytes(*tail)], ingress })
    }

    fn is_tagged(&self) -> bool {
        self.header[1] as u16 == VLAN_ETHERTYPE
    }
}

/// The forwarding state of one worker.
#[derive(Debug)]
pub struct Forwarder {
    /// Of the frame whose key is the cache's last.
    memo: Memo,
    rules: Arc<RuleSet>,
    cache: ForwardingCache,
    guests: GuestTable,
    fan_outs: FanOuts,
    entrance: Option<Entrance>,
    /// Grows with every change of what verdicts follow from: rules, learned guests, target lists.
    epoch: u64,
    misses: u64,
    /// Kept to keep its memory.
    scratch: Vec<Target>,
}

impl Forwarder {
    /// A forwarder that drops everything until rules are installed.
    pub fn new(config: ForwarderConfig) -> Self {
        Forwarder {
            memo: Memo::NOTHING,
            rules: Arc::new(RuleSet::empty()),
            cache: ForwardingCache::new(config.cache_capacity, config.spill_capacity, config.seed),
            guests: GuestTable::new(config.learning),
            fan_outs: FanOuts::default(),
            entrance: None,
            epoch: NEVER + 1,
            misses: 0,
            scratch: Vec::new(),
        }
    }

    /// Puts a rule set in force from the next frame on. Costs no walk over the cache; guests behind an
    /// ingress that is gone, or no longer local, are forgotten.
    pub fn install(&mut self, rules: Arc<RuleSet>) {
        self.rules = rules;
        self.entrance = None;
        self.fan_outs.clear();
        let rules = &self.rules;
        self.guests.retain_ingresses(|ingress| rules.is_local(ingress));
        self.epoch += 1;
    }

    /// The rule set in force.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The verdict on one frame that came in at `ingress`, which is also counted and its sender learned.
    ///
    /// `frame` starts at the destination address; the header must be in it, the rest need not. `weight`
    /// is what it stands for. Signals from links are forwarded as any other frame: the host takes those
    /// meant for itself before it asks here.
    #[inline]
    pub fn forward(&mut self, ingress: Ingress, frame: &[u8], weight: Weight, now: Timestamp) -> Verdict {
        let Some(look) = Memo::of(ingress, frame) else { return Verdict::Drop(DropReason::Runt) };
        if look == self.memo
            && let Some(verdict) = self.cache.hit_again(self.epoch, weight)
        {
            return verdict;
        }
        self.forward_other(look, frame, weight, now)
    }

    /// Reads what the cache knows of the frames of a batch that is about to be forwarded. With very many
    /// pairs their entries are far from the processor: it then waits for all of them at once, not for each in
    /// turn. Changes nothing.
    pub fn anticipate<'a>(&self, frames: impl IntoIterator<Item = (Ingress, &'a [u8])>) {
        if self.cache.len() < FAR_AWAY {
            return;
        }
        let mut homes = [0; AHEAD];
        let (mut found, mut last) = (0, self.memo);
        for (ingress, frame) in frames {
            let Some(look) = Memo::of(ingress, frame) else { continue };
            if look == last {
                continue;
            }
            last = look;
            let (Some(slot), Ok(header)) = (self.slot_of(ingress), EthernetHeader::parse(frame)) else {
                continue;
            };
            homes[found] = self.cache.home(FrameKey::new(slot, &header));
            found += 1;
            if found == AHEAD {
                self.cache.touch(&homes);
                found = 0;
            }
        }
        self.cache.touch(&homes[..found]);
    }

    /// The targets of a [`Verdict::Flood`], at least two, in order, the ingress not among them. Empty
    /// for one given before the last [`Self::install`] or [`Self::poll_counters`].
    pub fn targets(&self, fan_out: FanOut) -> &[Target] {
        self.fan_outs.targets(fan_out)
    }

    /// Appends what local guests have sent since the last call, one or more cells per active pair, and
    /// returns the counts that kept no pair. Frames that were dropped are not in it. Also the beat of
    /// ageing: call it every report interval.
    pub fn poll_counters(&mut self, now: Timestamp, cells: &mut Vec<Cell>) -> Weight {
        let guests = &mut self.guests;
        let other = self.cache.drain(cells, |sender| guests.refresh(sender, now));
        let expired = guests.expire(now);
        let crowded = self.fan_outs.len() > FAN_OUT_LIMIT;
        if crowded {
            self.fan_outs.clear();
        }
        if expired || crowded {
            self.epoch += 1;
        }
        other
    }

    /// The next change of what is known about local guests.
    pub fn poll_event(&mut self) -> Option<LearnEvent> {
        self.guests.poll_event()
    }

    /// Takes another worker's word for where a local guest is.
    pub fn tell_of_guest(&mut self, guest: MacAddr, at: Ingress, now: Timestamp) {
        if self.rules.is_local(at) && self.guests.tell(guest, at, now) {
            self.epoch += 1;
        }
    }

    /// Forgets a guest that is known to be elsewhere now.
    pub fn forget_guest(&mut self, guest: MacAddr) {
        if self.guests.forget(guest) {
            self.epoch += 1;
        }
    }

    /// The local guests as this worker has learned them.
    pub fn guests(&self) -> &GuestTable {
        &self.guests
    }

    /// How well the cache does.
    pub fn stats(&self) -> ForwarderStats {
        ForwarderStats {
            misses: self.misses,
            evictions: self.cache.evictions(),
            cached: self.cache.len(),
            fan_outs: self.fan_outs.len(),
        }
    }

    /// The way of a frame that does not look like the one before.
    #[inline(never)]
    fn forward_other(&mut self, look: Memo, frame: &[u8], weight: Weight, now: Timestamp) -> Verdict {
        let header = match EthernetHeader::parse(frame) {
            Ok(header) => header,
            Err(reason) => return Verdict::Drop(reason),
        };
        let entrance = match self.entrance {
            Some(entrance) if entrance.ingress == look.ingress => entrance,
            _ => match self.enter(look.ingress) {
                Ok(entrance) => entrance,
                Err(reason) => return Verdict::Drop(reason),
            },
        };
        if entrance.is_local && header.ethertype() == SIGNAL_ETHERTYPE {
            return Verdict::Drop(DropReason::ReservedEtherType);
        }
        let key = FrameKey::new(entrance.slot, &header);
        let verdict = match self.cache.hit(key, self.epoch, weight) {
            Some(verdict) => verdict,
            None => self.handle_miss(entrance, &header, key, weight, now),
        };
        // The cache's last key is this frame's from here on.
        self.memo = if look.is_tagged() { Memo::NOTHING } else { look };
        verdict
    }

    fn slot_of(&self, ingress: Ingress) -> Option<IngressSlot> {
        match self.entrance {
            Some(entrance) if entrance.ingress == ingress => Some(entrance.slot),
            _ => self.rules.slot_of(ingress),
        }
    }

    /// Looks up a place of entry and remembers it for the rest of the batch.
    #[cold]
    fn enter(&mut self, ingress: Ingress) -> Result<Entrance, DropReason> {
        let slot = self.rules.slot_of(ingress).ok_or(match ingress {
            Ingress::Link(_) => DropReason::UnknownLink,
            // The node is about to be rid of the interface, or does not have it yet.
            Ingress::Interface(_) => DropReason::NoTarget,
        })?;
        let entrance = Entrance { ingress, slot, is_local: self.rules.is_local(ingress) };
        self.entrance = Some(entrance);
        Ok(entrance)
    }

    #[cold]
    fn handle_miss(
        &mut self,
        entrance: Entrance,
        header: &EthernetHeader,
        key: FrameKey,
        weight: Weight,
        now: Timestamp,
    ) -> Verdict {
        self.misses += 1;
        let seen = match entrance.is_local {
            true => self.guests.observe(header.source(), entrance.ingress, now),
            false => Observation::Unchanged,
        };
        if seen == Observation::Changed {
            self.epoch += 1;
        }
        let verdict = self.resolve(entrance.ingress, header);
        let tally = match (entrance.is_local, verdict) {
            (false, _) => Tally::Nothing,
            (true, Verdict::Drop(_)) => Tally::Activity,
            (true, _) => Tally::Traffic,
        };
        let epoch = if seen == Observation::TooSoon { NEVER } else { self.epoch };
        self.cache.put(key, Resolved { verdict, epoch, tally }, weight);
        verdict
    }

    fn resolve(&mut self, ingress: Ingress, header: &EthernetHeader) -> Verdict {
        let learned = self.guests.locate(header.destination());
        match self.rules.resolve(ingress, header, learned, &mut self.scratch) {
            Resolution::Drop(reason) => Verdict::Drop(reason),
            Resolution::Hold(id) => Verdict::Hold(id),
            Resolution::Targets => match *self.scratch {
                [Target::Interface(id)] => Verdict::Deliver(id),
                [Target::Link(id)] => Verdict::Send(id),
                ref several => Verdict::Flood(self.fan_outs.intern(several)),
            },
        }
    }
}
