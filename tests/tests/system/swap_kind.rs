//! A lead that reserves lightpaths is told to reserve bandwidth instead, by an edit of its file: the pair moves, the
//! lightpath goes dark, no frame is lost. Killed in the middle, it ends at the same place.
//!
//! ```text
//!  a1 ── alpha ─┬─ west ══ core, 100 Mbit/s, GARA's classes ══ east ─┬─ beta ── b1      hub at east
//!               └── chicago ════════════ lambda ═══════════ evanston ┘
//! ```

use std::time::Duration;

use vreserve_core::lead::Phase;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{GaraServer, PAIR, Setup, World, skip, wait};

const BOUND: Duration = Duration::from_secs(40);
/// Worth a circuit, and well under what is asked of GARA.
const LOAD: [&str; 5] = ["-u", "-b", "10M", "-l", "1200"];
/// The lead on its new file.
const LEAD: &str = "hub";

/// A world with both providers; lightpaths are configured.
fn both() -> (GaraServer, World) {
    let routed = "[commodity.core]\nrate = \"100mbit\"\nqueue = \"256kb\"\nrouters = [\"west\", \"east\"]\n[[network]]";
    let lab = PAIR
        .replacen("[[network]]", routed, 1)
        .replace("role = \"proxy\"", "role = \"proxy\"\nrouter = \"east\"")
        .replace("name = \"alpha\"", "name = \"alpha\"\nrouter = \"west\"")
        .replace("name = \"beta\"", "name = \"beta\"\nrouter = \"east\"");
    let second = |address: &str| {
        format!("[link.qos]\nuse = \"link-udp\"\nbind = \"{address}:4790\"\nnetwork = \"qos\"\n\n")
    };
    // Hosts have the subnet's addresses in the order of the file.
    let tables = vec![("alpha", second("198.51.100.2")), ("beta", second("198.51.100.3"))];
    let adapt = format!(
        "{}[adapt.vadapt.rates.qos]\nleast = \"40mbit\"\nmost = \"40mbit\"\n",
        Setup::default().adapt
    );
    let world = World::start(&Setup { lab, tables, adapt, ..Setup::default() });
    let server = GaraServer::on(world.lab(), LEAD, &world.dir().join("gara"), &["lead"]);
    (server, world)
}

/// The lead's file, with GARA where ODIN was.
fn to_gara(text: &str, server: &GaraServer) -> String {
    let (before, rest) = text.split_once("[reserve.omninet]").unwrap();
    let (_, after) = rest.split_once("\n[").unwrap();
    format!(
        "{before}[reserve.qos]\nuse = \"reserve-gara\"\nnetwork = \"qos\"\nserver = \"{}\"\nca = {:?}\n\
         certificate = {:?}\nkey = {:?}\n\n[{after}",
        server.address,
        server.file("ca.pem"),
        server.file("lead.pem"),
        server.file("lead.key"),
    )
}

fn wait_until_on_gara(world: &World, server: &GaraServer) {
    wait::until_true("the pair has bandwidth from GARA and no lightpath", BOUND, || {
        let circuits = world.reservations().circuits;
        circuits.len() == 1 && circuits[0].link.network == "qos" && circuits[0].phase == Phase::Carrying
    });
    assert!(world.is_odin_dark(), "the lightpath is gone");
    assert_eq!(server.held(), Some(1));
}

#[test]
fn an_edit_of_the_file_moves_a_pair_from_odin_to_gara_and_loses_nothing() {
    if skip::is_skipped("swap, kind", &["iperf3", "ping", "nft"]) {
        return;
    }
    let (server, world) = both();
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let first = world.wait_until_carrying(BOUND);
    assert_eq!(first.link.network, "omninet");

    let (code, said) = world.reload_lead(|text| to_gara(&text, &server));
    assert_eq!(code, 0, "{said}");
    wait_until_on_gara(&world, &server);
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
    wait::until_true("the former backend is closed", BOUND, || world.reservations().former_backends == 0);
    drop(load);
    wait::until_true("the bandwidth is given back", BOUND, || server.held() == Some(0));
}

#[test]
fn a_lead_that_is_killed_in_the_middle_of_it_ends_at_the_same_place() {
    if skip::is_skipped("swap, kind, killed", &["iperf3", "ping", "nft"]) {
        return;
    }
    let (server, mut world) = both();
    world.assert_reachable("a1", "b1");
    let _load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    world.wait_until_carrying(BOUND);
    let (code, said) = world.reload_lead(|text| to_gara(&text, &server));
    assert_eq!(code, 0, "{said}");
    // The lightpath is still there: the pair leaves it when GARA's circuit is proved.
    assert!(!world.is_odin_dark());
    world.kill_daemon(LEAD);
    world.start_daemon(LEAD);
    world.wait_until_ready();
    wait_until_on_gara(&world, &server);
}
