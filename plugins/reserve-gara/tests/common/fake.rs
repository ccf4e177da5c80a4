//! A GARA server in this process, over real TLS on loopback: enough of one, and as wrong as a test wants it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vreserve_rsl::wire::{Operation, Request, Reservation, State};
use vreserve_rsl::{Change, NetworkRequest, parse};

use super::Backend;
use super::certificates::{Authority, Identity};

/// Longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server does with a request instead of answering it.
#[derive(Clone)]
pub(crate) enum Mischief {
    /// Nothing, and no answer.
    Hang,
    /// The connection ends before anything is done.
    CutBefore,
    /// It is done, and the connection ends.
    CutAfter,
    /// It is done, and this is answered; `ID` stands for the request's number.
    Say(Vec<u8>),
    /// Nothing is done, and an error of this code is answered.
    Refuse(&'static str),
    /// It is done, and the answer's `ok` is changed.
    Twist(fn(&mut Value)),
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) reservations: Vec<Reservation>,
    /// Everything that was asked, in order.
    pub(crate) asked: Vec<Operation>,
    mischief: BTreeMap<&'static str, VecDeque<Mischief>>,
    seq: u64,
    handles: u64,
    /// The server's clock is ahead by this.
    pub(crate) skew_ms: u64,
    /// It takes requests, and neither does nor answers anything.
    pub(crate) hangs: bool,
    watchers: Vec<mpsc::UnboundedSender<Vec<u8>>>,
    connections: Vec<JoinHandle<()>>,
}

type Shared = Arc<(Mutex<World>, Condvar)>;

