//! The kit for reservation plugins, against a server in this process over real TLS. Alone in its process: it counts
//! descriptors, threads and memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "only its part of what tests share")]

mod common;

use std::sync::Mutex;

use common::fake::Fake;
use serde_json::{Value, json};
use vreserve_sdk::conformance::{Provider, Surroundings, drop_at_every_await_point, reserve};
use vreserve_sdk::model::Request;

/// A server, and whether it takes connections.
struct Server(Mutex<(Fake, bool)>);

impl Surroundings for Server {
    fn config(&self, number: u32) -> Result<Value, String> {
        Ok(self.0.lock().unwrap().0.config(&format!("kit{number}"), json!({})))
    }

    fn request(&self, _: u32) -> Result<Request, String> {
        serde_json::from_value(common::request("")).map_err(|error| error.to_string())
    }

    fn held(&self) -> Result<usize, String> {
        let server = self.0.lock().unwrap();
        let held = server.0.world().reservations.iter().filter(|r| r.state.holds_capacity()).count();
        Ok(held)
    }

    fn set_provider(&self, provider: Provider) -> Result<(), String> {
        let mut server = self.0.lock().unwrap();
        let (fake, is_there) = &mut *server;
        fake.world().hangs = provider == Provider::Hangs;
        match provider {
            Provider::Gone => fake.stop(),
            _ if !*is_there => fake.go_on(),
            _ => {}
        }
        *is_there = provider != Provider::Gone;
        Ok(())
    }
}

#[test]
fn it_conforms() {
    reserve(vreserve_reserve_gara::plugin(), Server(Mutex::new((Fake::start(), true)))).assert();
    drop_at_every_await_point::<vreserve_reserve_gara::GaraReserve>(&Server(Mutex::new((
        Fake::start(),
        true,
    ))));
}
