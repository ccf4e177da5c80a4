//! The keys of a `reserve-exec` table, and the checks that their types cannot make.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use vreserve_sdk::Failure;
use vreserve_sdk::model::duration::{self, DurationText};

use crate::protocol::Verb;

/// What exceeds it is a mistake in the unit.
const LONGEST: Duration = Duration::from_secs(86_400);
/// VERSION is asked while the daemon starts, which must not wait long for a program that hangs.
const LONGEST_VERSION: Duration = Duration::from_secs(10);
/// Processes at once; more would be a mistake.
const MOST_CONCURRENT: usize = 256;
/// Names in the environment that the protocol has for itself begin so.
const OWN_NAMES: &str = "VRESERVE_";

/// The keys of `[reserve.<instance>]` with `use = "reserve-exec"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Its arguments, the same for every verb.
    #[serde(default)]
    pub args: Vec<String>,
    /// A table of the program's own, handed to it with every question.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// More of its environment. It gets nothing of the daemon's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// After this long a process that has not ended is killed and its outcome unknown.
    #[serde(default = "default_timeout", with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Other times for single verbs, such as `SUBMIT = "90s"`.
    #[serde(default)]
    pub timeouts: BTreeMap<Verb, Time>,
    /// How many processes may run at once, EVENTS not counted.
    #[serde(default = "default_concurrent")]
    pub concurrent: usize,
}

/// A duration in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Time(
    /// The duration.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub Duration,
);

/// Under the host's `reserve_timeout` with room for waiting.
const fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn default_concurrent() -> usize {
    4
}

impl Config {
    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if !self.program.is_absolute() {
            let reason = format!("{} is not an absolute path", self.program.display());
            return Err(Failure::invalid("program", reason));
        }
        if let Some(nth) = self.args.iter().position(|word| word.contains('\0')) {
            return Err(Failure::invalid(format!("args[{nth}]"), "a word cannot hold a zero byte"));
        }
        for (name, value) in &self.env {
            check_variable(name, value).map_err(|reason| Failure::invalid(format!("env.{name}"), reason))?;
        }
        check_time("timeout", self.timeout)?;
        for (verb, time) in &self.timeouts {
            check_time(&format!("timeouts.{verb}"), time.0)?;
        }
        if !(1..=MOST_CONCURRENT).contains(&self.concurrent) {
            let reason = format!("{} is not between 1 and {MOST_CONCURRENT}", self.concurrent);
            return Err(Failure::invalid("concurrent", reason));
        }
        Ok(())
    }

    /// How long a call of `verb` may run.
    pub(crate) fn timeout_of(&self, verb: Verb) -> Duration {
        let otherwise = match verb {
            Verb::Version => self.timeout.min(LONGEST_VERSION),
            _ => self.timeout,
        };
        self.timeouts.get(&verb).map_or(otherwise, |time| time.0)
    }
}

fn check_time(key: &str, time: Duration) -> Result<(), Failure> {
    if time.is_zero() || time > LONGEST {
        return Err(Failure::invalid(key, "it must be over 0 s and at most 24 h"));
    }
    Ok(())
}

fn check_variable(name: &str, value: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.contains(['=', '\0']) {
        Err("not a name of the environment")
    } else if name.starts_with(OWN_NAMES) {
        Err("names that begin with VRESERVE_ are the protocol's")
    } else if value.contains('\0') {
        Err("a value cannot hold a zero byte")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vreserve_sdk::read_config;

    fn checked(keys: Value) -> Result<Config, Failure> {
        let mut table = json!({ "program": "/usr/lib/site/reserve" });
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let config: Config = read_config(&table.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn a_program_is_enough_and_verbs_may_have_times_of_their_own() {
        let config = checked(json!({})).unwrap();
        assert_eq!((config.timeout_of(Verb::Submit), config.concurrent), (Duration::from_secs(30), 4));
        assert_eq!(config.timeout_of(Verb::Version), LONGEST_VERSION);
        let config = checked(json!({ "timeout": "5s", "timeouts": { "SUBMIT": "90s" } })).unwrap();
        assert_eq!(config.timeout_of(Verb::Submit), Duration::from_secs(90));
        assert_eq!(config.timeout_of(Verb::Version), Duration::from_secs(5));
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (keys, wrong) in [
            (json!({ "program": "reserve" }), "program"),
            (json!({ "args": ["a", "b\0"] }), "args[1]"),
            (json!({ "env": { "VRESERVE_VERB": "x" } }), "env.VRESERVE_VERB"),
            (json!({ "env": { "A=B": "x" } }), "env.A=B"),
            (json!({ "timeout": "0s" }), "timeout"),
            (json!({ "timeouts": { "SUBMIT": "25h" } }), "timeouts.SUBMIT"),
            (json!({ "concurrent": 0 }), "concurrent"),
        ] {
            let failure = checked(keys).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some(wrong), "{failure}");
        }
        let failure = checked(json!({ "timeouts": { "submit": "1s" } })).unwrap_err();
        assert!(failure.reason.contains("unknown variant `submit`"), "{failure}");
        assert!(checked(json!({ "programm": "/x" })).unwrap_err().reason.contains("unknown field"));
    }
}
