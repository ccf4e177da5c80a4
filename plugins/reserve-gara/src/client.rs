//! The one connection to the server, made when it is first needed, and again with a growing delay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vreserve_rsl::wire::{Operation, Pong, Request, Watching};
use vreserve_sdk::{Counter, Host};

use crate::config::Config;
use crate::connection::{Connection, Fault};
use crate::events::Events;
use crate::{line, tls};

/// Between two attempts to connect: after the first that failed, and at most.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Speaks to one server.
pub(crate) struct Client {
    config: Config,
    slot: tokio::sync::Mutex<Slot>,
    /// Of the next request.
    id: AtomicU64,
    /// What the server tells by itself.
    pub(crate) events: Arc<Events>,
    clock: Mutex<Option<Clock>>,
    connections: Counter,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// There has been one before.
    has_connected: bool,
    setback: Option<Setback>,
}

/// Attempts to connect that have failed since the last that did not.
struct Setback {
    delay: Duration,
    next: Instant,
    reason: String,
}

/// What the server's clock said.
#[derive(Clone, Copy)]
struct Clock {
    server_ms: u64,
    at: Instant,
}

impl Client {
    /// Not connected yet.
    pub(crate) fn new(config: Config, host: &Host) -> Self {
        Self {
            config,
            slot: tokio::sync::Mutex::default(),
            id: AtomicU64::new(1),
            events: Arc::default(),
            clock: Mutex::new(None),
            connections: host.counter("connections", "Connections made to the server."),
        }
    }

    /// Makes one request.
    pub(crate) async fn ask(&self, operation: Operation) -> Result<Box<RawValue>, Fault> {
        let connection = self.connected().await.map_err(Fault::NotAsked)?;
        self.ask_over(&connection, operation).await
    }

    /// Asks whether the server is there, and for its clock.
    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        let connection = self.connected().await.map_err(Fault::NotAsked)?;
        self.ping_over(&connection).await.map(drop)
    }

    /// The connection; why there is none.
    pub(crate) async fn connected(&self) -> Result<Arc<Connection>, String> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some(setback) = slot.setback.as_ref().filter(|setback| Instant::now() < setback.next) {
            return Err(setback.reason.clone());
        }
        let timeout = self.config.timeout;
        let made = tokio::time::timeout(timeout, self.connect(!slot.has_connected)).await;
        match made.unwrap_or_else(|_| Err(format!("not connected within {:.1} s", timeout.as_secs_f64()))) {
            Ok(connection) => {
                self.connections.add(1);
                let connection = Arc::new(connection);
                *slot = Slot { connection: Some(connection.clone()), has_connected: true, setback: None };
                Ok(connection)
            }
            Err(reason) => {
                let reason = format!("{}: {reason}", self.config.server);
                let before = slot.setback.as_ref().map(|setback| setback.delay);
                let delay = before.map_or(FIRST_DELAY, |delay| (delay * 2).min(LONGEST_DELAY));
                slot.setback = Some(Setback { delay, next: Instant::now() + delay, reason: reason.clone() });
                Err(reason)
            }
        }
    }

    /// Connects, and asks two things before anybody else does: a server that does not want our certificate says
    /// so only when it is first asked something.
    async fn connect(&self, is_first: bool) -> Result<Connection, String> {
        let tls = tls::client_config(&self.config).map_err(|failure| failure.reason)?;
        let name = self.config.name().map_err(|failure| failure.reason)?;
        let tcp = TcpStream::connect(self.config.server).await.map_err(|error| error.to_string())?;
        // Requests are small and waited for.
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
        let connection = Connection::start(tls.map_err(|error| error.to_string())?, self.events.clone());
        let pong = self.ping_over(&connection).await.map_err(Fault::into_reason)?;
        self.events.begin(pong.seq, is_first);
        let watching = self.ask_over(&connection, Operation::Watch { since: pong.seq }).await;
        let watching = watching.map_err(Fault::into_reason)?;
        line::content::<Watching>(&watching).map_err(|reason| format!("cannot read the answer: {reason}"))?;
        Ok(connection)
    }

    async fn ping_over(&self, connection: &Connection) -> Result<Pong, Fault> {
        let asked = Instant::now();
        let answer = self.ask_over(connection, Operation::Ping).await?;
        let pong: Pong = line::content(&answer).map_err(Fault::unreadable)?;
        let clock = Clock { server_ms: pong.time, at: asked + asked.elapsed() / 2 };
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(pong)
    }

    async fn ask_over(&self, connection: &Connection, operation: Operation) -> Result<Box<RawValue>, Fault> {
        let id = self.id.fetch_add(1, Ordering::Relaxed);
        let mut line = serde_json::to_vec(&Request { id, operation })
            .map_err(|error| Fault::NotAsked(format!("cannot write the request: {error}")))?;
        line.push(b'\n');
        connection.ask(id, line, self.config.timeout).await
    }

    /// The server's clock, in milliseconds since the Unix epoch; ours, until it has told its own.
    pub(crate) fn server_ms(&self) -> u64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(now_ms, |clock| clock.server_ms.saturating_add(millis(clock.at.elapsed())))
    }
}

impl Fault {
    /// An answer that cannot be read: something was answered, nobody knows what.
    pub(crate) fn unreadable(reason: String) -> Self {
        Self::Lost(format!("cannot read the answer: {reason}"))
    }

    /// Why, for a person.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::NotAsked(reason) | Self::Lost(reason) => reason,
            Self::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// Our own clock, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
