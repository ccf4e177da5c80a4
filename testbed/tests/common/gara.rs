//! A lab with a `gara-server`, a client of it, and traffic that competes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use vreserve_testbed::gara::certificates;
use vreserve_testbed::gara::protocol::{
    Event, LONGEST_LINE, Message, Operation, Outcome, Refusal, Reply, Request, Reservation, Reservations,
};
use vreserve_testbed::{Lab, LabSpec};

use super::{eventually, unique};

pub(crate) const SERVER: &str = "127.0.0.1:2119";
/// Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// The example lab, with certificates for ann and bob, and a server at the hub.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) directory: tempfile::TempDir,
    server: Option<Child>,
}

impl World {
    pub(crate) fn up(tag: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/gara.toml");
        let lab = Lab::up(unique(LabSpec::load(&file).unwrap(), tag)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let clients = ["ann".to_owned(), "bob".to_owned()];
        certificates::make(&directory.path().join("pki"), &clients, &[Ipv4Addr::LOCALHOST.into()]).unwrap();
        let mut world = Self { lab, directory, server: None };
        world.start();
        world
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.directory.path().join("pki").join(file)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("gara.sock")
    }

    pub(crate) fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gara-server"));
        command.args(["--lab", &self.lab.spec().name, "--listen-at", "hub", "--listen", SERVER]);
        command.arg("--ca").arg(self.pki("ca.pem"));
        command.arg("--cert").arg(self.pki("server.pem")).arg("--key").arg(self.pki("server.key"));
        command.arg("--state").arg(self.directory.path().join("state")).arg("--socket").arg(self.socket());
        self.server = Some(command.stdin(Stdio::null()).spawn().unwrap());
        eventually("the server listens", || self.connect().is_ok());
    }

