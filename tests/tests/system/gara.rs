//! The plugin `reserve-gara` against `gara-server`, and the routers' kernel as witness.
//!
//! ```text
//!  plugin in this process ══ TLS ══ gara-server ── tc, nft ──▶ west ── core ── east     no daemons, no traffic
//! ```

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use vreserve::config::Instance;
use vreserve::loader::Registry;
use vreserve::plugin::{Backend, HostServices, PluginKind, ReserveInstance};
use vreserve_model::{BitsPerSecond, DataPlane, FailureKind, Flow, Request, RequestKey, ReservationState};
use vreserve_sdk::Handle;
use vreserve_testbed::{Lab, LabSpec};
use vreserve_tests::{GaraServer, directory, skip, wait};

const LAB: &str = include_str!("../../../testbed/labs/gara.toml");
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A lab with a server, and files. Dropped, it is gone.
struct Site {
    server: GaraServer,
    files: TempDir,
    lab: Lab,
}

impl Site {
    fn new(name: &str) -> Self {
        let spec = LabSpec::parse(LAB, Path::new("gara.toml")).unwrap();
        let name = format!("{name}{}", std::process::id());
        let lab = Lab::up(spec.named(&name).unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        let server = GaraServer::beside(&lab, files.path(), &["one", "other"]);
        Self { server, files, lab }
    }

    fn open(&self, owner: &str, more: &str) -> ReserveInstance {
        let file = |name: String| self.server.file(&name).display().to_string();
        let settings = format!(
            r#"{{"server":"{}","ca":"{}","certificate":"{}","key":"{}"{more}}}"#,
            self.server.address,
            file("ca.pem".into()),
            file(format!("{owner}.pem")),
            file(format!("{owner}.key")),
        );
        let instance = Instance {
            kind: PluginKind::Reserve,
            name: owner.to_owned(),
            plugin: "reserve-gara".to_owned(),
            path: None,
            required: true,
            sha256: None,
            settings,
        };
        let host = HostServices::new(self.files.path().join("state"));
        let host = host.instance(PluginKind::Reserve, owner, None);
        let registry = Registry::new(vec![directory()]);
        registry.open_reserve(&instance, &host, PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    fn request(&self, key: &str, mbps: u64) -> Request {
        let address = |host: &str| self.lab.spec().host(host).unwrap().commodity.addr().to_string();
        Request {
            key: RequestKey(key.to_owned()),
            owner: "lab/1".to_owned(),
            a: address("alpha"),
            z: address("beta"),
            rate: BitsPerSecond(mbps * 1_000_000),
            flow: Some(Flow { protocol: "udp".to_owned(), a_port: 4790, z_port: 4790 }),
            max_latency: None,
            start_ms: None,
            end_ms: None,
        }
    }

    /// Whether the bottleneck's kernel has a class of this rate, both ways.
    fn has_class(&self, rate: &str) -> bool {
        ["west", "east"].iter().all(|router| {
            let shown =
                self.lab.exec(router, Command::new("tc").args(["class", "show", "dev", "core"])).unwrap();
            String::from_utf8_lossy(&shown.stdout).contains(&format!("rate {rate} "))
        })
    }
}

fn handle(key: &str, native_id: Option<String>) -> Handle {
    Handle { key: RequestKey(key.to_owned()), native_id }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_reaches_the_routers_kernels_and_leaves_them() {
    if skip::is_skipped("gara", &["nft"]) {
        return;
    }
    let mut site = Site::new("gara");
    let (one, other) = (site.open("one", ""), site.open("other", ""));
    one.health().await.unwrap();
    let booked = one.submit(site.request("lab-1-1", 40)).await.unwrap();
    assert_eq!((booked.state, booked.rate), (ReservationState::Booked, Some(BitsPerSecond(40_000_000))));
    assert!(!site.has_class("43200Kbit"), "nothing is bound to it yet");
    let named = handle("lab-1-1", booked.native_id.clone());
    let active = one.activate(named.clone(), site.request("lab-1-1", 40)).await.unwrap();
    assert_eq!((active.state, active.data_plane), (ReservationState::Active, DataPlane::Up));
    assert!(site.has_class("43200Kbit"), "1.08 times what was asked for");

    let resized = one.modify(named.clone(), site.request("lab-1-1", 50)).await.unwrap();
    assert_eq!(resized.rate, Some(BitsPerSecond(50_000_000)));
    assert!(site.has_class("54Mbit") && !site.has_class("43200Kbit"));
    let too_much = one.modify(named.clone(), site.request("lab-1-1", 90)).await.unwrap_err();
    assert_eq!(too_much.kind, FailureKind::Refused, "{too_much}");
    let too_much = other.submit(site.request("lab-1-2", 40)).await.unwrap_err();
    assert_eq!(too_much.kind, FailureKind::Refused, "the two would be more than may be reserved: {too_much}");
    assert_eq!(other.find(RequestKey("lab-1-1".into())).await.unwrap(), [], "it is another owner's");

    site.server.stop(Signal::SIGKILL);
    assert_eq!(one.find(RequestKey("lab-1-1".into())).await.unwrap_err().kind, FailureKind::Unavailable);
    site.server.start(&site.lab);
    wait::until("the plugin's new connection", PATIENCE, || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(one.health()).ok())
    });
    let found = one.find(RequestKey("lab-1-1".into())).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].state, &found[0].native_id), (ReservationState::Active, &booked.native_id));

    let idle = one.deactivate(named.clone()).await.unwrap();
    assert_eq!(idle.state, ReservationState::Booked);
    assert!(!site.has_class("54Mbit"));
    one.cancel(named.clone()).await.unwrap();
    one.cancel(named).await.unwrap();
    assert_eq!(
        (one.find(RequestKey("lab-1-1".into())).await.unwrap().len(), site.server.held()),
        (0, Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owners_capacity_returns_by_itself_and_a_living_ones_stays() {
    if skip::is_skipped("gara_lease", &["nft"]) {
        return;
    }
    let site = Site::new("garal");
    let lease = r#","duration":"2s","timeout":"500ms""#;
    let (dies, lives) = (site.open("one", lease), site.open("other", lease));
    // The one that lives first, so that without a renewal it would end first.
    lives.submit(site.request("lab-1-2", 20)).await.unwrap();
    dies.submit(site.request("lab-1-1", 20)).await.unwrap();
    assert_eq!(site.server.held(), Some(2));
    drop(dies);
    wait::until_true("the end of the lease", PATIENCE, || site.server.held() == Some(1));
    assert_eq!(lives.find(RequestKey("lab-1-2".into())).await.unwrap().len(), 1, "it was renewed meanwhile");
}
