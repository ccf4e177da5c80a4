//! A small host around the plugin's tables, and fake clients to put under it.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unsafe_code, reason = "the tables are C functions; this is their caller")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    FfiFuture, HostContext, HostTable, Identity, PluginFailure, Pool, Queue, RResult, RStr, RString,
    RawReserve,
};
use vreserve_sdk::model::{Capabilities, Observed, Request, RequestKey};
use vreserve_sdk::serde::de::DeserializeOwned;
use vreserve_sdk::shim::failure_in;
use vreserve_sdk::{Failure, Handle, Verb};

static STATE_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

extern "C" fn log(_: usize, level: u8, target: RStr<'_>, line: RStr<'_>) {
    eprintln!("{level} {target}: {line}");
}

extern "C" fn max_level(_: usize) -> u8 {
    4
}

extern "C" fn counter(_: usize, _: RStr<'_>, _: RStr<'_>) -> &'static AtomicU64 {
    Box::leak(Box::default())
}

extern "C" fn state_dir(context: usize) -> RString {
    STATE_DIRS.lock().unwrap()[context].display().to_string().into()
}

extern "C" fn pool(_: usize) -> Pool {
    Pool::NONE
}
extern "C" fn queue(_: usize) -> Queue {
    Queue::ONLY
}
extern "C" fn identity(_: usize) -> Identity {
    Identity::NONE
}

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
        let context = {
            let mut dirs = STATE_DIRS.lock().unwrap();
            dirs.push(self.path("state"));
            dirs.len() - 1
        };
        let table =
            HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix();
        let open = vreserve_reserve_odin::plugin().open_reserve();
        match open(HostContext { table, context }, config.to_string().as_str().into()).into_result() {
            Ok(raw) => Ok(Backend { raw, runtime: Runtime::new().unwrap() }),
            Err(failure) => Err(failure_in(&failure)),
        }
    }
}

/// An open instance.
pub(crate) struct Backend {
    raw: RawReserve,
    runtime: Runtime,
}

/// A call that is under way.
pub(crate) type Call = FfiFuture<RResult<RString, PluginFailure>>;

impl Backend {
    pub(crate) fn start(&self, verb: Verb, document: &Value) -> Call {
        // SAFETY: the instance is open.
        unsafe {
            (self.raw.table.call())(
                self.raw.instance,
                verb.name().into(),
                document.to_string().as_str().into(),
            )
        }
    }

    pub(crate) fn call<T: DeserializeOwned>(&self, verb: Verb, document: &Value) -> Result<T, Failure> {
        let answer = self.runtime.block_on(self.start(verb, document));
        let document = answer.into_result().map_err(|failure| failure_in(&failure))?;
        Ok(serde_json::from_str(document.as_str()).unwrap())
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        // SAFETY: the instance is open.
        let document = unsafe { (self.raw.table.capabilities())(self.raw.instance) };
        serde_json::from_str(document.as_str()).unwrap()
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

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { (self.raw.table.close())(self.raw.instance) }
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
