//! Building the daemon, the plugins and the testbed, and knowing where they ended up.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{packages, run};

/// What is built, by package; a plugin's shared object is named after its package.
const PACKAGES: [&str; 12] = [
    "vreserve",
    "vreserve-testbed",
    "vreserve-capture-iouring",
    "vreserve-capture-pcap",
    "vreserve-link-tcp",
    "vreserve-link-udp",
    "vreserve-link-vxlan",
    "vreserve-infer-vttif",
    "vreserve-adapt-vadapt",
    "vreserve-reserve-odin",
    "vreserve-reserve-gara",
    "vreserve-reserve-exec",
];

/// How much the compiler optimises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests.
    Dev,
    /// For figures.
    Release,
}

/// Where the built programs and plugins are.
#[derive(Debug, Default)]
pub(crate) struct Artifacts {
    programs: BTreeMap<String, PathBuf>,
    /// The plugins' shared objects.
    pub(crate) plugins: Vec<PathBuf>,
}

/// One line that cargo prints with `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Artifacts {
    /// Builds everything that a demo or a system test starts.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn build(profile: Profile) -> anyhow::Result<Self> {
        packages::ensure_headers()?;
        let mut arguments = vec!["build", "--message-format=json-render-diagnostics"];
        if profile == Profile::Release {
            arguments.push("--release");
        }
        arguments.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
        let name = if profile == Profile::Release { "release" } else { "dev" };
        println!("$ cargo build of the daemon, the plugins and the testbed, {name} profile");
        let mut command = run::cargo(&arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo build")?;
        let mut built = Self::default();
        let out = child.stdout.take().expect("standard output is piped");
        BufReader::new(out).lines().map_while(Result::ok).for_each(|line| built.read(&line));
        let status = child.wait().context("wait for cargo build")?;
        if !status.success() {
            bail!("the build failed: {status}");
        }
        Ok(built)
    }

    /// A built program.
    ///
    /// # Errors
    /// If the build made none of this name.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<&Path> {
        let path = self.programs.get(name).with_context(|| format!("the build made no program `{name}`"))?;
        Ok(path)
    }

    /// The folder of programs and plugins.
    ///
    /// # Errors
    /// If the build made no daemon.
    pub(crate) fn folder(&self) -> anyhow::Result<&Path> {
        self.program("vreserve")?.parent().context("a built program has a folder")
    }

    fn read(&mut self, line: &str) {
        let Ok(Message { reason, target: Some(target), filenames, executable }) = serde_json::from_str(line)
        else {
            return;
        };
        if reason != "compiler-artifact" {
            return;
        }
        let is_plugin = target.kind.iter().any(|kind| kind == "cdylib");
        let shared = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "so");
        if is_plugin && let Some(file) = filenames.into_iter().find(shared) {
            self.plugins.push(file);
        }
        if let Some(executable) = executable {
            self.programs.insert(target.name, executable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_plugins_are_found_and_everything_else_is_passed_over() {
        let mut built = Artifacts::default();
        for line in [
            r#"{"reason":"compiler-artifact","target":{"name":"vreserve","kind":["bin"]},
                "filenames":["/t/vreserve"],"executable":"/t/vreserve"}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"vreserve_link_udp","kind":["cdylib","rlib"]},
                "filenames":["/t/l.rlib","/t/l.so"],"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"derive","kind":["proc-macro"]},
                "filenames":["/t/derive.so"],"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "warning: not json",
        ] {
            built.read(line);
        }
        assert_eq!(built.program("vreserve").unwrap(), Path::new("/t/vreserve"));
        assert_eq!(built.folder().unwrap(), Path::new("/t"));
        assert_eq!(built.plugins, [PathBuf::from("/t/l.so")]);
        assert!(built.program("odin-server").is_err());
    }
}
