//! The server: TLS 1.3 with certificates on both sides, a task per connection, one manager on a thread of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admin::{self, Answer, Question};
use super::book::{Book, refusal, shown};
use super::certificates::owner_of;
use super::journal::Journal;
use super::kernel::Kernel;
use super::manager::{Job, Manager, Outlet, now};
use super::plant::Plant;
use super::protocol::{Code, LONGEST_LINE, Message, Outcome, Reply, Request};
use crate::error::{Error, Result, io_error};
use crate::lab::spec::LabSpec;
use crate::netns;

/// Connections at once; more wait to be accepted.
const MOST_CLIENTS: usize = 64;
/// Messages that may wait for one client.
const MOST_WAITING: usize = 2048;
/// How long a client may take to show its certificate, and to take a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server serves.
#[derive(Debug)]
pub struct ServerConfig {
    /// The lab, which must be up.
    pub lab: LabSpec,
    /// The routed network.
    pub network: String,
    /// Share of each link's rate that may be reserved, in percent.
    pub share: u64,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The member of the lab in whose namespace to listen; `None`: where the server is started.
    pub listen_at: Option<String>,
    /// Certificate of the CA, PEM.
    pub ca: PathBuf,
    /// The server's certificates, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Where the reservations are kept.
    pub state: PathBuf,
    /// The administrator's socket.
    pub socket: PathBuf,
}

/// Serves until SIGTERM or SIGINT. Reservations, and what the routers do for them, stay.
pub fn serve(config: &ServerConfig) -> Result<()> {
    let plant = Plant::of(&config.lab, &config.network, config.share)?;
    let _sole = sole_server(&config.lab)?;
    let tls = TlsAcceptor::from(Arc::new(tls(config)?));
    let (mut journal, left) = Journal::open(&config.state)?;
    let prefix = left.prefix.clone().unwrap_or_else(|| format!("{}-{:x}", config.network, now()));
    let counts = (left.last_number, left.last_seq);
    let book = Book::restored(plant.clone(), prefix, counts, left.records.into_values());
    journal.rewrite(book.prefix(), (book.last_number(), book.last_seq()), book.records())?;
    let kernel = Kernel::new(config.lab.clone(), &plant);
    let listener = listen(config)?;
    let socket = admin::listen(&config.socket)?;
    tracing::info!(network = config.network, listen = %config.listen, "serving");

    let (jobs, queue) = std::sync::mpsc::channel();
    let manager = Manager::new(book, journal, kernel);
    let manager = std::thread::spawn(move || manager.run(&queue));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("start", "runtime"))?;
    let served = runtime.block_on(accept(listener, socket, tls, jobs.clone()));
    let _ = jobs.send(Job::Stop);
    manager.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let _ = std::fs::remove_file(&config.socket);
    served.map_err(io_error("serve", config.listen))
}

/// One server per lab: a lock on a router's namespace, gone with the process.
fn sole_server(lab: &LabSpec) -> Result<Flock<File>> {
    let router = lab.commodity.core.as_ref().map(|core| core.routers[0].clone()).unwrap_or_default();
    let namespace = lab.namespace(&router);
    let file = File::open(netns::path(&namespace)).map_err(io_error("open namespace", &namespace))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::Gara { reason: format!("another server has the routers of lab {}", lab.name) })
}

fn tls(config: &ServerConfig) -> Result<rustls::ServerConfig> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| Error::Gara {
        reason: format!("{}: {error}", path.display()),
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.map_err(|error: rustls::pki_types::pem::Error| wrong(path, &error))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca)? {
        roots.add(certificate).map_err(|error| wrong(&config.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| wrong(&config.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.build().map_err(|error| wrong(&config.ca, &error))?;
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            let chain =
                certificates(&config.certificate).map_err(|e| rustls::Error::General(e.to_string()))?;
            builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)
        })
        .map_err(|error| wrong(&config.certificate, &error))
}

