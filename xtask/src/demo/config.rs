//! One TOML file per node, from the lab. Pure: text out.

use std::path::Path;

use vreserve_testbed::{Guest, Host, LabSpec, Network, Role};

/// Where the proxy listens for nodes, and links for datagrams (RFC 7348).
const CONTROL_PORT: u16 = 7654;
const LINK_PORT: u16 = 4789;

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
}

/// The provider's own times for a path over two switches, in seconds, unscaled (odin-server's documentation).
const SETUP_SECONDS: f64 = 17.5;
const TEARDOWN_SECONDS: f64 = 12.0;

/// What the files have in common.
pub(crate) struct Surroundings<'a> {
    pub(crate) lab: &'a LabSpec,
    /// Folder of keys and durable state.
    pub(crate) nodes: &'a Path,
    pub(crate) plugins: &'a Path,
    /// Public keys of all nodes, by name.
    pub(crate) keys: &'a [(String, String)],
    pub(crate) oclient: &'a Path,
    pub(crate) odin_socket: &'a Path,
    pub(crate) time_scale: f64,
    pub(crate) dials: &'a Dials,
}

impl Surroundings<'_> {
    /// The configuration of one host's daemon.
    pub(crate) fn config_of(&self, host: &Host, socket: &Path) -> String {
        let mut text = self.node(host, socket);
        text += &format!("\n[plugins]\ndirs = [{}]\n", quoted(self.plugins));
        host.guests.iter().for_each(|guest| text += &self.capture(guest));
        text += &link("internet", &format!("{}:{LINK_PORT}", host.commodity.addr()), None);
        for network in &self.lab.networks {
            if let Some(address) = host.address_on(&network.name) {
                text += &link(&network.name, &format!("{address}:{LINK_PORT}"), Some(&network.name));
            }
        }
        let Dials { report_interval, window, hold, noise, .. } = self.dials;
        text += &format!(
            "\n[infer.vttif]\nuse = \"infer-vttif\"\nreport_interval = \"{report_interval}\"\n\
             window = \"{window}\"\nhold = \"{hold}\"\nmin_rate = \"{noise}\"\n"
        );
        if host.role == Role::Proxy {
            text += &adapt(self.dials);
            text += self.dials.lead;
            self.lab.networks.iter().for_each(|network| text += &self.reserve(network));
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
        format!(
            "\n[capture.{}]\nuse = \"capture-iouring\"\ninterface = \"{}\"\nnetns = \"{}\"\n",
            guest.name,
            guest.capture_interface(),
            self.lab.namespace(&guest.name),
        )
    }

    fn reserve(&self, network: &Network) -> String {
        let name = &network.name;
        format!(
            "\n[reserve.{name}]\nuse = \"reserve-odin\"\nnetwork = \"{name}\"\nclient = {}\nserver = {}\n\
             lambdas = {}\nrate = \"{}\"\nsetup_time = {:.3}\nteardown_time = {:.3}\n",
            quoted(self.oclient),
            quoted(self.odin_socket),
            network.lambdas,
            network.rate,
            SETUP_SECONDS * self.time_scale,
            TEARDOWN_SECONDS * self.time_scale,
        )
    }
}

fn link(name: &str, bind: &str, network: Option<&str>) -> String {
    let reservable = network.map(|network| format!("network = \"{network}\"\n")).unwrap_or_default();
    format!("\n[link.{name}]\nuse = \"link-udp\"\nbind = \"{bind}\"\n{reservable}")
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
    use super::*;

    fn config_of(name: &str) -> toml::Table {
        let text = include_str!("../../../testbed/labs/demo.toml");
        let lab = LabSpec::parse(text, Path::new("demo.toml")).unwrap();
        let keys: Vec<_> =
            lab.hosts.iter().map(|host| (host.name.clone(), format!("key-of-{}", host.name))).collect();
        let surroundings = Surroundings {
            lab: &lab,
            nodes: Path::new("/t/no\"des"),
            plugins: Path::new("/t/plugins"),
            keys: &keys,
            oclient: Path::new("/t/oclient"),
            odin_socket: Path::new("/run/odin.sock"),
            time_scale: 0.1,
            dials: &Dials::DEMO,
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
    fn the_proxy_admits_the_others_and_reserves_at_the_scaled_times() {
        let hub = config_of("hub");
        assert_eq!(hub["node"]["admit"].as_array().unwrap().len(), 3);
        assert_eq!(hub["reserve"]["omninet"]["setup_time"].as_float(), Some(1.75));
        assert_eq!(hub["reserve"]["omninet"]["rate"].as_str(), Some("1gbit"));
        assert!(hub.get("capture").is_none() && hub["link"].get("omninet").is_none());
    }
}
