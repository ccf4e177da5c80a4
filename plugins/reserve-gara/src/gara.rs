//! One GARA server: which questions answer a call of the host, and what each outcome is to the host.

use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use vreserve_rsl::Change;
use vreserve_rsl::wire::{self, Code, Operation, Refusal};
use vreserve_sdk::model::{Changes, Observed, Request, RequestKey};
use vreserve_sdk::{Counter, Failure, FailureKind, Handle, Host};

use crate::client::{Client, now_ms};
use crate::config::Config;
use crate::connection::Fault;
use crate::line::{self, Seen};
use crate::record::Record;
use crate::{lease, terms, tls};

/// How long a host waits for events at most.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One GARA server.
pub(crate) struct Gara {
    pub(crate) config: Config,
    pub(crate) record: Record,
    client: Client,
    counters: Counters,
}

struct Counters {
    refusals: Counter,
    unknown_outcomes: Counter,
    renewals: Counter,
    renewals_failed: Counter,
}

impl Gara {
    /// Reads certificates and the record of an earlier run; the server is not asked yet.
    pub(crate) fn open(config: Config, host: &Host) -> Result<Self, Failure> {
        tls::client_config(&config)?;
        let counters = Counters {
            refusals: host.counter("refusals", "Requests that the server declined."),
            unknown_outcomes: host
                .counter("unknown_outcomes", "Requests of which nobody knows what they did."),
            renewals: host.counter("renewals", "Leases renewed."),
            renewals_failed: host.counter("renewals_failed", "Renewals of leases that failed."),
        };
        let client = Client::new(config.clone(), host);
        Ok(Self { record: Record::open(host.state_dir()), config, client, counters })
    }

    pub(crate) async fn submit(&self, request: &Request) -> Result<Observed, Failure> {
        let (asked, kind) = terms::request(request, &self.config, now_ms())?;
        self.record.begin(&request.key, kind)?;
        let handle = match self.client.ask(Operation::Create { rsl: asked.to_spec().to_string() }).await {
            Ok(answer) => line::content::<wire::Handle>(&answer).map_err(Fault::unreadable),
            Err(fault) => Err(fault),
        };
        let handle = handle.map_err(|fault| {
            if !matches!(fault, Fault::Lost(_)) {
                self.record.forget(&request.key);
            }
            self.no(fault)
        })?;
        // Whatever comes of the next question, there is a reservation now.
        self.record.renew_at(&request.key, Instant::now() + lease::half(self.config.duration));
        match self.status(&handle.handle).await {
            Ok(seen) => self.observed(seen, &request.key).map_err(|reason| self.lost(reason)),
            Err(fault) => Err(self.lost(fault.into_reason())),
        }
    }

    pub(crate) async fn activate(&self, handle: &Handle, request: &Request) -> Result<Observed, Failure> {
        let rsl = terms::binding(request)?.to_spec().to_string();
        let handle = self.named(handle).await?;
        let bind = Operation::Bind { handle: handle.1.clone(), rsl };
        self.change(&handle, bind).await
    }

    pub(crate) async fn deactivate(&self, handle: &Handle) -> Result<Observed, Failure> {
        let handle = self.named(handle).await?;
        let unbind = Operation::Unbind { handle: handle.1.clone() };
        self.change(&handle, unbind).await
    }

    pub(crate) async fn modify(&self, handle: &Handle, request: &Request) -> Result<Observed, Failure> {
        let handle = self.named(handle).await?;
        let start = match request.end_ms {
            None => 0,
            Some(_) => self.status(&handle.1).await.map_err(unanswered)?.reservation.start,
        };
        let rsl = terms::change(request, &self.config, start)?.to_spec().to_string();
        let modify = Operation::Modify { handle: handle.1.clone(), rsl };
        self.change(&handle, modify).await
    }

    /// Also what the handle does not name: a server that was set up anew may know the key by another one.
    pub(crate) async fn cancel(&self, handle: &Handle) -> Result<(), Failure> {
        self.record.given_up(&handle.key);
        if let Some(known) = &handle.native_id {
            match self.cancel_one(known).await {
                // The next question tells whether it holds anything.
                Err(failure) if failure.kind == FailureKind::Refused => {}
                done => done?,
            }
        }
        for seen in self.look(&handle.key).await.map_err(unanswered)? {
            if may_hold(&seen) {
                self.cancel_one(&seen.reservation.handle).await?;
            }
        }
        self.record.forget(&handle.key);
        Ok(())
    }