    /// SIGKILL, as when the machine loses power.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    pub(crate) fn is_serving(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| server.try_wait().unwrap().is_none())
    }

    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = self.lab.inside("hub", || TcpStream::connect(SERVER)).unwrap()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        let (certificate, key) = (self.pki(&format!("{name}.pem")), self.pki(&format!("{name}.key")));
        let config = client_config(&self.pki("ca.pem"), Some((certificate.as_path(), key.as_path())));
        Client::over(self.connect().unwrap(), config)
    }

    /// What `tc` and `nft` say of what is reserved at a router: its classes above the lab's, and its marks.
    pub(crate) fn reserved_at(&self, router: &str, interface: &str) -> (Vec<String>, usize) {
        let run = |program: &str, arguments: &[&str]| {
            let output = self.lab.exec(router, Command::new(program).args(arguments)).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let classes = run("tc", &["class", "show", "dev", interface]);
        let rates = classes.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let rate = words.iter().position(|word| *word == "rate")? + 1;
            (!["5652:1", "5652:20"].contains(&words[2])).then(|| format!("{} {}", words[2], words[rate]))
        });
        let marks = run("nft", &["list", "table", "ip", "gara"]).matches("dscp set ef").count();
        (rates.collect(), marks)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn client_config(ca: &Path, own: Option<(&Path, &Path)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match own {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// A connection.
pub(crate) struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    last_id: u64,
    events: VecDeque<Event>,
}

impl Client {
    pub(crate) fn over(stream: TcpStream, config: ClientConfig) -> Self {
        let name = ServerName::try_from(certificates::SERVER_NAME).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = BufReader::new(StreamOwned::new(session, stream));
        Self { stream, last_id: 0, events: VecDeque::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// The next line, if the server sends one before it ends the connection.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        assert!(length <= LONGEST_LINE, "{length} bytes in one line");
        Some(serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn ask(&mut self, operation: Operation) -> Result<Value, Refusal> {
        self.last_id += 1;
        let line = serde_json::to_string(&Request { id: self.last_id, operation }).unwrap() + "\n";
        self.send(line.as_bytes()).unwrap();
        loop {
            match self.message().expect("an answer") {
                Message::Event { event } => self.events.push_back(event),
                Message::Reply(Reply { id, outcome }) => {
                    assert_eq!(id, self.last_id);
                    return match outcome {
                        Outcome::Ok(content) => Ok(content),
                        Outcome::Error(refusal) => Err(refusal),
                    };
                }
            }
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.message().expect("an event") {
            Message::Event { event } => event,
            Message::Reply(reply) => panic!("an answer to nothing: {reply:?}"),
        }
    }

    pub(crate) fn create(&mut self, rsl: &str) -> Result<String, Refusal> {
        let content = self.ask(Operation::Create { rsl: rsl.to_owned() })?;
        Ok(content["handle"].as_str().unwrap().to_owned())
    }

    pub(crate) fn bind(&mut self, handle: &str, rsl: &str) -> Reservation {
        let operation = Operation::Bind { handle: handle.to_owned(), rsl: rsl.to_owned() };
        serde_json::from_value(self.ask(operation).unwrap()).unwrap()
    }

    pub(crate) fn status(&mut self, handle: &str) -> Reservation {
        let operation = Operation::Status { handle: handle.to_owned() };
        serde_json::from_value(self.ask(operation).unwrap()).unwrap()
    }

    pub(crate) fn list(&mut self) -> Vec<Reservation> {
        let content = self.ask(Operation::List).unwrap();
        serde_json::from_value::<Reservations>(content).unwrap().reservations
    }
}

/// Bits per second that a TCP connection carries while others carry theirs. `flows` are `(from, to, at)`; the first
/// is the one that is measured.
pub(crate) fn tcp_rates(lab: &Lab, flows: &[(&str, &str, SocketAddr)]) -> Vec<f64> {
    let (warm_up, measured) = (Duration::from_millis(1500), Duration::from_secs(3));
    let listeners: Vec<_> =
        flows.iter().map(|(_, to, at)| lab.inside(to, || TcpListener::bind(at).unwrap()).unwrap()).collect();
    let begun = Instant::now();
    let end = begun + warm_up + measured;
    std::thread::scope(|scope| {
        let receivers: Vec<_> = flows
            .iter()
            .zip(&listeners)
            .map(|((from, _, at), listener)| {
                let sender = lab.inside(from, || TcpStream::connect(at).unwrap()).unwrap();
                scope.spawn(move || send_until(sender, end));
                let (receiver, _) = listener.accept().unwrap();
                scope.spawn(move || receive_between(receiver, begun + warm_up, end))
            })
            .collect();
        receivers
            .into_iter()
            .map(|receiver| receiver.join().unwrap() as f64 * 8.0 / measured.as_secs_f64())
            .collect()
    })
}

fn send_until(mut sender: TcpStream, end: Instant) {
    sender.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while Instant::now() < end {
        let _ = sender.write(&[0; 64 << 10]);
    }
}

fn receive_between(mut receiver: TcpStream, begin: Instant, end: Instant) -> usize {
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
    while Instant::now() < end {
        if let Ok(length) = receiver.read(&mut buffer)
            && Instant::now() > begin
        {
            bytes += length;
        }
    }
    bytes
}

/// Share of the datagrams, sent at a rate, that arrive.
pub(crate) fn udp_share(lab: &Lab, from: &str, to: &str, at: SocketAddr, bits_per_second: f64) -> f64 {
    const PAYLOAD: usize = 1400;
    let receiver = lab.inside(to, || UdpSocket::bind(at).unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let sender = lab.inside(from, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
    sender.connect(at).unwrap();
    let begun = Instant::now();
    let span = Duration::from_secs(3);
    std::thread::scope(|scope| {
        let arrived = scope.spawn(|| {
            let (mut count, mut buffer) = (0_u32, [0; 2048]);
            while begun.elapsed() < span + Duration::from_millis(500) {
                count += u32::from(receiver.recv(&mut buffer).is_ok());
            }
            count
        });
        let mut sent = 0_u32;
        while begun.elapsed() < span {
            // What is due by now goes at once; the kernel's timer then paces to within a millisecond.
            let due = begun.elapsed().as_secs_f64() * bits_per_second / 8.0 / PAYLOAD as f64;
            while f64::from(sent) < due {
                let _ = sender.send(&[0; PAYLOAD]);
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        f64::from(arrived.join().unwrap()) / f64::from(sent)
    })
}
