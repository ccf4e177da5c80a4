//! A network in memory: nodes with secure endpoints, a wire with latency, loss and a size limit, a clock that
//! jumps to the next thing that is due.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use vreserve_link_udp::secure::{
    Entropy, Event, HEADER, Kind, Lane, OVERHEAD, PathLimits, Preference, Secure, SecureDrop, Setup,
};
use vreserve_sdk::FarId;

/// The number by which every node of a pair knows the other.
pub(crate) const FAR: FarId = FarId(1);
pub(crate) const LIMITS: PathLimits = PathLimits { floor: 1232, ceiling: 1472 };
const LATENCY: Duration = Duration::from_millis(20);
const YEAR_2026: Duration = Duration::from_secs(1_767_225_600);

/// Random bytes that repeat (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A key pair.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) secret: [u8; 32],
    pub(crate) public: [u8; 32],
}

pub(crate) fn keys(seed: u8) -> Keys {
    let secret = [seed; 32];
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
    dh.set(&secret);
    Keys { secret, public: dh.pubkey().try_into().unwrap() }
}

pub(crate) fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 4789))
}

pub(crate) fn endpoint(
    keys: Keys,
    lane: Lane,
    preference: Preference,
    now: Instant,
    later: Duration,
) -> Secure {
    let setup = Setup {
        secret: keys.secret,
        public: keys.public,
        lane,
        preference,
        limits: LIMITS,
        now,
        since_1970: YEAR_2026 + later,
    };
    let seed = (u64::from(keys.secret[0]) << 32) | (later.as_millis() as u64 + u64::from(lane.index()));
    Secure::new(setup, Box::new(Seeded(seed)))
}

/// A datagram on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Datagram {
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::of(&self.bytes)
    }
}

pub(crate) struct Node {
    pub(crate) secure: Secure,
    pub(crate) address: SocketAddr,
    pub(crate) lane: Lane,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) drops: Vec<SecureDrop>,
    pub(crate) events: Vec<Event>,
}

impl Node {
    pub(crate) fn new(keys: Keys, host: u8, lane: Lane, preference: Preference, now: Instant) -> Node {
        let secure = endpoint(keys, lane, preference, now, Duration::ZERO);
        Node { secure, address: address(host), lane, frames: vec![], drops: vec![], events: vec![] }
    }

    /// What the endpoint does with a datagram.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        mut bytes: Vec<u8>,
    ) -> Result<(), SecureDrop> {
        let taken = if Kind::of(&bytes) == Some(Kind::Data) {
            self.secure.opener(now, from, &bytes).and_then(|mut opener| {
                let frame = opener.open_in_place(&mut bytes)?;
                self.frames.push(bytes[frame].to_vec());
                Ok(())
            })
        } else {
            self.secure.handle(now, from, &mut bytes)
        };
        self.drops.extend(taken.err());
        taken
    }
}

/// What becomes of a datagram: its number on the wire, and itself.
pub(crate) type Fate = Box<dyn FnMut(usize, &Datagram) -> bool>;

pub(crate) struct Sim {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Datagrams under way, in the order of their arrival.
    wire: BTreeMap<(Instant, usize), Datagram>,
    /// All that was ever sent.
    pub(crate) sent: Vec<Datagram>,
    /// Whether a datagram is carried.
    pub(crate) carries: Fate,
}

impl Sim {
    pub(crate) fn new(nodes: impl FnOnce(Instant) -> Vec<Node>) -> Sim {
        let now = Instant::now();
        let (wire, sent) = (BTreeMap::new(), vec![]);
        Sim { now, nodes: nodes(now), wire, sent, carries: Box::new(|_, _| true) }
    }

    /// Two nodes with one worker each that know each other.
    pub(crate) fn pair() -> Sim {
        let mut sim = Sim::strangers([Preference::Aes; 2]);
        sim.introduce(0, 1);
        sim.introduce(1, 0);
        sim
    }

