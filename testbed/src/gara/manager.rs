//! One request after the other, and the passing of time: book, then disk, then routers, then those who asked or
//! watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use vreserve_rsl::{Binding, Change, NetworkRequest, Spec};

use super::admin::{Answer, Question};
use super::book::{Book, Creation, Record, refusal};
use super::journal::Journal;
use super::kernel::Kernel;
use super::protocol::{
    Code, Event, Handle, LONGEST_LINE, Message, Operation, Outcome, Pong, Refusal, Reply, Request,
    Reservation, Reservations, State, Watching,
};
use crate::error::Error;

/// Longest wait between two looks at the clock, which may have been set, and between two tries at a router.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that are kept for those who come back and ask what they missed.
const MOST_EVENTS: usize = 1024;
/// Bytes that reservations may take of a line; the rest of an answer takes less than what is left.
const ROOM: usize = LONGEST_LINE - 256;

/// What the manager is asked to do.
pub(super) enum Job {
    /// A client's request; the answer goes to its outlet, `done` says that it is there.
    Client { owner: Arc<str>, request: Request, outlet: Outlet, done: oneshot::Sender<()> },
    /// The administrator's.
    Admin { question: Question, answer: oneshot::Sender<Answer> },
    /// The server ends.
    Stop,
}

/// Where a client's messages go.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub(super) messages: mpsc::Sender<Message>,
    /// Told when a message was lost, so that the connection must end.
    pub(super) cut: Arc<Notify>,
}

struct Watcher {
    owner: Arc<str>,
    outlet: Outlet,
}

/// The one who decides.
pub(super) struct Manager {
    book: Book,
    journal: Journal,
    kernel: Kernel,
    watchers: Vec<Watcher>,
    /// The last changes, with their owners.
    events: VecDeque<(String, Event)>,
}

impl Outlet {
    /// Whether the message found room.
    fn send(&self, message: Message) -> bool {
        let is_sent = self.messages.try_send(message).is_ok();
        if !is_sent {
            self.cut.notify_one();
        }
        is_sent
    }
}

impl Manager {
    pub(super) fn new(book: Book, journal: Journal, kernel: Kernel) -> Self {
        Self { book, journal, kernel, watchers: Vec::new(), events: VecDeque::new() }
    }

