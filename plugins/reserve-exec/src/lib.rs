//! The reservation plugin `reserve-exec`: a reservation system behind any program that reads a JSON document on
//! its standard input and answers with one on its standard output.
//!
//! One process per call. `protocol` is what the two say to each other (README.md is its specification),
//! `backend` serves the host, `exec` makes a call of a question, `turns` says when a call may start, `program`
//! looks whether the file may be run, `process` runs it in bounded time and space and ends it when nobody waits
//! any more, `diagnostics` takes its complaints to the log, `answer` reads what it said (hostile input), `config`
//! is what an operator may write.
#![forbid(unsafe_code)]

mod answer;
mod backend;
mod config;
mod diagnostics;
mod exec;
mod process;
mod program;
mod protocol;
mod turns;

pub use backend::ExecReserve;
pub use config::Config;
pub use protocol::Verb;

vreserve_sdk::export_plugin!(name = "reserve-exec", reserve = ExecReserve);