fn listen(config: &ServerConfig) -> Result<TcpListener> {
    let bind = || TcpListener::bind(config.listen);
    let bound = match &config.listen_at {
        Some(member) => netns::inside(&config.lab.member_namespace(member)?, bind)?,
        None => bind(),
    };
    let listener = bound.map_err(io_error("listen on", config.listen))?;
    listener.set_nonblocking(true).map_err(io_error("set up", config.listen))?;
    Ok(listener)
}

async fn accept(
    listener: TcpListener,
    socket: std::os::unix::net::UnixListener,
    tls: TlsAcceptor,
    jobs: Sender<Job>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        tokio::select! {
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            accepted = socket.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(handle_admin(stream, jobs.clone()));
                }
            }
            (place, accepted) = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => {
                // Out of descriptors, as a rule: those who go away free some.
                let (Ok(place), Ok((stream, address))) = (place, accepted) else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (tls, jobs) = (tls.clone(), jobs.clone());
                tokio::spawn(async move {
                    match handle_client(stream, &tls, &jobs).await {
                        // Somebody looked whether we are alive, or went without saying so.
                        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                            tracing::debug!(%address, %error, "connection ended");
                        }
                        Err(error) => tracing::info!(%address, %error, "connection ended"),
                        Ok(()) => {}
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn handle_admin(stream: tokio::net::UnixStream, jobs: Sender<Job>) {
    let answer = |question: Question| async move {
        let (answer, answered) = oneshot::channel::<Answer>();
        jobs.send(Job::Admin { question, answer }).ok()?;
        answered.await.ok()
    };
    let served = tokio::time::timeout(PATIENCE, admin::serve(stream, answer)).await;
    if let Ok(Err(error)) = served {
        tracing::info!(%error, "administrator's connection ended");
    }
}

async fn handle_client(stream: TcpStream, tls: &TlsAcceptor, jobs: &Sender<Job>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, tls.accept(stream)).await??;
    let owner = owner(&stream).ok_or_else(|| invalid_data("the certificate names nobody"))?;
    tracing::debug!(owner = &*owner, "connected");
    let (reader, writer) = tokio::io::split(stream);
    let (messages, outgoing) = mpsc::channel(MOST_WAITING);
    let outlet = Outlet { messages, cut: Arc::new(Notify::new()) };
    let cut = outlet.cut.clone();
    tokio::select! {
        read = read(BufReader::new(reader), &owner, &outlet, jobs) => read,
        written = write(writer, outgoing) => written,
        () = cut.notified() => Err(invalid_data("too slow: messages are waiting")),
    }
}

fn owner(stream: &TlsStream<TcpStream>) -> Option<Arc<str>> {
    let (_, session) = stream.get_ref();
    Some(owner_of(session.peer_certificates()?.first()?)?.into())
}

fn invalid_data(reason: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
}

/// One request at a time, each answered before the next is read.
async fn read(
    mut from: impl AsyncBufRead + Unpin,
    owner: &Arc<str>,
    outlet: &Outlet,
    jobs: &Sender<Job>,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut from).take(LONGEST_LINE as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            return Err(invalid_data("a line that is too long or not whole"));
        }
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                let (done, finished) = oneshot::channel();
                let job = Job::Client { owner: owner.clone(), request, outlet: outlet.clone(), done };
                if jobs.send(job).is_err() || finished.await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                let refused =
                    Outcome::Error(refusal(Code::Invalid, shown(&format!("not a request: {error}"))));
                let reply = Reply { id: id_of(&line), outcome: refused };
                if outlet.messages.send(Message::Reply(reply)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The number of a request that is otherwise wrong, as far as it can be read.
fn id_of(line: &[u8]) -> u64 {
    let document = serde_json::from_slice::<serde_json::Value>(line).ok();
    document.and_then(|document| document.get("id")?.as_u64()).unwrap_or(0)
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Message>,
) -> std::io::Result<()> {
    while let Some(message) = messages.recv().await {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        tokio::time::timeout(PATIENCE, async {
            to.write_all(&line).await?;
            to.flush().await
        })
        .await??;
    }
    Ok(())
}
