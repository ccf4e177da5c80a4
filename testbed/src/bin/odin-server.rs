//! `odin-server`: stands in for ODIN on the trusted host of one optical network.
//!
//! Exit code 0 after SIGTERM or SIGINT, 1 failed, 2 wrong usage or lab file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{PathReport, Reply, Request, seconds};
use vreserve_testbed::odin::server::{ServerConfig, serve};
use vreserve_testbed::odin::timing::{SwitchOrder, Timing};
use vreserve_testbed::program;

/// Sets up lightpaths on a lab's optical network, as slowly as the original unless told otherwise.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A lab file, the state file of a standing lab, or a standing lab's name.
    #[arg(long, required_unless_present = "list")]
    lab: Option<PathBuf>,
    /// The optical network.
    #[arg(long, required_unless_present = "list")]
    network: Option<String>,
    /// The socket to listen on, or to ask.
    #[arg(long)]
    socket: PathBuf,
    /// Multiplies the original's delays; 1 is real time.
    #[arg(long, default_value = "1", value_parser = time_scale)]
    time_scale: f64,
    /// Configure a path's switches all at once, which the original could not.
    #[arg(long)]
    parallel_switches: bool,
    /// Let a request be for later: by the flags `start=SECONDS` and `end=SECONDS` since the epoch.
    #[arg(long)]
    deferred: bool,
    /// Ask the server at the socket for its paths, and do nothing else.
    #[arg(long, conflicts_with_all = ["lab", "network"])]
    list: bool,
    /// With --list: as one JSON document.
    #[arg(long, requires = "list")]
    json: bool,
}

fn main() -> ExitCode {
    program::log();
    program::exit_code("odin-server", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.list {
        return list(&arguments.socket, arguments.json);
    }
    let order = if arguments.parallel_switches { SwitchOrder::Parallel } else { SwitchOrder::Serial };
    let timing = Timing::new(arguments.time_scale, order).map_err(anyhow::Error::msg)?;
    let lab = program::lab_of(&arguments.lab.context("no lab")?)?;
    let network = arguments.network.context("no network")?;
    let (socket, is_deferring) = (arguments.socket, arguments.deferred);
    Ok(serve(ServerConfig { lab, network, socket, timing, is_deferring })?)
}

fn time_scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    Timing::new(scale, SwitchOrder::default()).map(|_| scale)
}

fn list(socket: &Path, as_json: bool) -> anyhow::Result<()> {
    let Reply::Paths(paths) = ask(socket, &Request::List)? else {
        bail!("the server answered another question")
    };
    if as_json {
        println!("{}", serde_json::to_string(&paths)?);
    } else {
        paths.iter().for_each(print_path);
    }
    Ok(())
}

fn print_path(path: &PathReport) {
    let PathReport { id, state, source, destination, lambda, switches, start_ms, end_ms } = path;
    let time =
        |word: &str, ms: &Option<u64>| ms.map_or(String::new(), |ms| format!(" {word} {}", seconds(ms)));
    let (start, end) = (time("start", start_ms), time("end", end_ms));
    let switches: String = switches.iter().map(|switch| format!(" {switch}")).collect();
    println!("path {id} {state} {source} {destination} lambda {lambda}{start}{end} via{switches}");
}
