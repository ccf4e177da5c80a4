//! The control API: JSON over a unix socket that only the daemon's user may open.
//!
//! A request is one line, `{"query":"status"}`; the answer is one line, `{"ok":…}` or `{"error":"…"}`.
//! `{"query":"events","follow":true}` answers with one line per event, for as long as the client listens.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::control::agent::{CacheView, PortView, TooBigView};
use crate::control::lead::JournalStatus;
use crate::daemon::ConfigStatus;
use crate::loader::PluginStatus;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who the daemon is and how it does: [`Status`].
    Status,
    /// Its links.
    Links,
    /// Its rules.
    Rules,
    /// What its guests have sent since it started; `Topology` has the rates.
    Matrix,
    /// What the lead believes of the traffic.
    Topology,
    /// What the lead has reserved.
    Reservations,
    /// Read the configuration again and follow it: a list of what changed, or why nothing did.
    Reload,
    /// What is booked and reserved, by start: a list of [`CalendarEntry`](vreserve_core::lead::CalendarEntry).
    Calendar,
    /// An advance reservation is wanted. Answered with its calendar entry when it is on disk; the provider's
    /// word comes later.
    Reserve(vreserve_core::lead::BookingWish),
    /// A booking is no longer wanted.
    Cancel {
        /// Which.
        key: vreserve_core::lead::BookingId,
    },
    /// Why two nodes, or those of two guests, are served as they are:
    /// [`ExplainView`](crate::control::lead::ExplainView).
    Explain {
        /// A node's name or a guest's address.
        from: String,
        /// Another.
        to: String,
    },
    /// What the planner would do with another matrix: [`WhatIfView`](crate::control::lead::WhatIfView).
    WhatIf {
        /// The matrix.
        demands: Vec<crate::control::lead::SupposedDemand>,
    },
    /// What happened.
    Events {
        /// Go on with what happens next.
        #[serde(default)]
        follow: bool,
    },
}

/// The answer to [`Request::Status`].
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The node's name.
    pub name: String,
    /// `proxy` or `node`.
    pub role: String,
    /// The software's version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Its public key.
    pub public_key: String,
    /// The revision of the overlay in force; 0 before the lead has sent one.
    pub revision: u64,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// Threads on the data path: as many as the configuration asks for, or one if a plugin serves no more.
    pub workers: usize,
    /// Local guests and the interface each is behind.
    pub guests: std::collections::BTreeMap<vreserve_model::MacAddr, String>,
    /// How the lead's journal does; none at any other node.
    pub journal: Option<JournalStatus>,
    /// The plugin instances.
    pub plugins: Vec<PluginStatus>,
    /// The instances on the data path.
    pub ports: Vec<PortView>,
    /// Frames dropped, by reason.
    pub drops: std::collections::BTreeMap<String, u64>,
    /// What guests were told whose frames were too large for their way.
    pub too_big: TooBigView,
    /// Counters of plugins, as `kind.instance.counter`.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// The forwarding cache.
    pub cache: CacheView,
}
