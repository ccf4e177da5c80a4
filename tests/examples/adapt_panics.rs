//! A planner that panics when it is opened, for `bad_config`.
#![allow(missing_docs, reason = "a fixture")]

use vreserve_sdk::model::{Snapshot, Wanted};
use vreserve_sdk::{Adapt, Failure, Host};

pub struct Panics;

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {}

impl Adapt for Panics {
    type Config = Config;

    fn open(_: Config, _: Host) -> Result<Self, Failure> {
        panic!("no planner today")
    }

    fn adapt(&mut self, _: &Snapshot) -> Result<Wanted, Failure> {
        Ok(Wanted::default())
    }
}

vreserve_sdk::export_plugin!(name = "adapt-panics", adapt = Panics);
