//! Cases of every kind: what the plugin says of configurations.

use serde_json::{Value, json};
use vreserve_model::{Failure, FailureKind};

use super::calls::{open_and_close, validate};
use super::case::{Case, Subject, Verdict, ensure, fail, said};
use super::host::Offer;
use super::schema::Schema;

const KINDS: [&str; 5] = ["capture", "link", "infer", "adapt", "reserve"];
/// A key that no plugin has.
const NO_SUCH_KEY: &str = "no_such_key_here";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the_schema_describes_the_configuration",
        shows: "the plugin gives a JSON Schema whose required keys are among its keys",
        run: schema_describes,
    },
    Case {
        name: "a_right_configuration_is_valid",
        shows: "validate accepts what open is given, any number of times",
        run: right_is_valid,
    },
    Case {
        name: "unknown_keys_are_named",
        shows: "an unknown key is refused as Invalid and named with its place, also in tables within the table",
        run: unknown_keys,
    },
    Case {
        name: "ill_typed_keys_are_named",
        shows: "a key whose value is of a wrong type is refused as Invalid and named",
        run: ill_typed_keys,
    },
    Case {
        name: "missing_keys_are_named",
        shows: "a required key that is not there is refused as Invalid and named",
        run: missing_keys,
    },
    Case {
        name: "what_is_no_table_is_refused",
        shows: "text that is no JSON object is refused as Invalid",
        run: no_table,
    },
    Case {
        name: "kinds_not_served_are_unsupported",
        shows: "a kind that the plugin does not serve answers Unsupported",
        run: other_kinds,
    },
];

fn schema_describes(subject: &Subject) -> Verdict {
    let schema = Schema::of(subject.plugin, subject.kind)?;
    let keys: Vec<&String> = schema.properties().map(|(key, _)| key).collect();
    for required in schema.required() {
        ensure!(keys.iter().any(|key| *key == required), "required key `{required}` is not among the keys");
    }
    Ok(())
}

fn right_is_valid(subject: &Subject) -> Verdict {
    for number in [1, 1, 2] {
        let config = subject.config(number)?;
        if let Err(failure) = validate(subject.plugin, subject.kind, &config.to_string()) {
            fail!("{config} is refused: {}", said(&failure));
        }
    }
    Ok(())
}

fn unknown_keys(subject: &Subject) -> Verdict {
    let config = subject.config(1)?;
    for table in Schema::of(subject.plugin, subject.kind)?.tables(&config) {
        let mut wrong = config.clone();
        let pointer: String = table.iter().map(|key| format!("/{key}")).collect();
        if let Some(inner) = wrong.pointer_mut(&pointer) {
            inner[NO_SUCH_KEY] = json!(1);
        }
        let named: Vec<&str> = table.iter().take(1).map(String::as_str).chain([NO_SUCH_KEY]).collect();
        refuses(subject, &wrong.to_string(), &named)?;
    }
    Ok(())
}

fn ill_typed_keys(subject: &Subject) -> Verdict {
    let schema = Schema::of(subject.plugin, subject.kind)?;
    for (key, property) in schema.properties() {
        let Some(misfit) = schema.misfit(property) else { continue };
        let mut wrong = subject.config(1)?;
        wrong[key] = misfit;
        refuses(subject, &wrong.to_string(), &[key])?;
    }
    Ok(())
}

fn missing_keys(subject: &Subject) -> Verdict {
    for key in Schema::of(subject.plugin, subject.kind)?.required() {
        let mut wrong = subject.config(1)?;
        if let Value::Object(table) = &mut wrong {
            table.remove(key);
        }
        refuses(subject, &wrong.to_string(), &[key])?;
    }
    Ok(())
}

fn no_table(subject: &Subject) -> Verdict {
    for text in ["", "{", "7", "\"text\"", "{\"a\":1}}", "\u{0}"] {
        refuses(subject, text, &[])?;
    }
    Ok(())
}

fn other_kinds(subject: &Subject) -> Verdict {
    let schema = subject.plugin.schema();
    let unserved = KINDS.into_iter().filter(|kind| schema((*kind).into()).is_empty());
    for kind in unserved.chain(["no-such-kind"]) {
        ensure!(schema(kind.into()).is_empty(), "it gives a schema for kind {kind}");
        for (what, answer) in [
            ("validate", validate(subject.plugin, kind, "{}")),
            ("open", open_and_close(subject.plugin, kind, &Offer::bare(), "{}")),
        ] {
            match answer {
                Err(failure) if failure.kind == FailureKind::Unsupported => {}
                Err(failure) => fail!("{what} as {kind} answers {}", said(&failure)),
                Ok(()) => fail!("{what} as {kind} succeeds, though the plugin has no schema for it"),
            }
        }
    }
    Ok(())
}

/// That validate and open both refuse a configuration, and name these words.
fn refuses(subject: &Subject, config: &str, words: &[&str]) -> Verdict {
    let Subject { plugin, kind, .. } = *subject;
    for (what, answer) in [
        ("validate", validate(plugin, kind, config)),
        ("open", open_and_close(plugin, kind, &Offer::bare(), config)),
    ] {
        let Err(failure) = answer else { fail!("{what} accepts {config}") };
        ensure!(failure.kind == FailureKind::Invalid, "{what} answers {config} with {}", said(&failure));
        for word in words {
            ensure!(
                names(&failure, word),
                "{what} answers {config} without naming `{word}`: {}",
                said(&failure)
            );
        }
    }
    Ok(())
}

fn names(failure: &Failure, word: &str) -> bool {
    failure.reason.contains(word) || failure.key.as_deref().is_some_and(|key| key.contains(word))
}
