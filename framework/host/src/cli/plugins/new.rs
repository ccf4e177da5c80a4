//! `vreserve plugins new`: a whole plugin crate outside this workspace, to begin with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::plugin::PluginKind;

const MANIFEST: &str = include_str!("templates/Cargo.toml.in");
const README: &str = include_str!("templates/README.md.in");
const IGNORED: &str = include_str!("templates/gitignore.in");

/// What `vreserve plugins new` is told.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// What it is for: capture, link, infer, adapt or reserve
    #[arg(long, value_parser = kind)]
    kind: PluginKind,
    /// Its name, as `use = "…"` will say it: lower-case letters, digits and dashes
    #[arg(value_parser = name)]
    name: String,
    /// The folder to make the crate in; one of its name in the current folder unless given
    #[arg(long)]
    path: Option<PathBuf>,
    /// Where vreserve-sdk is: a folder, or a version in the registry
    #[arg(long, default_value = SDK_VERSION, value_name = "PATH|VERSION")]
    sdk: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The SDK that belongs to this host.
const SDK_VERSION: &str = "1";

const fn source(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Capture => include_str!("templates/capture.rs"),
        PluginKind::Link => include_str!("templates/link.rs"),
        PluginKind::Infer => include_str!("templates/infer.rs"),
        PluginKind::Adapt => include_str!("templates/adapt.rs"),
        PluginKind::Reserve => include_str!("templates/reserve.rs"),
    }
}

impl New {
    /// Writes the crate into a folder that is not there yet, or is empty.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.path.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} is not empty", folder.display());
        }
        let sdk = dependency(&self.sdk)?;
        let library = format!("lib{}.so", self.name.replace('-', "_"));
        let fill = |template: &str| {
            template.replace("NAME", &self.name).replace("KIND", self.kind.name()).replace("FILE", &library)
        };
        let instance = self.name.rsplit('-').next().unwrap_or(&self.name);
        let files = [
            ("Cargo.toml", fill(MANIFEST).replace("SDK", &sdk)),
            ("README.md", fill(README).replace("INSTANCE", instance)),
            (".gitignore", IGNORED.to_owned()),
            ("src/lib.rs", fill(source(self.kind))),
        ];
        for (file, text) in &files {
            write(&folder.join(file), text)?;
        }
        if self.json {
            let files: Vec<_> = files.iter().map(|(file, _)| folder.join(file)).collect();
            println!("{}", json!({ "path": folder, "files": files, "library": library }));
        } else {
            println!("{}: build it with `cargo build --release` there", folder.display());
            println!("then install target/release/{library} in a folder of `[plugins] dirs`");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The right side of `vreserve-sdk = …`.
fn dependency(sdk: &str) -> anyhow::Result<String> {
    if !sdk.contains('/') && !Path::new(sdk).is_dir() {
        return Ok(format!("{sdk:?}"));
    }
    let folder = Path::new(sdk).canonicalize().with_context(|| format!("cannot find {sdk}"))?;
    if !folder.join("Cargo.toml").is_file() {
        bail!("{} is no crate: it has no Cargo.toml", folder.display());
    }
    Ok(format!("{{ path = {:?} }}", folder.display().to_string()))
}

/// One of the five kinds.
pub(crate) fn kind(text: &str) -> Result<PluginKind, String> {
    text.parse().map_err(|_| "the kinds are capture, link, infer, adapt and reserve".to_owned())
}

/// A name that is one for cargo, for the configuration and for a file.
fn name(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(is_allowed)
        && !text.ends_with('-')
        && text.len() <= 64;
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a name begins with a lower-case letter and has up to 64 of a-z, 0-9 and dashes".to_owned())
    }
}
