//! Two texts, and what lies between them.

use std::path::Path;

use super::*;

const KEY_A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const HUB: &str = "[node]
name = \"hub\"
key = \"/hub.key\"
role = \"proxy\"
control = \"127.0.0.1:7654\"
admit = []
workers = 1

[link.internet]
use = \"link-udp\"
bind = \"192.0.2.1:4789\"

[infer.vttif]
use = \"infer-vttif\"
";

const NODE: &str = "[node]
name = \"alpha\"
key = \"/alpha.key\"
proxy = { name = \"hub\", public_key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\", address = \"192.0.2.1:7654\" }
workers = 1

[capture.guests]
use = \"capture-iouring\"
interface = \"tap0\"

[link.internet]
use = \"link-udp\"
bind = \"192.0.2.1:4789\"

[infer.vttif]
use = \"infer-vttif\"
";

const ODIN: &str = "[reserve.omninet]\nuse = \"reserve-odin\"\nnetwork = \"omninet\"\nclient = \"/a\"\n";

fn read(text: &str) -> Config {
    Config::parse(Path::new("n.toml"), text).expect("the test's text is well formed")
}

fn between(old: &str, new: &str) -> Vec<Change> {
    diff(&read(old), &read(new)).expect("a change that a running node can follow")
}

fn told(old: &str, new: &str) -> Vec<String> {
    between(old, new).iter().map(ToString::to_string).collect()
}

fn refused(old: &str, new: &str) -> Vec<String> {
    let errors = diff(&read(old), &read(new)).expect_err("a change that needs a restart");
    errors.iter().map(ToString::to_string).collect()
}

fn hub(more: &str) -> String {
    format!("{HUB}\n{more}")
}

#[test]
fn the_same_configuration_in_other_words_is_no_change() {
    let reordered =
        "# a comment\n[reserve.omninet]\nclient = \"/a\"\nnetwork = \"omninet\"\nuse = 'reserve-odin'\n";
    assert_eq!(between(&hub(ODIN), &hub(reordered)), []);
}

#[test]
fn a_backend_is_opened_replaced_and_closed_by_its_network() {
    assert_eq!(told(HUB, &hub(ODIN)), ["[reserve.omninet] opened for omninet"]);
    assert_eq!(told(&hub(ODIN), HUB), ["no backend for omninet any more"]);
    let other_key = ODIN.replace("/a", "/b");
    assert_eq!(told(&hub(ODIN), &hub(&other_key)), ["[reserve.omninet] opened anew for omninet"]);
    let other_use = ODIN.replace("reserve-odin", "reserve-gara");
    assert_eq!(told(&hub(ODIN), &hub(&other_use)), ["[reserve.omninet] opened anew for omninet"]);
    let limited = format!("{ODIN}max_circuits = 2\n");
    assert_eq!(
        told(&hub(ODIN), &hub(&limited)),
        ["[reserve] max_circuits and max_rate"],
        "no reason to open it anew"
    );
    let other_name = ODIN.replace("[reserve.omninet]", "[reserve.gara]");
    assert_eq!(told(&hub(ODIN), &hub(&other_name)), ["[reserve.gara] opened anew for omninet"]);
    let other_network = ODIN.replace("network = \"omninet\"", "network = \"qos\"");
    let moved = ["[reserve.omninet] opened for qos", "no backend for omninet any more"];
    assert_eq!(told(&hub(ODIN), &hub(&other_network)), moved, "what comes before what goes");
}

#[test]
fn planner_delays_and_admission_follow() {
    let planner = "[adapt.vadapt]\nuse = \"adapt-vadapt\"\nmax_links = 4\n";
    assert_eq!(told(HUB, &hub(planner)), ["[adapt.vadapt] opened anew"]);
    assert_eq!(told(&hub(planner), &hub(&planner.replace('4', "5"))), ["[adapt.vadapt] opened anew"]);
    assert_eq!(between(&hub(planner), HUB), [Change::ClosePlanner]);
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(between(HUB, &hub("[lead]\nretry_min = \"1s\"\n")), [Change::BackOff { min, max }]);
    let recurring = Change::Recurring(Some(Duration::from_secs(6 * 3600)));
    let on = hub("[lead]\nrecurring = true\n");
    assert_eq!(between(HUB, &on), [recurring]);
    assert_eq!(between(&on, HUB), [Change::Recurring(None)]);
    assert_eq!(told(&on, &hub("[lead]\nrecurring = true\nrecurring_ahead = \"1h\"\n")).len(), 1);
    let one = format!("admit = [{{ name = \"alpha\", public_key = \"{KEY_A}\" }}]");
    assert_eq!(told(HUB, &HUB.replace("admit = []", &one)), ["[node] admit: 1 nodes"]);
}

#[test]
fn what_needs_a_restart_is_named_with_its_place_and_all_of_it() {
    let new = NODE.replace("tap0", "tap1").replace("workers = 1", "workers = 2");
    assert_eq!(
        refused(NODE, &new),
        [
            "n.toml:5:1: [node] workers: cannot change while the node is running; restart the node",
            "n.toml:9:1: [capture.guests] interface: cannot change while the node is running; restart the node",
        ]
    );
    let bound = NODE.replace("192.0.2.1:4789", "192.0.2.2:4789");
    assert!(refused(NODE, &bound)[0].contains("[link.internet] bind: cannot change"));
    let network = format!("{NODE}[link.x]\nuse = \"link-udp\"\nnetwork = \"x\"\nbind = \"10.0.0.1:1\"\n");
    assert!(refused(NODE, &network)[0].starts_with("n.toml:17:1: [link.x]: cannot be added"));
    assert_eq!(
        refused(&network, NODE),
        ["n.toml: [link.x]: cannot be removed while the node is running; restart the node"]
    );
    assert!(
        refused(&network, &network.replace("network = \"x\"", "network = \"y\""))[0]
            .contains("[link.x] network")
    );
    assert!(refused(NODE, &format!("{NODE}min_rate = 1\n"))[0].contains("[infer.vttif] min_rate"));
    assert!(refused(HUB, &hub("[lead]\nreserve_timeout = \"1s\"\n"))[0].contains("[lead] reserve_timeout"));
    let link = "[[static_link]]\nname = \"s\"\nendpoint = \"internet\"\naddress = \"192.0.2.9:4789\"\n";
    assert!(refused(NODE, &format!("{NODE}{link}"))[0].contains("[static_link] [0]"));
    assert!(refused(&format!("{NODE}{link}"), NODE)[0].contains("[[static_link]]: cannot be removed"));
}

#[test]
fn one_change_that_cannot_be_followed_refuses_those_that_could() {
    let new = hub(ODIN).replace("name = \"hub\"", "name = \"other\"");
    assert_eq!(refused(HUB, &new).len(), 2, "the name, and the socket that is named after it");
}
