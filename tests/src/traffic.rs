//! Unmodified programs that make traffic, and the receiving guest's own count of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vreserve_testbed::Lab;

use crate::wait;
use crate::world::World;

/// A running iperf3, client and server; dropping it ends both.
#[derive(Debug)]
pub struct Iperf {
    client: Child,
    server: Child,
}

impl Iperf {
    /// Starts iperf3 from one member to an address of another at `port`, with further arguments for the
    /// client, such as `-u -b 10M`.
    #[track_caller]
    pub fn start(world: &World, from: &str, to: &str, address: &str, port: u16, arguments: &[&str]) -> Self {
        let port = port.to_string();
        let mut server = Command::new("iperf3");
        silence(server.args(["-s", "-1", "-p", &port]));
        let server = world.lab().spawn(to, &mut server).expect("iperf3 starts");
        let number: u16 = port.parse().expect("it was a number");
        wait::until_true("iperf3 listens", Duration::from_secs(10), || is_listening(world.lab(), to, number));
        let mut client = Command::new("iperf3");
        silence(client.args(["-c", address, "-p", &port, "-t", "600"]).args(arguments));
        let client = world.lab().spawn(from, &mut client).expect("iperf3 starts");
        Self { client, server }
    }

    /// Starts iperf3 between two guests.
    #[track_caller]
    pub fn between(world: &World, from: &str, to: &str, port: u16, arguments: &[&str]) -> Self {
        Self::start(world, from, to, &world.address(to).to_string(), port, arguments)
    }

    /// Whether the client is still at it.
    pub fn is_running(&mut self) -> bool {
        self.client.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn silence(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
}

/// Whether somebody listens at a TCP port; looked up, since iperf3 would take a connection for its client.
fn is_listening(lab: &Lab, member: &str, port: u16) -> bool {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let listening = |table: &&str| {
        let text = lab.inside(member, || std::fs::read_to_string(table)).expect("the member has a namespace");
        let local = format!(":{port:04X}");
        text.unwrap_or_default().lines().any(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            fields.len() > 3 && fields[1].ends_with(&local) && fields[3] == "0A"
        })
    };
    tables.iter().any(listening)
}

/// A TCP connection between two guests, made from the test: sockets stay in the namespace they were made in.
#[track_caller]
pub fn connect(world: &World, from: &str, to: &str, port: u16) -> (TcpStream, TcpStream) {
    let at = (world.address(to), port);
    let listener = world.lab().inside(to, || std::net::TcpListener::bind(at));
    let listener = listener.expect("the guest has a namespace").expect("the port is free");
    let near = world.lab().inside(from, || TcpStream::connect_timeout(&at.into(), Duration::from_secs(10)));
    let near = near.expect("the guest has a namespace").expect("the guests reach each other");
    (near, listener.accept().expect("somebody has connected").0)
}

/// What arrives of octets that one guest sends another over a connection to `port`.
#[track_caller]
pub fn transfer(world: &World, from: &str, to: &str, port: u16, octets: &[u8]) -> Vec<u8> {
    let (mut near, mut far) = connect(world, from, to, port);
    far.set_read_timeout(Some(Duration::from_secs(30))).expect("a connection takes a time limit");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut received = Vec::with_capacity(octets.len());
            far.read_to_end(&mut received).map(|_| received)
        });
        near.write_all(octets).expect("the near end takes all");
        near.shutdown(Shutdown::Write).expect("the near end is open");
        reader.join().expect("reading does not panic").expect("the far end gets all in time")
    })
}

/// What comes in at an interface, as the member's own kernel counts.
#[derive(Debug)]
pub struct Meter<'a> {
    world: &'a World,
    member: &'a str,
    interface: &'a str,
    since: Instant,
    received: u64,
}

impl<'a> Meter<'a> {
    /// Begins now, at an interface of a member.
    pub fn start(world: &'a World, member: &'a str, interface: &'a str) -> Self {
        let received = received(world.lab(), member, interface);
        Self { world, member, interface, since: Instant::now(), received }
    }

    /// Octets since the beginning.
    pub fn octets(&self) -> u64 {
        received(self.world.lab(), self.member, self.interface) - self.received
    }

    /// Bits per second since the beginning.
    pub fn rate(&self) -> f64 {
        self.octets() as f64 * 8.0 / self.since.elapsed().as_secs_f64()
    }

    /// Waits until so many octets have come in.
    #[track_caller]
    pub fn wait_for(&self, octets: u64) {
        let what = format!("{octets} octets come in at {} of {}", self.interface, self.member);
        wait::until_true(&what, Duration::from_secs(30), || self.octets() >= octets);
    }
}

/// Octets that an interface has received.
fn received(lab: &Lab, member: &str, interface: &str) -> u64 {
    // /proc/thread-self, not /proc/self: only the thread is in the member's namespace.
    let table = lab.inside(member, || std::fs::read_to_string("/proc/thread-self/net/dev"));
    let table = table.expect("the member has a namespace").expect("every namespace has the table");
    let counters = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let first = counters.and_then(|counters| counters.split_ascii_whitespace().next()?.parse().ok());
    first.expect("the member has this interface")
}
