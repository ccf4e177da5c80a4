//! One ODIN server: which lambda to ask for, what to record before and after, what to tell the host.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vreserve_sdk::model::{Observed, Request, RequestKey};
use vreserve_sdk::{Counter, Failure, Host};

use crate::answer::{self, Asked, Created, Path, Refusal, TornDown};
use crate::circuit::{Circuit, Stage};
use crate::client::{Client, Run};
use crate::config::Config;
use crate::journal::Journal;

/// How long a client without arguments may take to print its usage.
const USAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// One ODIN server.
pub(crate) struct Odin {
    pub(crate) config: Config,
    client: Client,
    journal: Mutex<Journal>,
    /// Held while the client runs. ODIN works off one request at a time anyway; queueing here keeps the
    /// client's time-out from running meanwhile.
    turn: tokio::sync::Mutex<()>,
    counters: Counters,
}

struct Counters {
    runs: Counter,
    refusals: Counter,
    unknown_outcomes: Counter,
}

impl Odin {
    /// Reads the record of an earlier run; the client is not run yet.
    pub(crate) fn open(config: Config, host: &Host) -> Result<Odin, Failure> {
        let journal = Journal::open(host.state_dir())?;
        for circuit in journal.circuits() {
            tracing::info!(key = %circuit.key, lambda = circuit.lambda, stage = ?circuit.stage, "found on record");
        }
        let client = Client { program: config.client.clone(), server: config.server.clone() };
        let counters = Counters {
            runs: host.counter("client_runs", "Runs of the client that change something."),
            refusals: host.counter("refusals", "Requests that the server refused, busy lambdas included."),
            unknown_outcomes: host.counter("unknown_outcomes", "Runs of which nobody knows what they did."),
        };
        let turn = tokio::sync::Mutex::new(());
        Ok(Odin { config, client, journal: Mutex::new(journal), turn, counters })
    }

    /// The record. A panic elsewhere cannot have left it half changed: each change is one insertion or removal.
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observed(&self, key: &RequestKey) -> Option<Observed> {
        self.journal().circuit(key).map(|circuit| circuit.observed(self.config.rate))
    }

    pub(crate) fn owned(&self, owner: &str) -> Vec<Observed> {
        let rate = self.config.rate;
        self.journal().circuits().filter(|c| c.belongs_to(owner)).map(|c| c.observed(rate)).collect()
    }

    async fn run(&self, arguments: &[String]) -> Run {
        self.counters.runs.add(1);
        tracing::debug!(?arguments, "running the client");
        self.client.run(arguments, self.config.timeout()).await
    }

    pub(crate) async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let (a, z) = (end(&request.a, "a")?, end(&request.z, "z")?);
        if request.start_ms.is_some() {
            return Err(Failure::unsupported("a lightpath is set up when it is asked for, not later"));
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.observed(&request.key) {
            return Ok(known);
        }
        let lambdas = self.candidates();
        if lambdas.is_empty() {
            return Err(Failure::refused("every lambda is quarantined, as what uses it is unknown"));
        }
        let mut busy = String::new();
        for lambda in lambdas {
            let circuit = intent(&request, Asked { a, z, lambda });
            match self.ask(circuit).await {
                Err(refusal) if refusal.is_lambda_busy() => busy = refusal.words,
                Err(refusal) => return Err(self.refused(&request.key, a, z, &refusal)),
                Ok(answer) => return answer,
            }
        }
        self.journal().forget(&request.key);
        Err(Failure::refused(format!("no lambda is free; {busy}")))
    }

    /// Asks for one lambda: first recorded, then asked. The outer error is the server's no.
    async fn ask(&self, circuit: Circuit) -> Result<Result<Observed, Failure>, Refusal> {
        let asked = Asked { a: circuit.a, z: circuit.z, lambda: circuit.lambda };
        let begun = self.journal().begin(circuit.clone());
        if let Err(failure) = begun {
            // An earlier lambda of this request was busy: nothing is asked any more.
            self.journal().forget(&circuit.key);
            return Ok(Err(failure));
        }
        let mut arguments =
            vec!["-c".to_owned(), asked.a.to_string(), asked.z.to_string(), asked.lambda.to_string()];
        arguments.extend_from_slice(&self.config.flags);
        let run = self.run(&arguments).await;
        match answer::created(&run, asked) {
            Created::Up(path) => Ok(Ok(self.established(circuit, path))),
            Created::Refused(refusal) => {
                self.counters.refusals.add(1);
                Err(refusal)
            }
            Created::Unavailable(reason) => {
                self.journal().forget(&circuit.key);
                Ok(Err(Failure::unavailable(reason)))
            }
            Created::Unknown(reason) => Ok(Err(self.quarantine(circuit, reason))),
        }
    }

    fn established(&self, circuit: Circuit, path: Path) -> Observed {
        let Path { id, switches } = path;
        tracing::info!(key = %circuit.key, path = id, lambda = circuit.lambda, "lightpath up");
        let circuit = Circuit { stage: Stage::Up { path: id }, switches, words: "up".to_owned(), ..circuit };
        let observed = circuit.observed(self.config.rate);
        self.journal().update(circuit);
        observed
    }

