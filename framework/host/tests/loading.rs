//! Right, old, new, wrong, truncated, panicking and hostile plugins, as the daemon meets them.
//!
//! The shared objects are those of the crates in `fixtures/`, copied and where need be patched, and small
//! ones made with the C compiler that Rust links with.
#![allow(unsafe_code, reason = "gives its word for a pool of leaked memory")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vreserve::config::Instance;
use vreserve::loader::{LoadError, Metadata, PluginState, Registry, StartError};
use vreserve::plugin::{
    Backend, HostServices, InstanceError, LinkInstance, PluginKind, PoolRegion, ReserveInstance,
};
use vreserve_abi::{Offload, Pool, Slot};
use vreserve_model::{BitsPerSecond, FailureKind, Request, RequestKey};
use vreserve_sdk::Handle;

/// A plugin directory of one test.
struct Plugins(TempDir);

impl Plugins {
    fn empty() -> Self {
        Plugins(tempfile::tempdir().unwrap())
    }

    /// With the fixture plugin.
    fn good() -> Self {
        Self::with("libvreserve_fixture.so", &fixture("libvreserve_fixture.so"))
    }

    fn with(file: &str, bytes: &[u8]) -> Self {
        let plugins = Self::empty();
        plugins.put(file, bytes);
        plugins
    }

    fn put(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(file);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A shared object that the C compiler makes of `source`.
    fn compile(&self, file: &str, source: &str) {
        let code = self.put("source.c", source.as_bytes());
        let output = self.0.path().join(file);
        let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&output).arg(code).status();
        assert!(status.expect("the linker that Rust uses is there").success());
    }

    fn registry(&self) -> Registry {
        Registry::new(vec![self.0.path().to_owned()])
    }

    fn refusal(&self, instance: &Instance) -> LoadError {
        match self.registry().load(instance) {
            Ok(_) => panic!("the plugin should have been refused"),
            Err(error) => one_line(error),
        }
    }
}

impl Plugins {
    /// An instance of the fixture that takes no other file than the one that is here now.
    fn pinned(&self) -> Instance {
        let error = self.refusal(&Instance { sha256: Some([7; 32]), ..instance("{}") });
        let LoadError::Digest { found, .. } = &error else { panic!("{error}") };
        let pin = std::array::from_fn(|at| u8::from_str_radix(&found[2 * at..2 * at + 2], 16).unwrap());
        Instance { sha256: Some(pin), ..instance("{}") }
    }
}

/// What cargo built beside this test.
fn fixture(file: &str) -> Vec<u8> {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn good() -> Vec<u8> {
    fixture("libvreserve_fixture.so")
}

/// The good plugin with every `from` replaced by `to`.
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "nothing may move");
    let mut bytes = good();
    let mut replaced = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{from} is in the plugin");
    bytes
}