    async fn cancel_one(&self, handle: &str) -> Result<(), Failure> {
        match self.client.ask(Operation::Cancel { handle: handle.to_owned() }).await {
            Ok(answer) => {
                let seen = line::reservation(&answer).map_err(|reason| self.lost(reason))?;
                if may_hold(&seen) {
                    return Err(self.lost(format!("cancelled, and the server says {}", seen.words)));
                }
                Ok(())
            }
            Err(Fault::Refused(Refusal { code: Code::NoSuchHandle, .. })) => Ok(()),
            Err(fault) => Err(self.no(fault)),
        }
    }

    pub(crate) async fn query(&self, handle: &Handle) -> Result<Option<Observed>, Failure> {
        self.record.named(&handle.key);
        let Some(known) = &handle.native_id else {
            return Ok(self.find(&handle.key).await?.into_iter().next());
        };
        match self.status(known).await {
            Ok(seen) => self.observed(seen, &handle.key).map(Some).map_err(Failure::unavailable),
            Err(Fault::Refused(Refusal { code: Code::NoSuchHandle, .. })) => Ok(None),
            Err(fault) => Err(unanswered(fault)),
        }
    }

    /// What holds capacity under a key, or may.
    pub(crate) async fn find(&self, key: &RequestKey) -> Result<Vec<Observed>, Failure> {
        self.record.named(key);
        let seen = self.look(key).await.map_err(unanswered)?;
        let held = seen.into_iter().filter(may_hold);
        held.map(|seen| self.observed(seen, key).map_err(Failure::unavailable)).collect()
    }

    pub(crate) async fn owned(&self, owner: &str) -> Result<Vec<Observed>, Failure> {
        let held = self.list().await?.into_iter().filter(may_hold);
        let ours = held.filter_map(|seen| {
            let key = seen.reservation.label.clone().filter(|label| terms::belongs_to(label, owner))?;
            Some(self.told(seen, RequestKey(key)))
        });
        Ok(ours.collect())
    }

    /// Cancels what this instance has asked for and is not `valid`; a failure is reported once all have been tried.
    pub(crate) async fn cancel_all_but(&self, valid: &[RequestKey]) -> Result<Vec<RequestKey>, Failure> {
        valid.iter().for_each(|key| self.record.named(key));
        let held: Vec<_> = self.list().await?.into_iter().filter(may_hold).collect();
        let (mut cancelled, mut failed) = (Vec::new(), None);
        for key in self.record.keys().into_iter().filter(|key| !valid.contains(key)) {
            let is_held = held.iter().any(|seen| seen.reservation.label.as_ref() == Some(&key.0));
            match self.cancel(&Handle { key: key.clone(), native_id: None }).await {
                Ok(()) if is_held => cancelled.push(key),
                Ok(()) => {}
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(cancelled), Err)
    }

    pub(crate) async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.client.connected().await.map_err(Failure::unavailable)?;
        let heard = self.client.events.after(since, LONGEST_WAIT).await;
        let observed = heard.seen.into_iter().filter_map(|seen| {
            let key = RequestKey(seen.reservation.label.clone()?);
            Some(self.told(seen, key))
        });
        Ok(Changes { next: heard.next, missed: heard.has_gap, observed: observed.collect() })
    }

    pub(crate) async fn health(&self) -> Result<(), Failure> {
        self.client.ping().await.map_err(unanswered)
    }

    /// Extends a lease to its full length from now on; false if there is nothing to extend.
    pub(crate) async fn renew(&self, key: &RequestKey) -> Result<bool, Failure> {
        let renewed = self.try_renew(key).await;
        match renewed {
            Ok(true) => self.counters.renewals.add(1),
            Ok(false) => {}
            Err(_) => self.counters.renewals_failed.add(1),
        }
        renewed
    }

    async fn try_renew(&self, key: &RequestKey) -> Result<bool, Failure> {
        let seen = self.look(key).await.map_err(unanswered)?;
        let Some(seen) = seen.into_iter().find(|seen| seen.reservation.state.holds_capacity()) else {
            return Ok(false);
        };
        // Durations count from the start, which is on the server's clock.
        let begun = Duration::from_millis(self.client.server_ms().saturating_sub(seen.reservation.start));
        let change = Change { duration: Some(begun + self.config.duration), ..Change::default() };
        let rsl = change.to_spec().to_string();
        match self.client.ask(Operation::Modify { handle: seen.reservation.handle, rsl }).await {
            Ok(_) => Ok(true),
            Err(Fault::Refused(Refusal { code: Code::NoSuchHandle | Code::WrongState, .. })) => Ok(false),
            Err(fault) => Err(self.no(fault)),
        }
    }

