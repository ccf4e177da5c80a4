//! The data plane as the rest of the daemon has it: started, talked to, stopped.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::mailbox::{Command, Event, MailboxSender, mailbox};
use super::pool::SlotPool;
use super::ports::{CapturePort, EndpointPort};
use super::worker::Worker;
use crate::clock::Clock;

/// What a worker is made of.
pub struct WorkerConfig {
    /// The slots; plugins know them already.
    pub pool: SlotPool,
    /// The capture instances.
    pub captures: Vec<CapturePort>,
    /// The endpoints.
    pub endpoints: Vec<EndpointPort>,
    /// The daemon's clock.
    pub clock: Clock,
    /// A random secret.
    pub seed: u64,
    /// How long the worker polls after a frame, at most, before it sleeps; zero sleeps at once.
    pub spin: Duration,
}

/// A running worker.
pub struct DataPlane {
    mailbox: MailboxSender,
    thread: Option<JoinHandle<()>>,
}

impl DataPlane {
    /// Starts the worker's thread. Events go to `events`.
    ///
    /// # Errors
    /// If the system gives no thread or event descriptor.
    pub fn start(config: WorkerConfig, events: UnboundedSender<Event>) -> std::io::Result<Self> {
        let (sender, mailbox) = mailbox()?;
        let thread = std::thread::Builder::new()
            .name("data-0".to_owned())
            .spawn(move || Worker::new(config, mailbox, events).run())?;
        Ok(DataPlane { mailbox: sender, thread: Some(thread) })
    }

    /// The way to tell it something.
    pub fn mailbox(&self) -> MailboxSender {
        self.mailbox.clone()
    }

    /// Ends the worker and closes its instances; returns when that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.mailbox.send(Command::Stop);
            if thread.join().is_err() {
                tracing::error!("the data plane's worker panicked");
            }
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.end();
    }
}
