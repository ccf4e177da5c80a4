//! One TOML file per node, from the lab. Pure: text out.

use std::net::SocketAddr;
use std::path::Path;

use vreserve_testbed::{Guest, GuestInterface, Host, LabSpec, Network, Role};

use super::provider::OWNER;
use super::setting::Plugins;

/// Where the proxy listens for nodes, and links for datagrams (RFC 7348).
const CONTROL_PORT: u16 = 7654;
const LINK_PORT: u16 = 4789;
/// Of the second endpoint on a commodity address, whose datagrams routers tell apart by it.
pub(crate) const SECOND_LINK_PORT: u16 = 4790;

/// How soon demand is seen and a circuit asked for or given back, in a configuration's own words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dials {
    /// How often nodes report what their guests send, and how far back inference looks.
    pub(crate) report_interval: &'static str,
    pub(crate) window: &'static str,
    /// An edge is over this long after its last traffic left the window.
    pub(crate) hold: &'static str,
    /// Less is noise.
    pub(crate) noise: &'static str,
    /// Demand from which a pair is worth a circuit, and under which it is not.
    pub(crate) worth: &'static str,
    pub(crate) not_worth: &'static str,
    /// How long demand must stay low before the circuit is given back.
    pub(crate) release_after: &'static str,
    /// A circuit is kept at least this long.
    pub(crate) min_hold: &'static str,
    /// Further tables of the lead.
    pub(crate) lead: &'static str,
}

impl Dials {
    /// For people who watch.
    ///
    /// Everything but the provider's own delay shall take less than 3 s. Demand is known after two report intervals
    /// and half a window at most: 0.5 + 0.5 s. That leaves 2 s for the plan, the link, the probe and the cut-over,
    /// which take some 0.3 s together. Noise is 2 % of a commodity port, so that the gauge's numbered frames stay
    /// under it; worth a lightpath is a fifth of one. Operators choose minutes for how long it is kept.
    pub(crate) const DEMO: Self = Self {
        report_interval: "250ms",
        window: "1s",
        hold: "1s",
        noise: "2mbit",
        worth: "20mbit",
        not_worth: "5mbit",
        release_after: "1s",
        min_hold: "2s",
        lead: "",
    };

    /// What a pair asks for on a bottleneck of 100 Mbit/s, in Mbit/s.
    pub(crate) const CONGESTED_MBPS: f64 = 40.0;

    /// For people who watch a congested network.
    ///
    /// The guests' TCP gets next to nothing there, so what they offer is little more than their UDP (2 Mbit/s and
    /// headers) and the gauge's frames (0.85 Mbit/s). Worth a circuit is more than the gauge alone and less than
    /// both. A window that is this long shows how the pair fares without one for some seconds, and is what an operator
    /// would choose for demand that is small and unsteady. How much is asked for is said outright, because measured
    /// demand cannot tell.
    pub(crate) const CONGESTED: Self = Self {
        report_interval: "500ms",
        window: "8s",
        hold: "1s",
        noise: "1mbit",
        worth: "2mbit",
        not_worth: "1500kbit",
        release_after: "1s",
        min_hold: "2s",
        lead: "\n[adapt.vadapt.rates.qos]\nleast = \"40mbit\"\nmost = \"40mbit\"\n",
    };
}

/// The provider's own times for a path over two switches, in seconds, unscaled (odin-server's documentation).
const SETUP_SECONDS: f64 = 17.5;
const TEARDOWN_SECONDS: f64 = 12.0;
/// After which a request whose client has gone has reached the server, on one machine, in seconds.
const SETTLE_SECONDS: f64 = 1.0;

/// What the files have in common.
pub(crate) struct Surroundings<'a> {
    pub(crate) lab: &'a LabSpec,
    /// Folder of keys and durable state.
    pub(crate) nodes: &'a Path,
    pub(crate) plugins: &'a Path,
    /// Public keys of all nodes, by name.
    pub(crate) keys: &'a [(String, String)],
    pub(crate) provision: Provision<'a>,
    pub(crate) dials: &'a Dials,
    /// What carries frames between nodes, and what captures them.
    pub(crate) chosen: Plugins,
    /// Further keys of each reservation instance.
    pub(crate) reserve: &'a str,
}

/// Where capacity comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Provision<'a> {
    /// Lightpaths on the lab's optical networks.
    Odin { oclient: &'a Path, socket: &'a Path, time_scale: f64 },
    /// A share of the commodity network, from a server at this address.
    Gara { network: &'a str, server: SocketAddr, certificates: &'a Path },
}