/// A running server with the certificates around it.
pub(crate) struct Fake {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    identity: Identity,
    address: SocketAddr,
    shared: Shared,
    runtime: Runtime,
    accepting: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let authority = Authority::new("authority");
        let identity = authority.issue("gara");
        Self::start_with(authority, identity)
    }

    /// A server that shows this certificate.
    pub(crate) fn start_with(authority: Authority, identity: Identity) -> Self {
        let dir = tempfile::tempdir().unwrap();
        authority.save(dir.path().join("ca.pem"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut fake =
            Self { dir, authority, identity, address, shared: Shared::default(), runtime, accepting: None };
        fake.accept(listener);
        fake
    }

    fn accept(&mut self, listener: TcpListener) {
        let tls = TlsAcceptor::from(self.identity.serve(&self.authority));
        let shared = self.shared.clone();
        self.accepting = Some(self.runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, serving) = (tls.clone(), shared.clone());
                let task = tokio::spawn(async move { serve(&tls, tcp, &serving).await });
                shared.0.lock().unwrap().connections.push(task);
            }
        }));
    }

    /// The configuration of an instance that shows the certificate `name`, which is made if it is new.
    pub(crate) fn config(&self, name: &str, more: Value) -> Value {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        if !certificate.exists() {
            self.authority.issue(name).save(self.dir.path(), name);
        }
        let mut config = json!({ "server": self.address.to_string(), "ca": self.path("ca.pem"),
            "certificate": certificate, "key": key, "timeout": "2s" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn open(&self) -> Backend {
        self.open_with(json!({}))
    }

    pub(crate) fn open_with(&self, more: Value) -> Backend {
        self.open_as("client", more).unwrap()
    }

    /// An instance with a certificate and a state directory of its own.
    pub(crate) fn open_as(&self, name: &str, more: Value) -> Result<Backend, vreserve_sdk::Failure> {
        let state = self.path(&format!("{name}.state"));
        std::fs::create_dir_all(&state).unwrap();
        Backend::open(&self.config(name, more), &state)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.0.lock().unwrap()
    }

    /// Does this with the next request of that name; several are done in turn.
    pub(crate) fn next(&self, operation: &'static str, mischief: Mischief) {
        self.world().mischief.entry(operation).or_default().push_back(mischief);
    }

    /// Waits until something holds, looking after every request.
    pub(crate) fn wait_until(&self, holds: impl Fn(&World) -> bool) {
        let (_world, waited) =
            self.shared.1.wait_timeout_while(self.world(), PATIENCE, |world| !holds(world)).unwrap();
        assert!(!waited.timed_out(), "it never came to that");
    }

    /// What was asked by this name.
    pub(crate) fn asked(&self, name: &str) -> Vec<Operation> {
        self.world().asked.iter().filter(|operation| name_of(operation) == name).cloned().collect()
    }

    /// Ends every connection; the server goes on.
    pub(crate) fn cut(&self) {
        let mut world = self.world();
        world.watchers.clear();
        world.connections.drain(..).for_each(|task| task.abort());
    }

    /// Ends every connection and takes no more.
    pub(crate) fn stop(&mut self) {
        if let Some(task) = self.accepting.take() {
            task.abort();
            // Until it is over the port is taken.
            let _ = self.runtime.block_on(task);
        }
        self.cut();
    }

    pub(crate) fn go_on(&mut self) {
        let listener = self.runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.accept(listener);
    }

    /// The server's memory is lost with all connections.
    pub(crate) fn restart_empty(&self) {
        self.cut();
        let mut world = self.world();
        world.reservations.clear();
        world.seq = 0;
    }

    /// A change by the server itself.
    pub(crate) fn change(&self, label: &str, change: impl FnOnce(&mut Reservation)) {
        let mut world = self.world();
        let at = world.reservations.iter().position(|r| r.label.as_deref() == Some(label)).unwrap();
        change(&mut world.reservations[at]);
        world.tell(at);
    }
}

impl World {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 + self.skew_ms
    }

    fn tell(&mut self, at: usize) {
        self.seq += 1;
        let line = json!({ "event": { "seq": self.seq, "reservation": self.reservations[at] } });
        self.watchers.retain(|watcher| watcher.send((line.to_string() + "\n").into_bytes()).is_ok());
    }

    /// The server's memory of a reservation that holds something for a label.
    pub(crate) fn held(&self, label: &str) -> Vec<Reservation> {
        let of_label = self.reservations.iter().filter(|r| r.label.as_deref() == Some(label));
        of_label.filter(|r| r.state.holds_capacity()).cloned().collect()
    }

    fn do_it(
        &mut self,
        operation: &Operation,
        me: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> Result<Value, &'static str> {
        let find = |world: &Self, handle: &str| {
            world.reservations.iter().position(|r| r.handle == handle).ok_or("no-such-handle")
        };
        match operation {
            Operation::Create { rsl } => self.create(rsl),
            Operation::Ping => Ok(json!({ "time": self.now_ms() as f64 / 1000.0, "seq": self.seq })),
            Operation::Watch { .. } => {
                self.watchers.push(me.clone());
                Ok(json!({ "seq": self.seq, "lost": false }))
            }
            Operation::List => Ok(json!({ "reservations": self.reservations })),
            Operation::Find { label } => {
                let of_label = self.reservations.iter().filter(|r| r.label.as_deref() == Some(label));
                Ok(json!({ "reservations": of_label.collect::<Vec<_>>() }))
            }
            Operation::Status { handle } => Ok(json!(self.reservations[find(self, handle)?])),
            Operation::Cancel { handle } => self.with(find(self, handle)?, |r| {
                if r.state.holds_capacity() {
                    (r.state, r.enforced) = (State::Cancelled, false);
                }
            }),
            Operation::Bind { handle, .. } => self.with_live(find(self, handle)?, |r| {
                (r.bound, r.enforced) = (true, r.state == State::Active);
            }),
            Operation::Unbind { handle } => {
                self.with_live(find(self, handle)?, |r| (r.bound, r.enforced) = (false, false))
            }
            Operation::Modify { handle, rsl } => {
                let change = Change::from_spec(&parse(rsl).map_err(|_| "invalid")?).map_err(|_| "invalid")?;
                self.with_live(find(self, handle)?, |r| {
                    r.kbps = change.kbps.unwrap_or(r.kbps);
                    r.end = change.duration.map(|span| r.start + span.as_millis() as u64).or(r.end);
                })
            }
        }
    }

    fn create(&mut self, rsl: &str) -> Result<Value, &'static str> {
        let asked = NetworkRequest::from_spec(&parse(rsl).map_err(|_| "invalid")?).map_err(|_| "invalid")?;
        if let Some(known) = self.reservations.iter().find(|r| r.label == asked.label) {
            return Ok(json!({ "handle": known.handle }));
        }
        self.handles += 1;
        let start = asked.start_ms.unwrap_or(self.now_ms());
        self.reservations.push(Reservation {
            handle: format!("gara-{}", self.handles),
            label: asked.label,
            state: if asked.start_ms.is_some() { State::Booked } else { State::Active },
            endpoint_a: asked.endpoint_a.to_string(),
            endpoint_b: asked.endpoint_b.to_string(),
            start,
            end: asked.duration.map(|span| start + span.as_millis() as u64),
            kbps: asked.kbps,
            bound: false,
            enforced: false,
        });
        self.tell(self.reservations.len() - 1);
        Ok(json!({ "handle": format!("gara-{}", self.handles) }))
    }

    fn with(&mut self, at: usize, change: impl FnOnce(&mut Reservation)) -> Result<Value, &'static str> {
        change(&mut self.reservations[at]);
        self.tell(at);
        Ok(json!(self.reservations[at]))
    }

    fn with_live(&mut self, at: usize, change: impl FnOnce(&mut Reservation)) -> Result<Value, &'static str> {
        if self.reservations[at].state.holds_capacity() { self.with(at, change) } else { Err("wrong-state") }
    }
}

