//! A node is taken off the proxy's list while it runs, and put on it again: it loses the overlay and finds back.
//!
//! ```text
//!  a1 ── alpha ═══ star ═══ hub, `admit` edited and reloaded ═══ star ═══ beta ── b1
//! ```

use std::time::Duration;

use vreserve_tests::traffic::Iperf;
use vreserve_tests::{PAIR, Setup, World, skip, wait};

const BOUND: Duration = Duration::from_secs(40);

#[test]
fn a_node_that_is_removed_loses_its_links_and_lightpath_and_finds_back_when_it_is_added() {
    if skip::is_skipped("admission", &["iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup { lab: PAIR.to_owned(), ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &["-u", "-b", "30M", "-l", "1200"]);
    world.wait_until_carrying(BOUND);

    let mut entry = String::new();
    let (code, said) = world.reload_lead(|text| {
        let is_alpha = |line: &&str| line.contains("name = \"alpha\"");
        entry = text.lines().find(is_alpha).unwrap().to_owned();
        text.replace(&format!("{entry}\n"), "")
    });
    assert_eq!((code, said.as_str()), (0, "[node] admit: 1 nodes\n"));
    wait::until_true("the node is out", BOUND, || {
        world.topology().nodes.iter().all(|node| node.name != "alpha")
    });
    wait::until_true("its lightpath is given back", BOUND, || world.is_odin_dark());
    wait::until_true("its guest is on nobody's list", BOUND, || {
        world.topology().guests.iter().all(|guest| guest.mac != world.mac("a1"))
    });
    let ping = world.ping("a1", "b1", 3);
    assert_eq!(ping.received, 0, "{}", ping.text);
    drop(load);

    let (code, said) =
        world.reload_lead(|text| text.replace("admit = [\n", &format!("admit = [\n{entry}\n")));
    assert_eq!((code, said.as_str()), (0, "[node] admit: 2 nodes\n"));
    world.wait_until_ready();
    world.assert_reachable("a1", "b1");
}
