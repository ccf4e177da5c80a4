//! One ODIN server: which lambda to ask for, what to record before and after, what to tell the host. What a list
//! of the server's paths changes is in `listed`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vreserve_sdk::model::{Observed, Request, RequestKey};
use vreserve_sdk::{Counter, Failure, Host};

use crate::answer::{self, Asked, Created, Path, Refusal, TornDown};
use crate::circuit::{Circuit, Stage};
use crate::client::{Client, Run};
use crate::config::Config;
use crate::journal::Journal;
use crate::lambdas::{Occupant, candidates};
use crate::listing::Listed;
use crate::times::{Times, TimesFile};

/// How long a client without arguments may take to print its usage.
const USAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// One ODIN server.
pub(crate) struct Odin {
    pub(crate) config: Config,
    pub(crate) client: Client,
    journal: Mutex<Journal>,
    times: Mutex<TimesFile>,
    /// The switches between two ends, as the server last said.
    ways: Mutex<BTreeMap<(IpAddr, IpAddr), Vec<String>>>,
    /// Since when this run has seen requests whose outcome is unknown.
    pub(crate) unsettled: Mutex<BTreeMap<RequestKey, Instant>>,
    /// Held while the client runs. ODIN works off one request at a time anyway; queueing here keeps the
    /// client's time-out from running meanwhile.
    turn: tokio::sync::Mutex<()>,
    counters: Counters,
}

