//! The command line.

mod booking;
mod moment;
mod plugins;
mod render;
mod replay;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use vreserve_core::lead::BookingId;

use crate::api::client::ApiError;
use crate::api::{Request, client};
use crate::config::{Config, ConfigErrors};
use crate::daemon::{self, StartFailure};
use crate::keys::KeyPair;
use crate::loader::Registry;

/// The exit code for a wrong configuration or command line.
const EXIT_USAGE: u8 = 2;

/// VRESERVE: a layer-2 overlay that reserves network capacity by itself.
#[derive(Debug, Parser)]
#[command(name = "vreserve", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until it is told to stop
    Run {
        /// The node's configuration
        #[arg(short, long)]
        config: PathBuf,
        /// Write the log as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Check a configuration without starting anything
    Check {
        /// The node's configuration
        #[arg(short, long)]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who a daemon is and how it does
    Status(Ask),
    /// Show its links
    Links(Ask),
    /// Show its rules
    Rules(Ask),
    /// Show what its guests have sent
    Matrix(Ask),
    /// Show what the lead believes of the traffic
    Topology(Ask),
    /// Show what the lead has reserved
    Reservations(Ask),
    /// Have a daemon read its configuration again and follow it, or change nothing
    Reload(Ask),
    /// Book capacity between two nodes or guests, now or ahead of time
    Reserve(booking::Reserve),
    /// Show what is booked and reserved, by start
    Calendar(Ask),
    /// Give a booking up
    Cancel {
        #[command(flatten)]
        ask: Ask,
        /// Its key, as reserve printed it and calendar shows it
        key: u64,
    },
    /// Find out what an overlay would have reserved for the traffic of a capture; asks nobody for anything
    Replay(replay::Replay),
    /// Show what happened
    Events {
        #[command(flatten)]
        ask: Ask,
        /// Go on with what happens next
        #[arg(short, long)]
        follow: bool,
    },
    /// Look at plugins: what is installed, what one says of itself, whether it keeps its contract; pin them, begin one
    #[command(subcommand)]
    Plugins(plugins::Plugins),
    /// Make a node's key: write the private half to a new file, print the public half
    Keygen {
        /// The new file
        file: PathBuf,
    },
    /// Print the public half of a key
    Pubkey {
        /// The private key's file
        file: PathBuf,
    },
    /// Bring up, take down or look at a lab of network namespaces (runs vreserve-lab)
    #[command(disable_help_flag = true)]
    Lab {
        /// What vreserve-lab is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Which daemon to ask, and how to print the answer.
#[derive(Debug, Args)]
struct Ask {
    /// The daemon's control socket
    #[arg(short, long, env = "VRESERVE_SOCKET")]
    socket: Option<PathBuf>,
    /// Its configuration, which says where the socket is
    #[arg(short, long, conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<ConfigErrors>() {
            Some(errors) => refuse(errors),
            None => {
                eprintln!("vreserve: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Run { config, json } => run(&config, json),
            Command::Check { config, json } => Ok(check(&config, json)),
            Command::Status(ask) => ask.show(&Request::Status, render::status),
            Command::Links(ask) => ask.show(&Request::Links, render::links),
            Command::Rules(ask) => ask.show(&Request::Rules, render::rules),
            Command::Matrix(ask) => ask.show(&Request::Matrix, render::matrix),
            Command::Topology(ask) => ask.show(&Request::Topology, render::topology),
            Command::Reservations(ask) => ask.show(&Request::Reservations, render::reservations),
            Command::Reload(ask) => ask.reload(),
            Command::Reserve(reserve) => reserve.run(),
            Command::Calendar(ask) => ask.show(&Request::Calendar, render::calendar),
            Command::Cancel { ask, key } => {
                let request = Request::Cancel { key: BookingId(key) };
                ask.show(&request, |_| "cancelled\n".to_owned())
            }
            Command::Replay(replay) => replay.run(),
            Command::Events { ask, follow } => ask.events(follow),
            Command::Plugins(plugins) => plugins.run(),
            Command::Keygen { file } => {
                let keys = KeyPair::generate();
                keys.save(&file)?;
                println!("{}", keys.public);
                Ok(ExitCode::SUCCESS)
            }
            Command::Pubkey { file } => {
                println!("{}", KeyPair::load(&file)?.public);
                Ok(ExitCode::SUCCESS)
            }
            Command::Lab { args } => lab(&args),
        }
    }
}

fn run(path: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    start_logging(as_json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime")?;
    let outcome = runtime.block_on(daemon::run(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(StartFailure::Config(errors)) => Err(errors.into()),
        Err(StartFailure::Other(error)) => Err(error),
    }
}

/// Logs go to standard error; `VRESERVE_LOG` says how much, in the form of tracing's filters.
fn start_logging(as_json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VRESERVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if as_json { log.json().init() } else { log.init() }
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    for error in errors.iter() {
        eprintln!("{error}");
    }
    ExitCode::from(EXIT_USAGE)
}

fn check(path: &Path, as_json: bool) -> ExitCode {
    let outcome = Config::load(path).and_then(|config| {
        let registry = Registry::new(config.plugin_dirs.clone());
        daemon::check(&config, &registry).map(|missing| (config.node.name, missing))
    });
    match outcome {
        Ok((node, missing)) if as_json => {
            println!("{}", json!({ "ok": true, "node": node, "missing": missing }));
        }
        Ok((node, missing)) => {
            missing.iter().for_each(|reason| eprintln!("{}: {reason}", path.display()));
            println!("{}: node {node} is well configured", path.display());
        }
        Err(errors) if as_json => {
            let list: Vec<Value> = errors.iter().map(render::config_error).collect();
            println!("{}", json!({ "ok": false, "errors": list }));
            return ExitCode::from(EXIT_USAGE);
        }
        Err(errors) => return refuse(&errors),
    }
    ExitCode::SUCCESS
}

impl Ask {
    fn show(&self, request: &Request, render: fn(&Value) -> String) -> anyhow::Result<ExitCode> {
        let answer = client::ask(&self.find_socket()?, request)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            print!("{}", render(&answer));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A refusal is about the configuration, and printed as `vreserve check` prints it.
    fn reload(&self) -> anyhow::Result<ExitCode> {
        let named = self.config.as_deref().and_then(Config::socket_in);
        let socket = named.map_or_else(|| self.find_socket(), Ok)?;
        match client::ask(&socket, &Request::Reload) {
            Ok(changes) if self.json => println!("{}", json!({ "ok": true, "changes": changes })),
            Ok(changes) => print!("{}", render::reload(&changes)),
            Err(ApiError::Refused(reasons)) => {
                if self.json {
                    let errors: Vec<&str> = reasons.lines().collect();
                    println!("{}", json!({ "ok": false, "errors": errors }));
                } else {
                    eprintln!("{reasons}");
                }
                return Ok(ExitCode::from(EXIT_USAGE));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn events(&self, follow: bool) -> anyhow::Result<ExitCode> {
        for line in client::events(&self.find_socket()?, follow)? {
            let line = line?;
            if self.json {
                println!("{line}");
            } else {
                println!("{}", render::event(&serde_json::from_str(&line)?));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The socket that was named, or the only one there is.
    fn find_socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(path) = &self.config {
            return Ok(Config::load(path)?.node.socket);
        }
        let found: Vec<PathBuf> = std::fs::read_dir("/run/vreserve")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
            .collect();
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("no daemon runs here (nothing in /run/vreserve); name its socket with --socket"),
            _ => bail!("several daemons run here; name one's socket with --socket"),
        }
    }
}

/// Becomes vreserve-lab, which lies beside this program: the daemon holds no testbed code.
fn lab(args: &[String]) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let here = std::env::current_exe().context("cannot find out where this program lies")?;
    let program = here.with_file_name("vreserve-lab");
    let error = std::process::Command::new(&program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