async fn serve(tls: &TlsAcceptor, tcp: TcpStream, shared: &Shared) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    let (reader, mut writer) = tokio::io::split(stream);
    let (me, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut lines = BufReader::new(reader).lines();
    loop {
        tokio::select! {
            Some(bytes) = outgoing.recv() => {
                if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                if !handle_line(&line, &me, shared) {
                    // Closes as a program does that ends.
                    let _ = writer.shutdown().await;
                    return;
                }
            }
        }
    }
}

/// False: the connection ends.
fn handle_line(line: &str, me: &mpsc::UnboundedSender<Vec<u8>>, shared: &Shared) -> bool {
    let Request { id, operation } = serde_json::from_str(line).unwrap();
    let mut world = shared.0.lock().unwrap();
    if world.hangs {
        return true;
    }
    let mischief = world.mischief.get_mut(name_of(&operation)).and_then(VecDeque::pop_front);
    world.asked.push(operation.clone());
    let goes_on = match mischief {
        Some(Mischief::Hang) => true,
        Some(Mischief::CutBefore) => false,
        Some(Mischief::Refuse(code)) => {
            answer(me, &json!({ "id": id, "error": { "code": code, "text": "no" } }));
            true
        }
        mischief => {
            let done = world.do_it(&operation, me);
            match (mischief, done) {
                (Some(Mischief::CutAfter), _) => false,
                (Some(Mischief::Say(bytes)), _) => {
                    let text = String::from_utf8_lossy(&bytes).replace("ID", &id.to_string());
                    let _ = me.send(text.into_bytes());
                    true
                }
                (Some(Mischief::Twist(twist)), Ok(mut ok)) => {
                    twist(&mut ok);
                    answer(me, &json!({ "id": id, "ok": ok }));
                    true
                }
                (_, Ok(ok)) => {
                    answer(me, &json!({ "id": id, "ok": ok }));
                    true
                }
                (_, Err(code)) => {
                    answer(me, &json!({ "id": id, "error": { "code": code, "text": "no" } }));
                    true
                }
            }
        }
    };
    shared.1.notify_all();
    goes_on
}

fn answer(me: &mpsc::UnboundedSender<Vec<u8>>, answer: &Value) {
    let _ = me.send((answer.to_string() + "\n").into_bytes());
}

fn name_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Create { .. } => "create",
        Operation::Modify { .. } => "modify",
        Operation::Cancel { .. } => "cancel",
        Operation::Status { .. } => "status",
        Operation::Bind { .. } => "bind",
        Operation::Unbind { .. } => "unbind",
        Operation::List => "list",
        Operation::Find { .. } => "find",
        Operation::Watch { .. } => "watch",
        Operation::Ping => "ping",
    }
}
