//! The trait of reservation plugins, and the verbs by which the host calls it.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};

use crate::Host;

/// Names one reservation to its backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The key it was requested under.
    pub key: RequestKey,
    /// The provider's id, if it is known: it may have been lost with a reply.
    #[serde(default)]
    pub native_id: Option<String>,
}

/// Speaks to one reservation system. Calls may overlap; each runs on a runtime of the plugin's own, where
/// `tokio` may be used freely.
///
/// `submit`, `cancel`, `find`, `gc` and `health` are called on every backend, the other verbs only as its
/// capabilities promise. A verb that is not implemented answers `Unsupported`, never silent success.
#[async_trait]
pub trait Reserve: Sized + Send + Sync + 'static {
    /// The keys of this plugin's table in the node's configuration; deny unknown fields.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the types cannot: called by `vreserve check`, without any side effect.
    ///
    /// # Errors
    /// `Invalid` with the key.
    fn validate(config: &Self::Config) -> Result<(), Failure> {
        let _ = config;
        Ok(())
    }

    /// Starts the backend. It need not reach the reservation system yet: `health` says whether it can.
    ///
    /// # Errors
    /// `Invalid` with the key for a wrong configuration.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// What the reservation system can do.
    fn capabilities(&self) -> Capabilities;

    /// Asks for capacity. Submitting a key again must not reserve twice.
    ///
    /// # Errors
    /// `Refused` if the provider said no; `UnknownOutcome` if it may have said yes.
    async fn submit(&self, request: Request) -> Result<Observed, Failure>;

    /// Gives a reservation back; succeeds if it is already gone.
    ///
    /// # Errors
    /// `UnknownOutcome` if the provider may still hold it.
    async fn cancel(&self, handle: Handle) -> Result<(), Failure>;

    /// The state of one reservation, or `None` if the provider says that it is gone.
    ///
    /// # Errors
    /// `Unavailable` if nobody can say.
    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        let _ = handle;
        Err(unsupported("query"))
    }

    /// Turns a hold into a promise.
    ///
    /// # Errors
    /// `Refused` if the hold has run out.
    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        let _ = handle;
        Err(unsupported("commit"))
    }

    /// Drops a hold.
    ///
    /// # Errors
    /// As for `cancel`.
    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        let _ = handle;
        Err(unsupported("abort"))
    }

    /// Switches a booked reservation through, for the flow of the request that it was made with.
    ///
    /// # Errors
    /// `Refused` outside its window.
    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let _ = (handle, request);
        Err(unsupported("activate"))
    }

    /// Takes a reservation out of use without giving it back.
    ///
    /// # Errors
    /// As for `activate`.
    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        let _ = handle;
        Err(unsupported("deactivate"))
    }

    /// Changes the rate or end in place.
    ///
    /// # Errors
    /// `Refused` if there is no room; the reservation is then as it was.
    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let _ = (handle, request);
        Err(unsupported("modify"))
    }

    /// Every reservation made under a key: more than one means that a request was doubled.
    ///
    /// # Errors
    /// `Unavailable` if nobody can say.
    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let _ = key;
        Err(unsupported("find"))
    }

    /// Every reservation that `owner` holds.
    ///
    /// # Errors
    /// `Unavailable` if nobody can say.
    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let _ = owner;
        Err(unsupported("list_owned"))
    }

    /// Cancels every reservation of ours whose key is not in `valid`, and returns those cancelled.
    ///
    /// # Errors
    /// As for `cancel`.
    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        let _ = valid;
        Err(unsupported("gc"))
    }

    /// Waits until a reservation of ours changes, or for some seconds, and tells what changed after `since`.
    ///
    /// The first call has `since` 0; each later one the `next` of the answer before. A report only wakes the
    /// host, which looks the reservation up.
    ///
    /// # Errors
    /// `Unavailable` if nobody can say.
    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        let _ = since;
        Err(unsupported("events"))
    }

    /// Whether the reservation system can be reached. Asked every few seconds; a backend that does not
    /// implement it counts as reachable.
    ///
    /// # Errors
    /// `Unavailable` with the reason.
    async fn health(&self) -> Result<(), Failure> {
        Err(unsupported("health"))
    }
}

pub(crate) fn unsupported(verb: &str) -> Failure {
    Failure::unsupported(format!("this backend has no {verb}"))
}

macro_rules! verbs {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// The calls of [`Reserve`] by name, as they cross the plugin boundary.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb { $($(#[$doc])+ $variant,)+ }

        impl Verb {
            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Verb::$variant => $name,)+ }
            }
        }

        impl FromStr for Verb {
            type Err = Failure;

            fn from_str(name: &str) -> Result<Self, Failure> {
                match name { $($name => Ok(Verb::$variant),)+ other => Err(unsupported(other)) }
            }
        }
    };
}

verbs! {
    /// Takes a `Request`, gives an `Observed`.
    Submit = "submit",
    /// Takes a [`Handle`], gives null.
    Cancel = "cancel",
    /// Takes a [`Handle`], gives an `Observed` or null.
    Query = "query",
    /// Takes a [`Handle`], gives an `Observed`.
    Commit = "commit",
    /// Takes a [`Handle`], gives null.
    Abort = "abort",
    /// Takes a pair of [`Handle`] and `Request`, gives an `Observed`.
    Activate = "activate",
    /// Takes a [`Handle`], gives an `Observed`.
    Deactivate = "deactivate",
    /// Takes a pair of [`Handle`] and `Request`, gives an `Observed`.
    Modify = "modify",
    /// Takes a `RequestKey`, gives a list of `Observed`.
    Find = "find",
    /// Takes an owner, gives a list of `Observed`.
    ListOwned = "list_owned",
    /// Takes a list of `RequestKey`, gives a list of `RequestKey`.
    Gc = "gc",
    /// Takes a number, gives `Changes`.
    Events = "events",
    /// Takes null, gives null.
    Health = "health",
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Carries out one verb on a backend: document in, document out.
///
/// # Errors
/// What the backend answers; `Invalid` if the document cannot be read, `Unsupported` for an unknown verb.
pub async fn dispatch<R: Reserve>(backend: &R, verb: &str, document: &str) -> Result<String, Failure> {
    match verb.parse()? {
        Verb::Submit => write(backend.submit(read(document)?).await?),
        Verb::Cancel => write(backend.cancel(read(document)?).await?),
        Verb::Query => write(backend.query(read(document)?).await?),
        Verb::Commit => write(backend.commit(read(document)?).await?),
        Verb::Abort => write(backend.abort(read(document)?).await?),
        Verb::Activate => {
            let (handle, request) = read(document)?;
            write(backend.activate(handle, request).await?)
        }
        Verb::Deactivate => write(backend.deactivate(read(document)?).await?),
        Verb::Modify => {
            let (handle, request) = read(document)?;
            write(backend.modify(handle, request).await?)
        }
        Verb::Find => write(backend.find(read(document)?).await?),
        Verb::ListOwned => write(backend.list_owned(read(document)?).await?),
        Verb::Gc => write(backend.gc(read(document)?).await?),
        Verb::Events => write(backend.events(read(document)?).await?),
        Verb::Health => write(backend.health().await?),
    }
}

fn read<T: DeserializeOwned>(document: &str) -> Result<T, Failure> {
    crate::read_config(document)
}

fn write<T: Serialize>(value: T) -> Result<String, Failure> {
    serde_json::to_string(&value).map_err(|error| Failure::internal(error.to_string()))
}
