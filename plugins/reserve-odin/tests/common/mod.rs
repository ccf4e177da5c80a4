//! An instance of the plugin as tests use it, and fake clients to put under it.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use vreserve_sdk::conformance;
use vreserve_sdk::model::{Capabilities, Observed, Request, RequestKey};
use vreserve_sdk::{Failure, Handle, Verb};

/// A directory with a fake client in it, and the state of one instance.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    /// The client is this `sh` script; `$DIR` is the site's directory, and each run's arguments are a line of
    /// its file `calls`.
    pub(crate) fn new(script: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("state")).unwrap();
        site.set_client(script);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn set_client(&self, script: &str) {
        let dir = self.dir.path().display();
        let text = format!("#!/bin/sh\nDIR='{dir}'\n[ $# = 0 ] || echo \"$*\" >> $DIR/calls\n{script}\n");
        // Written by another process: a fork in another test's thread would inherit our descriptor, and a file
        // that somebody has open for writing cannot be executed.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(self.path("oclient"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The arguments of each run so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    pub(crate) fn open(&self) -> Backend {
        self.open_with(json!({}))
    }

    pub(crate) fn open_with(&self, keys: Value) -> Backend {
        self.try_open(keys).unwrap()
    }

    pub(crate) fn try_open(&self, keys: Value) -> Result<Backend, Failure> {
        let mut config = json!({ "client": self.path("oclient"), "timeout": 20 });
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let plugin = vreserve_reserve_odin::plugin();
        conformance::Backend::open(plugin, &config, &self.path("state")).map(Backend)
    }
}

/// An open instance, with keys for requests and handles.
pub(crate) struct Backend(conformance::Backend);

impl Deref for Backend {
    type Target = conformance::Backend;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Backend {
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.0.capabilities().unwrap()
    }

    pub(crate) fn submit(&self, key: &str, a: &str, z: &str) -> Result<Observed, Failure> {
        self.call(Verb::Submit, &request(key, a, z))
    }

    pub(crate) fn cancel(&self, key: &str) -> Result<(), Failure> {
        self.call(Verb::Cancel, &handle(key))
    }

    pub(crate) fn find(&self, key: &str) -> Vec<Observed> {
        self.call(Verb::Find, &json!(key)).unwrap()
    }
}

pub(crate) fn request(key: &str, a: &str, z: &str) -> Value {
    let request: Request =
        serde_json::from_value(json!({ "key": key, "owner": "lab/1", "a": a, "z": z, "rate": 50_000_000 }))
            .unwrap();
    serde_json::to_value(request).unwrap()
}

pub(crate) fn handle(key: &str) -> Value {
    serde_json::to_value(Handle { key: RequestKey(key.into()), native_id: None }).unwrap()
}
