//! The reservation plugin `NAME`: so much capacity between any two endpoints, on record in a file. Where it says
//! so, ask your reservation system.
//!
//! Plain methods that may block, on threads of the instance's own (`Blocking`). For `async`, implement
//! `vreserve_sdk::Reserve` instead.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use vreserve_sdk::model::{
    BitsPerSecond, Capabilities, DataPlane, Observed, Request, RequestKey, ReservationState,
};
use vreserve_sdk::{
    Blocking, BlockingReserve, Failure, Handle, Host, JsonSchema, export_plugin, serde_json, tracing,
};

/// The keys of `[reserve.<instance>]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What there is between any two endpoints.
    pub capacity: BitsPerSecond,
}

/// The requests that were granted, by key.
type Granted = BTreeMap<RequestKey, Request>;

/// One reservation system.
pub struct Slots {
    config: Config,
    file: PathBuf,
    granted: Mutex<Granted>,
}

impl BlockingReserve for Slots {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        if config.capacity.0 == 0 {
            return Err(Failure::invalid("capacity", "there is nothing to reserve"));
        }
        Ok(())
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        Self::validate(&config)?;
        let file = host.state_dir().join("granted.json");
        let granted = load(&file)?;
        Ok(Slots { config, file, granted: Mutex::new(granted) })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fused_activation: true,
            list: true,
            find: true,
            setup_time: Duration::from_millis(100),
            teardown_time: Duration::from_millis(100),
            ..Capabilities::default()
        }
    }

    fn submit(&self, request: Request) -> Result<Observed, Failure> {
        self.change(|granted| {
            if let Some(known) = granted.get(&request.key) {
                // Asked before, and the answer was lost: nothing is reserved twice.
                return Ok(observed(known));
            }
            let is_same_pair = |other: &&Request| ends(other) == ends(&request);
            let taken: u64 = granted.values().filter(is_same_pair).map(|other| other.rate.0).sum();
            if taken.saturating_add(request.rate.0) > self.config.capacity.0 {
                return Err(Failure::refused(format!(
                    "{} of {} are taken",
                    BitsPerSecond(taken),
                    self.config.capacity
                )));
            }
            // Here your reservation system is asked, with a time-out. If you cannot know what it has done,
            // answer `Failure::unknown_outcome`: the host will call `find`.
            tracing::info!(key = %request.key, rate = %request.rate, "granted");
            let observed = observed(&request);
            granted.insert(request.key.clone(), request);
            Ok(observed)
        })
    }

    fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.change(|granted| {
            granted.remove(&handle.key);
            Ok(())
        })
    }

    fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        Ok(self.find(handle.key)?.pop())
    }

    fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        self.change(|granted| Ok(granted.get(&key).map(observed).into_iter().collect()))
    }

    fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let is_ours = |request: &&Request| {
            request.owner.strip_prefix(&owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.change(|granted| Ok(granted.values().filter(is_ours).map(observed).collect()))
    }

    fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        self.change(|granted| {
            let stale: Vec<_> = granted.keys().filter(|key| !valid.contains(key)).cloned().collect();
            stale.iter().for_each(|key| drop(granted.remove(key)));
            Ok(stale)
        })
    }

    fn health(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Slots {
    /// Works on the record; what has changed is on disk before anybody hears of it.
    fn change<T>(&self, work: impl FnOnce(&mut Granted) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = granted.clone();
        let answer = work(&mut changed)?;
        if changed != *granted {
            save(&self.file, &changed)?;
            *granted = changed;
        }
        Ok(answer)
    }
}

fn load(file: &Path) -> Result<Granted, Failure> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Granted::new()),
        Err(error) => return Err(Failure::unavailable(format!("{}: {error}", file.display()))),
    };
    serde_json::from_slice(&text).map_err(|error| Failure::unavailable(format!("{}: {error}", file.display())))
}

fn save(file: &Path, granted: &Granted) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::unavailable(format!("{}: {error}", file.display()));
    let text = serde_json::to_vec(granted).map_err(|error| Failure::internal(error.to_string()))?;
    let new = file.with_extension("new");
    let mut out = File::create(&new).map_err(failed)?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(failed)?;
    fs::rename(&new, file).map_err(failed)
}

fn ends(request: &Request) -> (&str, &str) {
    let (a, z) = (request.a.as_str(), request.z.as_str());
    if a <= z { (a, z) } else { (z, a) }
}

fn observed(request: &Request) -> Observed {
    Observed {
        key: request.key.clone(),
        native_id: Some(request.key.0.clone()),
        state: ReservationState::Active,
        native_state: "granted".to_owned(),
        rate: Some(request.rate),
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        data_plane: DataPlane::Unknown,
        labels: BTreeMap::new(),
    }
}

export_plugin!(name = "NAME", reserve = Blocking<Slots>);

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str) -> Request {
        let text = format!(r#"{{"key":"{key}","owner":"lab/1","a":"x","z":"y","rate":60}}"#);
        serde_json::from_str(&text).expect("a whole request")
    }

    #[test]
    fn a_key_is_granted_once_and_what_is_taken_is_refused() {
        let file = std::env::temp_dir().join(format!("NAME-{}.json", std::process::id()));
        let config = Config { capacity: BitsPerSecond(100) };
        let slots = Slots { config, file: file.clone(), granted: Mutex::default() };
        let first = slots.submit(request("k1")).expect("there is room");
        assert_eq!(slots.submit(request("k1")).expect("it is known"), first);
        assert!(slots.submit(request("k2")).is_err());
        assert_eq!(load(&file).expect("it was saved").len(), 1);
        slots.cancel(Handle { key: RequestKey("k1".to_owned()), native_id: None }).expect("it is ours");
        assert!(slots.submit(request("k2")).is_ok());
        fs::remove_file(&file).expect("it is there");
    }
}
