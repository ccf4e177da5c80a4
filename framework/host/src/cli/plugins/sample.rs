//! `vreserve plugins sample-config`: a table to begin with, from what a plugin says of its keys.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value};

use super::inspect::inspections;
use super::message::{Inspection, KindInspection};
use super::new::kind;
use crate::plugin::PluginKind;

/// Longest line of a comment.
const WIDTH: usize = 100;
/// References that are followed; a schema that refers to itself ends here.
const DEEPEST: usize = 8;

/// What `vreserve plugins sample-config` is told.
#[derive(Debug, Args)]
pub(crate) struct SampleConfig {
    /// The plugin's shared object, which a child process loads
    file: PathBuf,
    /// Only for this kind, if it serves several: capture, link, infer, adapt or reserve
    #[arg(long, value_parser = kind)]
    kind: Option<PluginKind>,
    /// Print the JSON Schema as it is
    #[arg(long)]
    json: bool,
}

impl SampleConfig {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut tables = Vec::new();
        for found in inspections(&self.file)? {
            for KindInspection { kind, schema } in &found.kinds {
                if self.kind.is_none_or(|wanted| wanted.name() == kind) {
                    tables.push(if self.json {
                        serde_json::to_string_pretty(schema)? + "\n"
                    } else {
                        table(&found, kind, schema)
                    });
                }
            }
        }
        match tables.as_slice() {
            [] => bail!("{} serves no such kind", self.file.display()),
            [_, _, ..] if self.json => bail!("{} serves several kinds: name one", self.file.display()),
            _ => print!("{}", tables.join("\n")),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The table: what must be there as keys, everything else as comments with their defaults.
fn table(found: &Inspection, kind: &str, schema: &Value) -> String {
    let Inspection { name, version, description, .. } = found;
    let instance = name.rsplit('-').next().unwrap_or(name);
    let mut text = String::new();
    comment(&mut text, &format!("{name} {version}: {description}"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[{kind}.{instance}]\nuse = {name:?}");
    match kind {
        "reserve" => text += "network = \"\"\n",
        "link" => text += "# network = \"\"\n",
        _ => {}
    }
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let is_required = |key: &str| {
        schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key))
    };
    for (key, property) in properties {
        text.push('\n');
        let kind = followed(schema, property);
        let described = property["description"].as_str().or(kind["description"].as_str());
        let what = what(schema, property);
        comment(&mut text, &[described.unwrap_or_default(), &format!("({what})")].join(" "));
        let example = [property, &kind].into_iter().find_map(|of| of["examples"].get(0));
        let default = property.get("default").filter(|default| !default.is_null()).or(example);
        let shown = default.and_then(toml_of).unwrap_or_else(|| placeholder(&kind));
        let mark = if is_required(key) { "" } else { "# " };
        let _ = writeln!(text, "{mark}{} = {shown}", quoted(key));
    }
    text
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { format!("{key:?}") }
}

/// The type behind references, and behind "or null".
fn followed(schema: &Value, property: &Value) -> Value {
    let mut at = property;
    for _ in 0..DEEPEST {
        let reference = at["$ref"].as_str().and_then(|path| schema.pointer(path.strip_prefix('#')?));
        let only = ["allOf", "anyOf"].iter().find_map(|word| {
            let mut options = at[word].as_array()?.iter().filter(|option| option["type"] != "null");
            options.next().filter(|_| options.next().is_none())
        });
        match reference.or(only) {
            Some(next) => at = next,
            None => break,
        }
    }
    at.clone()
}

/// The type in words, with bounds.
fn what(schema: &Value, property: &Value) -> String {
    let kind = followed(schema, property);
    if let Some(values) = kind["enum"].as_array() {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    }
    let options = kind["anyOf"].as_array().or(kind["oneOf"].as_array());
    if let Some(options) = options {
        let each = options.iter().map(|option| match option.get("const") {
            Some(value) => value.to_string(),
            None => what(schema, option),
        });
        return each.collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match &kind["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => vec!["anything"],
    };
    let words = names.iter().map(|name| match *name {
        "object" => "table".to_owned(),
        "string" => "text".to_owned(),
        "array" if kind["items"].is_object() => format!("array of {}", what(schema, &kind["items"])),
        other => other.to_owned(),
    });
    let words = words.collect::<Vec<_>>().join(" or ");
    let bound = |word: &str, sign: &str| {
        kind.get(word).filter(|bound| bound.is_number()).map(|bound| format!(", {sign} {bound}"))
    };
    let bounds = [bound("minimum", "at least"), bound("maximum", "at most")];
    words + &bounds.into_iter().flatten().collect::<String>()
}

/// Something of the type, for an operator to replace.
fn placeholder(kind: &Value) -> String {
    let name = kind["type"].as_str().or_else(|| kind["type"].as_array()?.first()?.as_str());
    let first = kind["enum"].as_array().and_then(|values| values.first()).and_then(toml_of);
    first.unwrap_or_else(|| {
        match name {
            Some("integer") => "0",
            Some("number") => "0.0",
            Some("boolean") => "false",
            Some("array") => "[]",
            Some("object") => "{}",
            _ => "\"\"",
        }
        .to_owned()
    })
}

/// A JSON value as TOML on one line; none for what TOML has no word for.
fn toml_of(value: &Value) -> Option<String> {
    Some(toml::Value::try_from(value).ok()?.to_string())
}

/// Text as comment lines.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            text.push_str(&line);
            text.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_must_be_there_is_a_key_and_the_rest_a_comment_with_its_default() {
        let schema = json!({
            "properties": {
                "bind": { "description": "The address.", "type": "string", "examples": ["[::]:1"] },
                "flags": { "type": "array", "items": { "type": "string" }, "default": ["-q"] },
                "rate": { "$ref": "#/definitions/Rate", "default": 1_000_000 },
                "window": { "anyOf": [{ "$ref": "#/definitions/Window" }, { "type": "null" }] },
            },
            "required": ["bind"],
            "definitions": {
                "Rate": { "description": "Bits per second.", "type": ["integer", "string"] },
                "Window": { "description": "A time.", "type": "integer", "minimum": 1 },
            }
        });
        let found = Inspection {
            name: "reserve-mine".into(),
            version: "1.2.3".into(),
            description: "Mine.".into(),
            abi: "1.0.0".into(),
            panic: "unwind".into(),
            path: "/x.so".into(),
            sha256: String::new(),
            kinds: Vec::new(),
        };
        let text = table(&found, "reserve", &schema);
        let expected = "# reserve-mine 1.2.3: Mine.\n[reserve.mine]\nuse = \"reserve-mine\"\nnetwork = \"\"\n\n\
                        # The address. (text)\nbind = \"[::]:1\"\n\n# (array of text)\n# flags = [\"-q\"]\n\n\
                        # Bits per second. (integer or text)\n# rate = 1000000\n\n\
                        # A time. (integer, at least 1)\n# window = 0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "definitions": { "A": { "$ref": "#/definitions/A" } } });
        assert_eq!(what(&schema, &json!({ "$ref": "#/definitions/A" })), "anything");
    }
}
