//! `vreserve-lab`: labs from the command line. Exit code 0 done, 1 failed, 2 wrong lab file or usage.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use vreserve_testbed::lab::state::{self, State};
use vreserve_testbed::{Lab, LabSpec, lab, netns, program};

/// Labs in network namespaces, from a file.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring a lab up and leave it standing.
    Up {
        /// The lab file.
        file: PathBuf,
        /// Another name than the file's.
        #[arg(long)]
        name: Option<String>,
    },
    /// End a lab's processes and delete its namespaces, whatever is left of it.
    Down {
        /// Name of the lab.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Every recorded lab.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show the labs that are up.
    Status {
        /// As one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a member's namespace, in place of this process.
    Exec {
        /// Name of the lab.
        name: String,
        /// Host, guest, network, or `commodity`.
        member: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    program::exit_code("vreserve-lab", run(Arguments::parse().action))
}

fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Up { file, name } => up(&file, name),
        Action::Down { name: Some(name), .. } => down(&name),
        Action::Down { name: None, .. } => down_all(),
        Action::Status { json } => status(json),
        Action::Exec { name, member, command } => exec(&name, &member, &command),
    }
}

fn up(file: &std::path::Path, name: Option<String>) -> anyhow::Result<()> {
    let mut spec = LabSpec::load(file)?;
    if let Some(name) = name {
        spec = spec.named(&name)?;
    }
    let lab = Lab::up(spec)?;
    println!("lab {} up: {} namespaces", lab.spec().name, lab.spec().namespaces().len());
    lab.leave_standing();
    Ok(())
}

fn down(name: &str) -> anyhow::Result<()> {
    let cleared = lab::down(name)?;
    println!(
        "lab {name} down: {} namespaces deleted, {} processes ended",
        cleared.namespaces, cleared.processes
    );
    Ok(())
}

/// One lab that cannot be taken down does not keep the others up.
fn down_all() -> anyhow::Result<()> {
    let mut failed = 0;
    for name in state::recorded()? {
        if let Err(error) = down(&name) {
            eprintln!("vreserve-lab: lab {name}: {error:#}");
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{failed} labs are not down");
    }
    Ok(())
}

fn status(as_json: bool) -> anyhow::Result<()> {
    let states = state::recorded()?.iter().map(|name| State::load(name)).collect::<Result<Vec<_>, _>>()?;
    let states: Vec<State> = states.into_iter().flatten().collect();
    if as_json {
        let labs: Vec<Value> = states.iter().map(report).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "labs": labs }))?);
    } else {
        states.iter().for_each(print_status);
    }
    Ok(())
}

fn report(state: &State) -> Value {
    let namespaces: Vec<Value> =
        state.namespaces.iter().map(|name| json!({ "name": name, "present": netns::exists(name) })).collect();
    let processes: Vec<Value> = state
        .processes
        .iter()
        .map(|p| json!({ "pid": p.pid, "member": p.member, "command": p.command, "alive": p.is_alive() }))
        .collect();
    json!({ "name": state.lab.name, "lab": state.lab, "namespaces": namespaces, "processes": processes })
}

fn print_status(state: &State) {
    println!("lab {}", state.lab.name);
    for host in &state.lab.hosts {
        println!("  host  {:12} {}", host.name, host.commodity);
        for (network, attachment) in &host.attachments {
            println!("        {network:12} {} on {}", attachment.address, attachment.switch);
        }
        for guest in &host.guests {
            println!("  guest {:12} {} {} at {}", guest.name, guest.address, guest.mac, host.name);
        }
    }
    let missing: Vec<_> = state.namespaces.iter().filter(|name| !netns::exists(name)).collect();
    println!("  namespaces {}, missing {}", state.namespaces.len(), missing.len());
    for process in state.processes.iter().filter(|process| process.is_alive()) {
        println!("  process {} at {}: {}", process.pid, process.member, process.command);
    }
}

fn exec(name: &str, member: &str, command: &[String]) -> anyhow::Result<()> {
    let lab = Lab::attach(name)?;
    netns::enter(&lab.spec().member_namespace(member)?)?;
    let (program, arguments) = command.split_first().context("no command")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("run {program}"))
}