    fn quarantine(&self, circuit: Circuit, reason: String) -> Failure {
        tracing::warn!(key = %circuit.key, lambda = circuit.lambda, reason, "outcome unknown, lambda quarantined");
        self.counters.unknown_outcomes.add(1);
        let failure = Failure::unknown_outcome(format!("{reason}; lambda {} is quarantined", circuit.lambda));
        self.journal().update(Circuit { stage: Stage::Unknown, words: reason, ..circuit });
        failure
    }

    /// The server's no for another reason than a busy lambda. If it says that a path joins the two already, and
    /// there is a request for these two of unknown outcome, then that path is what became of it.
    fn refused(&self, key: &RequestKey, a: IpAddr, z: IpAddr, refusal: &Refusal) -> Failure {
        let mut journal = self.journal();
        journal.forget(key);
        let lost = journal.circuits().find(|c| c.stage == Stage::Unknown && c.joins(a, z)).cloned();
        let (Some(path), Some(lost)) = (refusal.connected_path(), lost) else {
            return Failure::refused(refusal.words.clone());
        };
        tracing::info!(key = %lost.key, path, "the path of a request of unknown outcome was learned");
        let reason = format!("{}; it is the outcome of {}, unknown until now", refusal.words, lost.key);
        journal.update(Circuit { stage: Stage::Up { path }, words: refusal.words.clone(), ..lost });
        Failure::refused(reason)
    }

    /// Lambdas in the order in which to ask for them: those that nothing of ours uses, then those in use, which
    /// the server may still grant on other fibres. Never one that is quarantined.
    fn candidates(&self) -> Vec<u16> {
        let journal = self.journal();
        let lambdas_of = |is_lost: bool| -> BTreeSet<u16> {
            journal.circuits().filter(|c| c.path().is_none() == is_lost).map(|c| c.lambda).collect()
        };
        let (quarantined, used) = (lambdas_of(true), lambdas_of(false));
        let allowed = self.config.lambdas.numbers().into_iter().filter(|n| !quarantined.contains(n));
        let (in_use, mut free): (Vec<_>, Vec<_>) = allowed.partition(|number| used.contains(number));
        free.extend(in_use);
        free
    }

    pub(crate) async fn cancel(&self, key: &RequestKey) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let Some(circuit) = self.journal().circuit(key).cloned() else { return Ok(()) };
        let Some(path) = circuit.path().map(str::to_owned) else {
            let lambda = circuit.lambda;
            let reason = format!("the path id was never learned; lambda {lambda} is quarantined");
            return Err(Failure::unknown_outcome(reason));
        };
        let releasing = Circuit { stage: Stage::Releasing { path: path.clone() }, ..circuit.clone() };
        self.journal().update(releasing.clone());
        let run = self.run(&["-t".to_owned(), path.clone()]).await;
        match answer::torn_down(&run, &path) {
            TornDown::Gone => {
                tracing::info!(%key, path, "lightpath down");
                self.journal().forget(key);
                Ok(())
            }
            TornDown::Refused(refusal) => {
                self.counters.refusals.add(1);
                self.journal().update(circuit);
                Err(Failure::refused(refusal.words))
            }
            TornDown::Unavailable(reason) => {
                self.journal().update(circuit);
                Err(Failure::unavailable(reason))
            }
            TornDown::Unknown(reason) => {
                self.counters.unknown_outcomes.add(1);
                self.journal().update(Circuit { words: reason.clone(), ..releasing });
                Err(Failure::unknown_outcome(reason))
            }
        }
    }

    /// Cancels what is on record and not `valid`. Requests of unknown outcome cannot be and stay; another failure
    /// is reported once all have been tried.
    pub(crate) async fn cancel_all_but(&self, valid: &[RequestKey]) -> Result<Vec<RequestKey>, Failure> {
        let stale: Vec<_> = {
            let journal = self.journal();
            let is_stale = |c: &&Circuit| c.path().is_some() && !valid.contains(&c.key);
            journal.circuits().filter(is_stale).map(|c| c.key.clone()).collect()
        };
        let (mut cancelled, mut failed) = (Vec::new(), None);
        for key in stale {
            match self.cancel(&key).await {
                Ok(()) => cancelled.push(key),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(cancelled), Err)
    }

    /// Runs the client without arguments: it prints its usage and asks nobody anything.
    pub(crate) async fn health(&self) -> Result<(), Failure> {
        if let Some(server) = self.config.server.as_ref().filter(|server| !server.exists()) {
            return Err(Failure::unavailable(format!("there is no server at {}", server.display())));
        }
        let timeout = USAGE_TIMEOUT.min(self.config.timeout());
        match self.client.run::<String>(&[], timeout).await {
            Run::Exited { .. } => Ok(()),
            Run::NotStarted(reason) | Run::Lost(reason) => Err(Failure::unavailable(reason)),
        }
    }
}

fn intent(request: &Request, asked: Asked) -> Circuit {
    Circuit {
        key: request.key.clone(),
        owner: request.owner.clone(),
        a: asked.a,
        z: asked.z,
        lambda: asked.lambda,
        stage: Stage::Asking,
        switches: None,
        words: "asking".to_owned(),
    }
}

/// An end of a lightpath: an IP address and nothing that the client could take for an option.
fn end(address: &str, key: &str) -> Result<IpAddr, Failure> {
    address.parse().map_err(|_| Failure::invalid(key, format!("{address:?} is not an IP address")))
}
