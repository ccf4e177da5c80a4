//! `gara-server`: stands in for GARA on the routed network of a lab.
//!
//! Exit code 0 after SIGTERM or SIGINT, 1 failed, 2 wrong usage or lab file.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use vreserve_testbed::gara::admin::{Answer, Question, ask};
use vreserve_testbed::gara::certificates;
use vreserve_testbed::gara::protocol::Reservation;
use vreserve_testbed::gara::server::{ServerConfig, serve};
use vreserve_testbed::program;

/// Reserves bandwidth on a lab's routed network, now and in advance, and makes its routers keep the promise.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Make a CA, the server's certificate and one for each client.
    Certificates {
        /// Where to write `ca.pem`, `server.pem`, `server.key`, and `NAME.pem` and `NAME.key` of each client.
        #[arg(long)]
        dir: PathBuf,
        /// Names of the clients, which are the owners of their reservations.
        #[arg(long, num_args = 1.., required = true)]
        client: Vec<String>,
        /// Addresses by which clients may verify the server, besides its name `gara-server`.
        #[arg(long, num_args = 1.., default_value = "127.0.0.1")]
        address: Vec<IpAddr>,
    },
}

#[derive(Args)]
struct Serve {
    /// A lab file, the state file of a standing lab, or a standing lab's name.
    #[arg(long)]
    lab: Option<PathBuf>,
    /// The routed network.
    #[arg(long, default_value = "commodity")]
    network: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2119")]
    listen: SocketAddr,
    /// Listen in the namespace of this member of the lab.
    #[arg(long, value_name = "MEMBER")]
    listen_at: Option<String>,
    /// Certificate of the CA whose clients are admitted.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The server's certificate.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// The server's key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Where the reservations are kept.
    #[arg(long)]
    state: Option<PathBuf>,
    /// The administrator's socket.
    #[arg(long, default_value = "/run/gara/gara.sock")]
    socket: PathBuf,
    /// How much of each link may be reserved, in percent of its rate.
    #[arg(long, default_value = "80", value_parser = clap::value_parser!(u64).range(1..=80))]
    share: u64,
    /// Ask the server at the socket for everybody's reservations, and do nothing else.
    #[arg(long)]
    list: bool,
    /// With --list: as one JSON document.
    #[arg(long, requires = "list")]
    json: bool,
    /// Tell the server at the socket to end a reservation, and do nothing else.
    #[arg(long, value_name = "HANDLE", conflicts_with = "list")]
    terminate: Option<String>,
}

fn main() -> ExitCode {
    program::log();
    program::exit_code("gara-server", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Certificates { dir, client, address }) = arguments.command {
        return Ok(certificates::make(&dir, &client, &address)?);
    }
    let options = arguments.serve;
    if options.list {
        return list(&options.socket, options.json);
    }
    if let Some(handle) = options.terminate {
        return match ask(&options.socket, &Question::Terminate { handle })? {
            Answer::Terminated => Ok(()),
            Answer::Refused(reason) => bail!("refused: {reason}"),
            Answer::Reservations(_) => bail!("the server answered another question"),
        };
    }
    if let Some(directory) = options.socket.parent().filter(|path| !path.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let lab = program::lab_of(&options.lab.context("--lab is missing")?)?;
    Ok(serve(&ServerConfig {
        lab,
        network: options.network,
        share: options.share,
        listen: options.listen,
        listen_at: options.listen_at,
        ca: options.ca.context("--ca is missing")?,
        certificate: options.cert.context("--cert is missing")?,
        key: options.key.context("--key is missing")?,
        state: options.state.context("--state is missing")?,
        socket: options.socket,
    })?)
}

fn list(socket: &Path, as_json: bool) -> anyhow::Result<()> {
    let asked =
        ask(socket, &Question::List).with_context(|| format!("ask the server at {}", socket.display()))?;
    let Answer::Reservations(reservations) = asked else { bail!("the server answered another question") };
    if as_json {
        let with_owner = |(owner, reservation)| -> anyhow::Result<serde_json::Value> {
            let mut document = serde_json::to_value::<Reservation>(reservation)?;
            document["owner"] = serde_json::Value::String(owner);
            Ok(document)
        };
        let documents: Vec<_> = reservations.into_iter().map(with_owner).collect::<Result<_, _>>()?;
        println!("{}", serde_json::to_string(&documents)?);
    } else {
        reservations.iter().for_each(print_reservation);
    }
    Ok(())
}

fn print_reservation((owner, reservation): &(String, Reservation)) {
    let Reservation { handle, state, endpoint_a, endpoint_b, start, end, kbps, bound, enforced, .. } =
        reservation;
    let seconds = |ms: u64| format!("{:.3}", ms as f64 / 1000.0);
    let end = end.map_or_else(|| "open".to_owned(), seconds);
    let state = format!("{state:?}").to_lowercase();
    let flow = if *enforced {
        "enforced"
    } else if *bound {
        "bound"
    } else {
        "unbound"
    };
    println!(
        "{handle} {state} {owner} {endpoint_a} {endpoint_b} {kbps} kbit/s {} {end} {flow}",
        seconds(*start)
    );
}
