//! Building the daemon, the plugins and the testbed, and knowing where they ended up.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{packages, run};

/// The package of the system tests.
const SYSTEM_TESTS: &str = "vreserve-tests";
/// What is started, by package; a plugin's shared object is named after its package.
const PACKAGES: [&str; 13] = [
    "vreserve",
    "vreserve-testbed",
    "vreserve-capture-iouring",
    "vreserve-capture-pcap",
    "vreserve-link-tcp",
    "vreserve-link-udp",
    "vreserve-link-vxlan",
    "vreserve-infer-vttif",
    "vreserve-adapt-vadapt",
    "vreserve-adapt-watermark",
    "vreserve-reserve-odin",
    "vreserve-reserve-gara",
    "vreserve-reserve-exec",
];

/// The simulation starts nothing of these, and they nothing of it.
const SIMULATION: [&str; 1] = ["vreserve-sim"];

/// How much the compiler optimises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests. Builds all that there is, tests too: what they need besides changes how everything is built, and
    /// nothing is to be built twice.
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
    /// The programs of unit tests; none in a release build, as of the next.
    pub(crate) unit_tests: Vec<TestProgram>,
    /// Those of system tests.
    pub(crate) system_tests: Vec<TestProgram>,
}

/// A built program of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    pub(crate) file: PathBuf,
    /// Where its package is, in which it runs.
    pub(crate) folder: PathBuf,
}

/// One line that cargo prints with `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<Target>,
    #[serde(default)]
    profile: BuiltWith,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Default, Deserialize)]
struct BuiltWith {
    /// Whether it is a test.
    test: bool,
}

impl Message {
    /// The name that `path+file:///project/folder#name@version` ends with.
    fn package(&self) -> Option<&str> {
        Some(self.package_id.rsplit_once('#')?.1.split_once('@')?.0)
    }
}

impl Artifacts {
    /// Builds everything that a demo or a system test starts.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn build(profile: Profile) -> anyhow::Result<Self> {
        Self::build_packages(profile, &PACKAGES, "the daemon, the plugins, the testbed and what tests them")
    }

    /// Builds the simulation's program.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn build_simulation(profile: Profile) -> anyhow::Result<Self> {
        Self::build_packages(profile, &SIMULATION, "the simulation")
    }

    fn build_packages(profile: Profile, wanted: &[&str], what: &str) -> anyhow::Result<Self> {
        packages::ensure_headers()?;
        let mut arguments = vec!["build", "--message-format=json-render-diagnostics"];
        match profile {
            Profile::Dev => arguments.extend(["--workspace", "--all-targets"]),
            Profile::Release => {
                arguments.push("--release");
                arguments.extend(wanted.iter().flat_map(|package| ["--package", package]));
            }
        }
        let name = if profile == Profile::Release { "release" } else { "dev" };
        println!("$ cargo build of {what}, {name} profile");
        let mut command = run::cargo(&arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo build")?;
        let mut built = Self::default();
        let out = child.stdout.take().expect("standard output is piped");
        BufReader::new(out).lines().map_while(Result::ok).for_each(|line| built.read(&line, wanted));
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

    fn read(&mut self, line: &str, wanted: &[&str]) {
        let Ok(message) = serde_json::from_str::<Message>(line) else { return };
        let is_system_test = message.package() == Some(SYSTEM_TESTS);
        let is_started = message.package().is_some_and(|package| wanted.contains(&package));
        let Message { reason, manifest_path, target: Some(target), profile, filenames, executable, .. } =
            message
        else {
            return;
        };
        if reason != "compiler-artifact" {
            return;
        }
        if profile.test {
            let folder = manifest_path.parent().unwrap_or(&manifest_path).to_owned();
            let tests = if is_system_test { &mut self.system_tests } else { &mut self.unit_tests };
            tests.extend(executable.map(|file| TestProgram { file, folder }));
            return;
        }
        if !is_started {
            return;
        }
        let is_plugin = target.kind.iter().any(|kind| kind == "cdylib");
        let shared = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "so");
        if is_plugin && let Some(file) = filenames.into_iter().find(shared) {
            self.plugins.push(file);
        }
        if target.kind == ["bin"]
            && let Some(executable) = executable
        {
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
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/framework/host#vreserve@0.1.0",
                "target":{"name":"vreserve","kind":["bin"]},"profile":{"test":false},
                "filenames":["/t/vreserve"],"executable":"/t/vreserve"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/framework/host#vreserve@0.1.0",
                "manifest_path":"/p/framework/host/Cargo.toml",
                "target":{"name":"vreserve","kind":["bin"]},"profile":{"test":true},
                "filenames":["/t/deps/vreserve-1"],"executable":"/t/deps/vreserve-1"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/plugins/link-udp#vreserve-link-udp@0.1.0",
                "target":{"name":"vreserve_link_udp","kind":["cdylib","rlib"]},"profile":{"test":false},
                "filenames":["/t/l.rlib","/t/l.so"],"executable":null}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/a/fixture#vreserve-fixture@0.1.0",
                "target":{"name":"vreserve_fixture","kind":["cdylib"]},"profile":{"test":false},
                "filenames":["/t/f.so"],"executable":null}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/tests#vreserve-tests@0.1.0",
                "manifest_path":"/p/tests/Cargo.toml",
                "target":{"name":"system","kind":["test"]},"profile":{"test":true},
                "filenames":["/t/deps/system-1"],"executable":"/t/deps/system-1"}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"derive","kind":["proc-macro"]},
                "filenames":["/t/derive.so"],"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "warning: not json",
        ] {
            built.read(line, &PACKAGES);
        }
        assert_eq!(built.program("vreserve").unwrap(), Path::new("/t/vreserve"));
        assert_eq!(built.folder().unwrap(), Path::new("/t"));
        assert_eq!(built.plugins, [PathBuf::from("/t/l.so")]);
        let of = |file: &str, folder: &str| TestProgram { file: file.into(), folder: folder.into() };
        assert_eq!(built.unit_tests, [of("/t/deps/vreserve-1", "/p/framework/host")]);
        assert_eq!(built.system_tests, [of("/t/deps/system-1", "/p/tests")]);
        assert!(built.program("odin-server").is_err());
    }
}
