//! A node's configuration: TOML text in, a typed and consistent value or every error with its place out.

mod error;
mod types;

pub use error::{ConfigError, ConfigErrors, Location};
pub use types::{
    Admitted, Config, InferConfig, Instance, LeadConfig, LinkConfig, NodeConfig, ProxyConfig, ReserveConfig,
    Role, StaticLink,
};
