//! Conformance kits: one body of named cases per kind of plugin.
//!
//! A plugin's own tests run its kind's kit on the table that it exports, and `vreserve plugins verify` runs the
//! same on a shared object. The kit is a small host: everything goes through the C tables, so that what is tested
//! is what a host would load.
//!
//! ```ignore
//! // tests/conformance.rs, the only test of its file: the kit counts descriptors and threads of the process.
//! #[test]
//! fn it_conforms() {
//!     let config = serde_json::json!({ "bind": "127.0.0.{n}:0" });
//!     vreserve_sdk::conformance::link(my_link::plugin(), Numbered(config)).assert();
//! }
//! ```
//! What an instance needs around it (an interface, a server) is a [`Surroundings`] that the tests implement. A case
//! that cannot run with what there is is reported as skipped, with the reason.
//!
//! The cases of a kind are a table in the file of that name. What lives in the other files: the host (`host`,
//! `pool`, `keys`), instances (`port`, `calls`, `backend`), what cases share (`opened`, `linking`, `capturing`,
//! `reserving`, `frames`), and how they run (`case`,
//! `runner`, `watch`, `report`).

mod adapt;
mod await_points;
mod backend;
mod calls;
mod capture;
mod capturing;
mod case;
mod config;
mod frames;
mod guest;
mod host;
mod infer;
mod keys;
mod link;
mod linking;
mod opened;
mod opening;
mod pool;
mod port;
mod process;
mod report;
mod reserve;
mod reserving;
mod runner;
mod schema;
mod surroundings;
mod watch;

use std::sync::Arc;

use vreserve_abi::PluginRef;

pub use await_points::drop_at_every_await_point;
pub use backend::{Backend, Call};
pub use guest::{Guest, PacketGuest};
pub use report::{CaseReport, Outcome, Report};
pub use runner::{Kit, Progress};
pub use schema::sample;
pub use surroundings::{Numbered, Provider, Surroundings};

use case::Subject;

macro_rules! kits {
    ($($(#[$doc:meta])+ $kind:ident;)+) => {$(
        $(#[$doc])+
        pub fn $kind(plugin: PluginRef, surroundings: impl Surroundings) -> Kit {
            let subject =
                Subject { plugin, kind: stringify!($kind), surroundings: Arc::new(surroundings) };
            Kit::new(subject, &[config::CASES, $kind::CASES, opening::CASES], $kind::PANIC)
        }
    )+};
}

kits! {
    /// The kit for capture plugins.
    capture;
    /// The kit for link plugins.
    link;
    /// The kit for inference plugins.
    infer;
    /// The kit for adaptation plugins.
    adapt;
    /// The kit for reservation plugins.
    reserve;
}
