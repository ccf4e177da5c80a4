//! The keys of a `reserve-odin` table, and the checks that their types cannot make.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::Failure;
use vreserve_sdk::model::BitsPerSecond;

/// Longer than any switch takes: what exceeds it is a mistake in the unit.
const LONGEST_SECONDS: f64 = 86_400.0;

/// The keys of `[reserve.<instance>]` with `use = "reserve-odin"`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The client program, an absolute path.
    #[serde(default = "default_client")]
    pub client: PathBuf,
    /// The server's unix socket, an absolute path, handed to the client as `ODIN_SERVER`. Unset, the client
    /// uses its own default.
    pub server: Option<PathBuf>,
    /// The lambda numbers that may be used: a list, or a count from 1.
    #[serde(default)]
    pub lambdas: Lambdas,
    /// Words that are handed to the client behind the lambda.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The rate of a lightpath, whatever rate is asked for.
    #[serde(default = "default_rate")]
    pub rate: BitsPerSecond,
    /// Seconds from request to carrying traffic, for planning. Unset: what the server said of its last paths,
    /// and before there were any 17.5.
    pub setup_time: Option<f64>,
    /// Seconds from cancel to gone, for planning. Unset: as with `setup_time`, at first 12.
    pub teardown_time: Option<f64>,
    /// The administrator's command that lists the server's paths: a program by its absolute path, and its
    /// arguments. With it requests of unknown outcome are resolved.
    pub list: Option<Vec<String>>,
    /// Seconds after which a request whose client has gone has reached the server or never will.
    #[serde(default = "default_settle_time")]
    pub settle_time: f64,
    /// The server takes requests for later, by `start=` and `end=` behind the flags.
    #[serde(default)]
    pub deferred: bool,
    /// Seconds after which a client that has not ended is killed and its outcome unknown.
    #[serde(default = "default_timeout")]
    pub timeout: f64,
}

/// Lambda numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list of lambda numbers from 1, or how many there are")]
pub enum Lambdas {
    /// 1 to this number.
    Count(u16),
    /// These, in order of preference.
    List(Vec<u16>),
}

impl Default for Lambdas {
    fn default() -> Self {
        Lambdas::Count(4)
    }
}

impl Lambdas {
    /// The numbers, in order of preference.
    pub fn numbers(&self) -> Vec<u16> {
        match self {
            Lambdas::Count(count) => (1..=*count).collect(),
            Lambdas::List(numbers) => numbers.clone(),
        }
    }
}

fn default_client() -> PathBuf {
    "/usr/bin/oclient".into()
}

const fn default_rate() -> BitsPerSecond {
    BitsPerSecond(1_000_000_000)
}

/// The client sends its request within milliseconds of its start; this bears a machine that swaps.
const fn default_settle_time() -> f64 {
    5.0
}

const fn default_timeout() -> f64 {
    60.0
}

impl Config {
    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let paths = [("client", Some(&self.client)), ("server", self.server.as_ref())];
        for (key, path) in paths {
            if let Some(path) = path.filter(|path| !path.is_absolute()) {
                return Err(Failure::invalid(key, format!("{} is not an absolute path", path.display())));
            }
        }
        self.check_lambdas()?;
        if self.flags.iter().any(|flag| flag.contains('\0')) {
            return Err(Failure::invalid("flags", "a word cannot hold a zero byte"));
        }
        if self.rate.0 == 0 {
            return Err(Failure::invalid("rate", "a lightpath carries more than nothing"));
        }
        self.check_list()?;
        for (key, seconds) in [("setup_time", self.setup_time), ("teardown_time", self.teardown_time)] {
            check_seconds(key, seconds.unwrap_or_default())?;
        }
        check_seconds("settle_time", self.settle_time)?;
        check_seconds("timeout", self.timeout)?;
        if self.timeout == 0.0 {
            return Err(Failure::invalid("timeout", "no client ends within 0 seconds"));
        }
        Ok(())
    }

    /// [`Config::timeout`] as a time.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// [`Config::settle_time`] as a time.
    pub(crate) fn settle_time(&self) -> Duration {
        Duration::from_secs_f64(self.settle_time)
    }

    fn check_list(&self) -> Result<(), Failure> {
        let Some(words) = &self.list else { return Ok(()) };
        if !words.first().is_some_and(|program| program.starts_with('/')) {
            return Err(Failure::invalid("list", "it must begin with the absolute path of a program"));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(Failure::invalid("list", "a word cannot hold a zero byte"));
        }
        Ok(())
    }

    fn check_lambdas(&self) -> Result<(), Failure> {
        let numbers = self.lambdas.numbers();
        let invalid = |reason: &str| Err(Failure::invalid("lambdas", reason));
        if numbers.is_empty() {
            return invalid("there must be at least one lambda");
        }
        if numbers.contains(&0) {
            return invalid("lambdas are numbered from 1");
        }
        if numbers.iter().collect::<BTreeSet<_>>().len() != numbers.len() {
            return invalid("a lambda is named twice");
        }
        Ok(())
    }
}

fn check_seconds(key: &str, seconds: f64) -> Result<(), Failure> {
    if (0.0..=LONGEST_SECONDS).contains(&seconds) {
        Ok(())
    } else {
        Err(Failure::invalid(key, format!("{seconds} is not between 0 and {LONGEST_SECONDS} seconds")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    fn checked(text: &str) -> Result<Config, Failure> {
        let config: Config = read_config(text)?;
        config.check().map(|()| config)
    }

    #[test]
    fn an_empty_table_is_the_papers_network() {
        let config = checked("{}").unwrap();
        assert_eq!(config.client, PathBuf::from("/usr/bin/oclient"));
        assert_eq!(config.lambdas.numbers(), [1, 2, 3, 4]);
        assert_eq!((config.setup_time, config.teardown_time, config.timeout), (None, None, 60.0));
        assert_eq!((config.list, config.deferred, config.settle_time), (None, false, 5.0));
    }

    #[test]
    fn lambdas_are_a_count_or_a_list() {
        assert_eq!(checked(r#"{"lambdas":2}"#).unwrap().lambdas.numbers(), [1, 2]);
        assert_eq!(checked(r#"{"lambdas":[3,1]}"#).unwrap().lambdas.numbers(), [3, 1]);
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (key, value) in [
            ("client", "\"oclient\""),
            ("server", "\"odin.sock\""),
            ("lambdas", "0"),
            ("lambdas", "[]"),
            ("lambdas", "[1,1]"),
            ("lambdas", "[0]"),
            ("lambdas", "\"all\""),
            ("flags", r#"["a\u0000b"]"#),
            ("rate", "0"),
            ("setup_time", "-1"),
            ("teardown_time", "100000"),
            ("timeout", "0"),
            ("settle_time", "-1"),
            ("list", "[]"),
            ("list", "[\"odin-server\"]"),
            ("list", r#"["/bin/list","a\u0000b"]"#),
            ("deferred", "1"),
        ] {
            let failure = checked(&format!(r#"{{"{key}":{value}}}"#)).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some(key), "{value}: {failure}");
        }
        assert!(checked(r#"{"lambda":1}"#).unwrap_err().reason.contains("unknown field `lambda`"));
    }
}