fn one_line(error: LoadError) -> LoadError {
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn instance(settings: &str) -> Instance {
    Instance {
        kind: PluginKind::Link,
        name: "internet".to_owned(),
        plugin: "fixture".to_owned(),
        path: None,
        required: true,
        sha256: None,
        settings: settings.to_owned(),
    }
}

fn services() -> HostServices {
    HostServices::new("/nonexistent")
}

fn open_link(settings: &str) -> LinkInstance {
    let host = services().instance(PluginKind::Link, "internet", Some(pool()));
    Plugins::good().registry().open_link(&instance(settings), &host).unwrap_or_else(|error| panic!("{error}"))
}

const SLOT: usize = 2048;
const SLOTS: usize = 8;

fn pool() -> PoolRegion {
    let memory = Box::leak(vec![0u8; SLOT * SLOTS].into_boxed_slice());
    // SAFETY: the memory is leaked, and each test makes its slots once, from its own pool.
    unsafe {
        PoolRegion::new(Pool { base: memory.as_mut_ptr(), slot_size: SLOT, count: SLOTS, ..Pool::NONE })
    }
}

fn link_with_slots(settings: &str) -> (LinkInstance, Vec<Slot>) {
    let memory = Box::leak(vec![0u8; SLOT * SLOTS].into_boxed_slice());
    let base = memory.as_mut_ptr();
    // SAFETY: as in `pool`.
    let pool = unsafe { PoolRegion::new(Pool { base, slot_size: SLOT, count: SLOTS, ..Pool::NONE }) };
    let host = services().instance(PluginKind::Link, "internet", Some(pool));
    let link = Plugins::good().registry().open_link(&instance(settings), &host);
    let slot = |buffer: usize| Slot {
        base: base.wrapping_add(buffer * SLOT),
        capacity: SLOT as u32,
        offset: 128,
        len: 0,
        far: 0,
        offload: Offload::default(),
        refusal: 0,
        buffer: buffer as u32,
        limit: 0,
    };
    (link.unwrap_or_else(|error| panic!("{error}")), (0..SLOTS).map(slot).collect())
}

#[test]
fn a_right_plugin_is_found_by_any_of_its_file_names() {
    for file in ["libvreserve_fixture.so", "fixture.so", "libfixture.so"] {
        let plugins = Plugins::with(file, &good());
        let registry = plugins.registry();
        let plugin = registry.load(&instance("{}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plugin.path.as_deref(), Some(plugins.0.path().join(file).as_path()));
        assert_eq!(registry.status()[0].state, PluginState::Loaded);
        assert_eq!(registry.status()[0].version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn an_explicit_path_comes_before_the_directories() {
    let plugins = Plugins::with("libvreserve_fixture.so", b"not this one");
    let path = plugins.put("elsewhere.so", &good());
    let instance = Instance { path: Some(path.clone()), ..instance("{}") };
    assert_eq!(plugins.registry().load(&instance).ok().and_then(|plugin| plugin.path), Some(path));
}

#[test]
fn a_missing_plugin_is_named_with_the_places_that_were_searched() {
    let plugins = Plugins::empty();
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(&error, LoadError::NotFound { plugin, .. } if plugin == "fixture"), "{error}");
    assert!(error.to_string().contains(&*plugins.0.path().to_string_lossy()), "{error}");
    assert_eq!(Plugins::good().registry().plausible_names(), ["fixture"]);
}

#[test]
fn what_is_not_a_whole_shared_object_for_this_machine_is_refused() {
    let good = good();
    let mut other_machine = good.clone();
    let (powerpc64, other_byte) = (21u16.to_le_bytes(), 18);
    other_machine[other_byte..other_byte + 2].copy_from_slice(&powerpc64);
    for (bytes, reason) in [
        (&b"#!/bin/sh\n"[..], "no ELF header"),
        (&b""[..], "no ELF header"),
        (&good[..40], "not a shared object"),
        (&good[..good.len() / 2], "not a shared object"),
        (&good[..good.len() - 1], "not a shared object"),
        (&other_machine, "this host is"),
    ] {
        let error = Plugins::with("fixture.so", bytes).refusal(&instance("{}"));
        assert!(error.to_string().contains(reason), "expected {reason}: {error}");
    }
}

#[test]
fn every_truncation_and_flipped_header_byte_is_survived() {
    let good = good();
    for at in (0..64).chain((64..good.len()).step_by(good.len() / 10)) {
        drop(Plugins::with("fixture.so", &good[..at]).refusal(&instance("{}")));
    }
    for at in 0..64 {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        // Reading only: some header bytes do not matter to us, and loading would be up to the linker.
        let plugins = Plugins::empty();
        drop(Metadata::read(&plugins.put("fixture.so", &bytes)));
    }
}

#[test]
fn a_library_that_is_no_plugin_is_refused_without_running_it() {
    let plugins = Plugins::empty();
    plugins.compile("fixture.so", "__attribute__((constructor)) static void run(void) { __builtin_trap(); }");
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(error, LoadError::NotAPlugin { .. }), "{error}");
}

#[test]
fn metadata_decides_before_anything_is_run() {
    for (from, to, reason) in [
        (r#""abi":"1.0.0""#, r#""abi":"2.0.0""#, "too new: built for ABI 2.0.0, this host has 1.0.0"),
        (r#""abi":"1.0.0""#, r#""abi":"0.9.0""#, "too old: built for ABI 0.9.0, this host has 1.0.0"),
        (r#""abi":"1.0.0""#, r#""abi":"later""#, "too old: built for ABI later"),
        (r#""panic":"unwind""#, r#""panic":"abort" "#, r#"built with panic = "abort""#),
        (r#"{"name":"fixture""#, r#"{"name":"stature""#, "is plugin stature, not fixture"),
        (
            r#""kinds":"link reserve ""#,
            r#""kinds":"capture,adapt""#,
            "serves no kind that this host knows, not link",
        ),
        (r#"{"name":"fixture""#, r#"<"name":"fixture""#, "not a vreserve plugin"),
    ] {
        let error = Plugins::with("fixture.so", &patched(from, to)).refusal(&instance("{}"));
        assert!(error.to_string().contains(reason), "expected {reason}: {error}");
    }
    let newer_minor = Plugins::with("fixture.so", &patched(r#""abi":"1.0.0""#, r#""abi":"1.9.3""#));
    assert!(newer_minor.registry().load(&instance("{}")).is_ok());
}

#[test]
fn the_wrong_kind_is_refused() {
    let error = Plugins::good().refusal(&Instance { kind: PluginKind::Capture, ..instance("{}") });
    assert_eq!(error.to_string(), "plugin fixture serves link, reserve, not capture");
}

#[test]
fn a_changed_layout_is_refused_in_one_line() {
    // Another function by another name where the host expects `open_adapt`.
    let error = Plugins::with("fixture.so", &patched("open_adapt", "open_adopt")).refusal(&instance("{}"));
    assert!(matches!(error, LoadError::Layout { .. }), "{error}");
    assert!(error.to_string().contains("layout"), "{error}");
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn a_library_that_only_pretends_is_refused() {
    let metadata = r#"{\"name\":\"fixture\",\"version\":\"1\",\"description\":\"\",\"kinds\":\"link\",\"abi\":\"1.0.0\",\"panic\":\"unwind\"}"#;
    let section = format!(
        "__attribute__((section(\".vreserve.plugin\"), used)) static const char metadata[] = \"{metadata}\";"
    );
    let plugins = Plugins::empty();
    plugins.compile("fixture.so", &section);
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(error, LoadError::NotAPlugin { .. }), "a C string ends with a zero byte: {error}");
    let section = section.replace("metadata[]", &format!("metadata[{}]", metadata.replace('\\', "").len()));
    plugins.compile("fixture.so", &section);
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(error, LoadError::Linker { .. }), "no root symbol: {error}");
    let symbol = "const char root[4096] __asm__(\"vreserve_plugin_fixture\") = \"not a header\";";
    plugins.compile("libfixture.so", &format!("{section}\n{symbol}"));
    let path = Some(plugins.0.path().join("libfixture.so"));
    let error = plugins.refusal(&Instance { path, ..instance("{}") });
    assert!(error.to_string().contains("its root symbol is not one"), "no header at the symbol: {error}");
}

#[test]
fn a_root_function_that_panics_is_contained() {
    let plugins = Plugins::with("root.so", &fixture("libvreserve_fixture_root_panics.so"));
    let path = Some(plugins.0.path().join("root.so"));
    let error =
        plugins.refusal(&Instance { path, plugin: "fixture-root-panics".to_owned(), ..instance("{}") });
    assert_eq!(error.to_string(), "plugin fixture-root-panics: its root function panicked");
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let plugins = Plugins::good();
    let file = plugins.0.path().join("libvreserve_fixture.so");
    for mode in [0o757, 0o775, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let error = plugins.refusal(&instance("{}"));
        assert!(matches!(error, LoadError::Writable { .. }), "{mode:o}: {error}");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(plugins.0.path(), Permissions::from_mode(0o777)).unwrap();
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(&error, LoadError::Writable { path, .. } if path == plugins.0.path()), "{error}");
    fs::set_permissions(plugins.0.path(), Permissions::from_mode(0o1777)).unwrap();
    assert!(plugins.registry().load(&instance("{}")).is_ok(), "in a sticky directory nobody can replace it");
}

#[test]
fn a_strangers_file_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give a file away");
        return;
    }
    let plugins = Plugins::good();
    std::os::unix::fs::chown(plugins.0.path().join("libvreserve_fixture.so"), Some(4242), None).unwrap();
    let error = plugins.refusal(&instance("{}"));
    assert!(matches!(error, LoadError::Owner { owner: 4242, .. }), "{error}");
}

#[test]
fn links_are_followed_and_what_they_lead_to_is_checked() {
    let (plugins, elsewhere) = (Plugins::empty(), Plugins::good());
    let target = elsewhere.0.path().join("libvreserve_fixture.so");
    let link = plugins.0.path().join("fixture.so");
    symlink(&target, &link).unwrap();
    assert!(plugins.registry().load(&instance("{}")).is_ok());
    fs::set_permissions(&target, Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(plugins.refusal(&instance("{}")), LoadError::Writable { .. }));
    fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(elsewhere.0.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(plugins.refusal(&instance("{}")), LoadError::Writable { .. }), "its directory counts");
    fs::remove_file(&target).unwrap();
    assert!(matches!(plugins.refusal(&instance("{}")), LoadError::Unreadable { .. }), "dangling");
}

#[test]
fn a_link_that_leads_elsewhere_now_is_checked_anew_and_what_is_open_goes_on() {
    let (plugins, elsewhere) = (Plugins::empty(), Plugins::good());
    let link = plugins.0.path().join("fixture.so");
    symlink(elsewhere.0.path().join("libvreserve_fixture.so"), &link).unwrap();
    let (registry, pinned) = (plugins.registry(), plugins.pinned());
    let host = services().instance(PluginKind::Link, "internet", Some(pool()));
    let mut open = registry.open_link(&pinned, &host).unwrap_or_else(|error| panic!("{error}"));
    let another = [good(), vec![0]].concat();
    for (name, bytes, reason) in [
        ("another.so", &another[..], "the configuration pins another"),
        ("none.so", b"not a shared object", "no ELF header"),
    ] {
        let target = elsewhere.put(name, bytes);
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        let Err(error) = registry.load(&pinned) else { panic!("{name} was taken") };
        assert!(error.to_string().contains(reason), "{error}");
        open.add_far(7, "192.0.2.7:4789", None).unwrap();
    }
}

#[test]
fn what_is_not_a_file_is_refused_without_waiting_for_it() {
    let plugins = Plugins::empty();
    let path = plugins.0.path().join("fixture.so");
    fs::create_dir(&path).unwrap();
    assert!(matches!(plugins.refusal(&instance("{}")), LoadError::NotAFile { .. }));
    fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(plugins.refusal(&instance("{}")), LoadError::NotAFile { .. }));
}

#[test]
fn a_pin_is_enforced_also_on_a_plugin_that_is_loaded_already() {
    let plugins = Plugins::good();
    let registry = plugins.registry();
    assert!(registry.load(&plugins.pinned()).is_ok());
    let again = registry.load(&Instance { sha256: Some([7; 32]), ..instance("{}") });
    assert!(matches!(again, Err(LoadError::Digest { .. })));
}

#[test]
fn one_file_is_loaded_once_and_a_new_one_beside_it() {
    let plugins = Plugins::good();
    let path = plugins.0.path().join("libvreserve_fixture.so");
    let registry = plugins.registry();
    let address =
        |instance: &Instance| registry.load(instance).ok().map(|plugin| plugin.root.validate() as usize);
    let first = address(&instance("{}"));
    fs::hard_link(&path, plugins.0.path().join("other.so")).unwrap();
    let other = Instance { path: Some(plugins.0.path().join("other.so")), ..instance("{}") };
    assert_eq!(address(&other), first, "the same file by another name");
    fs::remove_file(&path).unwrap();
    plugins.put("libvreserve_fixture.so", &good());
    assert_ne!(address(&instance("{}")), first, "an upgraded file is another plugin");
}

#[test]
fn opening_reports_what_the_plugin_says_and_the_state() {
    let registry = Plugins::good();
    let registry = registry.registry();
    let instances =
        [instance(r#"{"on_open":"fail"}"#), Instance { name: "spare".to_owned(), ..instance("{}") }];
    registry.declare(&instances);
    assert!(registry.status().iter().all(|status| status.state == PluginState::Declared));
    for (settings, kind, reason) in [
        (r#"{"on_open":"fail"}"#, FailureKind::Unavailable, "no such device"),
        (r#"{"on_open":"panic"}"#, FailureKind::Internal, "panicked: told to"),
        (r#"{"number":13}"#, FailureKind::Invalid, "13 brings bad luck"),
        (r#"{"number":300}"#, FailureKind::Invalid, "invalid value: integer `300`, expected u8"),
        ("{", FailureKind::Invalid, "EOF while parsing an object"),
    ] {
        let host = services().instance(PluginKind::Link, "internet", None);
        let Err(StartError::Open(failure)) = registry.open_link(&instance(settings), &host) else {
            panic!("{settings} should fail to open")
        };
        assert_eq!((failure.kind, failure.reason.as_str()), (kind, reason));
        let PluginState::Failed(shown) = &registry.status()[0].state else { panic!("failed") };
        assert!(shown.contains(reason), "{shown}");
    }
    let host = services().instance(PluginKind::Link, "spare", None);
    assert!(registry.open_link(&instances[1], &host).is_ok());
    assert_eq!(registry.status()[1].state, PluginState::Started);
}

#[test]
fn validation_opens_nothing() {
    let plugins = Plugins::good();
    let registry = plugins.registry();
    assert!(registry.validate(&instance(r#"{"on_open":"panic"}"#)).is_ok(), "opening would panic");
    let Err(StartError::Open(failure)) = registry.validate(&instance(r#"{"number":13}"#)) else {
        panic!("13")
    };
    assert_eq!(failure.key.as_deref(), Some("number"));
}

#[test]
fn a_linked_plugin_needs_no_file() {
    let registry = Registry::new(Vec::new()).with_static(&[("fixture", vreserve_fixture::plugin())]);
    let host = services().instance(PluginKind::Link, "internet", Some(pool()));
    let link = registry.open_link(&instance("{}"), &host).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(link.info().address, "192.0.2.1:4789");
    assert_eq!(registry.plausible_names(), ["fixture"]);
}

#[test]
fn frames_pass_in_both_directions() {
    let (mut link, mut slots) = link_with_slots("{}");
    assert_eq!(link.ready_fd(), None);
    link.add_far(7, "192.0.2.7:4789", None).unwrap();
    assert_eq!(link.recv(&mut slots).unwrap(), 0);
    assert_eq!(link.send(&mut slots[..3]).unwrap(), 3);
    assert_eq!(link.recv(&mut slots).unwrap(), 3);
    assert_eq!((slots[2].len, slots[2].far, slots[2].offset), (4, 7, 128));
    assert_eq!(link.violations(), 0);
}

#[test]
fn a_lying_plugin_is_clamped_and_counted() {
    let (mut link, mut slots) = link_with_slots(r#"{"on_call":"lie"}"#);
    assert_eq!(link.recv(&mut slots).unwrap(), SLOTS, "it claims five more");
    assert_eq!(link.ready_fd(), None, "it claims descriptor -7");
    assert_eq!(link.send(&mut slots[..3]).unwrap(), 3, "it claims five more");
    assert_eq!(link.violations(), 3);
}

#[test]
fn a_panic_in_any_call_ends_that_instance_and_nothing_else() {
    let plugins = Plugins::good();
    let registry = plugins.registry();
    let (mut bystander, mut slots) = link_with_slots("{}");
    for call in ["validate", "info", "ready_fd", "add_far", "remove_far", "recv", "send", "drop"] {
        let instance = instance(&format!(r#"{{"panics_in":"{call}"}}"#));
        let is_wrong = registry.validate(&instance).is_err();
        assert_eq!(is_wrong, call == "validate");
        let host = services().instance(PluginKind::Link, "internet", Some(pool()));
        let opened = registry.open_link(&instance, &host);
        assert_eq!(
            opened.is_err(),
            call == "info",
            "{call}: an instance that says nothing of itself is none"
        );
        let Ok(mut link) = opened else { continue };
        link.ready_fd();
        let added = link.add_far(7, "192.0.2.7:4789", None);
        let is_poisoned = ["ready_fd", "add_far"].contains(&call);
        assert_eq!(added.is_err_and(|failure| failure.kind == FailureKind::Internal), is_poisoned, "{call}");
        link.remove_far(7);
        // Without slots, too, the calls are made.
        let outcomes = [link.send(&mut []), link.recv(&mut [])];
        let panicked = outcomes.iter().filter(|outcome| matches!(outcome, Err(InstanceError::Panicked)));
        let due = match call {
            "validate" | "drop" => 0,
            "recv" => 1,
            _ => 2,
        };
        assert_eq!(panicked.count(), due, "{call}");
        drop(link);
        assert_eq!(bystander.send(&mut slots[..1]).unwrap(), 1, "{call}");
        assert_eq!(bystander.recv(&mut slots).unwrap(), 1, "{call}");
    }
}

#[test]
fn a_panicking_plugin_is_poisoned_and_a_new_instance_works() {
    let (mut link, mut slots) = link_with_slots(r#"{"on_call":"panic"}"#);
    for _ in 0..2 {
        assert!(matches!(link.recv(&mut slots), Err(InstanceError::Panicked)));
    }
    drop(link);
    assert_eq!(open_link("{}").info().mtu, 1514);
}

/// Collects formatted log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn instances_of_one_library_log_under_their_own_names() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let plugins = Plugins::good();
        let (registry, services) = (plugins.registry(), services());
        for name in ["internet", "omninet"] {
            let host = services.instance(PluginKind::Link, name, None);
            let instance = Instance { name: name.to_owned(), ..instance("{}") };
            let mut link = registry.open_link(&instance, &host).unwrap_or_else(|error| panic!("{error}"));
            link.add_far(1, &format!("far-of-{name}"), None).unwrap();
        }
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for name in ["internet", "omninet"] {
        let line = log.lines().find(|line| line.contains(&format!("far-of-{name}"))).expect("logged");
        assert!(line.contains("WARN plugin:") && line.contains(&format!("instance=\"{name}\"")), "{line}");
    }
}

fn reserve(settings: &str, deadline: Duration) -> ReserveInstance {
    let instance = Instance { kind: PluginKind::Reserve, name: "omninet".to_owned(), ..instance(settings) };
    let host = services().instance(PluginKind::Reserve, "omninet", None);
    let backend = Plugins::good().registry().open_reserve(&instance, &host, deadline);
    backend.unwrap_or_else(|error| panic!("{error}"))
}

fn request() -> Request {
    Request {
        key: RequestKey("k1".to_owned()),
        owner: "o".to_owned(),
        a: "192.0.2.1".to_owned(),
        z: "192.0.2.2".to_owned(),
        rate: BitsPerSecond(1_000),
        flow: None,
        max_latency: None,
        start_ms: None,
        end_ms: None,
    }
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_reservation_plugin_works_on_its_own_runtime() {
    let backend: Arc<dyn Backend> = Arc::new(reserve("{}", PATIENT));
    assert!(backend.capabilities().fused_activation);
    let observed = backend.submit(request()).await.unwrap();
    assert_eq!((observed.key, observed.native_id.as_deref()), (request().key, Some("7")));
    let handle = Handle { key: request().key, native_id: None };
    assert_eq!(backend.cancel(handle.clone()).await, Ok(()));
    assert_eq!(backend.query(handle).await.unwrap_err().kind, FailureKind::Unsupported);
}

#[tokio::test]
async fn a_call_that_hangs_ends_at_the_deadline_with_an_unknown_outcome() {
    let backend = reserve(r#"{"on_call":"hang"}"#, Duration::from_millis(50));
    let begun = Instant::now();
    let failure = backend.submit(request()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnknownOutcome);
    assert!(failure.reason.contains("no answer to submit within 0.05 s"), "{failure}");
    let looked = backend.health().await.unwrap_err();
    assert_eq!(looked.kind, FailureKind::Unavailable, "looking changes nothing");
    assert!(begun.elapsed() < PATIENT);
}

#[tokio::test]
async fn an_answer_about_another_reservation_is_no_answer() {
    let failure = reserve(r#"{"on_call":"lie"}"#, PATIENT).submit(request()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnknownOutcome);
    assert!(failure.reason.contains("submit of k1 was answered with another"), "{failure}");
}

#[tokio::test]
async fn a_backend_that_panics_keeps_answering() {
    let backend = reserve(r#"{"on_call":"panic"}"#, PATIENT);
    assert_eq!(backend.submit(request()).await.unwrap_err().kind, FailureKind::UnknownOutcome);
    assert_eq!(backend.health().await, Ok(()));
}

#[tokio::test]
async fn a_call_outlives_its_backends_owner() {
    let backend = reserve("{}", PATIENT);
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { backend.submit(request()).await }
    });
    drop(backend);
    assert!(call.await.unwrap().is_ok());
}

#[test]
fn metadata_is_read_without_loading() {
    let plugins = Plugins::good();
    let metadata = Metadata::read(&plugins.0.path().join("libvreserve_fixture.so")).unwrap();
    assert_eq!(metadata[0].kinds().collect::<Vec<_>>(), [PluginKind::Link, PluginKind::Reserve]);
    assert!(Metadata::read(Path::new("/nonexistent.so")).is_err());
}
