//! Who may have a key exchange: the limits in front of handshakes.
//!
//! A message without a valid `mac1` comes from a stranger and costs one hash. More than `CALM` valid ones in a
//! second are load: from then on a sender must bring a cookie, and each address has a share. Only who knows
//! this node's public key can see a cookie; to everybody else the node is silent, under load too.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::SecureDrop;
use super::cookie::{self, sign};
use super::entropy::{self, Entropy};
use super::wire::{COOKIE, MAC};

/// Initiations in a second that are no load.
const CALM: u32 = 50;
/// Key exchanges in a second under load, of all senders; about 0.3 ms each.
const MOST: u32 = 500;
/// Key exchanges in a second under load, of one sender's share.
const SHARE: u8 = 20;
/// Shares: addresses are spread over them by a secret.
const SHARES: usize = 256;
/// Counts are of one second.
const SECOND: Duration = Duration::from_secs(1);
/// A secret makes cookies for that long, and takes them as long again.
const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// How long a sender uses a cookie: its receiver takes it for at least as long.
pub(super) const USE_COOKIE_FOR: Duration = Duration::from_secs(110);

/// What the gate says of an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// It may have its key exchange.
    Open,
    /// Its sender must come again with this cookie.
    Ask([u8; COOKIE]),
}

/// Counts and secrets.
pub(super) struct Gate {
    secret: hmac::Key,
    former: hmac::Key,
    rotate: Instant,
    second: Instant,
    seen: u32,
    admitted: u32,
    loaded_until: Option<Instant>,
    shares: [u8; SHARES],
}

impl Gate {
    pub(super) fn new(now: Instant, entropy: &mut dyn Entropy) -> Self {
        Gate {
            secret: new_secret(entropy),
            former: new_secret(entropy),
            rotate: now + COOKIE_LIFE,
            second: now,
            seen: 0,
            admitted: 0,
            loaded_until: None,
            shares: [0; SHARES],
        }
    }

    /// Judges an initiation whose `mac1` is valid. `covered` is what its `mac2` covers.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        source: SocketAddr,
        covered: &[u8],
        mac2: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Entrance, SecureDrop> {
        self.turn(now, entropy);
        self.seen = self.seen.saturating_add(1);
        if self.seen > CALM {
            self.loaded_until = Some(now + SECOND);
        }
        if self.loaded_until.is_none_or(|until| now >= until) {
            return Ok(Entrance::Open);
        }
        let named = address_bytes(source);
        let holds = |secret| cookie::is_same(&cookie::mac2(&sign(secret, &named), covered), mac2);
        if !holds(&self.secret) && !holds(&self.former) {
            return Ok(Entrance::Ask(sign(&self.secret, &named)));
        }
        self.take_share(source.ip())
    }

    fn take_share(&mut self, ip: IpAddr) -> Result<Entrance, SecureDrop> {
        let spread = sign(&self.secret, &address_bytes(SocketAddr::new(ip, 0)));
        let share = &mut self.shares[usize::from(spread[0])];
        if *share >= SHARE || self.admitted >= MOST {
            return Err(SecureDrop::Limited);
        }
        *share += 1;
        self.admitted += 1;
        Ok(Entrance::Open)
    }

    /// Begins a new second, and a new secret.
    fn turn(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if now >= self.second + SECOND {
            self.second = now;
            (self.seen, self.admitted, self.shares) = (0, 0, [0; SHARES]);
        }
        if now >= self.rotate {
            self.former = std::mem::replace(&mut self.secret, new_secret(entropy));
            if now >= self.rotate + COOKIE_LIFE {
                self.former = new_secret(entropy);
            }
            self.rotate = now + COOKIE_LIFE;
        }
    }
}

fn new_secret(entropy: &mut dyn Entropy) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &entropy::bytes::<32>(entropy))
}

/// An address in a fixed form: IPv4 as mapped into IPv6, and the port.
fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_le_bytes());
    bytes
}

const _: () = assert!(COOKIE == MAC, "a cookie is a code over an address");
