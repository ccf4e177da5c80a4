//! Reads tables of a parsed document key by key, and notes everything that is wrong with its place.
//!
//! A reader goes on after an error, so that one run reports them all. A key that nobody asked for is
//! unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, Location};
use super::suggest::{did_you_mean, quoted_list};
use super::types::Source;

/// Where errors are noted while a document is read.
pub(super) struct Notes<'a> {
    pub(super) source: &'a Source,
    pub(super) errors: RefCell<Vec<ConfigError>>,
}

/// One table of the document, or one inline table in it.
pub(super) struct Section<'a> {
    pub(super) notes: &'a Notes<'a>,
    /// As errors show it: `[link.internet]`, and for inline tables the key that holds it, with a dot.
    header: String,
    prefix: String,
    /// Where it begins.
    at: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

/// One key's value.
pub(super) struct Entry<'a> {
    pub(super) notes: &'a Notes<'a>,
    header: String,
    key: String,
    /// Where the key is, or the element of an array.
    at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Notes<'a> {
    pub(super) fn note(
        &self,
        at: usize,
        subject: String,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        self.errors.borrow_mut().push(ConfigError {
            file: self.source.file.clone(),
            location: Some(Location::of(&self.source.text, at)),
            subject,
            message: message.into(),
            suggestion,
        });
    }
}

fn join(header: &str, key: &str) -> String {
    if header.is_empty() { key.to_owned() } else { format!("{header} {key}") }
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn root(notes: &'a Notes<'a>, table: &'a DeTable<'a>) -> Self {
        Section { notes, header: String::new(), prefix: String::new(), at: 0, table, known: Vec::new() }
    }

    /// Asks for a key.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.entry_of(name, value))
    }

    fn entry_of(&self, name: &Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let key = format!("{}{}", self.prefix, name.get_ref());
        Entry { notes: self.notes, header: self.header.clone(), key, at: name.span().start, value }
    }

    /// Asks for a key that must be there; `hint` says what to write.
    pub(super) fn required(&mut self, key: &'static str, hint: &str) -> Option<Entry<'a>> {
        let entry = self.entry(key);
        if entry.is_none() {
            self.note(format!("missing key {key:?}"), Some(hint.to_owned()));
        }
        entry
    }

    /// Asks for a table by its name; its absence is no error.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.entry(key)?.section()
    }

    /// Asks for `[key.<name>]` tables, in the document's order.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut sections: Vec<_> = parent
            .entries()
            .filter_map(|(name, entry)| entry.section().map(|section| (name, section)))
            .collect();
        sections.sort_by_key(|(_, section)| section.at);
        sections
    }

    /// Every key that is there, in any order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, Entry<'a>)> {
        self.table.iter().map(|(name, value)| (name.get_ref().to_string(), self.entry_of(name, value)))
    }

    /// What nobody asked for, as a JSON object; each value that JSON cannot express is an error.
    pub(super) fn rest(&self) -> serde_json::Value {
        let rest = self.entries().filter(|(name, _)| !self.known.contains(&name.as_str()));
        rest.filter_map(|(name, entry)| Some((name, entry.json()?))).collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (name, entry) in self.entries().filter(|(name, _)| !self.known.contains(&name.as_str())) {
            let near = did_you_mean(&name, self.known.iter().copied());
            let suggestion = near.unwrap_or_else(|| format!("known keys: {}", quoted_list(&self.known)));
            let is_table = self.header.is_empty() && (entry.is_table() || entry.is_tables());
            let (subject, what) =
                if is_table { (format!("[{name}]"), "table") } else { (entry.subject(), "key") };
            self.notes.note(entry.at, subject, format!("unknown {what}"), Some(suggestion));
        }
    }

    /// Notes an error about the table as a whole.
    pub(super) fn note(&self, message: impl Into<String>, suggestion: Option<String>) {
        let subject = match self.prefix.strip_suffix('.') {
            Some(key) => join(&self.header, key),
            None => self.header.clone(),
        };
        self.notes.note(self.at, subject, message, suggestion);
    }
}

impl<'a> Entry<'a> {
    pub(super) fn subject(&self) -> String {
        join(&self.header, &self.key)
    }

    /// Notes an error about this key.
    pub(super) fn note(&self, message: impl Into<String>, suggestion: Option<String>) {
        self.notes.note(self.at, self.subject(), message, suggestion);
    }

