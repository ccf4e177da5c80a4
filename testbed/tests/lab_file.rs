//! A wrong lab file is named with line, column, a sentence, and a suggestion where one offers itself.

use std::path::Path;
use std::process::Command;

use vreserve_testbed::{BitsPerSecond, Error, GuestInterface, LabSpec, Role};

const RIGHT: &str = r#"name = "right"
[commodity]
rate = "100mbit"
subnet = "198.51.100.0/29"
[[network]]
name = "omninet"
kind = "optical"
rate = "1gbit"
subnet = "10.10.0.0/24"
lambdas = 4
switch = [{ name = "chicago" }, { name = "evanston" }]
fibres = [["chicago", "evanston"]]
[[host]]
name = "hub"
role = "proxy"
[[host]]
name = "alpha"
attach = { omninet = "chicago" }
[[host.guest]]
name = "a1"
address = "10.1.0.1/24"
[[host.guest]]
name = "a2"
address = "10.1.0.2/24"
mac = "02:00:00:00:00:02"
interface = "veth"
"#;

#[test]
fn a_right_file_gives_every_address() {
    let lab = LabSpec::parse(RIGHT, Path::new("right.toml")).unwrap();
    assert_eq!(lab.proxy().unwrap().name, "hub");
    let alpha = lab.host("alpha").unwrap();
    assert_eq!((alpha.role, alpha.commodity.to_string()), (Role::Host, "198.51.100.2/29".to_owned()));
    assert_eq!(alpha.address_on("omninet").unwrap().to_string(), "10.10.0.2");
    assert_eq!(lab.network("omninet").unwrap().rate, BitsPerSecond(1_000_000_000));
    let guest = lab.guest("a2").unwrap();
    assert_eq!(
        (guest.mac.to_string().as_str(), guest.interface),
        ("02:00:00:00:00:02", GuestInterface::Veth)
    );
    assert_eq!(guest.capture_interface(), "vg-a2");
    assert_eq!(
        lab.namespaces(),
        [
            "vr-right-commodity",
            "vr-right-omninet",
            "vr-right-hub",
            "vr-right-alpha",
            "vr-right-a1",
            "vr-right-a2"
        ]
    );
}

#[test]
fn each_wrong_file_is_named_by_line_and_column() {
    let cases = [
        ("rate = \"100mbit\"", "rate = ", 3, 8, ""),
        ("name = \"right\"", "name = \"not-right\"", 1, 8, "lower-case"),
        ("lambdas = 4", "lambda = 4", 10, 1, "did you mean lambdas?"),
        ("lambdas = 4", "lambdas = \"4\"", 10, 11, "invalid type"),
        ("lambdas = 4", "lambdas = 0", 10, 11, "1 to 1000"),
        ("rate = \"1gbit\"", "rate = \"1 gbit\"", 8, 8, "is not a rate"),
        ("omninet = \"chicago\"", "omninet = \"chicaog\"", 18, 22, "did you mean chicago?"),
        ("attach = { omninet", "attach = { omninte", 18, 22, "did you mean omninet?"),
        ("[[\"chicago\", \"evanston\"]]", "[[\"chicago\", \"chicago\"]]", 12, 11, "two different switches"),
        ("name = \"a2\"", "name = \"alpha\"", 23, 8, "another member"),
        ("name = \"a2\"", "name = \"a-very-long-name\"", 23, 8, "up to 12 characters"),
        ("address = \"10.1.0.2/24\"", "address = \"10.1.0.2/99\"", 24, 11, ""),
        ("mac = \"02", "mac = \"03", 25, 7, "group address"),
        ("role = \"proxy\"", "role = \"prozy\"", 15, 8, "did you mean proxy?"),
        ("\"198.51.100.0/29\"", "\"198.51.100.0/32\"", 4, 10, "no address for host number 2"),
        ("\"10.10.0.0/24\"", "\"198.51.0.0/16\"", 9, 10, "overlaps 198.51.100.0/29"),
        ("\"10.1.0.2/24\"", "\"10.1.0.1/24\"", 1, 8, "guests a1 and a2 have the same address"),
        ("name = \"omninet\"", "name = \"inet0\"", 6, 8, "interface of this name"),
        ("interface = \"veth\"", "interface = \"vetch\"", 26, 13, "did you mean veth?"),
    ];
    for (right, wrong, line, column, words) in cases {
        let text = RIGHT.replacen(right, wrong, 1);
        let error = LabSpec::parse(&text, Path::new("labs/x.toml")).unwrap_err();
        let place = format!("labs/x.toml:{line}:{column}: ");
        let shown = error.to_string();
        assert!(matches!(error, Error::File { .. }) && shown.starts_with(&place), "{wrong}: {shown}");
        assert!(shown.contains(words), "{wrong}: {shown}");
    }
}

