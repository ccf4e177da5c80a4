//! `vreserve plugins list`: every shared object in the plugin directories, from its metadata alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::render::table;
use crate::config::Config;
use crate::loader::Metadata;

/// Where packages install plugins.
const INSTALLED: &str = "/usr/lib/vreserve/plugins";

/// Where to look.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// A directory to look in; may be given several times
    #[arg(long = "dir", value_name = "DIRECTORY")]
    dirs: Vec<PathBuf>,
    /// The node's configuration, whose plugin directories are looked in
    #[arg(short, long, conflicts_with = "dirs")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One plugin of one file.
#[derive(Debug, Serialize)]
struct Row {
    path: PathBuf,
    #[serde(flatten)]
    metadata: Option<Metadata>,
    /// Why this host would not load it.
    reason: Option<String>,
    /// A plugin of that name in an earlier directory is loaded in its place.
    shadowed_by: Option<PathBuf>,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let dirs = match &self.config {
            Some(path) => Config::load(path)?.plugin_dirs,
            None if self.dirs.is_empty() => vec![INSTALLED.into()],
            None => self.dirs,
        };
        let rows = rows(&dirs);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
        } else {
            let header = ["PLUGIN", "VERSION", "KINDS", "ABI", "FILE", "NOTE"];
            print!("{}", table(&header, &rows.iter().map(Row::cells).collect::<Vec<_>>()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let of = |field: fn(&Metadata) -> &str| {
            self.metadata.as_ref().map_or("-".to_owned(), |metadata| field(metadata).trim().replace(' ', ","))
        };
        let shadowed = self.shadowed_by.as_ref().map(|path| format!("shadowed by {}", path.display()));
        vec![
            of(|metadata| &metadata.name),
            of(|metadata| &metadata.version),
            of(|metadata| &metadata.kinds),
            of(|metadata| &metadata.abi),
            self.path.display().to_string(),
            self.reason.clone().or(shadowed).unwrap_or_default(),
        ]
    }
}

fn rows(dirs: &[PathBuf]) -> Vec<Row> {
    let mut rows: Vec<Row> =
        dirs.iter().flat_map(|dir| objects_in(dir)).flat_map(|path| rows_of(&path)).collect();
    let mut first: BTreeMap<String, PathBuf> = BTreeMap::new();
    for row in &mut rows {
        let Some(metadata) = &row.metadata else { continue };
        let earlier = first.entry(metadata.name.clone()).or_insert_with(|| row.path.clone());
        row.shadowed_by = (*earlier != row.path).then(|| earlier.clone());
    }
    rows
}

/// The shared objects of a directory by name; none, and why, if it cannot be read.
fn objects_in(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().inspect_err(|error| eprintln!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "so"));
    paths.sort();
    paths
}

fn rows_of(path: &Path) -> Vec<Row> {
    let row = |metadata: Option<Metadata>, reason: Option<String>| Row {
        path: path.to_owned(),
        metadata,
        reason,
        shadowed_by: None,
    };
    match Metadata::read(path) {
        Ok(found) => found
            .into_iter()
            .map(|metadata| {
                let reason = refusal(&metadata);
                row(Some(metadata), reason)
            })
            .collect(),
        Err(error) => vec![row(None, Some(error.to_string()))],
    }
}

/// Why this host would not load the plugin, whatever it is used for.
fn refusal(metadata: &Metadata) -> Option<String> {
    match metadata.kinds().next() {
        Some(kind) => metadata.check(kind).err().map(|error| error.to_string()),
        None => Some("serves no kind that this host knows".to_owned()),
    }
}
