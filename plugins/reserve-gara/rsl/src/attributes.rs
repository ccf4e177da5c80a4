//! Looking attributes up in a request: a flat `&` list of `name=value`, each name once.

use crate::spec::{Combiner, Operator, Relation, Spec, Value, is_same_name};

/// The attributes of a request.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(Vec<(&'a str, &'a str)>);

/// Why a specification is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// It is an alternative, several requests, or nested.
    #[error("a reservation is one flat list: &(name=value)(name=value)")]
    NotFlat,
    /// The name is there twice. The original takes the first silently; nobody can mean that.
    #[error("attribute {0} is there twice")]
    Repeated(String),
    /// The relation is not one name equal to one word.
    #[error("attribute {0} is not one word: write {0}=value")]
    NotOneWord(String),
    /// The name is not there.
    #[error("attribute {0} is missing")]
    Missing(&'static str),
    /// The name means nothing here.
    #[error("attribute {0} means nothing here")]
    Unknown(String),
    /// The value means nothing here.
    #[error("{attribute}={value}: {expected}")]
    Value {
        /// Whose value.
        attribute: &'static str,
        /// As written, cut short.
        value: String,
        /// What would have done.
        expected: &'static str,
    },
}

impl<'a> Attributes<'a> {
    /// The attributes of a specification, all among `known`.
    pub fn of(spec: &'a Spec, known: &[&str]) -> Result<Self, AttributeError> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for relation in relations(spec)? {
            let name = relation.attribute.as_str();
            let word = match (relation.operator, relation.values.as_slice()) {
                (Operator::Equal, [Value::Literal(word)]) => word.as_str(),
                _ => return Err(AttributeError::NotOneWord(shown(name))),
            };
            if !known.iter().any(|known| is_same_name(known, name)) {
                return Err(AttributeError::Unknown(shown(name)));
            }
            if found.iter().any(|(other, _)| is_same_name(other, name)) {
                return Err(AttributeError::Repeated(shown(name)));
            }
            found.push((name, word));
        }
        Ok(Self(found))
    }

    /// The value of an attribute, if it is there.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| is_same_name(known, name)).map(|(_, word)| *word)
    }

    /// The value of an attribute that must be there.
    pub fn required(&self, name: &'static str) -> Result<&'a str, AttributeError> {
        self.value(name).ok_or(AttributeError::Missing(name))
    }

    /// The value of an attribute, read by its type; absent is `None`.
    pub fn read<T>(
        &self,
        attribute: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, AttributeError> {
        let Some(word) = self.value(attribute) else { return Ok(None) };
        let wrong = || AttributeError::Value { attribute, value: shown(word), expected };
        read(word).ok_or_else(wrong).map(Some)
    }
}

fn relations(spec: &Spec) -> Result<Vec<&Relation>, AttributeError> {
    let members = match spec {
        Spec::Relation(relation) => return Ok(vec![relation]),
        Spec::List(Combiner::And, members) => members,
        Spec::List(..) => return Err(AttributeError::NotFlat),
    };
    let flat = members.iter().map(|member| match member {
        Spec::Relation(relation) => Ok(relation),
        Spec::List(..) => Err(AttributeError::NotFlat),
    });
    flat.collect()
}

/// What a stranger wrote, fit for one line of a log.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(40).collect()
}
