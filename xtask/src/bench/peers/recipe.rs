//! How each peer is set up: its programs, and the commands that join two nodes with it. Each is given what makes
//! it fastest among what its own documentation offers: no compression, no rate limit, the cheapest good cipher.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use vreserve_testbed::Mac;

use super::super::ground::{A, B};
use super::Class::{self, Clear, Secure};
use super::vpncloud;

/// A rival.
pub(super) struct Peer {
    /// Also the name of its TAP.
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// Programs and the Debian packages that have them.
    pub(super) needs: &'static [(&'static str, &'static str)],
    /// Program and argument that print its version.
    pub(super) version: fn() -> Option<(String, &'static str)>,
    /// Of its guests: what fits a datagram of 1500 bytes with its overhead.
    pub(super) mtu: u32,
    pub(super) commands: fn(&Site<'_>) -> anyhow::Result<Commands>,
}

/// What is started, in order, each on its node.
pub(super) type Commands = Vec<(&'static str, Command)>;

/// Where a peer is set up. Pairs are of node `A` and node `B`.
pub(super) struct Site<'a> {
    pub(super) device: &'a str,
    pub(super) port: u16,
    /// For its files.
    pub(super) folder: &'a Path,
    pub(super) addresses: [Ipv4Addr; 2],
    /// Of the guests.
    pub(super) macs: [Mac; 2],
}

const NODES: [&str; 2] = [A, B];
/// `TUN_MODE`, as quicktun calls a TAP.
const QUICKTUN_TAP: &str = "0";

pub(super) const PEERS: [Peer; 13] = [
    Peer {
        name: "fastd-null",
        class: Clear,
        needs: FASTD,
        version: || known("fastd", "--version"),
        mtu: 1430,
        commands: |site| fastd(site, "null"),
    },
    Peer {
        name: "fastd-aes",
        class: Secure,
        needs: FASTD,
        version: || known("fastd", "--version"),
        mtu: 1400,
        commands: |site| fastd(site, "aes128-ctr+umac"),
    },
    Peer {
        name: "fastd-salsa",
        class: Secure,
        needs: FASTD,
        version: || known("fastd", "--version"),
        mtu: 1400,
        commands: |site| fastd(site, "salsa2012+umac"),
    },
    Peer {
        name: "quicktun",
        class: Clear,
        needs: QUICKTUN,
        version: || None,
        mtu: 1450,
        commands: |site| quicktun(site, "raw"),
    },
    Peer {
        name: "quicktun-nacl",
        class: Secure,
        needs: QUICKTUN,
        version: || None,
        mtu: 1400,
        commands: |site| quicktun(site, "nacltai"),
    },
    Peer {
        name: "socat",
        class: Clear,
        needs: &[("socat", "socat")],
        version: || known("socat", "-V"),
        mtu: 1450,
        commands: socat,
    },
    Peer {
        name: "vde",
        class: Clear,
        needs: &[("vde_switch", "vde2"), ("vde_plug", "vde2"), ("socat", "socat")],
        version: || known("vde_switch", "--version"),
        mtu: 1450,
        commands: vde,
    },
    Peer {
        name: "tinc-clear",
        class: Clear,
        needs: &[("tincd", "tinc")],
        version: || known("tincd", "--version"),
        mtu: 1430,
        commands: |site| tinc(site, "Cipher = none\nDigest = none\n"),
    },
    Peer {
        name: "tinc",
        class: Secure,
        needs: &[("tincd", "tinc")],
        version: || known("tincd", "--version"),
        mtu: 1400,
        commands: |site| tinc(site, "Cipher = aes-128-cbc\nDigest = sha1\n"),
    },
    Peer {
        name: "openvpn-clear",
        class: Clear,
        needs: &[("openvpn", "openvpn")],
        version: || known("openvpn", "--version"),
        mtu: 1450,
        commands: |site| openvpn(site, |_| Ok(words("--cipher none --auth none"))),
    },
    Peer {
        name: "openvpn",
        class: Secure,
        needs: &[("openvpn", "openvpn"), ("openssl", "openssl")],
        version: || known("openvpn", "--version"),
        mtu: 1400,
        commands: openvpn_tls,
    },
    Peer {
        name: "n2n",
        class: Secure,
        needs: &[("edge", "n2n"), ("supernode", "n2n")],
        version: || None,
        mtu: 1400,
        commands: n2n,
    },
    Peer {
        name: "vpncloud",
        class: Secure,
        needs: &[],
        version: || Some((vpncloud::program().ok()?.display().to_string(), "--version")),
        mtu: 1400,
        commands: vpncloud,
    },
];

const FASTD: &[(&str, &str)] = &[("fastd", "fastd")];
const QUICKTUN: &[(&str, &str)] = &[("quicktun", "quicktun"), ("keypair", "quicktun")];

impl Site<'_> {
    fn own(&self, nth: usize) -> String {
        self.addresses[nth].to_string()
    }

    fn far(&self, nth: usize) -> String {
        self.addresses[1 - nth].to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One command for each node.
    fn both(&self, command: impl Fn(usize) -> anyhow::Result<Command>) -> anyhow::Result<Commands> {
        [0, 1].into_iter().map(|nth| Ok((NODES[nth], command(nth)?))).collect()
    }
}

fn fastd(site: &Site<'_>, method: &str) -> anyhow::Result<Commands> {
    let mut keys = Vec::new();
    for node in NODES {
        let secret = output(Command::new("fastd").args(["--generate-key", "--machine-readable"]))?;
        let file = site.path(&format!("{node}.secret"));
        write(&file, &format!("secret \"{secret}\";\n"))?;
        let show = ["--show-key", "--machine-readable", "--config"];
        keys.push((secret, output(Command::new("fastd").args(show).arg(&file))?));
    }
    site.both(|nth| {
        let file = site.path(&format!("{}.conf", NODES[nth]));
        let (port, own, far) = (site.port, site.own(nth), site.far(nth));
        write(
            &file,
            &format!(
                "mode tap;\ninterface \"{}\";\nbind {own}:{port};\nmethod \"{method}\";\nmtu 1450;\n\
                 secret \"{}\";\npeer \"far\" {{ key \"{}\"; remote {far}:{port}; }}\n",
                site.device,
                keys[nth].0,
                keys[1 - nth].1
            ),
        )?;
        let mut command = Command::new("fastd");
        command.args(["--log-level", "warn", "--config"]).arg(file);
        Ok(command)
    })
}

/// Debian's reads its settings from the variables of ifupdown.
fn quicktun(site: &Site<'_>, protocol: &str) -> anyhow::Result<Commands> {
    let mut keys = Vec::new();
    for _ in NODES {
        let pair = output(&mut Command::new("keypair"))?;
        let key = |name: &str| {
            let line = pair.lines().find_map(|line| line.strip_prefix(name));
            line.map(|key| key.trim().to_owned()).with_context(|| format!("keypair prints no {name}"))
        };
        keys.push((key("SECRET:")?, key("PUBLIC:")?));
    }
    site.both(|nth| {
        let mut command = Command::new("quicktun");
        command.env("IFACE", site.device);
        for (name, value) in [
            ("PROTOCOL", protocol),
            ("TUN_MODE", QUICKTUN_TAP),
            ("LOCAL_ADDRESS", &site.own(nth)),
            ("REMOTE_ADDRESS", &site.far(nth)),
            ("LOCAL_PORT", &site.port.to_string()),
            ("REMOTE_PORT", &site.port.to_string()),
            ("PRIVATE_KEY", &keys[nth].0),
            ("PUBLIC_KEY", &keys[1 - nth].1),
            ("INTERFACE", site.device),
        ] {
            command.env(format!("IF_QT_{name}"), value);
        }
        Ok(command)
    })
}

fn socat_datagrams(site: &Site<'_>, nth: usize) -> String {
    format!("UDP4-DATAGRAM:{}:{port},bind={}:{port}", site.far(nth), site.own(nth), port = site.port)
}

fn socat(site: &Site<'_>) -> anyhow::Result<Commands> {
    site.both(|nth| {
        let mut command = Command::new("socat");
        let tap = format!("TUN,tun-name={},tun-type=tap,iff-no-pi=1,iff-up=1", site.device);
        command.arg(socat_datagrams(site, nth)).arg(tap);
        Ok(command)
    })
}

/// Two switches and a plug on each, joined by socat: the cable of Debian's vde2 over UDP.
fn vde(site: &Site<'_>) -> anyhow::Result<Commands> {
    let socket = |nth: usize| site.path(&format!("{}.switch", NODES[nth]));
    let switches = site.both(|nth| {
        let mut command = Command::new("sh");
        // It ends with its standard input, which must therefore be one that says nothing and stays open.
        let script = "mkfifo \"$1.in\" && exec vde_switch -s \"$1\" -t \"$2\" <> \"$1.in\"";
        command.args(["-c", script, "sh"]).arg(socket(nth)).arg(site.device);
        Ok(command)
    })?;
    let cables = site.both(|nth| {
        let mut command = Command::new("sh");
        // The plug needs the switch's socket.
        let script =
            "until [ -e \"$1/ctl\" ]; do sleep 0.05; done; exec socat EXEC:\"vde_plug $1\",pipes \"$2\"";
        command.args(["-c", script, "sh"]).arg(socket(nth)).arg(socat_datagrams(site, nth));
        Ok(command)
    })?;
    Ok(switches.into_iter().chain(cables).collect())
}

fn tinc(site: &Site<'_>, cipher: &str) -> anyhow::Result<Commands> {
    let folder = |node: &str| site.path(node);
    for (nth, node) in NODES.into_iter().enumerate() {
        let hosts = folder(node).join("hosts");
        fs::create_dir_all(&hosts).with_context(|| format!("create {}", hosts.display()))?;
        let main = format!(
            "Name = {node}\nMode = switch\nDeviceType = tap\nInterface = {}\nConnectTo = {}\n\
             BindToAddress = {} {}\n",
            site.device,
            NODES[1 - nth],
            site.own(nth),
            site.port
        );
        write(&folder(node).join("tinc.conf"), &main)?;
        let host = format!(
            "Address = {} {port}\nPort = {port}\nCompression = 0\n{cipher}",
            site.own(nth),
            port = site.port
        );
        write(&hosts.join(node), &host)?;
        output(Command::new("tincd").arg("-c").arg(folder(node)).arg("-K2048"))?;
    }
    for (from, to) in [(A, B), (B, A)] {
        let (own, copy) = (folder(from).join("hosts").join(from), folder(to).join("hosts").join(from));
        fs::copy(&own, &copy).with_context(|| format!("copy {}", own.display()))?;
    }
    site.both(|nth| {
        let mut command = Command::new("tincd");
        command.arg("-c").arg(folder(NODES[nth])).arg("-D");
        command.arg(format!("--pidfile={}", site.path(&format!("{}.pid", NODES[nth])).display()));
        Ok(command)
    })
}

fn openvpn(
    site: &Site<'_>,
    security: impl Fn(usize) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Commands> {
    site.both(|nth| {
        let mut command = Command::new("openvpn");
        command.args(["--dev", site.device, "--dev-type", "tap", "--proto", "udp", "--ping", "10"]);
        command.args(["--local", &site.own(nth), "--remote", &site.far(nth)]);
        command.args(["--lport", &site.port.to_string(), "--rport", &site.port.to_string()]);
        // More than its defaults, which date from slower times.
        command.args(["--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "1000"]);
        command.args(security(nth)?);
        Ok(command)
    })
}

fn openvpn_tls(site: &Site<'_>) -> anyhow::Result<Commands> {
    let file = |nth: usize, kind: &str| site.path(&format!("{}.{kind}", NODES[nth])).display().to_string();
    let mut prints = Vec::new();
    for nth in [0, 1] {
        let mut make = Command::new("openssl");
        make.args(words("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"));
        make.args(["-subj", "/CN=bench", "-keyout", &file(nth, "key"), "-out", &file(nth, "crt")]);
        output(&mut make)?;
        let show = ["x509", "-fingerprint", "-sha256", "-noout", "-in", &file(nth, "crt")];
        let print = output(Command::new("openssl").args(show))?;
        prints.push(print.split_once('=').context("openssl prints no fingerprint")?.1.to_owned());
    }
    openvpn(site, |nth| {
        let mut all = words(if nth == 0 { "--tls-server --dh none" } else { "--tls-client" });
        all.extend(words("--data-ciphers AES-128-GCM"));
        all.extend(["--cert".to_owned(), file(nth, "crt"), "--key".to_owned(), file(nth, "key")]);
        all.extend(["--peer-fingerprint".to_owned(), prints[1 - nth].clone()]);
        Ok(all)
    })
}

/// Edges find each other through a supernode on node `A` and then talk directly.
fn n2n(site: &Site<'_>) -> anyhow::Result<Commands> {
    // The edges have ports of their own, away from those of other peers.
    let (meeting, edge) = (site.port, site.port + 100);
    let mut supernode = Command::new("supernode");
    supernode.args(["-l", &meeting.to_string()]);
    let edges = site.both(|nth| {
        let mut command = Command::new("edge");
        command.args(["-d", site.device, "-a", &format!("10.99.0.{}", nth + 1), "-s", "255.255.255.0"]);
        command.args(["-c", "bench", "-k", "bench", "-l", &format!("{}:{meeting}", site.own(0))]);
        // `-r`: the guest's address is not the one that the edge was given.
        command.args(["-p", &edge.to_string(), "-m", &site.macs[nth].to_string(), "-M", "1400", "-r"]);
        Ok(command)
    })?;
    Ok(std::iter::once((A, supernode)).chain(edges).collect())
}

fn vpncloud(site: &Site<'_>) -> anyhow::Result<Commands> {
    let program = vpncloud::program()?;
    site.both(|nth| {
        let mut command = Command::new(&program);
        command
            .args(words("--type tap --mode switch --password bench --algorithm aes128 --no-port-forwarding"));
        command.args(["--device", site.device, "--listen", &format!("{}:{}", site.own(nth), site.port)]);
        command.args(["--connect", &format!("{}:{}", site.far(nth), site.port)]);
        Ok(command)
    })
}

#[expect(clippy::unnecessary_wraps, reason = "a peer may have no way to say its version")]
fn known(program: &str, argument: &'static str) -> Option<(String, &'static str)> {
    Some((program.to_owned(), argument))
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// What a command prints, without the last line's end.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_name_of_its_own_that_fits_an_interface() {
        for (nth, peer) in PEERS.iter().enumerate() {
            assert!(PEERS[..nth].iter().all(|other| other.name != peer.name), "{}", peer.name);
            assert!(peer.name.len() <= 15, "{}", peer.name);
        }
    }
}
