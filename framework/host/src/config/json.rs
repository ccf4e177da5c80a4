//! A plugin's own keys as JSON: what crosses the plugin boundary.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// The keys of one plugin's table, from a file that holds nothing else, as JSON.
///
/// # Errors
/// In one line, why the text cannot be read.
pub(crate) fn plugin_settings(text: &str) -> Result<Value, String> {
    let table = DeTable::parse(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
    of(&DeValue::Table(table.into_inner()))
}

/// The value as JSON; dates and times become text.
///
/// # Errors
/// A number that JSON cannot express.
pub(super) fn of(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| format!("{number} is out of range"))?,
        DeValue::Float(number) => {
            let value = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::from(value.ok_or_else(|| format!("{} is not a finite number", number.as_str()))?)
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(elements) => {
            elements.iter().map(|element| of(element.get_ref())).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Ok((key.to_string(), of(value.get_ref())?))
            };
            Value::from(table.iter().map(entry).collect::<Result<Map<_, _>, String>>()?)
        }
    })
}
