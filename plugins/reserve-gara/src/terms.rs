//! Between the host's terms and GARA's: requests to RSL, reservations to what the host reads. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vreserve_rsl::request::LONGEST_LABEL;
use vreserve_rsl::wire::State;
use vreserve_rsl::{Binding, Change, NetworkRequest, Protocol};
use vreserve_sdk::Failure;
use vreserve_sdk::model::{BitsPerSecond, DataPlane, Flow, Observed, Request, RequestKey, ReservationState};

use crate::config::Config;
use crate::line::Seen;
use crate::record::Kind;

/// What a request is to the server; `now` is our clock.
pub(crate) fn request(
    asked: &Request,
    config: &Config,
    now_ms: u64,
) -> Result<(NetworkRequest, Kind), Failure> {
    let (a, z) = (end("a", &asked.a)?, end("z", &asked.z)?);
    if a == z {
        return Err(Failure::invalid("z", format!("both ends are {z}")));
    }
    let label = asked.key.0.clone();
    if label.is_empty() || label.len() > LONGEST_LABEL || label.chars().any(char::is_control) {
        return Err(Failure::invalid("key", "a label has 1 to 256 bytes of printable text"));
    }
    let protocol = asked.flow.as_ref().map_or(Ok(Protocol::Udp), protocol)?;
    // What should have begun begins now: the server's clock may be ahead of ours, and it takes no past start.
    let start_ms = asked.start_ms.filter(|start| *start > now_ms);
    let (duration, kind) = match asked.end_ms {
        None => (config.duration, Kind::Lease),
        Some(end) => {
            let span = end.checked_sub(start_ms.unwrap_or(now_ms)).filter(|span| *span > 0);
            let span = span.ok_or_else(|| Failure::invalid("end_ms", "it is over before it begins"))?;
            (Duration::from_millis(span), Kind::Window)
        }
    };
    let kbps = kbps(asked.rate, config.overhead)?;
    let request = NetworkRequest {
        start_ms,
        duration: Some(duration),
        endpoint_a: a,
        endpoint_b: z,
        kbps,
        protocol: Some(protocol),
        label: Some(label),
    };
    Ok((request, kind))
}

/// What is to be changed of a reservation that began, or begins, at `start_ms` of the server's clock.
pub(crate) fn change(asked: &Request, config: &Config, start_ms: u64) -> Result<Change, Failure> {
    let span = match asked.end_ms {
        // A lease is renewed in its own time.
        None => None,
        Some(end) => {
            let span = end.checked_sub(start_ms).filter(|span| *span > 0);
            Some(span.ok_or_else(|| Failure::invalid("end_ms", "it is over before it begins"))?)
        }
    };
    let kbps = Some(kbps(asked.rate, config.overhead)?);
    Ok(Change { start_ms: None, duration: span.map(Duration::from_millis), kbps })
}

/// The flow of a request; without one, every UDP datagram between the two addresses.
pub(crate) fn binding(asked: &Request) -> Result<Binding, Failure> {
    let Some(flow) = &asked.flow else {
        return Ok(Binding { protocol: Some(Protocol::Udp), ..Binding::default() });
    };
    if flow.a_port == 0 || flow.z_port == 0 {
        return Err(Failure::invalid("flow", "nobody listens on port 0"));
    }
    let protocol = Some(protocol(flow)?);
    Ok(Binding { port_a: Some(flow.a_port), port_b: Some(flow.z_port), protocol })
}

