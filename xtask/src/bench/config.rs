//! The configuration of one daemon of ours. Pure: text out.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use super::ground::{A, B};

/// What a daemon is told.
pub(super) struct NodeFile<'a> {
    /// The node.
    pub(super) name: &'a str,
    /// Before the node's name in names of files.
    pub(super) subject: &'a str,
    /// Where the proxy listens for nodes.
    pub(super) control: SocketAddrV4,
    /// Where the link's endpoint is, and lines that say what it is.
    pub(super) bind: SocketAddrV4,
    pub(super) link: &'a str,
    /// Folder of keys and durable state.
    pub(super) files: &'a Path,
    pub(super) plugins: &'a Path,
    pub(super) sockets: &'a Path,
    /// Public keys of both nodes.
    pub(super) keys: &'a [String; 2],
    /// More lines of the `[node]` table.
    pub(super) node: &'a str,
    /// More lines of the `[infer]` table.
    pub(super) infer: &'a str,
    /// Lines of each `[capture]` table.
    pub(super) captures: Vec<String>,
    /// Far ends of static links, on VXLAN's own port.
    pub(super) static_links: &'a [Ipv4Addr],
}

impl NodeFile<'_> {
    pub(super) fn text(&self) -> String {
        let Self { name, subject, control, bind, link, node, infer, keys, .. } = self;
        let file = |ending: &str| quoted(&self.files.join(format!("{subject}-{name}.{ending}")));
        let place = if *name == A {
            let key = &keys[1];
            format!(
                "role = \"proxy\"\ncontrol = \"{control}\"\nadmit = [{{ name = \"{B}\", public_key = \"{key}\" }}]"
            )
        } else {
            let key = &keys[0];
            format!("proxy = {{ name = \"{A}\", public_key = \"{key}\", address = \"{control}\" }}")
        };
        let mut text = format!(
            "[node]\nname = \"{name}\"\nkey = {}\nstate_dir = {}\nsocket = {}\n{place}\n{node}\n\
             [plugins]\ndirs = [{}]\n\
             [link.star]\nbind = \"{bind}\"\n{link}\n\
             [infer.vttif]\nuse = \"infer-vttif\"\n{infer}\n",
            file("key"),
            file("state"),
            quoted(&self.sockets.join(format!("{subject}-{name}.sock"))),
            quoted(self.plugins),
        );
        for (nth, lines) in self.captures.iter().enumerate() {
            text += &format!("[capture.guest{nth}]\nuse = \"capture-iouring\"\n{lines}\n");
        }
        for (nth, address) in self.static_links.iter().enumerate() {
            text += &format!(
                "[[static_link]]\nname = \"far{nth}\"\nendpoint = \"star\"\naddress = \"{address}:4789\"\n"
            );
        }
        text
    }
}

/// A path as a TOML string.
pub(crate) fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> toml::Table {
        let file = NodeFile {
            name,
            subject: "clear",
            control: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7001),
            bind: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), 7001),
            link: "use = \"link-udp\"\nformat = \"vxlan\"",
            files: Path::new("/t/fi\"les"),
            plugins: Path::new("/t/plugins"),
            sockets: Path::new("/run/x"),
            keys: &["key-of-a".to_owned(), "key-of-b".to_owned()],
            node: "spin = \"0s\"",
            infer: "report_interval = \"1h\"",
            captures: vec!["interface = \"eth0\"\nnetns = \"x\"".to_owned(); 2],
            static_links: &[Ipv4Addr::new(10, 200, 0, 1)],
        };
        file.text().parse().unwrap()
    }

    #[test]
    fn a_node_knows_its_guests_its_links_and_the_proxy() {
        let b = config(B);
        assert_eq!(b["node"]["proxy"]["address"].as_str(), Some("198.51.100.1:7001"));
        assert_eq!(b["node"]["spin"].as_str(), Some("0s"));
        assert_eq!(b["node"]["key"].as_str(), Some("/t/fi\"les/clear-b.key"));
        assert_eq!(b["infer"]["vttif"]["report_interval"].as_str(), Some("1h"));
        assert_eq!(b["capture"]["guest1"]["netns"].as_str(), Some("x"));
        assert_eq!(b["link"]["star"]["format"].as_str(), Some("vxlan"));
        assert_eq!(b["static_link"][0]["address"].as_str(), Some("10.200.0.1:4789"));
    }

    #[test]
    fn the_proxy_listens_and_admits_the_other() {
        let a = config(A);
        assert_eq!(a["node"]["control"].as_str(), Some("198.51.100.1:7001"));
        assert_eq!(a["node"]["admit"][0]["public_key"].as_str(), Some("key-of-b"));
    }
}
