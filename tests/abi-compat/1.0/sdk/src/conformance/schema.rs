//! A configuration's JSON Schema (draft 7), as far as the kit has to understand it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use vreserve_abi::PluginRef;

/// References that lead to references, at most.
const DEPTH: usize = 8;

/// The schema of one kind's configuration.
pub(super) struct Schema {
    root: Value,
}

/// A configuration for an instance of `kind` that the plugin's schema gives: the schema's first example, or each
/// required key with its own first example, default or only value.
///
/// # Errors
/// Which key has none.
pub fn sample(plugin: PluginRef, kind: &str) -> Result<Value, String> {
    Schema::of(plugin, kind)?.sample()
}

impl Schema {
    pub(super) fn of(plugin: PluginRef, kind: &str) -> Result<Self, String> {
        let schema = plugin.schema();
        let text = schema(kind.into());
        let root: Value =
            serde_json::from_str(text.as_str()).map_err(|error| format!("its schema is no JSON: {error}"))?;
        let schema = Schema { root };
        match schema.root.get("properties") {
            None if schema.root.get("type") != Some(&json!("object")) => {
                Err("its schema is not that of a table".to_owned())
            }
            _ => Ok(schema),
        }
    }

    /// The keys of the table, with their schemas.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root.get("properties").and_then(Value::as_object).into_iter().flatten()
    }

    /// The keys that must be there.
    pub(super) fn required(&self) -> Vec<&str> {
        let required = self.root.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(super) fn sample(&self) -> Result<Value, String> {
        if let Some(example) = self.root.get("examples").and_then(|examples| examples.get(0)) {
            return Ok(example.clone());
        }
        let mut sample = Map::new();
        for key in self.required() {
            let schema = self.root.pointer(&format!("/properties/{key}")).unwrap_or(&Value::Null);
            let resolved = self.resolve(schema);
            let value = [schema, resolved].into_iter().find_map(|schema| {
                let first = |of: &str| schema.get(of).and_then(|values| values.get(0));
                first("examples").or(schema.get("default")).or(schema.get("const")).or(first("enum"))
            });
            let value =
                value.ok_or_else(|| format!("the schema has no example for the required key `{key}`"))?;
            sample.insert(key.to_owned(), value.clone());
        }
        Ok(Value::Object(sample))
    }

    /// A value of a type that the schema of a key does not allow; none if it allows all that are tried.
    pub(super) fn misfit(&self, schema: &Value) -> Option<Value> {
        let types = self.types(schema, DEPTH)?;
        let candidates = [json!({ "no": "such" }), json!(true), json!([["no"]]), json!("\u{1}no such\u{1}")];
        candidates.into_iter().find(|value| !types.contains(type_of(value)))
    }

    /// The paths of the tables in `value` that have a schema which lists their keys, the outermost among them.
    pub(super) fn tables(&self, value: &Value) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        self.walk(value, &self.root, &mut Vec::new(), &mut found);
        found
    }

    fn walk(&self, value: &Value, schema: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let schema = self.resolve(schema);
        let Some(properties) = schema.get("properties") else { return };
        let Some(table) = value.as_object() else { return };
        found.push(path.clone());
        for (key, inner) in table {
            let Some(schema) = properties.get(key) else { continue };
            path.push(key.clone());
            self.walk(inner, schema, path, found);
            if let Some(first) = inner.get(0) {
                path.push("0".to_owned());
                self.walk(first, self.resolve(schema).get("items").unwrap_or(&Value::Null), path, found);
                path.pop();
            }
            path.pop();
        }
    }

    /// The JSON types that a schema allows; `None` for any.
    fn types(&self, schema: &Value, depth: usize) -> Option<BTreeSet<&'static str>> {
        if depth == 0 {
            return None;
        }
        let schema = self.resolve(schema);
        let named = |name: &str| TYPES.iter().find(|known| **known == name).copied();
        match schema.get("type") {
            Some(Value::String(name)) => return Some(named(name).into_iter().collect()),
            Some(Value::Array(names)) => {
                return Some(names.iter().filter_map(Value::as_str).filter_map(named).collect());
            }
            _ => {}
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return Some(values.iter().map(type_of).collect());
        }
        if let Some(value) = schema.get("const") {
            return Some([type_of(value)].into());
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return all.iter().find_map(|part| self.types(part, depth - 1));
        }
        let any = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array)?;
        let parts: Option<Vec<_>> = any.iter().map(|part| self.types(part, depth - 1)).collect();
        Some(parts?.into_iter().flatten().collect())
    }

    fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..DEPTH {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            let Some(target) = target else { break };
            schema = target;
        }
        schema
    }
}

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema {
            root: json!({
                "type": "object",
                "required": ["bind", "mode"],
                "properties": {
                    "bind": { "type": "string", "examples": ["127.0.0.1:0"] },
                    "mode": { "$ref": "#/definitions/Mode" },
                    "peers": { "type": "array", "items": { "$ref": "#/definitions/Peer" } },
                    "when": { "anyOf": [{ "type": "object" }, { "type": ["string", "null"] }] },
                    "any": {},
                },
                "definitions": {
                    "Mode": { "oneOf": [{ "enum": ["plain"] }, { "const": 7 }], "default": "plain" },
                    "Peer": { "type": "object", "properties": { "port": { "type": "integer" } } },
                },
            }),
        }
    }

    fn misfit(key: &str) -> Option<Value> {
        let schema = schema();
        schema.misfit(&schema.root["properties"][key])
    }

    #[test]
    fn a_sample_is_made_of_examples_and_defaults() {
        assert_eq!(schema().sample(), Ok(json!({ "bind": "127.0.0.1:0", "mode": "plain" })));
        let mut without = schema();
        without.root["properties"]["bind"] = json!({ "type": "string" });
        assert!(without.sample().unwrap_err().contains("`bind`"));
    }

    #[test]
    fn a_misfit_is_of_no_type_that_is_allowed() {
        assert_eq!(misfit("bind"), Some(json!({ "no": "such" })));
        assert_eq!(misfit("when"), Some(json!(true)));
        assert_eq!(misfit("mode"), Some(json!({ "no": "such" })));
        assert_eq!(misfit("any"), None);
    }

    #[test]
    fn tables_within_the_table_are_found() {
        let config = json!({ "bind": "x", "mode": "plain", "peers": [{ "port": 1 }] });
        assert_eq!(schema().tables(&config), [vec![], vec!["peers".to_owned(), "0".to_owned()]]);
    }
}