    /// The server's handle of what the host names, and its key.
    async fn named(&self, handle: &Handle) -> Result<(RequestKey, String), Failure> {
        self.record.named(&handle.key);
        if let Some(known) = &handle.native_id {
            return Ok((handle.key.clone(), known.clone()));
        }
        let held = self.find(&handle.key).await?.into_iter().next().and_then(|seen| seen.native_id);
        held.map(|native| (handle.key.clone(), native)).ok_or_else(gone)
    }

    /// Makes a change and reads what the reservation is after it. Where it cannot be changed, what it is.
    async fn change(&self, handle: &(RequestKey, String), operation: Operation) -> Result<Observed, Failure> {
        let (key, native) = handle;
        match self.client.ask(operation).await {
            Ok(answer) => {
                let seen = line::reservation(&answer).and_then(|seen| self.observed(seen, key));
                seen.map_err(|reason| self.lost(reason))
            }
            Err(Fault::Refused(Refusal { code: Code::NoSuchHandle, .. })) => Err(gone()),
            Err(Fault::Refused(Refusal { code: Code::WrongState, text })) => {
                let seen = self.status(native).await.map_err(unanswered)?;
                if seen.reservation.state.holds_capacity() {
                    return Err(Failure::refused(text));
                }
                self.observed(seen, key).map_err(Failure::unavailable)
            }
            Err(fault) => Err(self.no(fault)),
        }
    }

    async fn status(&self, handle: &str) -> Result<Seen, Fault> {
        let answer = self.client.ask(Operation::Status { handle: handle.to_owned() }).await?;
        line::reservation(&answer).map_err(Fault::unreadable)
    }

    /// What the server knows under a key; what it tells of another is no answer.
    async fn look(&self, key: &RequestKey) -> Result<Vec<Seen>, Fault> {
        let answer = self.client.ask(Operation::Find { label: key.0.clone() }).await?;
        let seen = read_all(&answer)?;
        if seen.iter().any(|seen| seen.reservation.label.as_ref() != Some(&key.0)) {
            return Err(Fault::Lost("the server answered for another label".to_owned()));
        }
        Ok(seen)
    }

    async fn list(&self) -> Result<Vec<Seen>, Failure> {
        let answer = self.client.ask(Operation::List).await.map_err(unanswered)?;
        read_all(&answer).map_err(unanswered)
    }

    /// Fails if the server tells of another key.
    fn observed(&self, seen: Seen, key: &RequestKey) -> Result<Observed, String> {
        match &seen.reservation.label {
            Some(label) if *label == key.0 => Ok(self.told(seen, key.clone())),
            label => Err(format!("the server answered for the label {label:?}")),
        }
    }

    fn told(&self, seen: Seen, key: RequestKey) -> Observed {
        let is_lease = self.record.is_lease(&key);
        terms::observed(seen, key, is_lease, &self.config)
    }

    /// What a change that was not confirmed is to the host.
    fn no(&self, fault: Fault) -> Failure {
        let refusal = match fault {
            Fault::NotAsked(reason) => return Failure::unavailable(reason),
            Fault::Lost(reason) => return self.lost(reason),
            Fault::Refused(refusal) => refusal,
        };
        match refusal.code {
            Code::Declined | Code::WrongState | Code::NoSuchHandle => {
                self.counters.refusals.add(1);
                Failure::refused(refusal.text)
            }
            Code::Invalid => Failure::invalid("request", refusal.text),
            Code::Unavailable => Failure::unavailable(refusal.text),
            Code::Unknown => self.lost(format!("the server said something unknown: {}", refusal.text)),
        }
    }

    fn lost(&self, reason: String) -> Failure {
        self.counters.unknown_outcomes.add(1);
        Failure::unknown_outcome(reason)
    }
}

fn read_all(answer: &RawValue) -> Result<Vec<Seen>, Fault> {
    line::reservations(answer).map_err(Fault::unreadable)
}

fn may_hold(seen: &Seen) -> bool {
    seen.reservation.state.holds_capacity() || seen.reservation.state == wire::State::Unknown
}

/// What a question without an answer is to the host.
fn unanswered(fault: Fault) -> Failure {
    Failure::unavailable(fault.into_reason())
}

fn gone() -> Failure {
    Failure::refused("the server holds no such reservation")
}
