//! `vreserve plugins pin`: writes into a configuration what its plugins' files are, so that the loader takes no others.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use toml_edit::{DocumentMut, Item, TableLike, value};

use crate::config::{Config, Instance};
use crate::loader::{LoadError, digest_of, hexadecimal};

/// What `vreserve plugins pin` is told.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The node's configuration
    #[arg(short, long)]
    config: PathBuf,
    /// Only these instances, such as `link.internet`; all unless given
    #[arg(value_name = "KIND.INSTANCE")]
    instances: Vec<String>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What an instance's file is.
struct Found {
    /// `kind.instance`.
    name: String,
    path: PathBuf,
    digest: [u8; 32],
    /// The pin it has now.
    before: Option<[u8; 32]>,
}

impl Found {
    fn is_changed(&self) -> bool {
        self.before != Some(self.digest)
    }

    fn word(&self) -> &'static str {
        match self.before {
            None => "new",
            Some(before) if before == self.digest => "as before",
            Some(_) => "changed",
        }
    }
}

impl Pin {
    /// Finds every file, then changes the configuration, as a whole or not at all.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let found = self.find(&config)?;
        if !self.dry_run && found.iter().any(Found::is_changed) {
            rewrite(&self.config, &found)?;
        }
        if self.json {
            let one = |found: &Found| {
                json!({ "instance": found.name, "path": found.path, "sha256": hexadecimal(&found.digest),
                        "before": found.before.as_ref().map(hexadecimal) })
            };
            println!(
                "{}",
                json!({ "written": !self.dry_run, "pins": found.iter().map(one).collect::<Vec<_>>() })
            );
        } else {
            for found in &found {
                let (path, digest) = (found.path.display(), hexadecimal(&found.digest));
                println!("{}: {digest} {path} ({})", found.name, found.word());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn find(&self, config: &Config) -> anyhow::Result<Vec<Found>> {
        let all: Vec<_> = config.instances().collect();
        let name = |instance: &Instance| format!("{}.{}", instance.kind.name(), instance.name);
        if let Some(unknown) = self.instances.iter().find(|wanted| !all.iter().any(|i| name(i) == **wanted)) {
            bail!("{} has no instance {unknown}", self.config.display());
        }
        let mut found = Vec::new();
        for instance in all {
            let name = name(instance);
            if !self.instances.is_empty() && !self.instances.contains(&name) {
                continue;
            }
            match digest_of(instance, &config.plugin_dirs) {
                Ok((path, digest)) => found.push(Found { name, path, digest, before: instance.sha256 }),
                // The node runs without it, too.
                Err(error @ LoadError::NotFound { .. }) if !instance.required => eprintln!("{name}: {error}"),
                Err(error) => return Err(error).context(name),
            }
        }
        Ok(found)
    }
}

/// Puts the digests into the file, beside everything else that is in it.
fn rewrite(path: &Path, found: &[Found]) -> anyhow::Result<()> {
    // Whoever edits a link means the file behind it.
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut document: DocumentMut =
        text.parse().with_context(|| format!("cannot edit {}", path.display()))?;
    for found in found.iter().filter(|found| found.is_changed()) {
        let (kind, name) = found.name.split_once('.').context("an instance is kind.name")?;
        let table = table_of(&mut document, kind, name)
            .with_context(|| format!("cannot find [{}] to edit it", found.name))?;
        put(table, &hexadecimal(&found.digest));
    }
    let text = document.to_string();
    let pinned = Config::parse(&path, &text)?;
    let is_pinned = |found: &Found| {
        pinned.instances().any(|instance| {
            format!("{}.{}", instance.kind.name(), instance.name) == found.name
                && instance.sha256 == Some(found.digest)
        })
    };
    if !found.iter().all(is_pinned) {
        bail!("{} is left as it was: the pins would not read back", path.display());
    }
    replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

fn table_of<'a>(document: &'a mut DocumentMut, kind: &str, name: &str) -> Option<&'a mut dyn TableLike> {
    document.get_mut(kind)?.as_table_like_mut()?.get_mut(name)?.as_table_like_mut()
}

/// Sets the key; what is written around an earlier value stays.
fn put(table: &mut dyn TableLike, digest: &str) {
    let mut new = value(digest);
    if let (Some(old), Some(new)) = (table.get("sha256").and_then(Item::as_value), new.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert("sha256", new);
}

/// Replaces a file by a whole new one, of the same mode and owner.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let metadata = path.metadata()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create_new(&new)?;
        file.set_permissions(metadata.permissions())?;
        fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_put_where_the_instance_is_and_nothing_else_moves() {
        let before = "# top\n[link.x]\nuse = 'link-udp' # the star\nsha256 = \"00\"  # old\nbind = \"1\"\n\n\
                      [reserve.o]\nuse = \"p\"\n\n[reserve.o.options] # sub\na = 1\n[infer]\nv = { use = \"i\" }\n";
        let mut document: DocumentMut = before.parse().unwrap();
        for (kind, name) in [("link", "x"), ("reserve", "o"), ("infer", "v")] {
            put(table_of(&mut document, kind, name).unwrap(), "aa");
        }
        let after = before
            .replace("\"00\"  # old", "\"aa\"  # old")
            .replace("use = \"p\"\n", "use = \"p\"\nsha256 = \"aa\"\n")
            .replace("{ use = \"i\" }", "{ use = \"i\" , sha256 = \"aa\" }");
        assert_eq!(document.to_string().replace(" ,", ","), after.replace(" ,", ","));
        assert!(table_of(&mut document, "link", "y").is_none());
    }
}
