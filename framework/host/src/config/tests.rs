//! What an operator sees when a configuration is right, and when it is wrong.

use std::path::Path;
use std::time::Duration;

use vreserve_core::lead::Budget;
use vreserve_core::probe::RateTerms;
use vreserve_model::{BitsPerSecond, Failure};

use super::*;
use crate::plugin::{Chance, Fault, PluginKind, When};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn node_toml() -> String {
    format!(
        r#"[node]
name = "chicago-1"
key = "/etc/vreserve/chicago-1.key"
proxy = {{ name = "hub", public_key = "{KEY}", address = "198.51.100.1:7654" }}

[plugins]
dirs = ["/usr/lib/vreserve/plugins"]

[capture.guests]
use = "capture-iouring"
interface = "tap0"

[link.internet]
use = "link-udp"
bind = "198.51.100.10:4789"
peers = [{{ port = 1 }}, {{ port = 0 }}]

[link.omninet]
use = "link-udp"
bind = "10.10.0.1:4789"
network = "omninet"

[infer.vttif]
use = "infer-vttif"
"#
    )
}

fn proxy_toml() -> String {
    format!(
        r#"[node]
name = "hub"
role = "proxy"
key = "/etc/vreserve/hub.key"
control = "0.0.0.0:7654"
star = "internet"
admit = [
    {{ name = "chicago-1", public_key = "{KEY}" }},
    {{ name = "chicago-2", public_key = "{OTHER_KEY}" }},
]

[link.internet]
use = "link-udp"
required = false
sha256 = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
vni = 0x2a

[infer.vttif]
use = "infer-vttif"
report_interval = "1s"

[adapt.vadapt]
use = "adapt-vadapt"
path = "/opt/vadapt.so"
threshold = 0.5

[reserve.omninet]
use = "reserve-odin"
network = "omninet"

[lead]
retry_min = "500ms"
restore_grace = "20s"
orphan_grace = "5m"
shadow = true

[[static_link]]
name = "rack"
endpoint = "internet"
address = "192.0.2.7:4789"
public_key = "{OTHER_KEY}"
"#
    )
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("node.toml"), text)
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the configuration is wrong");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// The errors after one replacement in the node's configuration.
fn wrong(from: &str, to: &str) -> Vec<String> {
    wrong_in(&node_toml(), from, to)
}

fn wrong_in(text: &str, from: &str, to: &str) -> Vec<String> {
    assert!(text.contains(from), "{from}");
    errors(&text.replacen(from, to, 1))
}

