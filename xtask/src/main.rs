//! `cargo xtask`: the development commands. What they do is in the modules; here is only the command line.
//!
//! Exit code 0 done, 1 failed or interrupted, 2 wrong usage.

mod ability;
mod artifacts;
mod bench;
mod campaign;
mod check;
mod demo;
mod frozen;
mod instructions;
mod interrupt;
mod iperf3;
mod place;
mod processes;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use xtask_start::{packages, run};

/// Development commands of VRESERVE.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the main job on real traffic: a lab, four daemons, iperf3, a lightpath. Needs root.
    Demo(DemoArguments),
    /// Everything that must hold: checks, unit tests, system tests, a demo.
    Test {
        /// Leave out what needs root and network namespaces.
        #[arg(long)]
        skip_system: bool,
    },
    /// Formatting, lints, documentation, licences.
    Check,
    /// How fast it is, against baselines in the same run. Needs root.
    Bench(bench::Arguments),
    /// Traffic of many kinds for a long time, and a look at every count that could tell of harm. Needs root.
    Campaign(campaign::Arguments),
    /// Count the instructions of the hot functions and hold them against the recorded ones. Needs valgrind.
    Instructions {
        /// Record them instead.
        #[arg(long)]
        record: bool,
    },
}

#[derive(Args)]
struct DemoArguments {
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Let the provider take its original time (17.5 s to set up, 12 s to tear down), not a tenth of it.
    #[arg(long)]
    real_time: bool,
    /// What reserves the lightpath.
    #[arg(long, value_enum, default_value_t = demo::Backend::Odin)]
    backend: demo::Backend,
    /// What carries frames between nodes.
    #[arg(long, value_enum, default_value_t = demo::LinkPlugin::LinkUdp)]
    link: demo::LinkPlugin,
    /// What captures guests' frames; libpcap does so on veth pairs, as it cannot be the other end of a TAP.
    #[arg(long, value_enum, default_value_t = demo::CapturePlugin::CaptureIouring)]
    capture: demo::CapturePlugin,
    /// No colour, no line that is drawn over; as if the output were no terminal.
    #[arg(long)]
    plain: bool,
    /// Leave the lab, the daemons and the provider running afterwards.
    #[arg(long)]
    keep: bool,
    /// With what is built for tests, which is slower.
    #[arg(long)]
    dev: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(arguments) => demo::demo(&demo::Options {
            json: arguments.json,
            real_time: arguments.real_time,
            backend: arguments.backend,
            plugins: demo::Plugins { link: arguments.link, capture: arguments.capture },
            is_plain: arguments.plain,
            keep: arguments.keep,
            profile: if arguments.dev { artifacts::Profile::Dev } else { artifacts::Profile::Release },
        }),
        Task::Test { skip_system } => test::test(skip_system),
        Task::Check => check::check(),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Campaign(arguments) => campaign::campaign(&arguments),
        Task::Instructions { record } => instructions::instructions(record).map(drop),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
