//! One configuration file per node, and its key, as an operator would write and make them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vreserve_testbed::{GuestInterface, Host, LabSpec, Role};

use crate::binaries::{directory, program};
use crate::setup::{Client, Format, Setup};

/// The port that the proxy listens on for nodes.
pub(crate) const CONTROL_PORT: u16 = 7654;
/// The port of every endpoint on the commodity network: VXLAN's, whatever the format.
pub(crate) const LINK_PORT: u16 = 4789;

/// A key made by `vreserve keygen`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// File of the private half.
    pub file: PathBuf,
    /// The public half.
    pub public: String,
}

impl Keys {
    /// Makes a key in a new file.
    pub fn generate(file: PathBuf) -> Self {
        let made = Command::new(program("vreserve")).arg("keygen").arg(&file).output();
        let made = made.expect("the program is there");
        assert!(made.status.success(), "keygen: {}", String::from_utf8_lossy(&made.stderr));
        let public = String::from_utf8(made.stdout).expect("a key is text").trim().to_owned();
        Self { file, public }
    }
}

/// What configurations are made from.
pub(crate) struct Site<'a> {
    pub(crate) lab: &'a LabSpec,
    pub(crate) setup: &'a Setup,
    /// Where keys, states and sockets are.
    pub(crate) dir: &'a Path,
    /// The key of each host, in the lab's order.
    pub(crate) keys: &'a [(String, Keys)],
    /// The reservation client, if there is one.
    pub(crate) client: Option<&'a Path>,
    /// The ODIN server's socket.
    pub(crate) odin: &'a Path,
}

/// The control socket of a node.
pub(crate) fn socket(dir: &Path, node: &str) -> PathBuf {
    dir.join(format!("{node}.sock"))
}

impl Site<'_> {
    /// Writes the configuration of `host` and returns its path.
    pub(crate) fn write(&self, host: &Host) -> PathBuf {
        let path = self.dir.join(format!("{}.toml", host.name));
        fs::write(&path, self.text(host)).expect("the world's directory can be written");
        path
    }

    fn text(&self, host: &Host) -> String {
        let mut text = self.node(host);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[plugins]\ndirs = [{:?}]\n", directory());
        text += &self.captures(host);
        text += &self.link("internet", &host.commodity.addr().to_string(), None, LINK_PORT);
        for ((network, attachment), nth) in host.attachments.iter().zip(1..) {
            // A kernel has one VXLAN device per port that takes frames of all networks.
            let port = LINK_PORT + if self.setup.format == Format::Device { nth } else { 0 };
            text += &self.link(network, &attachment.address.addr().to_string(), Some(network), port);
        }
        text += "[infer.vttif]\nuse = \"infer-vttif\"\nreport_interval = \"250ms\"\nwindow = \"1s\"\nhold = \"1s\"\n\n";
        if host.role == Role::Proxy {
            text += &self.lead();
        }
        for (_, table) in self.setup.tables.iter().filter(|(name, _)| *name == host.name) {
            text += table;
        }
        text
    }

    fn node(&self, host: &Host) -> String {
        let (name, dir) = (&host.name, self.dir);
        let mut text = format!(
            "[node]\nname = {name:?}\nkey = {:?}\nstate_dir = {:?}\nsocket = {:?}\n",
            self.key_of(name).file,
            dir.join(name),
            socket(dir, name),
        );
        text += &self.setup.node;
        let proxy = self.lab.proxy().expect("every lab of these tests has a proxy");
        let address = format!("{}:{CONTROL_PORT}", proxy.commodity.addr());
        if host.role == Role::Proxy {
            let _ = writeln!(text, "role = \"proxy\"\ncontrol = {address:?}\nadmit = [");
            for (other, keys) in self.keys.iter().filter(|(other, _)| other != name) {
                let _ = writeln!(text, "    {{ name = {other:?}, public_key = {:?} }},", keys.public);
            }
            text += "]\n\n";
        } else {
            let key = &self.key_of(&proxy.name).public;
            let name = &proxy.name;
            let _ = writeln!(
                text,
                "proxy = {{ name = {name:?}, public_key = {key:?}, address = {address:?} }}\n"
            );
        }
        text
    }

    fn key_of(&self, host: &str) -> &Keys {
        let found = self.keys.iter().find(|(name, _)| name == host);
        &found.expect("every host has a key").1
    }

    fn captures(&self, host: &Host) -> String {
        let capture = |guest: &vreserve_testbed::Guest| {
            let interface = guest.capture_interface();
            let place = match guest.interface {
                GuestInterface::Tap | GuestInterface::Absent => {
                    format!("netns = {:?}", self.lab.namespace(&guest.name))
                }
                GuestInterface::Veth => "kind = \"interface\"".to_owned(),
            };
            format!(
                "[capture.{}]\nuse = {:?}\ninterface = {interface:?}\n{place}\n\n",
                guest.name, self.setup.capture
            )
        };
        host.guests.iter().map(capture).collect()
    }

    fn lead(&self) -> String {
        let mut text = format!("[adapt.vadapt]\nuse = \"adapt-vadapt\"\n{}\n", self.setup.adapt);
        if let (Client::Program(_), Some(program)) = (&self.setup.client, self.client) {
            text += &self.exec(program);
        } else if let Some(client) = self.client {
            let scale = self.setup.time_scale;
            let _ = writeln!(
                text,
                "[reserve.omninet]\nuse = \"reserve-odin\"\nnetwork = \"omninet\"\nclient = {client:?}\n\
                 server = {:?}\nsetup_time = {}\nteardown_time = {}\n{}",
                self.odin,
                17.5 * scale,
                12.0 * scale,
                self.setup.reserve,
            );
        }
        text + &self.setup.lead
    }

    /// `reserve-exec` with a program that takes the options of `lightpath.py`.
    fn exec(&self, path: &Path) -> String {
        let (oclient, server, scale) = (program("oclient"), program("odin-server"), self.setup.time_scale);
        format!(
            "[reserve.omninet]\nuse = \"reserve-exec\"\nnetwork = \"omninet\"\nprogram = {path:?}\n{}\
             [reserve.omninet.options]\nclient = [{oclient:?}]\nserver = {odin:?}\n\
             list = [{server:?}, \"--list\", \"--socket\", {odin:?}]\n\
             setup_time = \"{}ms\"\nteardown_time = \"{}ms\"\n",
            self.setup.reserve,
            (17_500.0 * scale).round(),
            (12_000.0 * scale).round(),
            odin = self.odin,
        )
    }

    fn link(&self, name: &str, address: &str, network: Option<&str>, port: u16) -> String {
        let network = network.map(|network| format!("network = {network:?}\n")).unwrap_or_default();
        let plugin = match self.setup.format {
            Format::Default => "use = \"link-udp\"",
            Format::Vxlan => "use = \"link-udp\"\nformat = \"vxlan\"",
            Format::Device => "use = \"link-vxlan\"",
            Format::Tcp => "use = \"link-tcp\"",
        };
        let bind = format!("{address}:{port}");
        format!("[link.{name}]\n{plugin}\nbind = {bind:?}\n{network}\n")
    }
}