impl Surroundings<'_> {
    /// The configuration of one host's daemon.
    pub(crate) fn config_of(&self, host: &Host, socket: &Path) -> String {
        let mut text = self.node(host, socket);
        text += &format!("\n[plugins]\ndirs = [{}]\n", quoted(self.plugins));
        host.guests.iter().for_each(|guest| text += &self.capture(guest));
        text += &self.link("internet", &format!("{}:{LINK_PORT}", host.commodity.addr()), None);
        for network in &self.lab.networks {
            if let Some(address) = host.address_on(&network.name) {
                text += &self.link(&network.name, &format!("{address}:{LINK_PORT}"), Some(&network.name));
            }
        }
        if let Provision::Gara { network, .. } = self.provision
            && !host.guests.is_empty()
        {
            let bind = format!("{}:{SECOND_LINK_PORT}", host.commodity.addr());
            text += &self.link(network, &bind, Some(network));
        }
        let Dials { report_interval, window, hold, noise, .. } = self.dials;
        text += &format!(
            "\n[infer.vttif]\nuse = \"infer-vttif\"\nreport_interval = \"{report_interval}\"\n\
             window = \"{window}\"\nhold = \"{hold}\"\nmin_rate = \"{noise}\"\n"
        );
        if host.role == Role::Proxy {
            text += &adapt(self.dials);
            text += self.dials.lead;
            text += &self.reserve();
        }
        text
    }

    fn node(&self, host: &Host, socket: &Path) -> String {
        let key = quoted(&self.nodes.join(format!("{}.key", host.name)));
        let state = quoted(&self.nodes.join(format!("{}.state", host.name)));
        let common = format!(
            "# {name}: written by `cargo xtask`.\n[node]\nname = \"{name}\"\nkey = {key}\n\
             state_dir = {state}\nsocket = {socket}\nstar = \"internet\"\n",
            name = host.name,
            socket = quoted(socket),
        );
        let proxy = self.lab.proxy().expect("the demo's lab has a proxy");
        let address = format!("{}:{CONTROL_PORT}", proxy.commodity.addr());
        if host.role == Role::Proxy {
            let others = self.keys.iter().filter(|(name, _)| *name != host.name);
            let admit: String = others
                .map(|(name, key)| format!("    {{ name = \"{name}\", public_key = \"{key}\" }},\n"))
                .collect();
            return format!("{common}role = \"proxy\"\ncontrol = \"{address}\"\nadmit = [\n{admit}]\n");
        }
        let (name, key) =
            self.keys.iter().find(|(name, _)| *name == proxy.name).expect("every node has a key");
        format!("{common}proxy = {{ name = \"{name}\", public_key = \"{key}\", address = \"{address}\" }}\n")
    }

    fn capture(&self, guest: &Guest) -> String {
        let place = match guest.interface {
            GuestInterface::Veth => "kind = \"interface\"".to_owned(),
            GuestInterface::Tap | GuestInterface::Absent => {
                format!("netns = \"{}\"", self.lab.namespace(&guest.name))
            }
        };
        format!(
            "\n[capture.{}]\nuse = \"{}\"\ninterface = \"{}\"\n{place}\n",
            guest.name,
            self.chosen.capture.name(),
            guest.capture_interface(),
        )
    }

    fn link(&self, name: &str, bind: &str, network: Option<&str>) -> String {
        let reservable = network.map(|network| format!("network = \"{network}\"\n")).unwrap_or_default();
        let plugin = self.chosen.link.name();
        format!("\n[link.{name}]\nuse = \"{plugin}\"\nbind = \"{bind}\"\n{reservable}")
    }

    fn reserve(&self) -> String {
        let further = |table: String| table + self.reserve;
        match self.provision {
            Provision::Odin { oclient, socket, time_scale } => {
                let of = |network: &Network| further(odin(network, oclient, socket, time_scale));
                self.lab.networks.iter().map(of).collect()
            }
            Provision::Gara { network, server, certificates } => further(gara(network, server, certificates)),
        }
    }
}

fn odin(network: &Network, oclient: &Path, socket: &Path, time_scale: f64) -> String {
    let name = &network.name;
    format!(
        "\n[reserve.{name}]\nuse = \"reserve-odin\"\nnetwork = \"{name}\"\nclient = {}\nserver = {}\n\
         list = [{}, \"--list\", \"--socket\", {}]\nsettle_time = {SETTLE_SECONDS}\n\
         lambdas = {}\nrate = \"{}\"\nsetup_time = {:.3}\nteardown_time = {:.3}\n",
        quoted(oclient),
        quoted(socket),
        quoted(&oclient.with_file_name("odin-server")),
        quoted(socket),
        network.lambdas,
        network.rate,
        SETUP_SECONDS * time_scale,
        TEARDOWN_SECONDS * time_scale,
    )
}

fn gara(network: &str, server: SocketAddr, certificates: &Path) -> String {
    let file = |name: &str| quoted(&certificates.join(name));
    format!(
        "\n[reserve.{network}]\nuse = \"reserve-gara\"\nnetwork = \"{network}\"\nserver = \"{server}\"\n\
         ca = {}\ncertificate = {}\nkey = {}\n",
        file("ca.pem"),
        file(&format!("{OWNER}.pem")),
        file(&format!("{OWNER}.key")),
    )
}

