//! Every kind of plugin through the C table that `export_plugin!` writes, as the host calls it: open, call,
//! panic, answer nothing more, close.
#![allow(unsafe_code, reason = "calls the C functions as the host does")]

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::AtomicU64;

use serde::Deserialize;
use vreserve_sdk::abi::export::WithMetadata;
use vreserve_sdk::abi::{
    HostContext, HostTable, HostTableRef, Identity, PluginFailure, Pool, Queue, RResult, RSlice, RStr,
    RString, STATUS_OK, STATUS_PANICKED, Slot,
};
use vreserve_sdk::model::{
    Capabilities, FailureKind, Observed, Pattern, Request, Snapshot, Timestamp, TopologyReport, Wanted,
};
use vreserve_sdk::{
    Adapt, Batch, Capture, Cell, EndpointInfo, Failure, FarId, FarNode, Handle, Host, Infer, InterfaceInfo,
    JsonSchema, Link, Offload, Reserve, async_trait, export_plugin, shim,
};

/// Serves every kind; panics when told to.
struct Everything;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What to do when opened.
    #[serde(default)]
    open: Option<String>,
}

fn open(config: &Config, host: Host) -> Result<Everything, Failure> {
    match config.open.as_deref() {
        Some("panic") => panic!("told to"),
        Some(other) => return Err(Failure::invalid("open", format!("no such order: {other}"))),
        None => host.counter("opened", "times opened").add(1),
    }
    Ok(Everything)
}

impl Capture for Everything {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        open(&config, host)
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        assert!(!batch.is_empty(), "an empty batch makes this plugin panic");
        let mut slot = batch.slot(0);
        slot.space()[..4].copy_from_slice(b"ping");
        slot.set_len(4);
        Ok(1)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        batch.iter_mut().for_each(drop);
        Err(io::Error::from_raw_os_error(100))
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(7)
    }

    fn info(&self) -> InterfaceInfo {
        InterfaceInfo { interface: "test0".to_owned(), mtu: 1500, offload: false, queues: 1 }
    }
}

impl Link for Everything {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        open(&config, host)
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        assert!(far != FarId(13), "13 makes this plugin panic");
        if node.address.is_empty() { Err(Failure::invalid("address", "empty")) } else { Ok(()) }
    }

    fn remove_far(&mut self, _: FarId) {}

    fn recv(&mut self, _: &mut Batch<'_>) -> io::Result<usize> {
        Err(io::Error::other("an error without a number"))
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        None
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "192.0.2.1:4789".to_owned(), mtu: 1514, offload: false, queues: 1 }
    }
}

impl Infer for Everything {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        open(&config, host)
    }

    fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        assert!(now != Timestamp::ZERO, "time zero makes this plugin panic");
        Ok(vec![0; cells.len()])
    }

    fn merge(&mut self, _: Timestamp, _: &str, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn infer(&mut self, _: Timestamp) -> Result<TopologyReport, Failure> {
        Ok(TopologyReport { pattern: Pattern::Ring, ..TopologyReport::silent() })
    }
}

impl Adapt for Everything {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        open(&config, host)
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        assert!(snapshot.now != Timestamp::ZERO, "time zero makes this plugin panic");
        Ok(Wanted { notes: vec!["nothing to do".to_owned()], ..Wanted::default() })
    }
}

#[async_trait]
impl Reserve for Everything {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        open(&config, host)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { serial: true, ..Capabilities::default() }
    }

    async fn submit(&self, _: Request) -> Result<Observed, Failure> {
        panic!("told to")
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        Err(Failure::refused(format!("{} is not ours", handle.key)))
    }
}

export_plugin!(
    name = "everything",
    capture = Everything,
    link = Everything,
    infer = Everything,
    adapt = Everything,
    reserve = Everything,
);