struct Counters {
    runs: Counter,
    refusals: Counter,
    unknown_outcomes: Counter,
    resolved: Counter,
    lost: Counter,
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
            resolved: host
                .counter("resolved", "Requests of unknown outcome that the server's list explained."),
            lost: host.counter("lost", "Paths that the server's list no longer has as ours."),
        };
        let ways = journal.circuits().map(|circuit| (ends(circuit.a, circuit.z), circuit.route()));
        let ways = ways.filter(|(_, way)| !way.is_empty()).collect();
        Ok(Odin {
            client,
            times: Mutex::new(TimesFile::open(&host.state_dir())),
            ways: Mutex::new(ways),
            unsettled: Mutex::new(BTreeMap::new()),
            turn: tokio::sync::Mutex::new(()),
            journal: Mutex::new(journal),
            counters,
            config,
        })
    }

    /// The record. A panic elsewhere cannot have left it half changed: each change is one insertion or removal.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// How long the server takes, by its own word.
    pub(crate) fn times(&self) -> Times {
        lock(&self.times).times()
    }

    pub(crate) fn observed(&self, key: &RequestKey) -> Option<Observed> {
        self.journal().circuit(key).map(|circuit| circuit.observed(self.config.rate, wall_ms()))
    }

    pub(crate) fn owned(&self, owner: &str) -> Vec<Observed> {
        let (rate, now) = (self.config.rate, wall_ms());
        self.journal().circuits().filter(|c| c.belongs_to(owner)).map(|c| c.observed(rate, now)).collect()
    }

    /// A request of unknown outcome is explained, or a path turned out to be no longer ours.
    pub(crate) fn count_resolution(&self, is_lost: bool) {
        let counter = if is_lost { &self.counters.lost } else { &self.counters.resolved };
        counter.add(1);
    }

    async fn run(&self, arguments: &[String]) -> Run {
        self.counters.runs.add(1);
        tracing::debug!(?arguments, "running the client");
        self.client.run(arguments, self.config.timeout()).await
    }

    pub(crate) async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let (a, z) = (end(&request.a, "a")?, end(&request.z, "z")?);
        if request.start_ms.is_some() && !self.config.deferred {
            return Err(Failure::unsupported("a lightpath is set up when it is asked for, not later"));
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.observed(&request.key) {
            return Ok(known);
        }
        let listed = self.resolve_all().await;
        let lambdas = self.candidates(a, z, &listed);
        if lambdas.is_empty() {
            return Err(Failure::refused("every lambda is quarantined, as what uses it is unknown"));
        }
        let mut busy = String::new();
        for lambda in lambdas {
            let circuit = self.intent(&request, a, z, lambda);
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
        let is_deferred = circuit.start_ms.is_some();
        let asked = Asked { a: circuit.a, z: circuit.z, lambda: circuit.lambda, is_deferred };
        let begun = self.journal().begin(circuit.clone());
        if let Err(failure) = begun {
            // An earlier lambda of this request was busy: nothing is asked any more.
            self.journal().forget(&circuit.key);
            return Ok(Err(failure));
        }
        let mut arguments =
            vec!["-c".to_owned(), asked.a.to_string(), asked.z.to_string(), asked.lambda.to_string()];
        arguments.extend_from_slice(&self.config.flags);
        for (word, ms) in [("start", circuit.start_ms), ("end", circuit.end_ms)] {
            arguments.extend(ms.map(|ms| format!("{word}={}.{:03}", ms / 1000, ms % 1000)));
        }
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
        let Path { id, switches, is_booked, took } = path;
        tracing::info!(key = %circuit.key, path = id, lambda = circuit.lambda, is_booked, "lightpath");
        lock(&self.times).handle_setup(took);
        let (stage, words) = match is_booked {
            true => (Stage::Booked { path: id }, "booked"),
            false => (Stage::Up { path: id }, "up"),
        };
        let circuit = Circuit { stage, switches, words: words.to_owned(), ..circuit };
        self.learn_way(&circuit);
        let observed = circuit.observed(self.config.rate, wall_ms());
        self.journal().update(circuit);
        observed
    }

    /// Remembers which way leads from one end to the other.
    pub(crate) fn learn_way(&self, circuit: &Circuit) {
        let way = circuit.route();
        if !way.is_empty() {
            lock(&self.ways).insert(ends(circuit.a, circuit.z), way);
        }
    }

    fn quarantine(&self, circuit: Circuit, reason: String) -> Failure {
        tracing::warn!(key = %circuit.key, lambda = circuit.lambda, reason, "outcome unknown, lambda quarantined");
        self.counters.unknown_outcomes.add(1);
        lock(&self.unsettled).insert(circuit.key.clone(), Instant::now());
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
        // With a list at hand nothing need be guessed from a refusal.
        let lost = lost.filter(|_| self.config.list.is_none());
        let (Some(path), Some(lost)) = (refusal.connected_path(), lost) else {
            return Failure::refused(refusal.words.clone());
        };
        tracing::info!(key = %lost.key, path, "the path of a request of unknown outcome was learned");
        let reason = format!("{}; it is the outcome of {}, unknown until now", refusal.words, lost.key);
        journal.update(Circuit { stage: Stage::Up { path }, words: refusal.words.clone(), ..lost });
        Failure::refused(reason)
    }

    /// Lambdas in the order in which to ask for them; see `lambdas`. Never one that is quarantined.
    fn candidates(&self, a: IpAddr, z: IpAddr, listed: &[Listed]) -> Vec<u16> {
        let journal = self.journal();
        let quarantined: BTreeSet<u16> =
            journal.circuits().filter(|c| c.is_quarantined()).map(|c| c.lambda).collect();
        let ours = journal.circuits().filter(|c| c.path().is_some());
        let ours = ours.map(|c| Occupant { lambda: c.lambda, switches: c.route() });
        let theirs = listed.iter().map(|l| Occupant { lambda: l.lambda, switches: l.switches.clone() });
        let occupants: Vec<Occupant> = if listed.is_empty() { ours.collect() } else { theirs.collect() };
        let way = lock(&self.ways).get(&ends(a, z)).cloned().unwrap_or_default();
        candidates(&self.config.lambdas.numbers(), &quarantined, &occupants, &way)
    }

    pub(crate) async fn cancel(&self, key: &RequestKey) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.resolve_to_cancel(key).await?;
        let Some(circuit) = self.journal().circuit(key).cloned() else { return Ok(()) };
        if circuit.stage == Stage::Lost {
            self.journal().forget(key);
            return Ok(());
        }
        let Some(path) = circuit.path().map(str::to_owned) else {
            let lambda = circuit.lambda;
            let reason = format!("the path id was never learned; lambda {lambda} is quarantined");
            return Err(Failure::unknown_outcome(reason));
        };
        let releasing = Circuit { stage: Stage::Releasing { path: path.clone() }, ..circuit.clone() };
        self.journal().update(releasing.clone());
        let run = self.run(&["-t".to_owned(), path.clone()]).await;
        match answer::torn_down(&run, &path) {
            TornDown::Gone(took) => {
                tracing::info!(%key, path, "lightpath down");
                lock(&self.times).handle_teardown(took.filter(|_| matches!(circuit.stage, Stage::Up { .. })));
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

    /// Cancels what is on record and not `valid`. Requests of unknown outcome stay if they cannot be explained;
    /// another failure is reported once all have been tried.
    pub(crate) async fn cancel_all_but(&self, valid: &[RequestKey]) -> Result<Vec<RequestKey>, Failure> {
        self.resolve_all().await;
        let stale: Vec<_> = {
            let journal = self.journal();
            let is_stale = |c: &&Circuit| !c.is_quarantined() && !valid.contains(&c.key);
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

    fn intent(&self, request: &Request, a: IpAddr, z: IpAddr, lambda: u16) -> Circuit {
        let is_deferred = self.config.deferred;
        Circuit {
            key: request.key.clone(),
            owner: request.owner.clone(),
            a,
            z,
            lambda,
            stage: Stage::Asking,
            switches: None,
            words: "asking".to_owned(),
            asked_ms: wall_ms(),
            start_ms: request.start_ms.filter(|_| is_deferred),
            end_ms: request.end_ms.filter(|_| is_deferred),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock in milliseconds since the epoch.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Two ends, whichever way round.
fn ends(a: IpAddr, z: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(z), a.max(z))
}

/// An end of a lightpath: an IP address and nothing that the client could take for an option.
fn end(address: &str, key: &str) -> Result<IpAddr, Failure> {
    address.parse().map_err(|_| Failure::invalid(key, format!("{address:?} is not an IP address")))
}