/// What the host is told of a reservation of `key`. A lease has no end, as it is renewed.
pub(crate) fn observed(seen: Seen, key: RequestKey, is_lease: bool, config: &Config) -> Observed {
    let Seen { reservation, words } = seen;
    let (state, data_plane) = match reservation.state {
        State::Booked if reservation.bound => (ReservationState::Activating, DataPlane::Unknown),
        State::Booked => (ReservationState::Booked, DataPlane::Unknown),
        State::Active if !reservation.bound => (ReservationState::Booked, DataPlane::Unknown),
        State::Active if reservation.enforced => (ReservationState::Active, DataPlane::Up),
        // Promised and bound, but the network does nothing for it (any more).
        State::Active => (ReservationState::Activating, DataPlane::Down),
        State::Completed | State::Cancelled => (ReservationState::Released, DataPlane::Down),
        State::Terminated => (ReservationState::Failed, DataPlane::Down),
        State::Unknown => (ReservationState::Unknown, DataPlane::Unknown),
    };
    Observed {
        key,
        native_id: Some(reservation.handle),
        state,
        native_state: words,
        rate: Some(rate(reservation.kbps, config.overhead)),
        start_ms: Some(reservation.start),
        end_ms: reservation.end.filter(|_| !is_lease),
        data_plane,
        labels: BTreeMap::new(),
    }
}

/// True if a key was made by this owner's installation: keys are `<installation>-<epoch>-<number>`, owners
/// `<installation>/<epoch>`. The epoch does not count: a new lead must see what the one before it left behind.
pub(crate) fn belongs_to(key: &str, owner: &str) -> bool {
    let installation = owner.rsplit_once('/').map_or(owner, |(installation, _)| installation);
    let mut parts = key.rsplitn(3, '-');
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    is_number(parts.next()) && is_number(parts.next()) && parts.next() == Some(installation)
}

fn end(key: &str, address: &str) -> Result<IpAddr, Failure> {
    address.parse().map_err(|_| Failure::invalid(key, format!("{address:?} is not an IP address")))
}

fn protocol(flow: &Flow) -> Result<Protocol, Failure> {
    match flow.protocol.as_str() {
        "udp" => Ok(Protocol::Udp),
        "tcp" => Ok(Protocol::Tcp),
        other => Err(Failure::invalid("flow", format!("{other:?} is not udp and not tcp"))),
    }
}

/// In the server's unit, rounded up.
fn kbps(rate: BitsPerSecond, overhead: f64) -> Result<u64, Failure> {
    let kbps = (rate.0 as f64 * overhead / 1000.0).ceil();
    if (1.0..=1e15).contains(&kbps) {
        Ok(kbps as u64)
    } else {
        Err(Failure::invalid("rate", format!("{rate} cannot be reserved")))
    }
}