fn adapt(dials: &Dials) -> String {
    let Dials { worth, not_worth, release_after, min_hold, .. } = dials;
    format!(
        "\n[adapt.vadapt]\nuse = \"adapt-vadapt\"\nmin_rate = \"{worth}\"\nrelease_below = \"{not_worth}\"\n\
         release_after = \"{release_after}\"\nmin_hold = \"{min_hold}\"\n"
    )
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::setting::{Backend, CapturePlugin, LinkPlugin, Setting};
    use super::*;

    fn config_of(name: &str) -> toml::Table {
        config_with(name, Plugins::default())
    }

    fn config_with(name: &str, plugins: Plugins) -> toml::Table {
        let text = include_str!("../../../testbed/labs/demo.toml");
        let mut lab = LabSpec::parse(text, Path::new("demo.toml")).unwrap();
        Setting { plugins, ..Setting::of(Backend::Odin) }.fit(&mut lab);
        let keys: Vec<_> =
            lab.hosts.iter().map(|host| (host.name.clone(), format!("key-of-{}", host.name))).collect();
        let surroundings = Surroundings {
            lab: &lab,
            nodes: Path::new("/t/no\"des"),
            plugins: Path::new("/t/plugins"),
            keys: &keys,
            provision: Provision::Odin {
                oclient: Path::new("/t/oclient"),
                socket: Path::new("/run/odin.sock"),
                time_scale: 0.1,
            },
            dials: &Dials::DEMO,
            chosen: plugins,
            reserve: "",
        };
        let text = surroundings.config_of(lab.host(name).unwrap(), Path::new("/run/x.sock"));
        text.parse().unwrap()
    }

    #[test]
    fn a_node_knows_its_proxy_its_guest_and_both_networks() {
        let alpha = config_of("alpha");
        assert_eq!(alpha["node"]["proxy"]["public_key"].as_str(), Some("key-of-hub"));
        assert_eq!(alpha["node"]["proxy"]["address"].as_str(), Some("198.51.100.1:7654"));
        assert_eq!(alpha["node"]["key"].as_str(), Some("/t/no\"des/alpha.key"));
        assert_eq!(alpha["capture"]["a1"]["netns"].as_str(), Some("vr-demo-a1"));
        assert_eq!(alpha["link"]["omninet"]["bind"].as_str(), Some("10.10.0.2:4789"));
        assert!(alpha["link"]["internet"].get("network").is_none());
        assert!(alpha.get("reserve").is_none() && alpha.get("adapt").is_none());
    }

    #[test]
    fn other_plugins_change_the_names_that_tables_use_and_nothing_else_in_them() {
        let usual = config_of("alpha");
        let mut other = config_with("alpha", Plugins { link: LinkPlugin::LinkTcp, ..Plugins::default() });
        for link in ["internet", "omninet"] {
            assert_eq!(other["link"][link]["use"].as_str(), Some("link-tcp"));
            other["link"][link]["use"] = usual["link"][link]["use"].clone();
        }
        assert_eq!(other, usual);
        let pcap =
            config_with("alpha", Plugins { capture: CapturePlugin::CapturePcap, ..Plugins::default() });
        assert_eq!(pcap["capture"]["a1"]["use"].as_str(), Some("capture-pcap"));
        assert_eq!(pcap["capture"]["a1"]["interface"].as_str(), Some("vg-a1"), "of a veth pair");
        assert_eq!(pcap["link"], usual["link"]);
    }

    #[test]
    fn the_proxy_admits_the_others_and_reserves_at_the_scaled_times() {
        let hub = config_of("hub");
        assert_eq!(hub["node"]["admit"].as_array().unwrap().len(), 3);
        assert_eq!(hub["reserve"]["omninet"]["setup_time"].as_float(), Some(1.75));
        assert_eq!(hub["reserve"]["omninet"]["rate"].as_str(), Some("1gbit"));
        assert!(hub.get("capture").is_none() && hub["link"].get("omninet").is_none());
    }

    #[test]
    fn on_a_congested_network_the_circuit_is_a_second_link_between_the_same_addresses() {
        let text = include_str!("../../../testbed/labs/gara.toml");
        let lab = LabSpec::parse(text, Path::new("gara.toml")).unwrap();
        let keys = [("hub".to_owned(), "key-of-hub".to_owned())];
        let surroundings = Surroundings {
            lab: &lab,
            nodes: Path::new("/t/nodes"),
            plugins: Path::new("/t/plugins"),
            keys: &keys,
            provision: Provision::Gara {
                network: "qos",
                server: "198.51.100.1:2119".parse().unwrap(),
                certificates: Path::new("/t/gara"),
            },
            dials: &Dials::CONGESTED,
            chosen: Plugins::default(),
            reserve: "",
        };
        let config_of = |name: &str| -> toml::Table {
            surroundings.config_of(lab.host(name).unwrap(), Path::new("/run/x.sock")).parse().unwrap()
        };
        let (alpha, hub) = (config_of("alpha"), config_of("hub"));
        let address = lab.host("alpha").unwrap().commodity.addr();
        assert_eq!(alpha["link"]["qos"]["bind"].as_str().unwrap(), format!("{address}:4790"));
        assert_eq!(alpha["link"]["qos"]["network"].as_str(), Some("qos"));
        assert_eq!(hub["reserve"]["qos"]["key"].as_str(), Some("/t/gara/lead.key"));
        assert_eq!(hub["adapt"]["vadapt"]["rates"]["qos"]["least"].as_str(), Some("40mbit"));
    }
}
