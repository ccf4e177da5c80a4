//! The server: a unix socket, a thread per waiting client, and one worker that configures one path at a time,
//! as the original did. Requests queue; a client that goes away does not stop its request, which is what
//! makes an outcome unknown to it.

use std::fs::{File, Permissions};
use std::io::BufReader;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use super::fabric::{Fabric, Plant};
use super::protocol::{Refusal, Reply, Request, read_line, write_line};
use super::switching;
use super::timing::Timing;
use super::worker::{Stop, Worker, wall_ms};
use crate::error::{Error, Result, io_error};
use crate::lab::spec::LabSpec;
use crate::netns;

/// Clients served at once; more are turned away.
const MOST_CLIENTS: usize = 64;
/// How long an ending server waits for its clients to take their answers.
const FAREWELL: Duration = Duration::from_secs(1);
/// The wall clock may be set: what is due by it is looked at so often.
const CLOCK_CHECK: Duration = Duration::from_millis(200);
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server serves.
#[derive(Debug)]
pub struct ServerConfig {
    /// The lab, which must be up.
    pub lab: LabSpec,
    /// Name of the optical network.
    pub network: String,
    /// Where to listen; only the owner may connect.
    pub socket: PathBuf,
    /// The provider's delays.
    pub timing: Timing,
    /// Whether a request may be for later.
    pub is_deferring: bool,
}

/// A request and where its answer goes.
pub(super) struct Job {
    pub(super) request: Request,
    /// Under which it shows as waiting.
    pub(super) ticket: u64,
    pub(super) answer: Sender<Reply>,
}

/// Serves until SIGTERM or SIGINT, then darkens every path and returns.
///
/// It moves the calling thread into the network's namespace and blocks the two signals for good, so it must
/// be called before the process starts other threads.
pub fn serve(config: ServerConfig) -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().map_err(|errno| io_error("block", "signals")(errno.into()))?;
    let plant = Plant::of(&config.lab, &config.network)?;
    let network = config.lab.network(&config.network).expect("the plant was read from it").clone();
    let _sole = sole_server(&config.lab.namespace(&config.network))?;
    netns::enter(&config.lab.namespace(&config.network))?;
    switching::remove_all()?;
    let listener = listen(&config.socket)?;

    let fabric = Arc::new(Mutex::new(Fabric::new(plant, config.timing)));
    let stop = Arc::new(Stop::default());
    let (queue, jobs) = mpsc::channel();
    let worker = Worker::new(fabric.clone(), network, config.timing, config.is_deferring, stop.clone());
    let paths = fabric.clone();
    let worker = std::thread::spawn(move || work(&worker, &paths, &jobs));
    let clients = Arc::new(Clients::default());
    let door = Door { queue: queue.clone(), fabric, clients: clients.clone() };
    std::thread::spawn(move || accept(&listener, &door));
    tracing::info!(network = config.network, socket = %config.socket.display(), "serving");

    signals.wait().map_err(|errno| io_error("wait for", "signals")(errno.into()))?;
    stop.raise();
    let _ = queue.send(None);
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let _ = std::fs::remove_file(&config.socket);
    clients.wait_until_none(FAREWELL);
    switching::remove_all()
}

/// Works off the queue, and what was booked as its time comes, until told to end by `None`.
fn work(worker: &Worker, fabric: &Mutex<Fabric>, jobs: &Receiver<Option<Job>>) {
    loop {
        let due = lock(fabric).poll_due(wall_ms());
        if let Some(due) = due {
            worker.handle_due(due);
        }
        let next = lock(fabric).next_due();
        let wait = next.map(|at| Duration::from_millis(at.saturating_sub(wall_ms())).min(CLOCK_CHECK));
        let job = match wait {
            Some(wait) => jobs.recv_timeout(wait),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let Job { request, ticket, answer } = match job {
            Ok(Some(job)) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        };
        let reply = worker.handle(request, ticket);
        lock(fabric).end_wait(ticket);
        tracing::info!(?reply, "answered");
        // Nobody may be listening any more; the work is done all the same.
        let _ = answer.send(reply);
    }
}

/// One server per network: a lock on the namespace itself, gone with the process.
fn sole_server(namespace: &str) -> Result<Flock<File>> {
    let file = File::open(netns::path(namespace)).map_err(io_error("open namespace", namespace))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::Odin { reason: format!("another server switches {namespace}") })
}

/// Binds the socket with mode 0600; a dead server's socket makes way, anything else does not.
fn listen(path: &Path) -> Result<UnixListener> {
    if let Ok(meta) = path.symlink_metadata() {
        if !meta.file_type().is_socket() {
            return Err(Error::Odin { reason: format!("{} is not a socket", path.display()) });
        }
        if UnixStream::connect(path).is_ok() {
            return Err(Error::Odin { reason: format!("another server listens on {}", path.display()) });
        }
        std::fs::remove_file(path).map_err(io_error("remove", path.display()))?;
    }
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(io_error("create", directory.display()))?;
    }
    let usual = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(usual);
    let listener = bound.map_err(io_error("listen on", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(io_error("protect", path.display()))?;
    Ok(listener)
}

/// What a client's thread needs.
#[derive(Clone)]
struct Door {
    queue: Sender<Option<Job>>,
    fabric: Arc<Mutex<Fabric>>,
    clients: Arc<Clients>,
}

fn accept(listener: &UnixListener, door: &Door) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let Some(place) = Clients::admit(&door.clients) else {
            tracing::warn!("client turned away: {MOST_CLIENTS} are waiting");
            continue;
        };
        let door = door.clone();
        std::thread::spawn(move || {
            handle_client(&stream, &door);
            drop(place);
        });
    }
}

fn handle_client(stream: &UnixStream, door: &Door) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let reply = match read_line::<Request>(BufReader::new(stream)) {
        Ok(Request::List) => Reply::Paths(lock(&door.fabric).reports()),
        Ok(request) => enqueue(request, door),
        // Somebody looked whether we are alive.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
        Err(error) => Reply::Refused(Refusal::BadRequest { reason: error.to_string() }),
    };
    let mut writer = stream;
    if let Err(error) = write_line(&mut writer, &reply) {
        tracing::warn!(%error, ?reply, "client gone before its answer");
    }
}

fn enqueue(request: Request, door: &Door) -> Reply {
    let (answer, answered) = mpsc::channel();
    let ticket = match &request {
        Request::Create { source, destination, lambda, .. } => {
            lock(&door.fabric).wait(*source, *destination, *lambda)
        }
        _ => 0,
    };
    let sent = door.queue.send(Some(Job { request, ticket, answer }));
    sent.ok().and_then(|()| answered.recv().ok()).unwrap_or(Reply::Refused(Refusal::ShuttingDown))
}

/// A thread that panicked leaves the paths as they are; the others go on.
pub(super) fn lock(fabric: &Mutex<Fabric>) -> MutexGuard<'_, Fabric> {
    fabric.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many clients are being served.
#[derive(Debug, Default)]
struct Clients {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One client's place, given up when dropped.
struct Place(Arc<Clients>);

impl Clients {
    /// A place, if there is one.
    fn admit(clients: &Arc<Self>) -> Option<Place> {
        let mut count = clients.count.lock().unwrap_or_else(PoisonError::into_inner);
        (*count < MOST_CLIENTS).then(|| {
            *count += 1;
            Place(clients.clone())
        })
    }

    /// Waits until every client has its answer, or `patience` is over.
    fn wait_until_none(&self, patience: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.changed.wait_timeout_while(count, patience, |count| *count > 0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}
