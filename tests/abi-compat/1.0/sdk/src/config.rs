//! A plugin's configuration: JSON text in, a typed value or the path of the wrong key out.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use vreserve_model::Failure;

/// Reads `text` as a `C`.
///
/// # Errors
/// `Invalid` with the path of the key that is missing, unknown or of the wrong type.
pub fn read<C: DeserializeOwned>(text: &str) -> Result<C, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { String::new() } else { path };
        // The position is one in our JSON rendering of the operator's TOML: of no use to anybody.
        let reason = error.inner().to_string();
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(text, _)| text).to_owned();
        Failure::invalid(key, reason)
    })
}

/// The JSON Schema (draft 7, which editors' TOML servers read) of a configuration type.
pub(crate) fn schema<C: JsonSchema>() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<C>();
    serde_json::to_string(&schema).expect("a schema is plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        peers: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        port: u16,
    }

    #[test]
    fn the_wrong_key_is_named_by_its_path() {
        let failure = read::<Outer>(r#"{"peers":[{"port":1},{"port":"big"}]}"#).unwrap_err();
        assert_eq!(failure.key.as_deref(), Some("peers[1].port"));
        assert!(failure.reason.contains("invalid type: string \"big\", expected u16"), "{}", failure.reason);
        assert!(!failure.reason.contains("line"), "{}", failure.reason);
        let failure = read::<Outer>(r#"{"peers":[],"peer":1}"#).unwrap_err();
        assert!(failure.reason.contains("unknown field `peer`"), "{}", failure.reason);
        assert_eq!(read::<Outer>(r#"{"peers":[{"port":7}]}"#).unwrap().peers[0].port, 7);
    }

    #[test]
    fn the_schema_lists_the_keys() {
        assert!(schema::<Outer>().contains("\"peers\""));
    }
}
