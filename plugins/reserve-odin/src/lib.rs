//! The reservation plugin `reserve-odin`: lightpaths from ODIN, by running its original client `oclient`.
//!
//! ODIN gives a path id once and its client lists nothing, so this plugin owns what is missing: which path
//! belongs to which request, and which lambda to ask for (`lambdas`). `backend` serves the host, `odin` decides,
//! `client` runs the program, `answer` reads what it printed (hostile input), `journal` keeps `circuit`s
//! durably, `config` is what an operator may write. Where an administrator's command lists the server's paths,
//! `listing` reads it, `resolve` judges circuits by it and `listed` puts that on record. `times` learns how
//! long the server takes.
#![forbid(unsafe_code)]

mod answer;
mod backend;
mod circuit;
mod client;
mod config;
mod journal;
mod lambdas;
mod listed;
mod listing;
mod odin;
mod resolve;
mod times;

pub use backend::OdinReserve;
pub use config::{Config, Lambdas};

vreserve_sdk::export_plugin!(name = "reserve-odin", reserve = OdinReserve);
