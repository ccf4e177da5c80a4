//! The daemon's side of the control API.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Request, Status};
use crate::clock::Clock;
use crate::control::agent::{AgentView, Question as AgentQuestion};
use crate::control::events::EventLog;
use crate::control::lead::{Input, JournalStatus, Question as LeadQuestion};
use crate::daemon::Reloader;
use crate::loader::Registry;
use crate::plugin::HostServices;

/// The longest request line: that of a matrix of 10,000 demands is the longest that is meant.
const MAX_REQUEST: u64 = 2 << 20;
/// A client that says nothing for so long is not waited for.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The daemon's own tasks answer within this time.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Plugins that are opened anew may take longer, and backends are asked whether they are well.
const RELOAD_TIME: Duration = Duration::from_secs(60);

/// What the API can ask.
pub struct Api {
    /// The node's name.
    pub name: String,
    /// `proxy` or `node`.
    pub role: &'static str,
    /// The node's public key.
    pub public_key: String,
    /// Threads on the data path.
    pub workers: usize,
    /// The plugins.
    pub registry: Arc<Registry>,
    /// Where counters are.
    pub services: Arc<HostServices>,
    /// The agent.
    pub agent: mpsc::Sender<AgentQuestion>,
    /// The lead, on the proxy.
    pub lead: Option<mpsc::Sender<Input>>,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// The event log.
    pub events: EventLog,
    /// The daemon's clock, whose origin is its start.
    pub clock: Clock,
}

/// Opens the socket at `path`, readable and writable by its owner only. A socket that a dead daemon left is
/// replaced; one that answers is not.
///
/// # Errors
/// If another daemon listens there, or the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let reason = format!("another daemon listens at {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Nobody else may connect, not even between making the socket and setting its mode.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

impl Api {
    /// Serves clients for ever.
    pub async fn run(self, listener: UnixListener) {
        let api = Arc::new(self);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let api = api.clone();
                    tokio::spawn(async move {
                        if let Err(error) = api.serve(stream).await {
                            tracing::debug!(%error, "API client gone");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no API client accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(MAX_REQUEST));
        timeout(REQUEST_TIME, reader.read_line(&mut line)).await??;
        let request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => return write_line(&mut write, &answer::<()>(Err(error.to_string()))).await,
        };
        if let Request::Events { follow } = request {
            return self.stream_events(follow, reader.into_inner().into_inner(), &mut write).await;
        }
        let time = if request == Request::Reload { RELOAD_TIME } else { ANSWER_TIME };
        let line = match timeout(time, self.answer(request)).await {
            Ok(line) => line,
            Err(_) => answer::<()>(Err("the daemon did not answer in time".to_owned())),
        };
        write_line(&mut write, &line).await
    }

    async fn stream_events(
        &self,
        follow: bool,
        mut read: tokio::net::unix::OwnedReadHalf,
        write: &mut tokio::net::unix::OwnedWriteHalf,
    ) -> io::Result<()> {
        let (past, mut news) = self.events.follow();
        for record in &past {
            write_line(write, &json(record)).await?;
        }
        if !follow {
            return Ok(());
        }
        let mut nothing = [0; 64];
        loop {
            tokio::select! {
                record = news.recv() => match record {
                    Ok(record) => write_line(write, &json(&record)).await?,
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                        write_line(write, &format!("{{\"missed\":{missed}}}")).await?;
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
                },
                // A client that closes its end is gone, even if nothing happens.
                read = read.read(&mut nothing) => if read? == 0 { return Ok(()) },
            }
        }
    }

    async fn answer(&self, request: Request) -> String {
        match request {
            Request::Status => {
                let journal = self.lead(LeadQuestion::Journal).await.ok();
                answer(self.agent().await.map(|view| self.status(view, journal)))
            }
            Request::Links => answer(self.agent().await.map(|view| view.links)),
            Request::Rules => answer(self.agent().await.map(|view| view.rules)),
            Request::Matrix => answer(self.agent().await.map(|view| view.matrix)),
            Request::Topology => answer(self.lead(LeadQuestion::Topology).await),
            Request::Reservations => answer(self.lead(LeadQuestion::Reservations).await),
            Request::Reload => answer(self.reload().await),
            Request::Calendar => answer(self.lead(LeadQuestion::Calendar).await),
            Request::Reserve(wish) => {
                let booked = self.lead(|reply| LeadQuestion::Reserve(wish, reply)).await;
                answer(booked.and_then(|booked| booked))
            }
            Request::Cancel { key } => {
                let cancelled = self.lead(|reply| LeadQuestion::Cancel(key, reply)).await;
                answer(cancelled.and_then(|cancelled| cancelled))
            }
            Request::Explain { from, to } => {
                let explained = self.lead(|reply| LeadQuestion::Explain(from, to, reply)).await;
                answer(explained.and_then(|explained| explained))
            }
            Request::WhatIf { demands } => {
                let planned = self.lead(|reply| LeadQuestion::WhatIf(demands, reply)).await;
                answer(planned.and_then(|planned| planned))
            }
            Request::Events { .. } => answer::<()>(Err("events are streamed".to_owned())),
        }
    }

    /// Goes on to its end whether or not the client waits: half a reload there is not.
    async fn reload(&self) -> Result<Vec<String>, String> {
        let reloader = self.reloader.clone();
        let reload = tokio::spawn(async move { reloader.reload().await });
        reload.await.map_err(|_| "the reload has failed inside".to_owned())?
    }

    async fn agent(&self) -> Result<AgentView, String> {
        let (reply, view) = oneshot::channel();
        drop(self.agent.send(reply).await);
        view.await.map_err(|_| "the agent has ended".to_owned())
    }

    async fn lead<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> LeadQuestion) -> Result<T, String> {
        let lead = self.lead.as_ref().ok_or("only the lead knows; ask at the proxy")?;
        let (reply, view) = oneshot::channel();
        drop(lead.send(Input::Question(question(reply))).await);
        view.await.map_err(|_| "the lead has ended".to_owned())
    }

    fn status(&self, view: AgentView, journal: Option<JournalStatus>) -> Status {
        let counters = self.services.counters().into_iter().map(|counter| {
            (format!("{}.{}.{}", counter.kind.name(), counter.instance, counter.name), counter.value)
        });
        Status {
            name: self.name.clone(),
            role: self.role.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.clock.now().0 / 1_000_000_000,
            public_key: self.public_key.clone(),
            revision: view.revision,
            config: self.reloader.status(),
            workers: self.workers,
            guests: view.guests,
            journal,
            plugins: self.registry.status(),
            ports: view.ports,
            drops: view.drops,
            too_big: view.too_big,
            counters: counters.collect::<BTreeMap<_, _>>(),
            cache: view.cache,
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn answer<T: Serialize>(outcome: Result<T, String>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Answer<T> {
        Ok(T),
        Error(String),
    }
    json(&match outcome {
        Ok(value) => Answer::Ok(value),
        Err(reason) => Answer::Error(reason),
    })
}

async fn write_line(write: &mut tokio::net::unix::OwnedWriteHalf, line: &str) -> io::Result<()> {
    write.write_all(line.as_bytes()).await?;
    write.write_all(b"\n").await
}
