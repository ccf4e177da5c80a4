use super::*;
use serde_json::json;

fn reservation() -> Reservation {
    Reservation {
        handle: "qos-1".into(),
        label: Some("key".into()),
        state: State::Active,
        endpoint_a: "198.51.100.10".into(),
        endpoint_b: "198.51.100.11".into(),
        start: 1_700_000_000_250,
        end: Some(1_700_000_060_000),
        kbps: 60_000,
        bound: true,
        enforced: false,
    }
}

#[test]
fn requests_are_the_documented_lines() {
    for (text, operation) in [
        (r#"{"id":1,"op":"create","rsl":"a=b"}"#, Operation::Create { rsl: "a=b".into() }),
        (r#"{"id":1,"op":"cancel","handle":"h"}"#, Operation::Cancel { handle: "h".into() }),
        (r#"{"id":1,"op":"list"}"#, Operation::List),
        (r#"{"id":1,"op":"watch","since":7}"#, Operation::Watch { since: 7 }),
        (r#"{"id":1,"op":"ping"}"#, Operation::Ping),
    ] {
        let request = Request { id: 1, operation };
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
    }
}

#[test]
fn messages_are_the_documented_lines() {
    let object = json!({
        "handle": "qos-1", "label": "key", "state": "active", "endpoint-a": "198.51.100.10",
        "endpoint-b": "198.51.100.11", "start": 1_700_000_000.25, "end": 1_700_000_060, "kbps": 60000,
        "bound": true, "enforced": false,
    });
    let refusal = Refusal { code: Code::NoSuchHandle, text: "no reservation h".into() };
    for (message, line) in [
        (
            Message::Event { event: Event { seq: 3, reservation: reservation() } },
            json!({ "event": { "seq": 3, "reservation": object } }),
        ),
        (
            Message::Reply(Reply { id: 2, outcome: Outcome::Ok(object.clone()) }),
            json!({ "id": 2, "ok": object }),
        ),
        (
            Message::Reply(Reply { id: 2, outcome: Outcome::Error(refusal) }),
            json!({ "id": 2, "error": { "code": "no-such-handle", "text": "no reservation h" } }),
        ),
    ] {
        assert_eq!(serde_json::to_value(&message).unwrap(), line);
        assert_eq!(serde_json::from_value::<Message>(line).unwrap(), message);
    }
    assert_eq!(serde_json::from_value::<Reservation>(object).unwrap(), reservation());
}

#[test]
fn what_a_later_server_says_is_understood_as_far_as_it_goes() {
    let text = r#"{"handle":"h","state":"paused","endpoint-a":"a","endpoint-b":"b","start":1,"kbps":1,
        "bound":false,"enforced":false,"colour":"red"}"#;
    let read: Reservation = serde_json::from_str(text).unwrap();
    assert_eq!((read.state, read.end, read.label), (State::Unknown, None, None));
    let refusal: Refusal = serde_json::from_str(r#"{"code":"bankrupt","text":"x"}"#).unwrap();
    assert_eq!(refusal.code, Code::Unknown);
}

#[test]
fn a_time_that_is_none_is_refused() {
    for time in ["-1", "1e300", "\"now\"", "null"] {
        let text = format!(r#"{{"time":{time},"seq":1}}"#);
        assert!(serde_json::from_str::<Pong>(&text).is_err(), "{time}");
    }
}