#[test]
fn a_nodes_configuration_reads_with_its_defaults() {
    let config = parse(&node_toml()).unwrap();
    assert_eq!(config.node.state_dir, Path::new("/var/lib/vreserve"));
    assert_eq!(config.node.socket, Path::new("/run/vreserve/chicago-1.sock"));
    assert_eq!(config.node.star, "internet");
    assert_eq!(config.star().network, None);
    let Role::Node { proxy } = &config.node.role else { panic!("a node by default") };
    assert_eq!((proxy.name.as_str(), proxy.public_key.to_string().as_str()), ("hub", KEY));
    assert_eq!(config.captures[0].settings, r#"{"interface":"tap0"}"#);
    assert!(config.captures[0].required);
    assert_eq!(config.links[1].network.as_deref(), Some("omninet"));
    assert_eq!(config.links[1].instance.settings, r#"{"bind":"10.10.0.1:4789"}"#);
    assert_eq!(config.infer.report_interval, Duration::from_millis(500));
    let names: Vec<_> = config.instances().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["guests", "internet", "omninet", "vttif"]);
}

#[test]
fn a_proxys_configuration_reads() {
    let config = parse(&proxy_toml()).unwrap();
    let Role::Proxy { listen, admit } = &config.node.role else { panic!("a proxy") };
    assert_eq!((listen.port(), admit.len()), (7654, 2));
    let link = &config.links[0].instance;
    assert!(!link.required);
    assert_eq!(link.sha256.unwrap()[14..16], [0xee, 0xff]);
    assert_eq!(link.settings, r#"{"vni":42}"#);
    let adapt = config.adapt.as_ref().unwrap();
    assert_eq!(
        (adapt.path.as_deref(), adapt.settings.as_str()),
        (Some(Path::new("/opt/vadapt.so")), r#"{"threshold":0.5}"#)
    );
    assert_eq!(config.reserves[0].network, "omninet");
    assert_eq!(config.reserves[0].budget, Budget::default());
    assert_eq!(config.lead.retry_min, Duration::from_millis(500));
    assert_eq!(config.lead.retry_max, Duration::from_secs(60));
    assert_eq!(config.lead.restore_grace, Duration::from_secs(20));
    assert_eq!(config.lead.orphan_grace, Duration::from_secs(300));
    assert!(config.lead.shadow);
    assert_eq!(config.static_links[0].endpoint, "internet");
    assert_eq!(config.static_links[0].public_key.unwrap().to_string(), OTHER_KEY);
}

#[test]
fn recurring_demand_is_booked_ahead_only_if_that_is_asked_for() {
    let recurring = |keys: &str| {
        parse(&proxy_toml().replace("[lead]", &format!("[lead]\n{keys}"))).map(|config| config.lead.recurring)
    };
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    assert_eq!(recurring("").unwrap(), None);
    assert_eq!(recurring("recurring = false").unwrap(), None);
    assert_eq!(recurring("recurring = true").unwrap(), hours(6));
    assert_eq!(recurring("recurring = true\nrecurring_ahead = \"23h\"").unwrap(), hours(23));
    for (keys, expected) in [
        (
            "recurring_ahead = \"1h\"",
            "[lead] recurring_ahead: means nothing without recurring; add recurring = true",
        ),
        ("recurring = true\nrecurring_ahead = \"24h\"", "24h is out of range: 1m to 23h"),
        ("recurring = \"6h\"", "[lead] recurring: expected a boolean, found a string"),
    ] {
        let errors = recurring(keys).expect_err(keys).to_string();
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn a_budget_limits_what_a_network_may_hold() {
    let table = "[reserve.omninet]\nmax_circuits = 3\nmax_rate = \"20gbit\"";
    let config = parse(&proxy_toml().replace("[reserve.omninet]", table)).unwrap();
    let budget = Budget { circuits: Some(3), rate: Some(BitsPerSecond(20_000_000_000)) };
    assert_eq!(config.reserves[0].budget, budget);
    let wrong = proxy_toml().replace("[reserve.omninet]", "[reserve.omninet]\nmax_rate = \"fast\"");
    let errors = parse(&wrong).unwrap_err().to_string();
    assert!(errors.contains("\"fast\" is not a rate; write it as \"10gbit\""), "{errors}");
}

#[test]
fn each_error_names_its_place_and_what_to_do() {
    for (from, to, expected) in [
        (
            "name = \"chicago-1\"",
            "nmae = \"chicago-1\"",
            r#"node.toml:2:1: [node] nmae: unknown key; did you mean "name"?"#,
        ),
        ("[plugins]", "[plugin]", r#"node.toml:6:2: [plugin]: unknown table; did you mean "plugins"?"#),
        (
            "name = \"chicago-1\"",
            "name = 7",
            "node.toml:2:1: [node] name: expected a string, found an integer; write it in double quotes",
        ),
        (
            "name = \"chicago-1\"",
            "name = \"../x\"",
            r#"node.toml:2:1: [node] name: "../x" is not a name: expected 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit"#,
        ),
        (
            "key = \"/etc",
            "key = \"etc",
            r#"node.toml:3:1: [node] key: "etc/vreserve/chicago-1.key" is not an absolute path; begin it with /"#,
        ),
        (
            "address = \"198.51.100.1:7654\"",
            "address = \"198.51.100.1\"",
            r#"node.toml:4:86: [node] proxy.address: "198.51.100.1" is not host:port, such as "198.51.100.1:7654""#,
        ),
        (
            KEY,
            "AAEC",
            r#"node.toml:4:25: [node] proxy.public_key: "AAEC" is not a public key; write the node's public key, 44 characters of base64"#,
        ),
        (
            "[\"/usr",
            "[7, \"/usr",
            "node.toml:7:9: [plugins] dirs[0]: expected a string, found an integer; write it in double quotes",
        ),
        (
            "use = \"capture-iouring\"\n",
            "",
            r#"node.toml:9:1: [capture.guests]: missing key "use"; name the plugin, such as use = "capture-iouring""#,
        ),
        (
            "[infer.vttif]",
            "[infer.vttif]\nreport_interval = \"5 parsecs\"",
            r#"node.toml:24:1: [infer.vttif] report_interval: "5 parsecs" is not a duration: expected a number with ns, us, ms, s, m or h, such as 500ms"#,
        ),
        (
            "[infer.vttif]",
            "[infer.vttif]\nreport_interval = \"1ms\"",
            "node.toml:24:1: [infer.vttif] report_interval: 1ms is out of range: 10ms to 1h",
        ),
        (
            "[infer.vttif]",
            "[infer.vttif]\nx = nan",
            "node.toml:24:1: [infer.vttif] x: nan is not a finite number; write it as a string if the plugin takes one",
        ),
        (
            "[infer.vttif]",
            "[infer.other]\nuse = \"infer-vttif\"\n[infer.vttif]",
            "node.toml:25:1: [infer.vttif]: a second infer plugin; keep one of them",
        ),
        (
            "[infer.vttif]\nuse = \"infer-vttif\"\n",
            "",
            "node.toml:1:1: no inference plugin; add [infer.vttif] with use = \"infer-vttif\"",
        ),
        (
            "network = \"omninet\"",
            "",
            r#"node.toml:1:1: several endpoints could carry the star: "internet", "omninet"; name one in [node], such as star = "internet""#,
        ),
        (
            "key =",
            "star = \"intrenet\"\nkey =",
            r#"node.toml:3:1: [node] star: there is no [link.intrenet]; did you mean "internet"?"#,
        ),
        (
            "key =",
            "star = \"omninet\"\nkey =",
            r#"node.toml:3:1: [node] star: [link.omninet] is reservable; the star needs an endpoint without network; there are "internet""#,
        ),
        (
            "key =",
            "role = \"prxy\"\nkey =",
            r#"node.toml:3:1: [node] role: "prxy" is not a role; did you mean "proxy"?"#,
        ),
        (
            "key =",
            "control = \"0.0.0.0:1\"\nkey =",
            "node.toml:3:1: [node] control: only a proxy has this key; remove it, or say role = \"proxy\"",
        ),
        (
            "[infer.vttif]",
            "[adapt.x]\nuse = \"a\"\n[infer.vttif]",
            "node.toml:23:1: [adapt.x]: only the proxy reads this table; move it to the proxy's configuration",
        ),
        (
            "[infer.vttif]",
            "[lead]\n[infer.vttif]",
            "node.toml:23:1: [lead]: only the proxy reads this table; move it to the proxy's configuration",
        ),
        (
            "[link.omninet]",
            "[link.\"omni net\"]",
            r#"node.toml:18:1: [link.omni net]: "omni net" is not a name: expected 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit; rename the table"#,
        ),
        (
            "bind = \"198",
            "sha256 = \"12\"\nbind = \"198",
            "node.toml:15:1: [link.internet] sha256: not a SHA-256 digest: expected 64 hexadecimal digits, as sha256sum prints",
        ),
        (
            "bind = \"198",
            "network = \"omninet\"\nbind = \"198",
            "node.toml:22:1: [link.omninet] network: this network is taken by [link.internet] network; give each its own network",
        ),
        (
            "[capture.guests]",
            "capture = 7\n[capture2.guests]",
            "node.toml:9:1: [plugins] capture: unknown key; known keys: \"dirs\"",
        ),
    ] {
        let errors = wrong(from, to);
        assert!(errors.iter().any(|error| error == expected), "expected {expected}\nfound {errors:#?}");
    }
}

#[test]
fn a_proxys_errors_name_their_place_too() {
    let text = proxy_toml();
    for (from, to, expected) in [
        (
            "control = \"0.0.0.0:7654\"\n",
            "",
            r#"node.toml:1:1: [node]: missing key "control"; say where to listen for nodes, such as control = "0.0.0.0:7654""#,
        ),
        (
            "0.0.0.0:7654",
            "0.0.0.0",
            r#"node.toml:5:1: [node] control: "0.0.0.0" is not an address and port; write ip:port, such as "0.0.0.0:7654""#,
        ),
        (
            "chicago-2",
            "chicago-1",
            "node.toml:9:5: [node] admit[1]: this name is taken by [node] admit[0]; give each its own name",
        ),
        (
            OTHER_KEY,
            KEY,
            "node.toml:9:5: [node] admit[1]: this public key is taken by [node] admit[0]; give each its own public key",
        ),
        (
            "chicago-2",
            "hub",
            "node.toml:9:7: [node] admit[1].name: this is the node's own name; give each node a name of its own",
        ),
        (
            "retry_min = \"500ms\"",
            "retry_min = \"2m\"",
            "node.toml:31:1: [lead]: retry_max is below retry_min; swap them or leave one out",
        ),
        (
            "endpoint = \"internet\"",
            "endpoint = \"internt\"",
            r#"node.toml:39:1: [[static_link]] endpoint: there is no [link.internt]; did you mean "internet"?"#,
        ),
        (
            "address = \"192.0.2.7:4789\"",
            "addres = \"192.0.2.7:4789\"",
            r#"node.toml:40:1: [[static_link]] addres: unknown key; did you mean "address"?"#,
        ),
        (
            "network = \"omninet\"",
            "",
            r#"node.toml:27:1: [reserve.omninet]: missing key "network"; name the network that it reserves on"#,
        ),
    ] {
        let errors = wrong_in(&text, from, to);
        assert!(errors.iter().any(|error| error == expected), "expected {expected}\nfound {errors:#?}");
    }
}

#[test]
fn all_errors_are_reported_at_once_in_the_files_order() {
    let text = node_toml()
        .replace("[plugins]", "[plugin]")
        .replace("\nkey =", "\nkye =")
        .replace("use = \"infer-vttif\"", "");
    let errors = errors(&text);
    let lines: Vec<_> = errors.iter().map(|error| error.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["1", "3", "6", "23"], "{errors:#?}");
}

#[test]
fn syntax_errors_have_a_place_and_hide_the_rest() {
    let errors = wrong("name = \"chicago-1\"", "name = chicago-1");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("node.toml:2:8: "), "{errors:?}");
    let errors = wrong("[plugins]", "[plugins");
    assert!(errors[0].starts_with("node.toml:6:9: "), "{errors:?}");
    let errors = wrong("key =", "name = \"again\"\nkey =");
    assert!(errors[0].starts_with("node.toml:3:1: duplicate key"), "{errors:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/node.toml")).unwrap_err().to_string();
    assert!(
        error.starts_with("/nonexistent/node.toml: the configuration cannot be read: No such file"),
        "{error}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"[node]\nname = \"\xff\"").unwrap();
    let error = Config::load(file.path()).unwrap_err().to_string();
    assert!(error.ends_with(":2:9: not UTF-8 text; save the file as UTF-8"), "{error}");
    let error = Config::load(Path::new("/")).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn what_a_plugin_says_is_placed_at_its_key() {
    let config = parse(&node_toml()).unwrap();
    let link = &config.links[0].instance;
    let say = |failure| config.plugin_error(link, &failure).to_string();
    assert_eq!(
        say(Failure::invalid("peers[1].port", "port must not be 0")),
        "node.toml:16:26: [link.internet] peers[1].port: port must not be 0"
    );
    assert_eq!(
        say(Failure::invalid("", "unknown field `bind`, expected `bnd` or `vni`")),
        "node.toml:15:1: [link.internet] bind: unknown key; did you mean \"bnd\"?"
    );
    assert_eq!(
        say(Failure::invalid("bind", "unknown field `bind`, there are no fields")),
        "node.toml:15:1: [link.internet] bind: unknown key"
    );
    assert_eq!(
        say(Failure::invalid("", "missing field `vni`")),
        "node.toml:13:1: [link.internet]: missing key \"vni\"; add vni = …"
    );
    assert_eq!(
        say(Failure::unavailable("no such device")),
        "node.toml:13:1: [link.internet]: no such device"
    );
    assert_eq!(config.locate(PluginKind::Link, "nosuch", "x"), Location { line: 13, column: 2 });
}

#[test]
fn a_misspelt_host_key_is_suggested_though_the_plugin_found_it() {
    let config = parse(&node_toml()).unwrap();
    let failure = Failure::invalid("requird", "unknown field `requird`, expected `bind`");
    let error = config.plugin_error(&config.links[0].instance, &failure).to_string();
    assert_eq!(error, "node.toml:13:1: [link.internet] requird: unknown key; did you mean \"required\"?");
}

#[test]
fn workers_are_counted_pinned_and_bounded() {
    let with = |keys: &str| parse(&node_toml().replacen("name = ", &format!("{keys}\nname = "), 1));
    let node = |keys: &str| with(keys).unwrap().node;
    let unsaid = node("");
    assert!((1..=8).contains(&unsaid.workers));
    assert_eq!((unsaid.pin, unsaid.spin), (Pin::Anywhere, Duration::from_micros(50)));
    let said = node("workers = 2\npin = [3, 1]\nspin = \"0s\"");
    assert_eq!((said.workers, said.pin, said.spin), (2, Pin::Cpus(vec![3, 1]), Duration::ZERO));
    assert_eq!(node("pin = true").pin, Pin::InOrder);
    let refused = |keys: &str| with(keys).unwrap_err().to_string();
    assert!(refused("workers = 0").contains("from 1 to 64"));
    assert!(refused("workers = \"all\"").contains("found a string"));
    assert!(refused("workers = 2\npin = [1]").contains("1 CPUs for 2 workers"));
    assert!(refused("pin = [-1]").contains("from 0 to 1023"));
    assert!(refused("spin = \"1s\"").contains("out of range"));
    assert_eq!(unsaid.rate_terms, RateTerms::default());
    let said = node("prove_for = \"0s\"\nleast_delivered = 75").rate_terms;
    assert_eq!((said.duration, said.least_delivered), (Duration::ZERO, 0.75));
    assert!(refused("prove_for = \"1s\"").contains("out of range"));
    assert!(refused("least_delivered = 101").contains("from 0 to 100"));
}

/// The proxy's configuration with more keys in its `[reserve.omninet]`.
fn with_reserve_keys(keys: &str) -> String {
    proxy_toml().replacen("network = \"omninet\"", &format!("network = \"omninet\"\n{keys}"), 1)
}

#[test]
fn faults_are_the_hosts_keys_and_reach_no_plugin() {
    let keys = "wrap = \"faults\"\nlambdas = 2\n\n[reserve.omninet.faults]\nseed = 7\nreply_lost_after = 0.1\n\
                refusal = 1\nhang = { verbs = [\"submit\", \"cancel\"], calls = [1, 4] }\n\
                delay = { chance = 0.5, time = \"20ms\" }\nfile = \"/run/faults\"";
    let config = parse(&with_reserve_keys(keys)).unwrap();
    let reserve = &config.reserves[0];
    assert_eq!(reserve.instance.settings, r#"{"lambdas":2}"#);
    let plan = reserve.faults.as_ref().unwrap();
    assert_eq!((plan.seed, plan.file.as_deref()), (7, Some(Path::new("/run/faults"))));
    assert_eq!(plan.summary(), "hang, delay, reply_lost_after, refusal, what /run/faults says");
    assert_eq!(plan.rules[&Fault::ReplyLostAfter].when, When::Chance(Chance(100_000)));
    assert_eq!(plan.rules[&Fault::Refusal].when, When::Chance(Chance::CERTAIN));
    let hang = &plan.rules[&Fault::Hang];
    assert_eq!((&hang.when, hang.verbs.len()), (&When::Calls([1, 4].into()), 2));
    assert_eq!(plan.rules[&Fault::Delay].time, Duration::from_millis(20));
    assert_eq!(parse(&proxy_toml()).unwrap().reserves[0].faults, None);
}

#[test]
fn a_wrong_fault_names_its_place() {
    for (keys, expected) in [
        (
            "faults = { hang = 1 }",
            r#"node.toml:30:1: [reserve.omninet] faults: nothing injects these; add wrap = "faults" to the instance"#,
        ),
        (
            "wrap = \"faults\"",
            "node.toml:30:1: [reserve.omninet] wrap: no faults to inject; add a table `faults` to the instance, such as faults = { hang = 0.1 }",
        ),
        (
            "wrap = \"tracing\"",
            r#"node.toml:30:1: [reserve.omninet] wrap: there is no wrapper "tracing"; the only wrapper is "faults""#,
        ),
        (
            "wrap = \"faults\"\n[reserve.omninet.faults]\nhnag = 1",
            r#"node.toml:32:1: [reserve.omninet.faults] hnag: unknown key; did you mean "hang"?"#,
        ),
        (
            "wrap = \"faults\"\n[reserve.omninet.faults]\nhang = 1.5",
            "node.toml:32:1: [reserve.omninet.faults] hang: expected a number from 0 to 1, found a float; write it without quotes, such as 0.1",
        ),
        (
            "wrap = \"faults\"\nfaults = { hang = { verb = [\"submit\"], calls = [1] } }",
            r#"node.toml:31:21: [reserve.omninet] faults.hang.verb: unknown key; did you mean "verbs"?"#,
        ),
        (
            "wrap = \"faults\"\nfaults = { hang = { verbs = [\"sumbit\"], calls = [1] } }",
            r#"node.toml:31:30: [reserve.omninet] faults.hang.verbs[0]: "sumbit" is not a verb; did you mean "submit"?"#,
        ),
        (
            "wrap = \"faults\"\nfaults = { black_hole = { verbs = [\"find\"], chance = 1 } }",
            r#"node.toml:31:36: [reserve.omninet] faults.black_hole.verbs[0]: black_hole cannot hit find; it can hit "submit", "activate""#,
        ),
        (
            "wrap = \"faults\"\nfaults = { hang = {} }",
            "node.toml:31:12: [reserve.omninet] faults.hang: neither chance nor calls; write a probability, such as 0.1, or { calls = [1, 4], verbs = [\"submit\"] }",
        ),
        (
            "wrap = \"faults\"\nfaults = { hang = { calls = [0] } }",
            "node.toml:31:30: [reserve.omninet] faults.hang.calls[0]: 0 is out of range; write a number from 1 to 9223372036854775807, without quotes",
        ),
        (
            "wrap = \"faults\"\nfaults = { hang = { calls = [1], time = \"1s\" } }",
            r#"node.toml:31:34: [reserve.omninet] faults.hang.time: unknown key; known keys: "chance", "calls", "verbs""#,
        ),
    ] {
        let errors = errors(&with_reserve_keys(keys));
        assert!(errors.iter().any(|error| error == expected), "expected {expected}\nfound {errors:#?}");
    }
}
