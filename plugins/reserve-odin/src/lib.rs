//! The reservation plugin `reserve-odin`: lightpaths from ODIN, by running its original client `oclient`.
//!
//! ODIN gives a path id once and lists nothing, so this plugin owns what is missing: which path belongs to
//! which request, and which lambda to ask for. `backend` serves the host, `odin` decides, `client` runs
//! the program, `answer` reads what it printed (hostile input), `journal` keeps `circuit`s durably,
//! `config` is what an operator may write.
#![forbid(unsafe_code)]

mod answer;
mod backend;
mod circuit;
mod client;
mod config;
mod journal;
mod odin;

pub use backend::OdinReserve;
pub use config::{Config, Lambdas};

vreserve_sdk::export_plugin!(name = "reserve-odin", reserve = OdinReserve);
