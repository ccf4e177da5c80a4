//! The kit for reservation plugins, with the worked example `slots.py` behind the plugin. Alone in its process: it
//! counts descriptors, threads and memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;

use common::{Site, request_with};
use serde_json::{Value, json};
use vreserve_sdk::conformance::{Provider, Surroundings, drop_at_every_await_point, reserve};
use vreserve_sdk::model::Request;

const PYTHON: &str = "/usr/bin/python3";

/// `slots.py` with a book for all instances, behind a script that hangs when it is told to.
struct Slots(Site);

impl Slots {
    fn new() -> Self {
        let site = Site::bare();
        fs::create_dir(site.path("book")).unwrap();
        fs::write(site.path("slots.py"), include_str!("../examples/slots.py")).unwrap();
        let dir = site.path("").display().to_string();
        site.write_program(&format!(
            "#!/bin/sh\n[ -e {dir}/hang ] && [ $VRESERVE_VERB != VERSION ] && sleep 1000\n\
             exec {PYTHON} -IS {dir}/slots.py\n"
        ));
        Slots(site)
    }
}

impl Surroundings for Slots {
    fn config(&self, _: u32) -> Result<Value, String> {
        // Held and committed: the kit then asks a thousand questions instead of making a thousand reservations,
        // which would be three thousand processes.
        let options = json!({ "directory": self.0.path("book"), "two_phase": true });
        Ok(json!({ "program": self.0.path("program"), "options": options }))
    }

    fn request(&self, number: u32) -> Result<Request, String> {
        let ends = json!({ "a": format!("10.10.0.{number}"), "z": format!("10.10.1.{number}") });
        serde_json::from_value(request_with("", ends)).map_err(|error| error.to_string())
    }

    fn held(&self) -> Result<usize, String> {
        let text = self.0.read("book/slots.json");
        let book: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(book["slots"].as_object().map_or(0, serde_json::Map::len))
    }

    fn set_provider(&self, provider: Provider) -> Result<(), String> {
        let (program, away, hang) = (self.0.path("program"), self.0.path("away"), self.0.path("hang"));
        match provider {
            Provider::Answers => {
                drop(fs::remove_file(hang));
                drop(fs::rename(away, program));
            }
            Provider::Hangs => fs::write(hang, "").unwrap(),
            Provider::Gone => fs::rename(program, away).unwrap(),
        }
        Ok(())
    }
}

#[test]
fn it_conforms() {
    if !Path::new(PYTHON).exists() {
        // Written to the stream itself: the runner captures only what the print macros write.
        let _ = writeln!(std::io::stdout(), "SKIPPED: reserve-exec, conformance: {PYTHON} is not installed");
        return;
    }
    reserve(vreserve_reserve_exec::plugin(), Slots::new()).assert();
    drop_at_every_await_point::<vreserve_reserve_exec::ExecReserve>(&Slots::new());
}
