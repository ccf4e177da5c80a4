//! The data plane as the rest of the daemon has it: started, talked to, stopped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vreserve_core::probe::RateTerms;

use super::mailbox::mailbox;
use super::pool::SlotPool;
use super::ports::{CapturePort, EndpointPort};
use super::watchdog::{Pulse, Watchdog, Watched};
use super::worker::{Habits, Place, Worker};
use super::workers::{Events, Workers, events};
use crate::clock::Clock;

/// Workers that a plugin does not give back by then are left behind.
const END_TIME: Duration = Duration::from_secs(5);
/// Between two looks whether a worker has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a data plane is made of.
pub struct DataPlaneConfig {
    /// The workers, 1 to [`MAX_WORKERS`](super::MAX_WORKERS).
    pub workers: Vec<WorkerConfig>,
    /// The daemon's clock.
    pub clock: Clock,
    /// A random secret.
    pub seed: u64,
    /// How long a worker polls after a frame, at most, before it sleeps; zero sleeps at once.
    pub spin: Duration,
    /// How the rate of a circuit is proven.
    pub rate_terms: RateTerms,
}

/// What one worker has to itself.
pub struct WorkerConfig {
    /// The slots; plugins know them already.
    pub pool: SlotPool,
    /// The capture instances, each one queue of its interface.
    pub captures: Vec<CapturePort>,
    /// The endpoints, each one queue of its address; the same for every worker.
    pub endpoints: Vec<EndpointPort>,
    /// The CPU to stay on.
    pub cpu: Option<usize>,
}

impl WorkerConfig {
    /// The names of its ports in the configuration, by port number.
    fn port_names(&self) -> Vec<String> {
        let captures = self.captures.iter().map(|capture| capture.port.name());
        captures
            .chain(self.endpoints.iter().map(|endpoint| endpoint.port.name()))
            .map(str::to_owned)
            .collect()
    }
}

/// The running workers.
pub struct DataPlane {
    workers: Workers,
    threads: Vec<JoinHandle<()>>,
    /// Outlives the threads: one that waits in a plugin ends because of it.
    watchdog: Option<Watchdog>,
}

impl DataPlane {
    /// Starts a thread for each worker.
    ///
    /// # Errors
    /// If the system gives no thread or event descriptor.
    pub fn start(config: DataPlaneConfig) -> std::io::Result<(Self, Events)> {
        let DataPlaneConfig { workers: configs, clock, seed, spin, rate_terms } = config;
        let (mut senders, mut mailboxes) = (Vec::new(), Vec::new());
        for _ in &configs {
            let (sender, mailbox) = mailbox()?;
            senders.push(sender);
            mailboxes.push(mailbox);
        }
        let workers = Workers::new(senders);
        let (tellers, events) = events(&workers);
        let mut plane = DataPlane { workers: workers.clone(), threads: Vec::new(), watchdog: None };
        let mut watched = Vec::new();
        let ends = mailboxes.into_iter().zip(tellers);
        for (index, (config, (mailbox, teller))) in configs.into_iter().zip(ends).enumerate() {
            let pulse = Arc::new(Pulse::new());
            watched.push(Watched { pulse: pulse.clone(), ports: config.port_names() });
            let place = Place { index, workers: workers.clone(), mailbox, teller, pulse };
            let thread = std::thread::Builder::new().name(format!("data-{index}")).spawn(move || {
                config.cpu.inspect(|cpu| pin(*cpu));
                Worker::new(config, place, Habits { clock, seed, spin, rate_terms }).run();
            })?;
            plane.threads.push(thread);
        }
        plane.watchdog = Some(Watchdog::start(watched)?);
        Ok((plane, events))
    }

    /// The way to tell the workers something.
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }

    /// Ends the workers and closes their instances; returns when that is done, or a plugin has not returned for long.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.workers.stop();
        let until = Instant::now() + END_TIME;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(LOOK_EVERY);
            }
            if !thread.is_finished() {
                tracing::error!("a plugin does not return: its worker is left behind");
            } else if thread.join().is_err() {
                tracing::error!("a worker of the data plane panicked");
            }
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the calling thread on one CPU. Where that cannot be, it runs anywhere.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(cpu, %error, "worker not pinned");
    }
}
