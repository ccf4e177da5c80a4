//! The documents as a stranger would write them, and the schema that is shipped.

use schemars::generate::SchemaSettings;
use serde_json::json;
use vreserve_sdk::model::Changes;

use super::*;

/// The schema of every document, as `protocol.schema.json` has it.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let documents = json!({
        "question": generator.subschema_for::<Question>(),
        "VERSION": generator.subschema_for::<VersionAnswer>(),
        "SUBMIT": generator.subschema_for::<One>(),
        "COMMIT": generator.subschema_for::<One>(),
        "ACTIVATE": generator.subschema_for::<One>(),
        "DEACTIVATE": generator.subschema_for::<One>(),
        "MODIFY": generator.subschema_for::<One>(),
        "QUERY": generator.subschema_for::<Perhaps>(),
        "FIND": generator.subschema_for::<Several>(),
        "LIST": generator.subschema_for::<Several>(),
        "GC": generator.subschema_for::<Removed>(),
        "EVENTS": generator.subschema_for::<Changes>(),
        "CANCEL": generator.subschema_for::<Done>(),
        "ABORT": generator.subschema_for::<Done>(),
        "STATUS": generator.subschema_for::<Done>(),
        "complaint": generator.subschema_for::<Complaint>(),
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "reserve-exec, protocol 1",
        "description": "The question, the answer to each verb, and the complaint that may come with an exit code other than 0.",
        "properties": documents,
        "definitions": generator.definitions(),
    })
}

#[test]
fn the_schema_that_is_shipped_is_that_of_the_documents() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("VRESERVE_WRITE_SCHEMA").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(file).unwrap_or_default();
    assert!(shipped == text, "run this test with VRESERVE_WRITE_SCHEMA=1 and look at the difference");
}

#[test]
fn capabilities_are_read_with_times_as_text_and_what_is_misspelt_is_told() {
    let answer: VersionAnswer = serde_json::from_value(json!({
        "protocols": [1], "capabilities":
        { "advance": true, "two_fase": true, "setup_time": "17.5s", "hold_time": "2m", "fixed_rate": "1gbit" }
    }))
    .unwrap();
    let capabilities = Capabilities::from(&answer.capabilities);
    assert_eq!(answer.capabilities.unknown_names().collect::<Vec<_>>(), ["two_fase"]);
    assert_eq!((capabilities.advance, capabilities.two_phase), (true, false));
    assert_eq!(capabilities.setup_time, Duration::from_millis(17_500));
    assert_eq!(capabilities.hold_time, Some(Duration::from_secs(120)));
    assert_eq!(capabilities.fixed_rate, Some(BitsPerSecond(1_000_000_000)));
}

#[test]
fn a_question_has_only_what_belongs_to_its_verb() {
    let request: Request = serde_json::from_value(json!({
        "key": "k", "owner": "lab/1", "a": "x", "z": "y", "rate": "1mbit", "max_latency": { "secs": 0, "nanos": 2_500_000 }
    }))
    .unwrap();
    let question = Question { request: Some(request.into()), ..Question::default() };
    let expected = json!({ "options": {}, "request": {
        "key": "k", "owner": "lab/1", "a": "x", "z": "y", "rate": 1_000_000,
        "flow": null, "max_latency_ms": 2.5, "start_ms": null, "end_ms": null,
    } });
    assert_eq!(serde_json::to_value(question).unwrap(), expected);
}

#[test]
fn an_answer_to_query_that_says_nothing_does_not_say_gone() {
    assert!(serde_json::from_str::<Perhaps>("{}").is_err());
    assert!(serde_json::from_str::<Perhaps>(r#"{"observed":null}"#).unwrap().observed.is_none());
}
