//! What a scenario starts with: a lab, and how its daemons are configured.

use std::path::PathBuf;

/// The reservation client that the lead runs.
#[derive(Clone, Debug, Default)]
pub enum Client {
    /// The lab's own `oclient`, with an ODIN server behind it.
    #[default]
    Odin,
    /// Another file, which may be missing; the ODIN server runs all the same.
    File(PathBuf),
    /// A shell script of these lines; its arguments are the client's.
    Script(String),
    /// `reserve-exec` with this program's text; its options are those of its example `lightpath.py`, so that it
    /// drives the lab's own `oclient`.
    Program(&'static str),
    /// No reservation backend at all.
    None,
}

/// The wire format of all links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What a configuration that says nothing gets: sealed.
    #[default]
    Default,
    /// Clear text, for scenarios that look at frames on the underlay, or forge them there.
    Vxlan,
    /// The same, by VXLAN devices of the kernel (`link-vxlan`), on a port of its own for each network.
    Device,
    /// TCP connections, sealed (`link-tcp`).
    Tcp,
}

/// A scenario's beginning. `..Setup::default()` gives the rest.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The text of a lab file; the lab's name in it is replaced by a unique one.
    pub lab: String,
    /// A unique name for the lab is made up unless one is given.
    pub name: Option<String>,
    /// Factor on ODIN's original delays.
    pub time_scale: f64,
    /// The reservation client.
    pub client: Client,
    /// More keys for `[reserve.omninet]`.
    pub reserve: String,
    /// Keys for `[adapt.vadapt]`.
    pub adapt: String,
    /// More tables for the lead's configuration, such as `[lead]`.
    pub lead: String,
    /// The wire format of all links.
    pub format: Format,
    /// The plugin that captures guests' frames; all but `capture-iouring` need guests on veth pairs.
    pub capture: &'static str,
    /// More keys for `[node]` of every host.
    pub node: String,
    /// More tables by host.
    pub tables: Vec<(&'static str, String)>,
    /// Hosts on which no daemon runs.
    pub bare: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            lab: include_str!("../../testbed/labs/demo.toml").to_owned(),
            name: None,
            time_scale: 0.05,
            client: Client::Odin,
            reserve: String::new(),
            adapt: ADAPT.to_owned(),
            lead: "[lead]\nretry_min = \"500ms\"\nretry_max = \"2s\"\n".to_owned(),
            format: Format::default(),
            capture: "capture-iouring",
            node: String::new(),
            tables: Vec::new(),
            bare: Vec::new(),
        }
    }
}

/// Choices within a second or two, so that a test need not wait for the defaults' patience.
const ADAPT: &str = "max_links = 4\nmin_hold = \"2s\"\nrelease_after = \"1s\"\n";

/// Two hosts and the proxy: the smallest lab with a lightpath.
pub const PAIR: &str = r#"
name = "pair"
[commodity]
rate = "100mbit"
subnet = "198.51.100.0/24"
[[network]]
name = "omninet"
kind = "optical"
rate = "1gbit"
queue = "4mb"
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
guest = [{ name = "a1", address = "10.1.0.1/24" }]
[[host]]
name = "beta"
attach = { omninet = "evanston" }
guest = [{ name = "b1", address = "10.1.0.2/24" }]
"#;

/// [`PAIR`] with its guests on veth pairs instead of TAPs.
pub fn pair_on_veth() -> String {
    PAIR.replace("/24\" }]\n", "/24\", interface = \"veth\" }]\n")
}