    /// Works until told to stop. What the routers do for reservations stays: they are promises.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        self.settle_and_tell(Vec::new());
        loop {
            self.pass_time();
            match jobs.recv_timeout(self.wait()) {
                Ok(Job::Client { owner, request, outlet, done }) => {
                    self.pass_time();
                    self.serve(&owner, request, &outlet);
                    let _ = done.send(());
                }
                Ok(Job::Admin { question, answer }) => {
                    self.pass_time();
                    let _ = answer.send(self.answer(question));
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn wait(&self) -> Duration {
        let due = self.book.next_due().map(|due| Duration::from_millis(due.saturating_sub(now())));
        due.map_or(LOOK_EVERY, |due| due.min(LOOK_EVERY))
    }

    /// Begins and ends what is due.
    fn pass_time(&mut self) {
        let mut changed = Vec::new();
        while let Some(record) = self.book.due(now()) {
            self.write_down(&record);
            tracing::info!(handle = record.handle, state = ?record.state, "time has come");
            changed.push(record.number);
            self.book.enter(record);
        }
        if !changed.is_empty() || self.is_behind() {
            self.settle_and_tell(changed);
        }
    }

    /// Whether something active and bound is not enforced.
    fn is_behind(&self) -> bool {
        self.book.records().any(|record| wants_enforcement(record) && !self.kernel.enforces(record.number))
    }

    /// Brings the routers in line with the book, and tells of what changed in either.
    fn settle_and_tell(&mut self, mut changed: Vec<u64>) {
        let enforced = |manager: &Self| -> Vec<(u64, bool)> {
            let numbers = manager.book.records().map(|record| record.number);
            numbers.map(|number| (number, manager.kernel.enforces(number))).collect()
        };
        let before = enforced(self);
        let wanted = self.book.records().filter(|record| wants_enforcement(record));
        let wanted = wanted.filter_map(|record| Some((record, self.book.ways(record)?)));
        if let Err(error) = self.kernel.settle(wanted) {
            tracing::error!(error = %chain(&error), "the routers do not do as told");
        }
        let after = enforced(self);
        let turned = before.iter().zip(&after).filter(|(before, after)| before != after);
        for (number, _) in turned.map(|(_, after)| *after).collect::<Vec<_>>() {
            if !changed.contains(&number)
                && let Some(record) = self.book.touched(number)
            {
                self.write_down(&record);
                self.book.enter(record);
                changed.push(number);
            }
        }
        changed.into_iter().for_each(|number| self.tell(number));
    }

    /// For changes that happen whether or not the disk takes them: the next start finds them out by itself.
    fn write_down(&mut self, record: &Record) {
        if let Err(error) = self.journal.append(record) {
            tracing::warn!(error = %chain(&error), "change not written down");
        }
    }

    fn serve(&mut self, owner: &Arc<str>, request: Request, outlet: &Outlet) {
        let watches = match request.operation {
            Operation::Watch { since } => Some(since),
            _ => None,
        };
        let outcome = match self.handle(owner, request.operation) {
            Ok(content) => Outcome::Ok(content),
            Err(refusal) => {
                tracing::info!(owner = &**owner, %refusal, "refused");
                Outcome::Error(refusal)
            }
        };
        let is_there = outlet.send(Message::Reply(Reply { id: request.id, outcome }));
        if let Some(since) = watches.filter(|_| is_there) {
            self.watch(owner, since, outlet);
        }
    }

    fn handle(&mut self, owner: &str, operation: Operation) -> Result<serde_json::Value, Refusal> {
        match operation {
            Operation::Create { rsl } => {
                let request = NetworkRequest::from_spec(&parse(&rsl)?).map_err(invalid)?;
                let handle = match self.book.create(owner, &request, now())? {
                    Creation::Existing(record) => record.handle,
                    Creation::New(record) => self.commit(record)?.handle,
                };
                json(&Handle { handle })
            }
            Operation::Modify { handle, rsl } => {
                let change = Change::from_spec(&parse(&rsl)?).map_err(invalid)?;
                let record = self.book.modify(owner, &handle, &change, now())?;
                self.commit_and_show(record)
            }
            Operation::Cancel { handle } => match self.book.cancel(owner, &handle)? {
                Some(record) => self.commit_and_show(record),
                None => self.show(owner, &handle),
            },
            Operation::Status { handle } => self.show(owner, &handle),
            Operation::Bind { handle, rsl } => {
                let binding = Binding::from_spec(&parse(&rsl)?).map_err(invalid)?;
                let record = self.book.bind(owner, &handle, binding)?;
                self.commit_and_show(record)
            }
            Operation::Unbind { handle } => {
                let record = self.book.unbind(owner, &handle)?;
                self.commit_and_show(record)
            }
            Operation::List => {
                let mut found = self.fitting(self.book.records().filter(|record| record.owner == owner));
                found.reservations.sort_by_key(|(number, _)| *number);
                found.into_json()
            }
            Operation::Find { label } => {
                let of_owner = self.book.records().filter(|record| record.owner == owner);
                self.fitting(of_owner.filter(|record| record.label.as_ref() == Some(&label))).into_json()
            }
            Operation::Watch { since } => json(&self.watching(since)),
            Operation::Ping => json(&Pong { time: now(), seq: self.book.last_seq() }),
        }
    }

    /// As many reservations as one line takes: those that hold capacity, then the last that ended.
    fn fitting<'a>(&self, records: impl Iterator<Item = &'a Record>) -> Found {
        let mut records: Vec<_> = records.collect();
        let rank = |record: &Record| (!record.state.holds_capacity(), std::cmp::Reverse(record.seq));
        records.sort_by_key(|record| rank(record));
        let (mut room, mut found) = (ROOM, Found::default());
        for record in records {
            let reservation = record.reservation(self.kernel.enforces(record.number));
            let size = serde_json::to_vec(&reservation).map_or(ROOM, |text| text.len() + 1);
            let Some(rest) = room.checked_sub(size) else {
                found.more = true;
                break;
            };
            room = rest;
            found.reservations.push((record.number, reservation));
        }
        found
    }

    fn show(&self, owner: &str, handle: &str) -> Result<serde_json::Value, Refusal> {
        let record = self.book.record(owner, handle)?;
        json(&record.reservation(self.kernel.enforces(record.number)))
    }

    fn commit_and_show(&mut self, record: Record) -> Result<serde_json::Value, Refusal> {
        let record = self.commit(record)?;
        json(&record.reservation(self.kernel.enforces(record.number)))
    }

    /// Disk first: what is not there was never promised.
    fn commit(&mut self, record: Record) -> Result<Record, Refusal> {
        if let Err(error) = self.journal.append(&record) {
            tracing::error!(error = %chain(&error), "nothing promised");
            return Err(refusal(Code::Unavailable, "the server cannot write to its disk".to_owned()));
        }
        tracing::info!(handle = record.handle, owner = record.owner, state = ?record.state, "changed");
        self.book.enter(record.clone());
        self.settle_and_tell(vec![record.number]);
        Ok(record)
    }

    /// Tells those who watch of the last change of a reservation.
    fn tell(&mut self, number: u64) {
        let Some(record) = self.book.records().find(|record| record.number == number) else { return };
        let event =
            Event { seq: record.seq, reservation: record.reservation(self.kernel.enforces(record.number)) };
        let owner = record.owner.clone();
        self.watchers.retain(|watcher| {
            *watcher.owner != *owner || watcher.outlet.send(Message::Event { event: event.clone() })
        });
        self.events.push_back((owner, event));
        if self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
    }

    fn watching(&self, since: u64) -> Watching {
        let seq = self.book.last_seq();
        // Events of before the start are not kept, nor are those of a server whose numbers were higher.
        let first = self.events.front().map_or(seq + 1, |(_, event)| event.seq);
        Watching { seq, lost: since + 1 < first || since > seq }
    }

    fn watch(&mut self, owner: &Arc<str>, since: u64, outlet: &Outlet) {
        let missed = self.events.iter().filter(|(of, event)| **of == **owner && event.seq > since);
        for (_, event) in missed {
            if !outlet.send(Message::Event { event: event.clone() }) {
                return;
            }
        }
        self.watchers.retain(|watcher| {
            !watcher.outlet.messages.is_closed() && !watcher.outlet.messages.same_channel(&outlet.messages)
        });
        self.watchers.push(Watcher { owner: owner.clone(), outlet: outlet.clone() });
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::List => Answer::Reservations(
                self.book
                    .records()
                    .map(|record| {
                        (record.owner.clone(), record.reservation(self.kernel.enforces(record.number)))
                    })
                    .collect(),
            ),
            Question::Terminate { handle } => match self.book.terminate(&handle) {
                Some(record) => match self.commit(record) {
                    Ok(_) => Answer::Terminated,
                    Err(refusal) => Answer::Refused(refusal.to_string()),
                },
                None => Answer::Refused(format!("no reservation {handle} that is not over")),
            },
        }
    }
}

/// Reservations for one answer, with their numbers.
#[derive(Debug, Default)]
struct Found {
    reservations: Vec<(u64, Reservation)>,
    more: bool,
}

impl Found {
    fn into_json(self) -> Result<serde_json::Value, Refusal> {
        let reservations = self.reservations.into_iter().map(|(_, reservation)| reservation).collect();
        json(&Reservations { reservations, more: self.more })
    }
}

fn wants_enforcement(record: &Record) -> bool {
    record.state == State::Active && record.binding.is_some()
}

fn parse(rsl: &str) -> Result<Spec, Refusal> {
    vreserve_rsl::parse(rsl).map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> Refusal {
    refusal(Code::Invalid, error.to_string())
}

fn json(content: &impl Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(content).map_err(|error| refusal(Code::Unavailable, error.to_string()))
}

/// Milliseconds since the Unix epoch by the machine's clock, which may be set at any time.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An error with its causes, on one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text += &format!(": {source}");
        cause = source.source();
    }
    text
}