#[test]
fn without_a_rate_the_commodity_network_is_a_wire_between_two_hosts() {
    let wire = RIGHT.replacen("rate = \"100mbit\"\n", "", 1);
    let lab = LabSpec::parse(&wire, Path::new("x.toml")).unwrap();
    assert!(!lab.namespaces().contains(&"vr-right-commodity".to_owned()));
    let third = wire + "[[host]]\nname = \"beta\"\n";
    let error = LabSpec::parse(&third, Path::new("x.toml")).unwrap_err();
    assert!(error.to_string().contains("exactly two hosts"), "{error}");
}

const ROUTED: &str = r#"name = "routed"
[commodity]
rate = "1gbit"
subnet = "198.51.100.0/29"
core = { rate = "100mbit", routers = ["west", "east"] }
[[host]]
name = "alpha"
router = "west"
[[host]]
name = "beta"
router = "east"
"#;

#[test]
fn a_routed_commodity_network_has_two_routers_and_each_host_is_at_one() {
    let lab = LabSpec::parse(ROUTED, Path::new("x.toml")).unwrap();
    assert_eq!(lab.host("beta").unwrap().router.as_deref(), Some("east"));
    assert_eq!(lab.commodity.core.as_ref().unwrap().gateway.to_string(), "198.51.100.6");
    let namespaces = ["vr-routed-west", "vr-routed-east", "vr-routed-alpha", "vr-routed-beta"];
    assert_eq!(lab.namespaces(), namespaces);
    for (right, wrong, line, column, words) in [
        ("router = \"west\"\n", "", 7, 8, "which router is this host at?"),
        ("router = \"west\"", "router = \"wset\"", 8, 10, "did you mean west?"),
        ("core = {", "# {", 8, 10, "has no routers"),
        ("rate = \"1gbit\"\n", "", 1, 8, "needs a rate"),
        ("\"west\", \"east\"]", "\"west\", \"west\"]", 5, 47, "another member"),
        ("[\"west\", \"east\"]", "[\"west\"]", 5, 0, ""),
        ("198.51.100.0/29", "198.51.100.0/31", 8, 0, "routers' address"),
        ("198.51.100.0/29", "192.0.0.0/16", 4, 10, "overlaps 192.0.2.0/30"),
    ] {
        let text = ROUTED.replacen(right, wrong, 1);
        let shown = LabSpec::parse(&text, Path::new("x.toml")).unwrap_err().to_string();
        assert!(shown.contains(words), "{wrong}: {shown}");
        assert!(column == 0 || shown.starts_with(&format!("x.toml:{line}:{column}: ")), "{wrong}: {shown}");
    }
}

#[test]
fn two_guests_never_share_an_ethernet_address() {
    let mac = vreserve_testbed::Mac::of_guest("a1").to_string();
    let text = RIGHT.replace("02:00:00:00:00:02", &mac);
    let error = LabSpec::parse(&text, Path::new("x.toml")).unwrap_err();
    assert!(error.to_string().contains("a1 and a2 have the same Ethernet address"), "{error}");
}

#[test]
fn the_example_labs_are_right() {
    for file in ["demo.toml", "all-to-all.toml", "gara.toml"] {
        let lab = LabSpec::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("labs").join(file)).unwrap();
        assert!(lab.proxy().is_some() && lab.guests().count() >= 2, "{file}");
    }
}

#[test]
fn the_command_line_exits_with_2_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.toml");
    std::fs::write(&file, RIGHT.replace("lambdas = 4", "lambda = 4")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vreserve-lab"))
        .args(["up".as_ref(), file.as_os_str()])
        .env("VRESERVE_LAB_DIR", directory.path().join("state"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("wrong.toml:10:1: "));
    assert!(!directory.path().join("state").exists());
    let missing =
        Command::new(env!("CARGO_BIN_EXE_vreserve-lab")).args(["up", "no-such.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such.toml: cannot be read: No such file"));
}
