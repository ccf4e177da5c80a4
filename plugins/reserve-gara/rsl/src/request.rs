//! The three things that GARA says in RSL: a network request, a change of one, and the flow to bind to it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::attributes::{AttributeError, Attributes};
use crate::spec::{Relation, Spec, is_same_name};

/// Longest label, in bytes.
pub const LONGEST_LABEL: usize = 256;

const TYPE: &str = "reservation-type";
const START: &str = "start-time";
const DURATION: &str = "duration";
const A: &str = "endpoint-a";
const B: &str = "endpoint-b";
const BANDWIDTH: &str = "bandwidth";
const PROTOCOL: &str = "protocol";
const LABEL: &str = "label";
const PORT_A: &str = "port-a";
const PORT_B: &str = "port-b";

const SECONDS: &str = "expected seconds as a decimal number";

/// A request for bandwidth between two addresses, the same in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// `start-time`: milliseconds since the Unix epoch, written in seconds; `None` is `now`, also when absent.
    pub start_ms: Option<u64>,
    /// `duration`, written in seconds; absent: until cancelled.
    pub duration: Option<Duration>,
    /// `endpoint-a`
    pub endpoint_a: IpAddr,
    /// `endpoint-b`
    pub endpoint_b: IpAddr,
    /// `bandwidth` in kbit/s of what the flow's datagrams fill on the wire, at least 1.
    pub kbps: u64,
    /// `protocol`; absent: that of the binding.
    pub protocol: Option<Protocol>,
    /// `label`: the client's own key, by which the reservation is found again and never made twice.
    pub label: Option<String>,
}

/// What a flow's datagrams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// What `modify` changes; absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// `start-time`: of a reservation that has not begun.
    pub start_ms: Option<u64>,
    /// `duration`, counted from the start of the reservation.
    pub duration: Option<Duration>,
    /// `bandwidth` in kbit/s.
    pub kbps: Option<u64>,
}

/// The flow that `bind` gives a reservation, known only at run time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Binding {
    /// `port-a`: the port that `endpoint-a` listens on, so the destination port of what `endpoint-b` sends.
    /// Absent, like `port-b`: every port.
    pub port_a: Option<u16>,
    /// `port-b`
    pub port_b: Option<u16>,
    /// `protocol`; absent: that of the request, else both.
    pub protocol: Option<Protocol>,
}

impl NetworkRequest {
    /// As RSL.
    pub fn to_spec(&self) -> Spec {
        let start = self.start_ms.map_or_else(|| "now".to_owned(), |ms| decimal(u128::from(ms)));
        let mut relations = vec![Relation::equal(TYPE, "network"), Relation::equal(START, start)];
        relations.extend(self.duration.map(|span| Relation::equal(DURATION, decimal(span.as_millis()))));
        relations.push(Relation::equal(A, self.endpoint_a.to_string()));
        relations.push(Relation::equal(B, self.endpoint_b.to_string()));
        relations.push(Relation::equal(BANDWIDTH, self.kbps.to_string()));
        relations.extend(self.protocol.map(|protocol| Relation::equal(PROTOCOL, protocol.to_string())));
        relations.extend(self.label.iter().map(|label| Relation::equal(LABEL, label)));
        Spec::conjunction(relations)
    }

    /// From RSL.
    pub fn from_spec(spec: &Spec) -> Result<Self, AttributeError> {
        let known = [TYPE, START, DURATION, A, B, BANDWIDTH, PROTOCOL, LABEL];
        let attributes = Attributes::of(spec, &known)?;
        attributes.required(TYPE)?;
        attributes.read(TYPE, "expected network", |word| is_same_name(word, "network").then_some(()))?;
        Ok(Self {
            start_ms: attributes.read(START, "expected now, or seconds since the epoch", start)?.flatten(),
            duration: attributes.read(DURATION, SECONDS, duration)?,
            endpoint_a: address(&attributes, A)?,
            endpoint_b: address(&attributes, B)?,
            kbps: kbps(&attributes)?.ok_or(AttributeError::Missing(BANDWIDTH))?,
            protocol: protocol(&attributes)?,
            label: attributes.read(LABEL, "expected 1 to 256 bytes of printable text", label)?,
        })
    }
}

