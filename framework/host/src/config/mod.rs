//! A node's configuration: TOML text in, a typed and consistent value or every error with its place out.
//!
//! [`Config::load`] touches nothing but the file. What plugins say of their own keys later is placed in the
//! file by [`Config::plugin_error`].

mod diff;
mod error;
mod faults;
mod instances;
mod json;
mod load;
mod locate;
mod node;
mod overlay;
mod read;
mod section;
mod suggest;
#[cfg(test)]
mod tests;
mod types;
mod workers;

pub use diff::{Change, diff};
pub use error::{ConfigError, ConfigErrors, Location};
pub(crate) use json::plugin_settings;
pub use overlay::{OverlayConfig, ProviderConfig};
pub(crate) use suggest::did_you_mean;
pub use types::{
    Admitted, Config, InferConfig, Instance, LeadConfig, LinkConfig, NodeConfig, Pin, ProxyConfig,
    ReserveConfig, Role, StaticLink,
};