/// Back in the host's terms. Never less than was asked for, if the server granted that.
fn rate(kbps: u64, overhead: f64) -> BitsPerSecond {
    BitsPerSecond((kbps as f64 * 1000.0 / overhead) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use serde_json::value::RawValue;

    const NOW: u64 = 1_700_000_000_000;

    fn config() -> Config {
        let text = r#"{"server":"192.0.2.9:2119","ca":"/c","certificate":"/d","key":"/e"}"#;
        serde_json::from_str(text).unwrap()
    }

    fn asked(more: serde_json::Value) -> Request {
        let mut request = json!({ "key": "lab-7-1", "owner": "lab/7", "a": "198.51.100.10", "z": "198.51.100.20",
            "rate": 40_000_000, "flow": { "protocol": "udp", "a_port": 4790, "z_port": 4791 } });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(request).unwrap()
    }

    fn rsl(more: serde_json::Value) -> String {
        request(&asked(more), &config(), NOW).unwrap().0.to_spec().to_string()
    }

    #[test]
    fn a_request_without_an_end_is_a_lease_from_now_on_with_head_room() {
        assert_eq!(
            rsl(json!({})),
            "&(reservation-type=network)(start-time=now)(duration=60)(endpoint-a=198.51.100.10)\
             (endpoint-b=198.51.100.20)(bandwidth=43200)(protocol=udp)(label=lab-7-1)"
        );
    }

    #[test]
    fn an_advance_request_keeps_its_times_and_one_that_is_late_begins_now() {
        let later = rsl(json!({ "start_ms": NOW + 3_600_000, "end_ms": NOW + 7_200_500 }));
        assert!(later.contains("(start-time=1700003600)(duration=3600.500)"), "{later}");
        let late = rsl(json!({ "start_ms": NOW - 1000, "end_ms": NOW + 1500 }));
        assert!(late.contains("(start-time=now)(duration=1.500)"), "{late}");
    }

    #[test]
    fn what_no_server_can_be_asked_is_refused_with_its_key() {
        for (key, more) in [
            ("a", json!({ "a": "host-a" })),
            ("z", json!({ "z": "198.51.100.10" })),
            ("key", json!({ "key": "" })),
            ("key", json!({ "key": "k".repeat(257) })),
            ("key", json!({ "key": "a\nb" })),
            ("rate", json!({ "rate": 0 })),
            ("rate", json!({ "rate": u64::MAX })),
            ("flow", json!({ "flow": { "protocol": "sctp", "a_port": 1, "z_port": 1 } })),
            ("end_ms", json!({ "end_ms": NOW })),
            ("end_ms", json!({ "start_ms": NOW + 5, "end_ms": NOW + 5 })),
        ] {
            let failure = request(&asked(more), &config(), NOW).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some(key), "{failure}");
        }
        assert_eq!(
            binding(&asked(json!({ "flow": null }))).unwrap().to_spec().to_string(),
            "&(protocol=udp)"
        );
        assert!(binding(&asked(json!({ "flow": { "protocol": "udp", "a_port": 0, "z_port": 1 } }))).is_err());
    }

    #[test]
    fn only_a_bound_and_enforced_reservation_is_active() {
        use ReservationState::*;
        for (words, bound, enforced, state, data_plane) in [
            ("booked", false, false, Booked, DataPlane::Unknown),
            ("booked", true, false, Activating, DataPlane::Unknown),
            ("active", false, false, Booked, DataPlane::Unknown),
            ("active", true, false, Activating, DataPlane::Down),
            ("active", true, true, Active, DataPlane::Up),
            ("completed", true, false, Released, DataPlane::Down),
            ("cancelled", true, false, Released, DataPlane::Down),
            ("terminated", true, false, Failed, DataPlane::Down),
            ("paused", true, true, Unknown, DataPlane::Unknown),
        ] {
            let text = json!({ "handle": "h", "label": "k", "state": words, "endpoint-a": "a", "endpoint-b": "b",
                "start": 1.5, "end": 61.5, "kbps": 43200, "bound": bound, "enforced": enforced });
            let seen = crate::line::reservation(&RawValue::from_string(text.to_string()).unwrap()).unwrap();
            let told = observed(seen.clone(), RequestKey("k".into()), false, &config());
            assert_eq!((told.state, told.data_plane), (state, data_plane), "{words} {bound} {enforced}");
            assert_eq!(
                (told.rate, told.start_ms, told.end_ms),
                (Some(BitsPerSecond(40_000_000)), Some(1500), Some(61_500))
            );
            assert_eq!(told.native_state, words);
            assert_eq!(observed(seen, RequestKey("k".into()), true, &config()).end_ms, None);
        }
    }

    #[test]
    fn a_new_lead_sees_what_the_one_before_it_left_behind() {
        assert!(belongs_to("lab-7-12", "lab/8") && belongs_to("my-lab-7-12", "my-lab/1"));
        for (key, owner) in
            [("lab2-7-12", "lab/7"), ("lab-7-12", "la/7"), ("lab", "lab/7"), ("lab-x-1", "lab/7")]
        {
            assert!(!belongs_to(key, owner), "{key} {owner}");
        }
    }

    proptest! {
        #[test]
        fn what_is_granted_is_at_least_what_was_asked_for(bits in 1u64..1_000_000_000_000, overhead in 1.0f64..=2.0) {
            let granted = rate(kbps(BitsPerSecond(bits), overhead).unwrap(), overhead);
            prop_assert!(granted.0 + 1 >= bits && granted.0 <= bits + 1001, "{granted}");
        }
    }
}