    /// Two nodes that do not know each other yet, with keys 1 and 2 on hosts 1 and 2.
    pub(crate) fn strangers(preferences: [Preference; 2]) -> Sim {
        Sim::new(|now| {
            let node = |n: u8| Node::new(keys(n), n, Lane::ONLY, preferences[usize::from(n) - 1], now);
            vec![node(1), node(2)]
        })
    }

    /// Has one node admit the other, whose host's number is its key's seed.
    pub(crate) fn introduce(&mut self, to: usize, other: usize) {
        let far = self.nodes[other].address;
        let SocketAddr::V4(v4) = far else { unreachable!() };
        let key = keys(v4.ip().octets()[3]).public;
        self.nodes[to].secure.add_far(self.now, FAR, key, Some(far)).unwrap();
    }

    /// Puts a datagram on the wire.
    pub(crate) fn put(&mut self, datagram: Datagram) {
        let number = self.sent.len();
        self.sent.push(datagram.clone());
        if (self.carries)(number, &datagram) {
            self.wire.insert((self.now + LATENCY, number), datagram);
        }
    }

    /// Seals and sends a frame; false if there is no session.
    pub(crate) fn send(&mut self, from: usize, frame: &[u8]) -> bool {
        let node = &mut self.nodes[from];
        let Some(mut sealer) = node.secure.sealer(self.now, FAR) else { return false };
        let mut bytes = vec![0; frame.len() + OVERHEAD];
        let (head, payload) = frame.split_at(frame.len() / 3);
        let length = sealer.seal(head, payload, &mut bytes);
        assert_eq!(length, bytes.len());
        let datagram = Datagram { from: node.address, to: sealer.address(), bytes };
        self.put(datagram);
        true
    }

    /// Lets everything happen that happens in this time.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.poll();
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let now = self.now;
            let due = self.nodes.iter_mut().map(|node| node.secure.poll_at(now)).min();
            let next = arrival.into_iter().chain(due).min().unwrap_or(until).max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            assert!(next > self.now || arrival == Some(next), "a node is due but sends nothing");
            self.now = next;
            self.deliver();
        }
    }

    fn poll(&mut self) {
        for index in 0..self.nodes.len() {
            let mut out = [0; 2048];
            while let Some(transmit) = self.nodes[index].secure.poll(self.now, &mut out) {
                let from = self.nodes[index].address;
                self.put(Datagram { from, to: transmit.to, bytes: out[..transmit.length].to_vec() });
            }
            let node = &mut self.nodes[index];
            node.events.extend(std::iter::from_fn(|| node.secure.poll_event()));
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let datagram = entry.remove();
            let lane = datagram.bytes.get(1).copied().unwrap_or(0);
            let node =
                self.nodes.iter_mut().find(|node| node.address == datagram.to && node.lane.serves(lane));
            if let Some(node) = node {
                // What becomes of it is for the test to look at.
                let _ = node.take(self.now, datagram.from, datagram.bytes);
            }
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.nodes.iter().all(|node| node.secure.is_up(FAR))
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.sent.iter().filter(|datagram| datagram.kind() == Some(kind)).count()
    }

    /// Sends a numbered frame each way and has both arrive.
    pub(crate) fn assert_carries(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let frame = frame(self.sent.len() as u64, 60);
            assert!(self.send(from, &frame), "node {from} has a session");
            self.run(Duration::from_millis(50));
            assert_eq!(self.nodes[to].frames.last(), Some(&frame));
        }
    }
}

/// A frame that begins with its number.
pub(crate) fn frame(number: u64, length: usize) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    frame.resize(length, 0xa5);
    frame
}

/// The index that a datagram carries.
pub(crate) fn index(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[4..8].try_into().unwrap())
}

/// The counter that a data datagram carries.
pub(crate) fn counter(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[8..HEADER].try_into().unwrap())
}
