//! Whether interfaces carry frames yet.
//!
//! Setting a veth up returns before its carrier is processed; until then its queue drops and its bridge port
//! is closed. Whoever says "up" to others waits for the kernel first.

use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, Result, io_error};

/// Carrier is processed within milliseconds; beyond this something else is wrong.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks: each starts one `ip`.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The part of `ip -j -d link show` that matters here. `ip` prints empty objects for what it filtered out.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkState {
    #[serde(default)]
    pub(crate) ifname: String,
    #[serde(default)]
    operstate: String,
    linkinfo: Option<LinkInfo>,
}

#[derive(Debug, Deserialize)]
struct LinkInfo {
    info_slave_data: Option<PortData>,
}

#[derive(Debug, Deserialize)]
struct PortData {
    state: Option<String>,
}

impl LinkState {
    /// Up, and forwarding if it is a bridge's port.
    fn is_carrying(&self) -> bool {
        let port = self.linkinfo.as_ref().and_then(|info| info.info_slave_data.as_ref());
        let port_state = port.and_then(|data| data.state.as_deref());
        self.operstate == "UP" && port_state.is_none_or(|state| state == "forwarding")
    }
}

/// The interfaces that `ip link show` selects, in a namespace or where the caller is.
pub(crate) fn list(namespace: Option<&str>, selection: &[&str]) -> Result<Vec<LinkState>> {
    let mut command = Command::new("ip");
    command.args(namespace.iter().flat_map(|name| ["-n", name]));
    command.args(["-j", "-d", "link", "show"]).args(selection);
    let output = command.output().map_err(io_error("run", "ip"))?;
    let mut links: Vec<LinkState> = serde_json::from_slice(&output.stdout).map_err(|error| Error::Tool {
        tool: "ip",
        place: namespace.unwrap_or("this namespace").to_owned(),
        message: format!("{error}: {}", String::from_utf8_lossy(&output.stderr).trim()),
    })?;
    links.retain(|link| !link.ifname.is_empty());
    Ok(links)
}

/// Waits, within bounds, until all the named interfaces carry frames.
pub(crate) fn wait_until_carrying(namespace: Option<&str>, names: &[String]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let links = list(namespace, &[])?;
        let is_ready = |name: &String| links.iter().any(|link| link.ifname == *name && link.is_carrying());
        let Some(waiting) = names.iter().find(|name| !is_ready(name)) else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(Error::Tool {
                tool: "ip",
                place: namespace.unwrap_or("this namespace").to_owned(),
                message: format!("{waiting} is set up and carries nothing"),
            });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
