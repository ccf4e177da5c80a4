//! The child of `inspect` and `verify`: loads the plugin as the daemon would, and tells what it finds on what was its
//! standard output. What the plugin itself prints goes to standard error.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::Args;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use vreserve_abi::PluginRef;
use vreserve_model::{BitsPerSecond, Flow, Request, RequestKey};
use vreserve_sdk::InterfaceInfo;
use vreserve_sdk::conformance::{self, Kit, Numbered, Progress, Surroundings};

use super::message::{Inspection, KindInspection, KitHead, Message};
use super::verify::Around;
use crate::config::{Instance, plugin_settings};
use crate::loader::{Metadata, Registry, sha256};
use crate::plugin::PluginKind;

/// What the child is told.
#[derive(Debug, Args)]
pub(in crate::cli) struct Probe {
    /// Only tell what the plugin says of itself
    #[arg(long)]
    inspect: bool,
    file: PathBuf,
    #[command(flatten)]
    around: Around,
}

impl Probe {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // Whoever reads what this process tells may be killed.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("asking to end with the parent")?;
        let mut told = private_output()?;
        let mut tell = |message: Message| {
            let line = serde_json::to_string(&message).expect("messages are plain JSON");
            // If nobody reads any more, the process is about to end.
            let _ = writeln!(told, "{line}");
        };
        if let Err(error) = self.probe(&mut tell) {
            tell(Message::Refused(format!("{error:#}")));
        }
        tell(Message::Finished);
        Ok(ExitCode::SUCCESS)
    }

    fn probe(&self, tell: &mut dyn FnMut(Message)) -> anyhow::Result<()> {
        let path = std::path::absolute(&self.file)?;
        let found = Metadata::read(&path)?;
        // Before any thread is started, so that all are in it.
        let is_apart = !self.inspect && self.around.config.is_none() && stand_apart();
        let registry = Registry::new(Vec::new());
        for metadata in &found {
            let mut kinds = Vec::new();
            for kind in metadata.kinds() {
                let root = registry.load(&instance(&path, metadata, kind))?.root;
                kinds.push((kind, root));
            }
            if self.inspect {
                tell(Message::Inspected(Box::new(inspection(&path, metadata, &kinds)?)));
                continue;
            }
            let wanted =
                |kind: PluginKind| self.around.kind.as_ref().is_none_or(|wanted| wanted == kind.name());
            for (kind, root) in kinds.into_iter().filter(|(kind, _)| wanted(*kind)) {
                let around = self.surroundings(kind, root, is_apart)?;
                tell(Message::Kit(KitHead {
                    plugin: metadata.name.clone(),
                    version: metadata.version.clone(),
                    kind: kind.name().to_owned(),
                }));
                let kit = kit(kind, root, around);
                let kit = if self.around.cases.is_empty() { kit } else { kit.only(&self.around.cases) };
                kit.run_with(|progress| match progress {
                    Progress::Begun(name, _) => tell(Message::Begun(name.to_owned())),
                    Progress::Ended(case) => tell(Message::Ended(case.clone())),
                });
            }
        }
        Ok(())
    }

    fn surroundings(&self, kind: PluginKind, root: PluginRef, is_apart: bool) -> anyhow::Result<Given> {
        let config = match &self.around.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Ok(plugin_settings(&text)
                    .map_err(anyhow::Error::msg)
                    .with_context(|| path.display().to_string())?)
            }
            None => {
                conformance::sample(root, kind.name()).map_err(|reason| format!("{reason}; give --config"))
            }
        };
        let ends = match self.around.ends.as_slice() {
            [a, z] => Some((a.clone(), z.clone())),
            _ => None,
        };
        Ok(Given { kind, is_given: self.around.config.is_some(), config, ends, is_apart })
    }
}

fn kit(kind: PluginKind, root: PluginRef, around: Given) -> Kit {
    match kind {
        PluginKind::Capture => conformance::capture(root, around),
        PluginKind::Link => conformance::link(root, around),
        PluginKind::Infer => conformance::infer(root, around),
        PluginKind::Adapt => conformance::adapt(root, around),
        PluginKind::Reserve => conformance::reserve(root, around),
    }
}

