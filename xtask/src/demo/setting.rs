//! What differs between the demo's reservation backends: the lab, the words, the dials, who else is there.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use vreserve_testbed::{GuestInterface, LabSpec};

use super::config::Dials;

/// Reservation backends that the demo can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// ODIN: lightpaths.
    Odin,
    /// GARA: a share of the congested network itself.
    Gara,
}

/// Plugins that carry frames between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LinkPlugin {
    /// UDP datagrams, sealed.
    #[default]
    LinkUdp,
    /// TCP connections, sealed by TLS.
    LinkTcp,
}

/// Plugins that capture guests' frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CapturePlugin {
    /// TAPs and AF_PACKET.
    #[default]
    CaptureIouring,
    /// libpcap.
    CapturePcap,
}

/// The plugins that configurations name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Plugins {
    pub(crate) link: LinkPlugin,
    pub(crate) capture: CapturePlugin,
}

impl LinkPlugin {
    /// As configurations say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LinkPlugin::LinkUdp => "link-udp",
            LinkPlugin::LinkTcp => "link-tcp",
        }
    }
}

impl CapturePlugin {
    /// As configurations say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            CapturePlugin::CaptureIouring => "capture-iouring",
            CapturePlugin::CapturePcap => "capture-pcap",
        }
    }
}

/// What things are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) title: &'static str,
    /// What is reserved.
    pub(crate) circuit: &'static str,
    /// What the provider calls it by.
    pub(crate) id: &'static str,
    /// How the pair's first frames go.
    pub(crate) before: &'static str,
}

/// One backend's demo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) backend: Backend,
    pub(crate) plugins: Plugins,
    pub(crate) words: Words,
    /// The lab's file.
    pub(crate) lab: &'static str,
    /// What is reserved on.
    pub(crate) network: &'static str,
    pub(crate) dials: Dials,
    /// Of the guests' UDP stream, in iperf3's words.
    pub(crate) udp_rate: &'static str,
    /// What the provider takes to set up and to tear down, unscaled, rounded up.
    pub(crate) provider: Duration,
    /// Who fills the commodity network beside the guests.
    pub(crate) rivals: Option<Rivals>,
    /// What the pair is promised, where that is less than all there is.
    pub(crate) reserved_mbps: Option<f64>,
}

/// Hosts whose traffic competes with the pair's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rivals {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// Where `to` receives.
    pub(crate) interface: &'static str,
}

impl Words {
    pub(crate) const ODIN: Self = Self {
        title: "VRESERVE: see who talks, reserve a lightpath, move the traffic, give it back",
        circuit: "lightpath",
        id: "path",
        before: "iperf3 starts: frames go over the proxy",
    };
    const GARA: Self = Self {
        title: "VRESERVE: see who talks, reserve bandwidth, move the traffic, give it back",
        circuit: "circuit",
        id: "reservation",
        before: "iperf3 starts: frames go over the proxy, through a bottleneck that others fill",
    };
}

impl Setting {
    /// Of a backend.
    pub(crate) fn of(backend: Backend) -> Self {
        match backend {
            Backend::Odin => Self {
                backend,
                plugins: Plugins::default(),
                words: Words::ODIN,
                lab: "demo.toml",
                network: "omninet",
                dials: Dials::DEMO,
                udp_rate: "5M",
                provider: Duration::from_secs(20),
                rivals: None,
                reserved_mbps: None,
            },
            Backend::Gara => Self {
                backend,
                plugins: Plugins::default(),
                words: Words::GARA,
                lab: "gara.toml",
                network: "qos",
                dials: Dials::CONGESTED,
                udp_rate: "2M",
                provider: Duration::from_secs(10),
                rivals: Some(Rivals { from: "rival", to: "sink", interface: "inet0" }),
                reserved_mbps: Some(Dials::CONGESTED_MBPS),
            },
        }
    }

    /// The rate of a full bar of the timeline, in Mbit/s: all that there is.
    pub(crate) fn full_mbps(&self, lab: &LabSpec) -> f64 {
        let lightpath = lab.networks.first().map(|network| network.rate);
        let bottleneck = lab.commodity.core.as_ref().map(|core| core.rate);
        lightpath.or(bottleneck).map_or(1000.0, |rate| rate.0 as f64 / 1e6)
    }

    /// The lab as these plugins need it: behind libpcap, guests are on veth pairs, whose other end any program can capture.
    pub(crate) fn fit(&self, lab: &mut LabSpec) {
        if self.plugins.capture == CapturePlugin::CapturePcap {
            let guests = lab.hosts.iter_mut().flat_map(|host| &mut host.guests);
            guests.for_each(|guest| guest.interface = GuestInterface::Veth);
        }
    }

    /// The lab, drawn.
    pub(crate) fn picture(&self, lab: &LabSpec, time_scale: f64) -> Vec<String> {
        let mut lines = match self.backend {
            Backend::Odin => odin_picture(lab, time_scale),
            Backend::Gara => gara_picture(lab, self.reserved_mbps.unwrap_or_default()),
        };
        let Plugins { link, capture } = self.plugins;
        if self.plugins != Plugins::default() {
            lines.push(format!("links: {}; captures: {}", link.name(), capture.name()));
        }
        lines
    }
}

fn odin_picture(lab: &LabSpec, time_scale: f64) -> Vec<String> {
    let commodity = lab.commodity.rate.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string());
    let lightpaths: Vec<_> =
        lab.networks.iter().map(|n| format!("{}: {} per lightpath", n.name, n.rate)).collect();
    let lightpaths = lightpaths.join(", ");
    vec![
        String::new(),
        "                        hub  proxy and lead".to_owned(),
        format!("          ┌─────────────┼─────────────┐      commodity network: {commodity} per host"),
        "        alpha         beta          gamma      one daemon each, frames of unmodified guests"
            .to_owned(),
        "        │ a1          │ b1          │ g1".to_owned(),
        format!("        └─ chicago ═══╧═ evanston ══╛          {lightpaths}, dark until reserved"),
        String::new(),
        format!("iperf3 a1 → b1, TCP and UDP; odin at {time_scale} of its original delays"),
    ]
}

fn gara_picture(lab: &LabSpec, reserved_mbps: f64) -> Vec<String> {
    let core =
        lab.commodity.core.as_ref().map_or_else(|| "no limit".to_owned(), |core| core.rate.to_string());
    vec![
        String::new(),
        "   a1 ─ alpha ─┐                   ┌─ hub         proxy and lead; GARA's server".to_owned(),
        format!("               ├─ west ═════ east ─┼─ beta ─ b1   {core} between the two routers"),
        "        rival ─┘                   └─ sink        fills it: 8 TCP streams and UDP".to_owned(),
        String::new(),
        format!(
            "iperf3 a1 → b1, TCP and UDP; {reserved_mbps} Mbit/s of it to be reserved and kept by the routers"
        ),
    ]
}
