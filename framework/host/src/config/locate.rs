//! Errors found after the configuration was read: where in the file they belong.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vreserve_model::{Failure, FailureKind};

use super::error::{ConfigError, ConfigErrors, Location};
use super::instances::host_keys;
use super::suggest::did_you_mean;
use super::types::{Config, Instance, Source};
use crate::plugin::PluginKind;

impl Config {
    /// The place of a key of an instance, by its path (`peers[1].port`); of the part of the path that
    /// exists; or of the instance's table.
    pub fn locate(&self, kind: PluginKind, instance: &str, key: &str) -> Location {
        Placed(&self.source).place(&[kind.name(), instance], key)
    }

    /// What a plugin says of its configuration, as an error with a place. Failures that are not about the
    /// configuration are placed at the instance's table.
    pub fn plugin_error(&self, instance: &Instance, failure: &Failure) -> ConfigErrors {
        Placed(&self.source).plugin_error(instance, failure)
    }

    /// An error about the key at the path `key` (may be empty) of the table `table`, such as
    /// `&["node"]` or `&["link", "internet"]`.
    pub fn error(
        &self,
        table: &[&str],
        key: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> ConfigErrors {
        Placed(&self.source).error(table, key, message, suggestion)
    }
}

/// A text in which places are looked for.
pub(super) struct Placed<'a>(pub(super) &'a Source);

impl Placed<'_> {
    /// See [`Config::plugin_error`].
    pub(super) fn plugin_error(&self, instance: &Instance, failure: &Failure) -> ConfigErrors {
        let key = failure.key.as_deref().unwrap_or_default();
        let Phrase { key, message, suggestion } = match failure.kind {
            FailureKind::Invalid => phrase(key, &failure.reason, host_keys(instance.kind)),
            _ => Phrase { key: String::new(), message: failure.reason.clone(), suggestion: None },
        };
        self.error(&[instance.kind.name(), &instance.name], &key, message, suggestion)
    }

    /// See [`Config::error`].
    pub(super) fn error(
        &self,
        table: &[&str],
        key: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> ConfigErrors {
        let space = if key.is_empty() { "" } else { " " };
        ConfigErrors::from(ConfigError {
            file: self.0.file.clone(),
            location: Some(self.place(table, key)),
            subject: format!("[{}]{space}{key}", table.join(".")),
            message: message.into(),
            suggestion,
        })
    }

    fn place(&self, table: &[&str], key: &str) -> Location {
        let text = &self.0.text;
        let (document, _) = DeTable::parse_recoverable(text);
        let names = table.iter().map(|name| Step::Key(name)).collect::<Vec<_>>();
        let offset = offset_of(document.get_ref(), names.into_iter().chain(steps(key)));
        Location::of(text, offset)
    }
}

/// One step of a key's path.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of `peers[1].port`; a part that cannot be read ends the path.
fn steps(key: &str) -> impl Iterator<Item = Step<'_>> {
    key.split('.').filter(|part| !part.is_empty()).flat_map(|part| {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        let indices = indices.split('[').map_while(|index| index.strip_suffix(']')?.parse().ok());
        let name = (!name.is_empty()).then_some(Step::Key(name));
        name.into_iter().chain(indices.map(Step::Index))
    })
}

/// Where the last step that exists is: a table at its header, a key at itself, an element at itself.
fn offset_of<'a>(document: &DeTable<'_>, steps: impl Iterator<Item = Step<'a>>) -> usize {
    let mut offset = 0;
    let mut table = Some(document);
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for step in steps {
        let next = match step {
            Step::Key(name) => table.and_then(|table| table.get_key_value(name)).map(|(key, value)| {
                let is_table = value.get_ref().is_table();
                (if is_table { value.span().start } else { key.span().start }, value)
            }),
            Step::Index(index) => value
                .and_then(|value| value.get_ref().as_array()?.get(index))
                .map(|element| (element.span().start, element)),
        };
        let Some((found_at, found)) = next else { break };
        offset = found_at;
        table = found.get_ref().as_table();
        value = Some(found);
    }
    offset
}

struct Phrase {
    key: String,
    message: String,
    suggestion: Option<String>,
}

/// Says in our words what serde says of unknown and missing keys.
fn phrase(key: &str, reason: &str, host_keys: &[&str]) -> Phrase {
    let quoted: Vec<&str> = reason.split('`').skip(1).step_by(2).collect();
    match quoted[..] {
        [unknown, ref known @ ..] if reason.starts_with("unknown field `") => {
            let near = did_you_mean(unknown, known.iter().chain(host_keys).copied());
            let all = (!known.is_empty()).then(|| format!("the plugin's keys: {}", known.join(", ")));
            Phrase { key: child(key, unknown), message: "unknown key".to_owned(), suggestion: near.or(all) }
        }
        [missing, ..] if reason.starts_with("missing field `") => Phrase {
            key: key.to_owned(),
            message: format!("missing key {missing:?}"),
            suggestion: Some(format!("add {missing} = …")),
        },
        _ => Phrase { key: key.to_owned(), message: reason.to_owned(), suggestion: None },
    }
}

/// The path of `name` under `parent`, which may name it already.
fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else if parent == name || parent.ends_with(&format!(".{name}")) {
        parent.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}
