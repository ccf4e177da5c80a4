//! The plugin's instance: the SDK's verbs, each a question to the program.
//!
//! A call that the host drops kills its process: unlike a client of which we know what it does, a stranger's
//! program that nobody listens to any more is stopped, and what it has done is looked up.

use std::sync::Arc;
use std::sync::mpsc;

use serde::de::DeserializeOwned;
use tokio::runtime;
use vreserve_sdk::model::{Capabilities, Changes, Observed, Request, RequestKey};
use vreserve_sdk::{Failure, Handle, Host, Reserve, async_trait};

use crate::answer::Answer;
use crate::config::Config;
use crate::exec::Exec;
use crate::protocol::{Done, One, Perhaps, Question, Removed, Several, Verb};

/// Speaks to one reservation system, through a program.
pub struct ExecReserve {
    exec: Arc<Exec>,
    capabilities: Capabilities,
}

#[async_trait]
impl Reserve for ExecReserve {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    /// Runs the program once, for VERSION.
    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let exec = Arc::new(Exec::open(config, &host)?);
        // Opening is a plain call on the host's thread; the runtime's own thread does the work meanwhile.
        let (sender, receiver) = mpsc::sync_channel(1);
        let asking = Arc::clone(&exec);
        runtime::Handle::current().spawn(async move { sender.send(asking.agree().await) });
        let capabilities =
            receiver.recv().map_err(|_| Failure::internal("the program was not asked for its version"))??;
        Ok(ExecReserve { exec, capabilities })
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let key = request.key.clone();
        self.one(Verb::Submit, Question { request: Some(request.into()), ..Question::default() }, key).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.about::<Done>(Verb::Cancel, handle).await.map(drop)
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        match self.about::<Perhaps>(Verb::Query, handle).await? {
            Answer::Is(answer) => Ok(answer.observed),
            Answer::NoSuch(_) => Ok(None),
        }
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        self.named(Verb::Commit, handle, None).await
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        self.about::<Done>(Verb::Abort, handle).await.map(drop)
    }

    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.named(Verb::Activate, handle, Some(request)).await
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.named(Verb::Deactivate, handle, None).await
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.named(Verb::Modify, handle, Some(request)).await
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let question = Question { key: Some(key.clone()), ..Question::default() };
        match self.exec.call::<Several>(Verb::Find, question, Some(&key)).await? {
            Answer::Is(answer) => Ok(answer.observed),
            Answer::NoSuch(_) => Ok(Vec::new()),
        }
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let question = Question { owner: Some(owner), ..Question::default() };
        self.all::<Several>(Verb::List, question).await.map(|answer| answer.observed)
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        let question = Question { valid: Some(valid), ..Question::default() };
        self.all::<Removed>(Verb::Gc, question).await.map(|answer| answer.cancelled)
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.all(Verb::Events, Question { since: Some(since), ..Question::default() }).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.all::<Done>(Verb::Status, Question::default()).await.map(drop)
    }
}

impl ExecReserve {
    /// A question about one reservation, answered with what it is now.
    async fn named(&self, verb: Verb, handle: Handle, request: Option<Request>) -> Result<Observed, Failure> {
        let key = handle.key.clone();
        let (handle, request) = (Some(handle.into()), request.map(Into::into));
        self.one(verb, Question { handle, request, ..Question::default() }, key).await
    }

    async fn one(&self, verb: Verb, question: Question, key: RequestKey) -> Result<Observed, Failure> {
        match self.exec.call::<One>(verb, question, Some(&key)).await? {
            Answer::Is(answer) => Ok(answer.observed),
            Answer::NoSuch(reason) => Err(Failure::refused(reason)),
        }
    }

    async fn about<A: DeserializeOwned>(&self, verb: Verb, handle: Handle) -> Result<Answer<A>, Failure> {
        let key = handle.key.clone();
        self.exec
            .call(verb, Question { handle: Some(handle.into()), ..Question::default() }, Some(&key))
            .await
    }

    /// A question that is about no single reservation.
    async fn all<A: DeserializeOwned>(&self, verb: Verb, question: Question) -> Result<A, Failure> {
        match self.exec.call(verb, question, None).await? {
            Answer::Is(answer) => Ok(answer),
            Answer::NoSuch(reason) => Err(Failure::unavailable(reason)),
        }
    }
}