extern "C" fn log(_: usize, _: u8, _: RStr<'_>, _: RStr<'_>) {}
extern "C" fn max_level(_: usize) -> u8 {
    0
}
extern "C" fn counter(_: usize, _: RStr<'_>, _: RStr<'_>) -> &'static AtomicU64 {
    static CELL: AtomicU64 = AtomicU64::new(0);
    &CELL
}
extern "C" fn state_dir(_: usize) -> RString {
    RString::new()
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

fn host() -> HostContext {
    const TABLE: &WithMetadata<HostTable> =
        &WithMetadata::new(HostTable { log, max_level, counter, state_dir, pool, queue, identity });
    HostContext { table: HostTableRef(TABLE.static_as_prefix()), context: 0 }
}

fn failure<T>(result: RResult<T, PluginFailure>) -> Failure {
    match result.into_result() {
        Ok(_) => panic!("the call should have failed"),
        Err(failure) => shim::failure_in(&failure),
    }
}

fn slot(memory: &mut [u8]) -> Slot {
    Slot {
        base: memory.as_mut_ptr(),
        capacity: memory.len() as u32,
        offset: 16,
        len: 0,
        far: 0,
        offload: Offload::default(),
        refusal: 0,
        buffer: 0,
        limit: 0,
    }
}

#[test]
fn a_capture_instance_lives_panics_and_closes() {
    let raw = plugin().open_capture()(host(), "{}".into()).unwrap();
    let (table, instance) = (raw.table, raw.instance);
    let mut memory = [0; 64];
    let mut slots = [slot(&mut memory)];
    // SAFETY: the instance is open, and the slot's memory is valid.
    unsafe {
        assert_eq!(table.ready_fd()(instance), 7);
        assert!(table.describe()(instance).contains("test0"));
        let received = table.recv()(instance, slots.as_mut_ptr(), 1);
        assert_eq!((received.n, received.status, slots[0].len), (1, STATUS_OK, 4));
        let sent = table.send()(instance, slots.as_mut_ptr(), 1);
        assert_eq!((sent.n, sent.status), (0, 100));
        assert_eq!(table.recv()(instance, ptr::null_mut(), 0).status, STATUS_PANICKED);
        assert_eq!(table.recv()(instance, slots.as_mut_ptr(), 1).status, STATUS_PANICKED);
        assert_eq!(table.ready_fd()(instance), -1);
        assert!(table.describe()(instance).is_empty());
        table.close()(instance);
    }
    assert_eq!(&memory[16..20], b"ping");
}

#[test]
fn a_link_instance_lives_panics_and_closes() {
    let raw = plugin().open_link()(host(), "{}".into()).unwrap();
    let (table, instance) = (raw.table, raw.instance);
    let mut memory = [0; 64];
    let mut slots = [slot(&mut memory)];
    // SAFETY: as above.
    unsafe {
        assert_eq!(table.ready_fd()(instance), -1);
        assert_eq!(table.recv()(instance, slots.as_mut_ptr(), 1).status, 5, "EIO stands for no number");
        assert_eq!(table.send()(instance, slots.as_mut_ptr(), 1).n, 1);
        assert!(table.add_far()(instance, 1, "192.0.2.2:4789".into(), RSlice::EMPTY).is_ok());
        assert_eq!(
            failure(table.add_far()(instance, 2, "".into(), RSlice::EMPTY)).key.as_deref(),
            Some("address")
        );
        let panicked = failure(table.add_far()(instance, 13, "x".into(), RSlice::EMPTY));
        assert_eq!(panicked.kind, FailureKind::Internal);
        assert!(panicked.reason.contains("13 makes this plugin panic"), "{panicked}");
        table.remove_far()(instance, 1);
        assert_eq!(table.send()(instance, slots.as_mut_ptr(), 1).status, STATUS_PANICKED);
        table.close()(instance);
    }
}

#[test]
fn an_inference_instance_lives_panics_and_closes() {
    let raw = plugin().open_infer()(host(), "{}".into()).unwrap();
    let (table, instance) = (raw.table, raw.instance);
    let cell = Cell { source: [2; 6], destination: [4; 6], vlan: 0xffff, reserved: 0, bytes: 60, frames: 1 };
    // SAFETY: the instance is open.
    unsafe {
        assert_eq!(table.observe()(instance, 1, [cell].as_slice().into()).unwrap().len(), 1);
        assert!(table.merge()(instance, 1, "a".into(), [0u8; 3].as_slice().into()).is_ok());
        let topology = table.infer()(instance, 1).unwrap();
        assert_eq!(shim::topology_in(&topology).unwrap().pattern, Pattern::Ring);
        assert_eq!(failure(table.observe()(instance, 0, [].as_slice().into())).kind, FailureKind::Internal);
        assert!(failure(table.infer()(instance, 1)).reason.contains("panicked before"));
        table.close()(instance);
    }
}

#[test]
fn an_adaptation_instance_lives_panics_and_closes() {
    let raw = plugin().open_adapt()(host(), "{}".into()).unwrap();
    let (table, instance) = (raw.table, raw.instance);
    let snapshot = |now| Snapshot {
        now,
        nodes: Vec::new(),
        guests: Vec::new(),
        topology: TopologyReport::silent(),
        backends: Vec::new(),
        circuits: Vec::new(),
        max_hops: 1,
        question: None,
    };
    let call = |now| {
        let (document, demands) = shim::snapshot_out(&snapshot(now));
        // SAFETY: the instance is open until the end of this test.
        unsafe { table.adapt()(instance, document.as_str().into(), demands.as_slice().into()) }
    };
    assert!(call(Timestamp(1)).unwrap().contains("nothing to do"));
    assert_eq!(failure(call(Timestamp(0))).kind, FailureKind::Internal);
    assert!(failure(call(Timestamp(1))).reason.contains("panicked before"));
    // SAFETY: the last call.
    unsafe { table.close()(instance) }
}

#[tokio::test]
async fn a_reservation_instance_lives_panics_and_closes() {
    let raw = plugin().open_reserve()(host(), "{}".into()).unwrap();
    let table = raw.table;
    let instance = raw.instance.expose_provenance();
    // SAFETY: the instance is open until the end of this test, and no call outlives it.
    let call = |verb: &str, document: &str| unsafe {
        table.call()(ptr::with_exposed_provenance(instance), verb.into(), document.into())
    };
    // SAFETY: as above.
    let capabilities = unsafe { table.capabilities()(ptr::with_exposed_provenance(instance)) };
    assert!(capabilities.contains(r#""serial":true"#), "{capabilities}");
    let refused = failure(call("cancel", r#"{"key":"k1"}"#).await);
    assert_eq!((refused.kind, refused.reason.as_str()), (FailureKind::Refused, "k1 is not ours"));
    let request = r#"{"key":"k1","owner":"o","a":"192.0.2.1","z":"192.0.2.2","rate":1}"#;
    let panicked = failure(call("submit", request).await);
    assert_eq!(panicked.kind, FailureKind::UnknownOutcome, "it may have reserved before it died");
    assert_eq!(
        failure(call("cancel", r#"{"key":"k2"}"#).await).kind,
        FailureKind::Refused,
        "calls are apart"
    );
    assert_eq!(failure(call("health", "null").await).kind, FailureKind::Unsupported);
    assert_eq!(failure(call("explode", "null").await).kind, FailureKind::Unsupported);
    // SAFETY: the last call.
    unsafe { table.close()(ptr::with_exposed_provenance(instance)) }
}

/// Opens in the middle of another runtime must not blame the runtime for what is wrong.
#[tokio::test]
async fn opening_names_what_is_wrong() {
    let root = plugin();
    let unknown = failure(root.open_capture()(host(), r#"{"opne":1}"#.into()));
    assert!(unknown.reason.contains("unknown field `opne`"), "{unknown}");
    let order = failure(root.open_reserve()(host(), r#"{"open":"sesame"}"#.into()));
    assert_eq!((order.kind, order.key.as_deref()), (FailureKind::Invalid, Some("open")));
    let panicked = failure(root.open_link()(host(), r#"{"open":"panic"}"#.into()));
    assert_eq!((panicked.kind, panicked.reason.as_str()), (FailureKind::Internal, "panicked: told to"));
}

#[test]
fn validation_and_schemas_are_per_kind() {
    let root = plugin();
    assert!(root.validate()("link".into(), "{}".into()).is_ok());
    assert_eq!(failure(root.validate()("link".into(), r#"{"open":7}"#.into())).key.as_deref(), Some("open"));
    assert_eq!(failure(root.validate()("switch".into(), "{}".into())).kind, FailureKind::Unsupported);
    assert!(root.schema()("adapt".into()).contains("What to do when opened"));
    assert!(root.schema()("switch".into()).is_empty());
}