    fn expected(&self, what: &str, suggestion: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.note(format!("expected {what}, found {found}"), Some(suggestion.to_owned()));
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.expected("a string", "write it in double quotes");
        }
        text
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.expected("a boolean", "write true or false, without quotes");
        }
        flag
    }

    /// An integer within bounds.
    pub(super) fn integer(&self, min: usize, max: usize) -> Option<usize> {
        let value = self.value.get_ref().as_integer();
        let number = value.and_then(|value| usize::from_str_radix(value.as_str(), value.radix()).ok());
        let number = number.filter(|number| (min..=max).contains(number));
        let hint = format!("write a number from {min} to {max}, without quotes");
        match (value, number) {
            (None, _) => self.expected("an integer", &hint),
            (Some(value), None) => self.note(format!("{} is out of range", value.as_str()), Some(hint)),
            _ => {}
        }
        number
    }

    /// A number from 0 to 1, in millionths.
    pub(super) fn millionths(&self) -> Option<u32> {
        self.number(0.0, 1.0).map(|number| (number * 1e6).round() as u32)
    }

    /// A number within bounds, with or without a fraction.
    pub(super) fn number(&self, min: f64, max: f64) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| (min..=max).contains(number));
        if number.is_none() {
            self.expected(&format!("a number from {min} to {max}"), "write it without quotes, such as 0.1");
        }
        number
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().as_array().is_some()
    }

    /// Text that `read` understands.
    pub(super) fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        read(self.text()?).map_err(|message| self.note(message, None)).ok()
    }

    /// Text in the form of a `T`; `hint` shows that form.
    pub(super) fn parse<T: FromStr>(&self, what: &str, hint: &str) -> Option<T> {
        let text = self.text()?;
        let value = text.parse().ok();
        if value.is_none() {
            self.note(format!("{text:?} is not {what}"), Some(hint.to_owned()));
        }
        value
    }

    /// An absolute path: the daemon's working directory means nothing.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        let path = Path::new(text);
        if !path.is_absolute() {
            self.note(format!("{text:?} is not an absolute path"), Some("begin it with /".to_owned()));
        }
        path.is_absolute().then(|| path.to_owned())
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> Vec<Entry<'a>> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.expected("an array", "write [ … ]");
            return Vec::new();
        };
        let element = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Entry {
            notes: self.notes,
            header: self.header.clone(),
            key: format!("{}[{index}]", self.key),
            at: value.span().start,
            value,
        };
        array.iter().enumerate().map(element).collect()
    }

    /// The value as a table: `[a]`, `[a.b]`, or inline.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let Some(table) = self.value.get_ref().as_table() else {
            self.expected("a table", &format!("write [{}] above its keys", self.path_in_brackets()));
            return None;
        };
        let start = self.value.span().start;
        let text = &self.notes.source.text[start..];
        let (at, header, prefix) = if text.starts_with('{') {
            (self.at, self.header.clone(), format!("{}.", self.key))
        } else if text.starts_with("[[") {
            let name = self.key.split('[').next().unwrap_or_default();
            (start, format!("[[{name}]]"), String::new())
        } else {
            (start, format!("[{}]", self.path_in_brackets()), String::new())
        };
        Some(Section { notes: self.notes, header, prefix, at, table, known: Vec::new() })
    }

    fn path_in_brackets(&self) -> String {
        let parent = self.header.trim_start_matches('[').trim_end_matches(']');
        if parent.is_empty() { self.key.clone() } else { format!("{parent}.{}", self.key) }
    }

    fn is_tables(&self) -> bool {
        self.value
            .get_ref()
            .as_array()
            .is_some_and(|array| array.iter().any(|value| value.get_ref().is_table()))
    }

    /// The value as JSON.
    fn json(&self) -> Option<serde_json::Value> {
        match super::json::of(self.value.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.note(message, Some("write it as a string if the plugin takes one".to_owned()));
                None
            }
        }
    }
}

/// Notes every name that was given before; `entries` in the document's order.
pub(super) fn refuse_duplicates<'a, K: Ord>(
    what: &str,
    entries: impl IntoIterator<Item = (K, &'a Entry<'a>)>,
) {
    let mut seen = BTreeMap::new();
    for (key, entry) in entries {
        if let Some(first) = seen.insert(key, entry.subject()) {
            entry.note(format!("this {what} is taken by {first}"), Some(format!("give each its own {what}")));
        }
    }
}
