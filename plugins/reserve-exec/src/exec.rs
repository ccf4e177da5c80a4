//! A question becomes a process, and what that says an answer.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use vreserve_sdk::model::{Capabilities, RequestKey};
use vreserve_sdk::{Counter, Failure, Host};

use crate::answer::{self, Answer};
use crate::config::Config;
use crate::process::Job;
use crate::program::{self, NotRun};
use crate::protocol::{PROTOCOLS, Question, Verb, VersionAnswer};
use crate::turns::{Turn, Turns};

/// Where programs that the program runs are looked for, unless `env` says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LANG: &str = "C.UTF-8";

/// One program and how it is run.
pub(crate) struct Exec {
    config: Config,
    state_dir: PathBuf,
    turns: Turns,
    /// The version of the protocol that both speak, once known.
    protocol: OnceLock<u32>,
    counters: Counters,
}

struct Counters {
    runs: Counter,
    refusals: Counter,
    unknown_outcomes: Counter,
    cancelled: Counter,
}

impl Exec {
    /// Looks at the program without running it.
    pub(crate) fn open(config: Config, host: &Host) -> Result<Self, Failure> {
        program::check(&config.program).map_err(|reason| match &reason {
            NotRun::Unreadable(..) => Failure::unavailable(reason.to_string()),
            NotRun::Untrusted(..) => Failure::invalid("program", reason.to_string()),
        })?;
        let counters = Counters {
            runs: host.counter("runs", "processes started"),
            refusals: host.counter("refusals", "requests that the program declined"),
            unknown_outcomes: host.counter("unknown_outcomes", "changes of which nobody knows the outcome"),
            cancelled: host.counter("cancelled", "processes killed because nobody waited for them"),
        };
        let turns = Turns::new(config.concurrent);
        Ok(Exec { config, state_dir: host.state_dir(), turns, protocol: OnceLock::new(), counters })
    }

    /// Agrees on a version of the protocol and returns what the reservation system can do.
    pub(crate) async fn agree(&self) -> Result<Capabilities, Failure> {
        let question = Question { protocols: Some(PROTOCOLS.to_vec()), ..Question::default() };
        let answer = self.call::<VersionAnswer>(Verb::Version, question, None).await?;
        let Answer::Is(answer) = answer else {
            return Err(Failure::unavailable("VERSION was answered with no such reservation"));
        };
        let common = PROTOCOLS.into_iter().filter(|version| answer.protocols.contains(version)).max();
        let Some(common) = common else {
            let reason = format!("it speaks protocol {:?}, we speak {PROTOCOLS:?}", answer.protocols);
            return Err(Failure::invalid("program", reason));
        };
        let protocol = *self.protocol.get_or_init(|| common);
        for name in answer.capabilities.unknown_names() {
            tracing::warn!(name, "the program claims a capability that we do not know");
        }
        let (name, version) = (answer.name.as_str(), answer.version.as_str());
        tracing::info!(name, version, protocol, "program agreed");
        Ok(Capabilities::from(&answer.capabilities))
    }

    /// Asks the program. `key` is the reservation that it is about, if it is about one.
    pub(crate) async fn call<A: DeserializeOwned>(
        &self,
        verb: Verb,
        question: Question,
        key: Option<&RequestKey>,
    ) -> Result<Answer<A>, Failure> {
        let question = Question { options: self.config.options.clone(), ..question };
        let question = serde_json::to_vec(&question)
            .map_err(|error| Failure::internal(format!("{verb} cannot be asked: {error}")))?;
        // EVENTS is waiting almost all of the time; it must not keep others from their turn.
        let turn = if verb == Verb::Events { Turn::default() } else { self.turns.take(key).await? };
        program::check(&self.config.program).map_err(|reason| Failure::unavailable(reason.to_string()))?;
        self.counters.runs.add(1);
        let run = self.job(verb, question).run(turn).await;
        let answer = answer::read(verb, run);
        if let Err(failure) = &answer {
            let is_refusal = failure.kind == vreserve_sdk::FailureKind::Refused;
            self.counters.refusals.add(is_refusal.into());
            self.counters.unknown_outcomes.add(answer::is_unknown(failure).into());
        }
        answer
    }

    fn job(&self, verb: Verb, question: Vec<u8>) -> Job<'_> {
        let timeout = self.config.timeout_of(verb);
        let mut env = vec![("PATH", PATH.to_owned()), ("LANG", LANG.to_owned())];
        env.extend(self.config.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
        env.push(("VRESERVE_VERB", verb.name().to_owned()));
        env.push(("VRESERVE_STATE_DIR", self.state_dir.display().to_string()));
        env.push(("VRESERVE_TIMEOUT", timeout.as_secs_f64().to_string()));
        if let Some(protocol) = self.protocol.get() {
            env.push(("VRESERVE_PROTOCOL", protocol.to_string()));
        }
        Job {
            verb,
            program: &self.config.program,
            args: &self.config.args,
            env,
            directory: &self.state_dir,
            question,
            timeout,
            cancelled: self.counters.cancelled,
        }
    }
}
