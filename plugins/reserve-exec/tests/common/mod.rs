//! A small host around the plugin's tables, and programs to put under it.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unsafe_code, reason = "the tables are C functions; this is their caller")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// What each host context stands for.
static SITES: Mutex<Vec<Known>> = Mutex::new(Vec::new());

struct Known {
    state: PathBuf,
    log: Vec<String>,
    counters: Vec<(String, &'static AtomicU64)>,
}

extern "C" fn log(context: usize, level: u8, target: RStr<'_>, line: RStr<'_>) {
    eprintln!("{level} {target}: {line}");
    SITES.lock().unwrap()[context].log.push(line.to_string());
}

extern "C" fn max_level(_: usize) -> u8 {
    4
}

extern "C" fn counter(context: usize, name: RStr<'_>, _: RStr<'_>) -> &'static AtomicU64 {
    let mut sites = SITES.lock().unwrap();
    let counters = &mut sites[context].counters;
    if let Some((_, cell)) = counters.iter().find(|(known, _)| known == name.as_str()) {
        return cell;
    }
    let cell: &'static AtomicU64 = Box::leak(Box::default());
    counters.push((name.to_string(), cell));
    cell
}

extern "C" fn state_dir(context: usize) -> RString {
    SITES.lock().unwrap()[context].state.display().to_string().into()
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

/// The answer to VERSION of the programs of these tests.
pub(crate) const VERSION: &str =
    r#"echo '{"protocols":[1],"capabilities":{"find":true,"list":true,"advance":true,"setup_time":"2s"}}'"#;

/// A directory with a program in it, and the state of one instance.
pub(crate) struct Site {
    dir: TempDir,
    context: usize,
}

impl Site {
    /// The program answers VERSION; everything else is left to these lines of `sh`, in which `$DIR` is the
    /// site's directory and `$V` the verb. Verbs are noted in the file `calls`, process ids in `pids`.
    pub(crate) fn new(script: &str) -> Site {
        let site = Site::bare();
        site.set_program(script);
        site
    }

    /// Without a program.
    pub(crate) fn bare() -> Site {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let mut sites = SITES.lock().unwrap();
        let state = dir.path().join("state");
        sites.push(Known { state, log: Vec::new(), counters: Vec::new() });
        Site { dir, context: sites.len() - 1 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn set_program(&self, script: &str) {
        let dir = self.dir.path().display();
        self.write_program(&format!(
            "#!/bin/sh\nDIR='{dir}'\nV=$VRESERVE_VERB\necho $$ >> $DIR/pids\n\
             [ $V = VERSION ] && {{ {VERSION}; exit 0; }}\necho $V >> $DIR/calls\n{script}\n"
        ));
    }

    pub(crate) fn write_program(&self, text: &str) {
        // Written by another process: a fork in another test's thread would inherit our descriptor, and a file
        // that somebody has open for writing cannot be executed.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(self.path("program"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The verbs so far, but for VERSION.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    /// The processes so far.
    pub(crate) fn pids(&self) -> Vec<String> {
        self.read("pids").lines().map(str::to_owned).collect()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        SITES.lock().unwrap()[self.context].log.clone()
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let sites = SITES.lock().unwrap();
        let found = sites[self.context].counters.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> Backend {
        self.open_with(json!({}))
    }

    pub(crate) fn open_with(&self, keys: Value) -> Backend {
        self.try_open(keys).unwrap()
    }

    pub(crate) fn try_open(&self, keys: Value) -> Result<Backend, Failure> {
        let mut config = json!({ "program": self.path("program"), "timeout": "20s" });
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let table =
            HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix();
        let host = HostContext { table, context: self.context };
        let open = vreserve_reserve_exec::plugin().open_reserve();
        match open(host, config.to_string().as_str().into()).into_result() {
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

    pub(crate) fn finish<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let answer = self.runtime.block_on(call);
        let document = answer.into_result().map_err(|failure| failure_in(&failure))?;
        Ok(serde_json::from_str(document.as_str()).unwrap())
    }

    pub(crate) fn call<T: DeserializeOwned>(&self, verb: Verb, document: &Value) -> Result<T, Failure> {
        self.finish(self.start(verb, document))
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        // SAFETY: the instance is open.
        let document = unsafe { (self.raw.table.capabilities())(self.raw.instance) };
        serde_json::from_str(document.as_str()).unwrap()
    }

    pub(crate) fn submit(&self, key: &str) -> Result<Observed, Failure> {
        self.call(Verb::Submit, &request(key))
    }

    pub(crate) fn cancel(&self, key: &str) -> Result<(), Failure> {
        self.call(Verb::Cancel, &handle(key))
    }

    pub(crate) fn find(&self, key: &str) -> Result<Vec<Observed>, Failure> {
        self.call(Verb::Find, &json!(key))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { (self.raw.table.close())(self.raw.instance) }
    }
}

pub(crate) fn request(key: &str) -> Value {
    request_with(key, json!({}))
}

pub(crate) fn request_with(key: &str, more: Value) -> Value {
    let mut request =
        json!({ "key": key, "owner": "lab/1", "a": "10.0.0.1", "z": "10.0.0.2", "rate": 50_000_000 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request: Request = serde_json::from_value(request).unwrap();
    serde_json::to_value(request).unwrap()
}

pub(crate) fn handle(key: &str) -> Value {
    serde_json::to_value(Handle { key: RequestKey(key.into()), native_id: None }).unwrap()
}

/// A program that answers SUBMIT and the like with a reservation of this state.
pub(crate) fn answers(state: &str) -> String {
    format!(r#"echo '{{"observed":{{"key":"k1","native_id":"n1","state":"{state}"}}}}'"#)
}

/// Waits until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether nothing is left of a process, not even a zombie.
pub(crate) fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}
