//! One connection: requests go out as they come, answers find their request by its number.
//!
//! Writing and reading are tasks of their own, so that a call that the host drops cuts no line in two.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use vreserve_rsl::wire::{LONGEST_LINE, Refusal};

use crate::events::Events;
use crate::line::{self, Answer, Line};

/// Requests that may wait to be written; the server is not reading when there are more.
const MOST_WAITING: usize = 256;

/// Why a request has no answer that says yes.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nobody was asked.
    NotAsked(String),
    /// It was asked, or may have been, and what came of it is unknown.
    Lost(String),
    /// The server said no.
    Refused(Refusal),
}

/// A connection. Dropped, it is closed.
pub(crate) struct Connection {
    requests: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    pending: Mutex<Pending>,
    /// Lines that have come.
    heard: AtomicU64,
}

enum Pending {
    Open(HashMap<u64, oneshot::Sender<Answer>>),
    /// Why it is closed.
    Closed(String),
}

impl Connection {
    /// Speaks over a stream.
    pub(crate) fn start<S>(stream: S, events: Arc<Events>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (requests, waiting) = mpsc::channel(MOST_WAITING);
        let shared =
            Arc::new(Shared { pending: Mutex::new(Pending::Open(HashMap::new())), heard: AtomicU64::new(0) });
        let (writing, reading) = (shared.clone(), shared.clone());
        let tasks = [
            tokio::spawn(async move { writing.close(write(writer, waiting).await) }).abort_handle(),
            tokio::spawn(async move {
                let why = read(BufReader::new(reader), &reading, &events).await;
                reading.close(why);
            })
            .abort_handle(),
        ];
        Self { requests, shared, tasks }
    }

    /// Whether requests can still be made.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.shared.pending(), Pending::Open(_))
    }

    /// Makes a request and waits for its answer. If nothing at all comes in time, the connection is given up.
    pub(crate) async fn ask(
        &self,
        id: u64,
        line: Vec<u8>,
        timeout: Duration,
    ) -> Result<Box<RawValue>, Fault> {
        if line.len() > LONGEST_LINE {
            return Err(Fault::NotAsked("the request is too long for a line".to_owned()));
        }
        let answer = self.shared.expect(id).map_err(Fault::NotAsked)?;
        let _forget = Forget { shared: &self.shared, id };
        let heard = self.shared.heard.load(Ordering::Relaxed);
        if self.requests.try_send(line).is_err() {
            return Err(Fault::NotAsked("the server does not read".to_owned()));
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer.map_err(Fault::Refused),
            Ok(Err(_)) => Err(Fault::Lost(self.shared.why_closed())),
            Err(_) => {
                let why = format!("no answer within {:.1} s", timeout.as_secs_f64());
                if self.shared.heard.load(Ordering::Relaxed) == heard {
                    self.close(why.clone());
                }
                Err(Fault::Lost(why))
            }
        }
    }

    /// Ends it; what is under way is lost.
    pub(crate) fn close(&self, why: String) {
        self.shared.close(why);
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close("the connection was given up".to_owned());
    }
}

impl Shared {
    /// A panic elsewhere cannot have left it half changed.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, id: u64) -> Result<oneshot::Receiver<Answer>, String> {
        match &mut *self.pending() {
            Pending::Closed(why) => Err(why.clone()),
            Pending::Open(pending) => {
                let (sender, receiver) = oneshot::channel();
                pending.insert(id, sender);
                Ok(receiver)
            }
        }
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
        match &mut *self.pending() {
            Pending::Open(pending) => pending.remove(&id),
            Pending::Closed(_) => None,
        }
    }

    /// The first reason counts.
    fn close(&self, why: String) {
        let mut pending = self.pending();
        if let Pending::Open(_) = *pending {
            tracing::debug!(why, "connection closed");
            *pending = Pending::Closed(why);
        }
    }

    fn why_closed(&self) -> String {
        match &*self.pending() {
            Pending::Closed(why) => why.clone(),
            Pending::Open(_) => "the answer was given up".to_owned(),
        }
    }
}

/// Ends the wait for an answer that nobody waits for any more.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.take(self.id);
    }
}

/// Writes until it cannot; why.
async fn write(mut writer: impl AsyncWrite + Unpin, mut waiting: mpsc::Receiver<Vec<u8>>) -> String {
    while let Some(line) = waiting.recv().await {
        let written = async {
            writer.write_all(&line).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return format!("cannot write to the server: {error}");
        }
    }
    "the connection was given up".to_owned()
}

/// Reads until it cannot; why.
async fn read(mut reader: impl AsyncBufRead + Unpin, shared: &Shared, events: &Events) -> String {
    loop {
        let bytes = match read_line(&mut reader).await {
            Ok(bytes) => bytes,
            Err(why) => return why,
        };
        shared.heard.fetch_add(1, Ordering::Relaxed);
        match line::line(&bytes) {
            Ok(Line::Event(event)) => events.heard(event),
            Ok(Line::Answer(id, answer)) => match shared.take(id) {
                // Nobody waits any more: the call is over, and its outcome will be looked up.
                None => tracing::debug!(id, "an answer came too late"),
                // As above, at the same instant.
                Some(waiting) => drop(waiting.send(answer)),
            },
            // Some answer is lost in it, and nobody knows whose.
            Err(reason) => return format!("the server does not speak our language: {reason}"),
        }
    }
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limited = reader.take(LONGEST_LINE as u64).read_until(b'\n', &mut bytes).await;
    limited.map_err(|error| format!("cannot read from the server: {error}"))?;
    match bytes.last() {
        Some(b'\n') => Ok(bytes),
        _ if bytes.len() == LONGEST_LINE => {
            Err(format!("the server sent a line of over {LONGEST_LINE} bytes"))
        }
        _ => Err("the server closed the connection".to_owned()),
    }
}