/// What the command line gives the kit.
struct Given {
    kind: PluginKind,
    /// By the operator, and not made of examples.
    is_given: bool,
    config: Result<Value, String>,
    ends: Option<(String, String)>,
    /// The process has a network namespace of its own.
    is_apart: bool,
}

impl Surroundings for Given {
    fn config(&self, number: u32) -> Result<Value, String> {
        Numbered(self.config.clone()?).config(number)
    }

    fn must_open(&self, number: u32) -> bool {
        let names_instances = || self.config.as_ref().is_ok_and(|config| config.to_string().contains("{n}"));
        self.is_given && (number == 1 || names_instances())
    }

    fn open_in(&self, _: u32, open: &mut (dyn FnMut() + Send)) -> Result<(), String> {
        // What an example names may be somebody's interface.
        if self.kind == PluginKind::Capture && !self.is_given && !self.is_apart {
            return Err(
                "without a network namespace of its own (which needs root) it takes --config".to_owned()
            );
        }
        open();
        Ok(())
    }

    fn remove_interface(&self, _: u32, interface: &InterfaceInfo) -> Result<(), String> {
        let name = &interface.interface;
        if !self.is_apart {
            return Err(format!("interface {name} is not verify's own to take away"));
        }
        ip(&["link", "delete", name])
    }

    fn request(&self, number: u32) -> Result<Request, String> {
        let (a, z) = self.ends.as_ref().ok_or("it takes --ends to know what to ask the provider for")?;
        let numbered = |end: &String| end.replace("{n}", &number.to_string());
        let flow = Flow { protocol: "udp".to_owned(), a_port: 4790, z_port: 4791 };
        Ok(Request {
            key: RequestKey(String::new()),
            owner: String::new(),
            a: numbered(a),
            z: numbered(z),
            rate: BitsPerSecond(1_000_000),
            flow: Some(flow),
            max_latency: None,
            start_ms: None,
            end_ms: None,
        })
    }
}

fn instance(path: &Path, metadata: &Metadata, kind: PluginKind) -> Instance {
    Instance {
        kind,
        name: "probe".to_owned(),
        plugin: metadata.name.clone(),
        path: Some(path.to_owned()),
        required: true,
        sha256: None,
        settings: String::new(),
    }
}

fn inspection(
    path: &Path,
    metadata: &Metadata,
    kinds: &[(PluginKind, PluginRef)],
) -> anyhow::Result<Inspection> {
    let schema_of = |(kind, root): &(PluginKind, PluginRef)| {
        let schema = root.schema();
        let schema = schema(kind.name().into());
        KindInspection {
            kind: kind.name().to_owned(),
            schema: serde_json::from_str(&schema).unwrap_or_default(),
        }
    };
    Ok(Inspection {
        name: metadata.name.clone(),
        version: metadata.version.clone(),
        description: metadata.description.clone(),
        abi: metadata.abi.clone(),
        panic: metadata.panic.clone(),
        path: path.to_owned(),
        sha256: sha256(path)?,
        kinds: kinds.iter().map(schema_of).collect(),
    })
}

/// What was standard output, where children of the plugin do not find it; standard output is now standard error.
fn private_output() -> anyhow::Result<File> {
    let stdout = std::io::stdout();
    let fd = fcntl(stdout.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(3)).context("keeping the output")?;
    let file =
        File::options().append(true).open(format!("/proc/self/fd/{fd}")).context("keeping the output")?;
    nix::unistd::close(fd).context("keeping the output")?;
    nix::unistd::dup2_stdout(std::io::stderr().as_fd()).context("turning the plugin's output aside")?;
    Ok(file)
}

/// Moves this process into a network namespace of its own, with a loopback that works; false if it may not.
fn stand_apart() -> bool {
    unshare(CloneFlags::CLONE_NEWNET).is_ok() && ip(&["link", "set", "lo", "up"]).is_ok()
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {words}", arguments.join(" "))) }
}