impl Change {
    /// As RSL.
    pub fn to_spec(&self) -> Spec {
        let start = self.start_ms.map(|ms| Relation::equal(START, decimal(u128::from(ms))));
        let duration = self.duration.map(|span| Relation::equal(DURATION, decimal(span.as_millis())));
        let kbps = self.kbps.map(|kbps| Relation::equal(BANDWIDTH, kbps.to_string()));
        Spec::conjunction(start.into_iter().chain(duration).chain(kbps))
    }

    /// From RSL.
    pub fn from_spec(spec: &Spec) -> Result<Self, AttributeError> {
        let attributes = Attributes::of(spec, &[START, DURATION, BANDWIDTH])?;
        Ok(Self {
            start_ms: attributes.read(START, "expected seconds since the epoch", milliseconds)?,
            duration: attributes.read(DURATION, SECONDS, duration)?,
            kbps: kbps(&attributes)?,
        })
    }
}

impl Binding {
    /// As RSL. A binding to every port of every protocol cannot be written: it needs at least one attribute.
    pub fn to_spec(&self) -> Spec {
        let a = self.port_a.map(|port| Relation::equal(PORT_A, port.to_string()));
        let b = self.port_b.map(|port| Relation::equal(PORT_B, port.to_string()));
        let protocol = self.protocol.map(|protocol| Relation::equal(PROTOCOL, protocol.to_string()));
        Spec::conjunction(a.into_iter().chain(b).chain(protocol))
    }

    /// From RSL.
    pub fn from_spec(spec: &Spec) -> Result<Self, AttributeError> {
        let attributes = Attributes::of(spec, &[PORT_A, PORT_B, PROTOCOL])?;
        let port = |name| attributes.read(name, "expected a port, 1 to 65535", port);
        Ok(Self { port_a: port(PORT_A)?, port_b: port(PORT_B)?, protocol: protocol(&attributes)? })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// Seconds with at most three decimals.
fn decimal(ms: u128) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { seconds.to_string() } else { format!("{seconds}.{rest:03}") }
}

/// Seconds to milliseconds; what is finer than a millisecond is cut off.
fn milliseconds(word: &str) -> Option<u64> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths.parse().ok()?)
}

fn start(word: &str) -> Option<Option<u64>> {
    if is_same_name(word, "now") { Some(None) } else { milliseconds(word).map(Some) }
}

fn duration(word: &str) -> Option<Duration> {
    milliseconds(word).filter(|ms| *ms > 0).map(Duration::from_millis)
}

fn address(attributes: &Attributes<'_>, name: &'static str) -> Result<IpAddr, AttributeError> {
    attributes.required(name)?;
    let address = attributes.read(name, "expected an IP address", |word| word.parse().ok())?;
    address.ok_or(AttributeError::Missing(name))
}

fn kbps(attributes: &Attributes<'_>) -> Result<Option<u64>, AttributeError> {
    let positive = |word: &str| whole(word).filter(|kbps| *kbps > 0);
    attributes.read(BANDWIDTH, "expected kbit/s as a positive whole number", positive)
}

fn protocol(attributes: &Attributes<'_>) -> Result<Option<Protocol>, AttributeError> {
    attributes.read(PROTOCOL, "expected udp or tcp", |word| {
        [Protocol::Udp, Protocol::Tcp].into_iter().find(|known| is_same_name(word, &known.to_string()))
    })
}

fn port(word: &str) -> Option<u16> {
    whole(word).and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// Digits only: `parse` alone would take a sign.
fn whole(word: &str) -> Option<u64> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

fn label(word: &str) -> Option<String> {
    let fits = (1..=LONGEST_LABEL).contains(&word.len()) && !word.chars().any(char::is_control);
    fits.then(|| word.to_owned())
}

#[cfg(test)]
mod tests;
