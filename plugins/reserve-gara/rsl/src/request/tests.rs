use super::*;
use crate::parser::parse;
use proptest::prelude::*;

fn requests() -> impl Strategy<Value = NetworkRequest> {
    let milliseconds = prop::option::of(1..10_000_000_000_000_u64);
    let protocol = prop::option::of(prop::sample::select(vec![Protocol::Udp, Protocol::Tcp]));
    let label = prop::option::of("[ -~]{1,40}");
    (milliseconds.clone(), milliseconds, any::<[u8; 4]>(), any::<[u8; 16]>(), 1..u64::MAX, protocol, label)
        .prop_map(|(start_ms, duration, a, b, kbps, protocol, label)| NetworkRequest {
            start_ms,
            duration: duration.map(Duration::from_millis),
            endpoint_a: a.into(),
            endpoint_b: b.into(),
            kbps,
            protocol,
            label,
        })
}

proptest! {
    #[test]
    fn a_request_survives_its_text(request in requests()) {
        let spec = parse(&request.to_spec().to_string()).unwrap();
        prop_assert_eq!(NetworkRequest::from_spec(&spec), Ok(request));
    }
}

fn read(text: &str) -> Result<NetworkRequest, String> {
    let spec = parse(text).map_err(|error| error.to_string())?;
    NetworkRequest::from_spec(&spec).map_err(|error| error.to_string())
}

const RIGHT: &str = "&(reservation-type=network)(start-time=953158862)(duration=3600)\
    (endpoint-a=140.221.48.146)(endpoint-b=140.221.48.106)(bandwidth=150)";

#[test]
fn the_published_request_is_read() {
    let request = read(RIGHT).unwrap();
    assert_eq!((request.start_ms, request.kbps), (Some(953_158_862_000), 150));
    assert_eq!(request.duration, Some(Duration::from_secs(3600)));
    assert_eq!(request.endpoint_b.to_string(), "140.221.48.106");
    assert_eq!((request.protocol, request.label), (None, None));
}

#[test]
fn case_of_names_and_words_does_not_count() {
    let shouted = RIGHT.to_uppercase();
    assert_eq!(read(&shouted), read(RIGHT));
    assert!(read(&RIGHT.replace("start-time", "start_time")).unwrap_err().contains("means nothing"));
}

#[test]
fn each_wrong_attribute_is_named() {
    for (right, wrong, words) in [
        ("(bandwidth=150)", "", "bandwidth is missing"),
        ("(bandwidth=150)", "(bandwidth=150)(Bandwidth=150)", "Bandwidth is there twice"),
        ("bandwidth=150", "bandwidth=0", "positive whole number"),
        ("bandwidth=150", "bandwidth=+1", "expected"),
        ("bandwidth=150", "bandwidth=150 151", "not one word"),
        ("bandwidth=150", "bandwidth>150", "not one word"),
        ("bandwidth=150", "bandwidth=99999999999999999999", "expected kbit/s"),
        ("network", "cpu", "expected network"),
        ("=3600", "=-1", "expected seconds"),
        ("=3600", "=0", "expected seconds"),
        ("=3600", "=1e3", "expected seconds"),
        ("=953158862", "=yesterday", "expected now"),
        ("140.221.48.146", "gridnode", "expected an IP address"),
        ("(bandwidth", "(colour=red)(bandwidth", "colour means nothing"),
        ("(bandwidth=150)", "(bandwidth=150)(label=\"\")", "label="),
        ("(bandwidth=150)", "(&(bandwidth=150))", "flat"),
        ("&(reservation", "|(reservation", "flat"),
    ] {
        let text = RIGHT.replacen(right, wrong, 1);
        let error = read(&text).expect_err(&text);
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn times_keep_their_milliseconds_and_lose_what_is_finer() {
    let request = read(&RIGHT.replace("953158862", "953158862.2509").replace("3600", "0.5")).unwrap();
    assert_eq!(
        (request.start_ms, request.duration),
        (Some(953_158_862_250), Some(Duration::from_millis(500)))
    );
    assert!(request.to_spec().to_string().contains("(start-time=953158862.250)(duration=0.500)"));
}

#[test]
fn changes_and_bindings_survive_their_text() {
    let change = Change { start_ms: None, duration: Some(Duration::from_millis(2500)), kbps: Some(7) };
    assert_eq!(change.to_spec().to_string(), "&(duration=2.500)(bandwidth=7)");
    assert_eq!(Change::from_spec(&change.to_spec()), Ok(change));
    let binding = Binding { port_a: Some(4790), port_b: Some(4791), protocol: Some(Protocol::Udp) };
    assert_eq!(binding.to_spec().to_string(), "&(port-a=4790)(port-b=4791)(protocol=udp)");
    assert_eq!(Binding::from_spec(&binding.to_spec()), Ok(binding));
    let wrong = parse("&(port-a=0)").unwrap();
    assert!(Binding::from_spec(&wrong).unwrap_err().to_string().contains("expected a port"));
}
