//! The same load over few or many guests: a fixed number of threads, each of which serves its connections in turn.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::socket::{setsockopt, sockopt};
use vreserve_testbed::Lab;

use super::super::ground::Subject;
use super::CONGESTION_CONTROL;

const PORT: u16 = 5501;
/// Flows at a time, however many guests there are.
const THREADS: usize = 4;
/// What a guest sends before it is the next one's turn.
const CHUNK: usize = 256 << 10;
/// Every connection has had two turns before counting begins, so that none is still slow; within bounds.
const WARM_UP_TURNS: usize = 2;
const WARM_UP: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A connection that stands still for so long has failed.
const STANDSTILL: Duration = Duration::from_secs(5);
/// Guests are silent between their turns, and would begin each turn slowly.
const SLOW_START_AFTER_IDLE: &str = "/proc/sys/net/ipv4/tcp_slow_start_after_idle";

/// Both ends of one connection.
type Pair = (TcpStream, TcpStream);

/// Gbit/s of TCP payload that arrived, over all guests together.
///
/// # Errors
/// If guests cannot be connected, or a connection stands still.
pub(super) fn tcp(lab: &Lab, subject: &Subject, length: Duration) -> anyhow::Result<f64> {
    let shares = connect_all(lab, subject)?;
    let warm = (WARM_UP_TURNS * CHUNK * shares.iter().map(|share| share.0.len()).sum::<usize>()) as u64;
    let (is_over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let rate = std::thread::scope(|scope| {
        let mut work = Vec::new();
        for (clients, servers) in shares {
            work.push(scope.spawn(|| send(clients, &is_over)));
            work.push(scope.spawn(|| receive(servers, &received)));
        }
        let count = || (Instant::now(), received.load(Ordering::Relaxed));
        let begin = Instant::now();
        while count().1 < warm && begin.elapsed() < WARM_UP {
            std::thread::sleep(LOOK_EVERY);
        }
        let first = count();
        std::thread::sleep(length);
        let last = count();
        is_over.store(true, Ordering::Relaxed);
        for thread in work {
            thread.join().expect("neither end panics")?;
        }
        anyhow::Ok((last.1 - first.1) as f64 * 8.0 / (last.0 - first.0).as_secs_f64() / 1e9)
    })?;
    if rate <= 0.0 {
        bail!("nothing arrived");
    }
    Ok(rate)
}

/// Connections to every guest, at least one for each thread, dealt out to the threads.
fn connect_all(lab: &Lab, subject: &Subject) -> anyhow::Result<Vec<(Vec<TcpStream>, Vec<TcpStream>)>> {
    for member in [&subject.from, &subject.ends[0].0] {
        lab.inside(member, || std::fs::write(SLOW_START_AFTER_IDLE, "0"))?.context("set up a guest's TCP")?;
    }
    // One end may be there several times.
    let mut listeners = BTreeMap::new();
    for (member, at) in &subject.ends {
        if !listeners.contains_key(at) {
            let listener = lab.inside(member, || TcpListener::bind((*at, PORT)))?;
            listeners.insert(*at, listener.with_context(|| format!("listen at {at}"))?);
        }
    }
    let count = subject.ends.len().max(THREADS);
    let ends = subject.ends.iter().cycle().take(count);
    let pairs = lab.inside(&subject.from, || {
        ends.map(|(_, at)| connect(&listeners[at], *at)).collect::<anyhow::Result<Vec<_>>>()
    })??;
    let mut shares: Vec<(Vec<_>, Vec<_>)> = (0..THREADS).map(|_| Default::default()).collect();
    for (nth, (client, server)) in pairs.into_iter().enumerate() {
        shares[nth % THREADS].0.push(client);
        shares[nth % THREADS].1.push(server);
    }
    Ok(shares)
}

fn connect(listener: &TcpListener, at: Ipv4Addr) -> anyhow::Result<Pair> {
    let client = TcpStream::connect_timeout(&(at, PORT).into(), STANDSTILL);
    let client = client.with_context(|| format!("connect to {at}"))?;
    setsockopt(&client, sockopt::TcpCongestion, &CONGESTION_CONTROL.into()).context("choose cubic")?;
    let (server, _) = listener.accept().context("accept a connection")?;
    client.set_write_timeout(Some(STANDSTILL)).context("bound a wait")?;
    server.set_read_timeout(Some(STANDSTILL)).context("bound a wait")?;
    Ok((client, server))
}

/// Goes round until it is over; then every connection ends, in the order in which the far end reads.
fn send(mut clients: Vec<TcpStream>, is_over: &AtomicBool) -> anyhow::Result<()> {
    let chunk = vec![0; CHUNK];
    loop {
        for client in &mut clients {
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            client.write_all(&chunk).context("a connection stands still")?;
        }
    }
}

fn receive(mut servers: Vec<TcpStream>, received: &AtomicU64) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        for server in &mut servers {
            let mut missing = CHUNK;
            while missing > 0 {
                let length = server.read(&mut buffer[..missing]).context("a connection stands still")?;
                if length == 0 {
                    return Ok(());
                }
                received.fetch_add(length as u64, Ordering::Relaxed);
                missing -= length;
            }
        }
    }
}
