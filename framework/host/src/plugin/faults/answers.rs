//! What backends answer, as far as faults must see into it; and answers that make no sense.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vreserve_model::{Changes, Failure, Observed, RequestKey};
use vreserve_sdk::{Handle, Verb};

use super::super::documents;
use super::super::reserve::{about, nobody_knows};

/// The answer to a call.
pub(super) trait Answer: Serialize + DeserializeOwned + Send {
    /// Leaves out the reservations that are not to be shown, and changes the others.
    fn retain(self, show: impl FnMut(&mut Observed) -> bool) -> Self;

    /// The reservations in it.
    fn observed(&self) -> &[Observed];

    /// Their handles.
    fn handles(&self) -> Vec<Handle> {
        let handle =
            |observed: &Observed| Handle { key: observed.key.clone(), native_id: observed.native_id.clone() };
        self.observed().iter().map(handle).collect()
    }
}

impl Answer for () {
    fn retain(self, _: impl FnMut(&mut Observed) -> bool) -> Self {}

    fn observed(&self) -> &[Observed] {
        &[]
    }
}

impl Answer for Observed {
    /// What a call is about is always shown.
    fn retain(mut self, mut show: impl FnMut(&mut Observed) -> bool) -> Self {
        show(&mut self);
        self
    }

    fn observed(&self) -> &[Observed] {
        std::slice::from_ref(self)
    }
}

impl Answer for Option<Observed> {
    fn retain(self, mut show: impl FnMut(&mut Observed) -> bool) -> Self {
        self.and_then(|mut observed| show(&mut observed).then_some(observed))
    }

    fn observed(&self) -> &[Observed] {
        self.as_slice()
    }
}

impl Answer for Vec<Observed> {
    fn retain(mut self, show: impl FnMut(&mut Observed) -> bool) -> Self {
        self.retain_mut(show);
        self
    }

    fn observed(&self) -> &[Observed] {
        self
    }
}

impl Answer for Vec<RequestKey> {
    fn retain(self, _: impl FnMut(&mut Observed) -> bool) -> Self {
        self
    }

    fn observed(&self) -> &[Observed] {
        &[]
    }
}

impl Answer for Changes {
    fn retain(mut self, show: impl FnMut(&mut Observed) -> bool) -> Self {
        self.observed.retain_mut(show);
        self
    }

    fn observed(&self) -> &[Observed] {
        &self.observed
    }
}

/// How an answer makes no sense.
#[derive(Clone, Copy)]
enum Garbage {
    /// It is no document.
    Text,
    /// It is about something else.
    OtherKey,
    /// It has a state that nobody knows.
    OtherState,
    /// It has no state.
    NoState,
    /// It is in the right form, and its values are absurd. Key and state are left alone.
    Absurd,
}

/// One after the other, so that few garbled answers show all kinds.
const KINDS: [Garbage; 5] =
    [Garbage::Text, Garbage::OtherKey, Garbage::OtherState, Garbage::NoState, Garbage::Absurd];

/// The `number`-th answer that makes no sense, in place of `answer`, as the host reads it from a plugin.
///
/// # Errors
/// As for a plugin's answer that cannot be read or is about something else.
pub(super) fn garbled<A: Answer>(
    verb: Verb,
    key: Option<&RequestKey>,
    answer: &A,
    number: u64,
) -> Result<A, Failure> {
    let kind = KINDS[usize::try_from(number % KINDS.len() as u64).expect("there are few kinds")];
    let mut document = serde_json::to_value(answer).unwrap_or_default();
    let text = match kind {
        Garbage::Text => "path path 12 12 up?".to_owned(),
        _ => {
            garble(&mut document, kind);
            document.to_string()
        }
    };
    let answer: A =
        documents::read("answer", &text).map_err(|failure| nobody_knows(verb, &failure.reason))?;
    if let Some(key) = key {
        answer.observed().iter().try_for_each(|observed| about(verb, observed, key))?;
    }
    Ok(answer)
}

fn garble(document: &mut Value, kind: Garbage) {
    match document {
        Value::Array(elements) if elements.is_empty() => {
            elements.push(json!({ "key": "somebody-else-1-1", "state": "active" }));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| garble(element, kind)),
        Value::Object(fields) => match kind {
            Garbage::Text => {}
            Garbage::OtherKey => drop(fields.insert("key".into(), "somebody-else-1-1".into())),
            Garbage::OtherState => drop(fields.insert("state".into(), "provisioned?".into())),
            Garbage::NoState => drop(fields.remove("state")),
            Garbage::Absurd => {
                let labels = (0..100).map(|n| (format!("label {n}"), Value::from("x".repeat(1000))));
                fields.insert("labels".into(), Value::Object(labels.collect()));
                fields.insert("native_state".into(), "\u{1b}[2J".repeat(1000).into());
                fields.insert("rate".into(), 0.into());
                fields.insert("start_ms".into(), u64::MAX.into());
                fields.insert("end_ms".into(), 1.into());
            }
        },
        other => *other = json!({ "what": "is this?" }),
    }
}
