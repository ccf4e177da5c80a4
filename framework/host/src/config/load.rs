//! Reads a configuration file.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::error::{ConfigError, ConfigErrors, Location, unreadable};
use super::node::default_socket;
use super::section::{Notes, Section};
use super::types::{Config, Source};
use super::{faults, read};
use crate::plugin::FaultPlan;

/// Longest configuration in bytes.
const MAX_FILE: u64 = 4 << 20;

impl Config {
    /// Reads the file at `path`. Nothing else is touched: neither keys nor plugins are looked for.
    ///
    /// # Errors
    /// Everything that is wrong with it: it cannot be read, its syntax, unknown and missing keys and tables,
    /// wrong types and values, duplicates, names that refer to nothing.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(path, &read_file(path)?)
    }

    /// The control socket that the file at `path` names, also if there are mistakes elsewhere in it: whoever has a
    /// daemon read a wrong file again is to hear of it from the daemon.
    pub fn socket_in(path: &Path) -> Option<PathBuf> {
        let text = std::fs::read_to_string(path).ok()?;
        let (document, _) = DeTable::parse_recoverable(&text);
        let node = document.get_ref().get("node")?.get_ref().as_table()?;
        let text = |key: &str| node.get(key)?.get_ref().as_str().map(str::to_owned);
        text("socket").map(PathBuf::from).or_else(|| Some(default_socket(Some(&text("name")?))))
    }

    /// Reads `text`, the content of `file`, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// As for `load`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        read_with(file, text, read::config)
    }
}

impl FaultPlan {
    /// Reads `text`, the content of `file`: the keys of a `[reserve.<instance>.faults]` table.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        read_with(file, text, |_, root| faults::plan(root))
    }
}

/// The text of the file at `path`.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(whole(path, format!("the configuration is longer than {MAX_FILE} bytes")).into());
    }
    Ok(String::from_utf8(bytes).map_err(|error| not_text(path, &error))?)
}

/// Reads `text`, the content of `file`, with `read`, which notes what is wrong wherever it gives nothing.
pub(super) fn read_with<T>(
    file: &Path,
    text: &str,
    read: impl for<'a> FnOnce(&'a Notes<'a>, Section<'a>) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let source = Source { file: file.to_owned(), text: text.into() };
    let (document, syntax) = DeTable::parse_recoverable(&source.text);
    if let Some(errors) = ConfigErrors::of(syntax.iter().map(|error| wrong_syntax(&source, error)).collect())
    {
        return Err(errors);
    }
    let notes = Notes { source: &source, errors: RefCell::new(Vec::new()) };
    let value = read(&notes, Section::root(&notes, document.get_ref()));
    match ConfigErrors::of(notes.errors.take()) {
        Some(errors) => Err(errors),
        None => Ok(value.expect("whatever is left out has been noted")),
    }
}

fn wrong_syntax(source: &Source, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let message = error.message().replace('\n', ", ");
    let hint = "TOML has [kind.name] above key = value, and text in double quotes";
    ConfigError {
        location: Some(Location::of(&source.text, at)),
        suggestion: Some(hint.to_owned()),
        ..whole(&source.file, message)
    }
}

fn not_text(file: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let valid = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
    ConfigError {
        location: Some(Location::of(&text, valid)),
        suggestion: Some("save the file as UTF-8".to_owned()),
        ..whole(file, "not UTF-8 text")
    }
}

fn whole(file: &Path, message: impl Into<String>) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        location: None,
        subject: String::new(),
        message: message.into(),
        suggestion: None,
    }
}
