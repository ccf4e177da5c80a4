//! A reservation plugin of ABI 1.0: a provider of memory, which takes a moment for every answer.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::model::{Capabilities, Observed, Request, RequestKey, ReservationState};
use vreserve_sdk::{Failure, Handle, Host, Reserve, async_trait, export_plugin};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many reservations there may be.
    room: usize,
}

pub struct Memory {
    room: usize,
    /// By key: the owner, and what is held.
    books: Mutex<BTreeMap<RequestKey, (String, Observed)>>,
}

impl Memory {
    /// The books, after a moment of the runtime that this instance owns.
    async fn books(&self) -> MutexGuard<'_, BTreeMap<RequestKey, (String, Observed)>> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reserve for Memory {
    type Config = Config;

    fn open(config: Config, _: Host) -> Result<Self, Failure> {
        Ok(Memory { room: config.room, books: Mutex::default() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { fused_activation: true, list: true, find: true, ..Capabilities::default() }
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        assert!(request.a != request.z, "nobody joins a place to itself");
        let mut books = self.books().await;
        if let Some((_, observed)) = books.get(&request.key) {
            return Ok(observed.clone());
        }
        if books.len() == self.room {
            return Err(Failure::refused("no room"));
        }
        let observed = Observed {
            key: request.key.clone(),
            native_id: Some(books.len().to_string()),
            state: ReservationState::Active,
            native_state: "up".to_owned(),
            rate: Some(request.rate),
            start_ms: None,
            end_ms: None,
            data_plane: Default::default(),
            labels: Default::default(),
        };
        books.insert(request.key, (request.owner, observed.clone()));
        Ok(observed)
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.books().await.remove(&handle.key);
        Ok(())
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        Ok(self.books().await.get(&key).map(|held| held.1.clone()).into_iter().collect())
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let books = self.books().await;
        let own = books.values().filter(|held| held.0.starts_with(&owner));
        Ok(own.map(|held| held.1.clone()).collect())
    }

    async fn health(&self) -> Result<(), Failure> {
        Ok(())
    }
}

export_plugin!(name = "reserve-1-0", reserve = Memory);
