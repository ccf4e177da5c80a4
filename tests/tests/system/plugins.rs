//! Every plugin that was built, as an operator verifies it: by its file alone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use vreserve_tests::{directory, program};

/// A plugin, and how it is verified.
struct Tried {
    name: &'static str,
    /// The keys of its table, where the examples in its schema do not make an instance; `@` stands for a folder with what
    /// they name.
    config: &'static str,
    /// The cases that are tried; all if there is none.
    only: &'static [&'static str],
    /// One that passes without anything else given.
    passes: &'static str,
}

const fn alone(name: &'static str, passes: &'static str) -> Tried {
    Tried { name, config: "", only: &[], passes }
}

const PLUGINS: [Tried; 11] = [
    alone("capture_iouring", "unknown_keys_are_named"),
    Tried {
        name: "capture_pcap",
        config: "kind = \"file\"\nfile = \"@/frames.pcap\"\nspeed = 0.0\n",
        only: &[],
        passes: "describe_says_where_and_how_large",
    },
    alone("link_udp", "readiness_is_level_triggered"),
    Tried {
        name: "link_tcp",
        config: "bind = \"127.0.0.{n}:0\"\n",
        only: &[],
        passes: "readiness_is_level_triggered",
    },
    alone("link_vxlan", "unknown_keys_are_named"),
    alone("infer_vttif", "a_steady_pair_becomes_a_demand"),
    alone("adapt_vadapt", "small_changes_settle"),
    alone("adapt_watermark", "small_changes_settle"),
    alone("reserve_odin", "no_call_panics"),
    alone("reserve_gara", "kinds_not_served_are_unsupported"),
    // Its own tests run all cases; each call of them is a program that is started.
    Tried {
        name: "reserve_exec",
        config: "program = \"@/slots.py\"\n[options]\ndirectory = \"@\"\n",
        only: &["two_instances_are_independent", "unknown_keys_are_named"],
        passes: "two_instances_are_independent",
    },
];

/// So many at a time; they mostly wait.
const LANES: usize = 3;
/// The header of a file in pcap's format with no frames, of Ethernet (draft-ietf-opsawg-pcap).
const NO_FRAMES: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1];

fn plugins(arguments: &[&str]) -> (bool, Value) {
    let output = Command::new(program("vreserve")).arg("plugins").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{words}")))
}

/// What the plugins' keys name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let header: Vec<_> = NO_FRAMES.into_iter().flat_map(u32::to_le_bytes).collect();
    fs::write(folder.path().join("frames.pcap"), header).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/reserve-exec/examples/slots.py");
    fs::copy(example, folder.path().join("slots.py")).unwrap();
    folder
}

#[test]
fn every_plugin_verifies() {
    let folder = folder();
    let next = AtomicUsize::new(0);
    let lane = || {
        while let Some(plugin) = PLUGINS.get(next.fetch_add(1, Ordering::Relaxed)) {
            verify(plugin, folder.path());
        }
    };
    std::thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(lane))));
}

fn verify(plugin: &Tried, folder: &Path) {
    let Tried { name, config, only, passes } = plugin;
    let file = program(&format!("libvreserve_{name}.so"));
    let mut arguments = vec!["verify", file.to_str().unwrap(), "--json"];
    let keys = folder.join(format!("{name}.toml"));
    if !config.is_empty() {
        fs::write(&keys, config.replace('@', folder.to_str().unwrap())).unwrap();
        arguments.extend(["--config", keys.to_str().unwrap()]);
    }
    arguments.extend(only.iter().flat_map(|case| ["--case", case]));
    arguments.extend(["--ends", "10.10.0.{n}", "10.10.1.{n}"].iter().filter(|_| *name == "reserve_exec"));
    let (is_ok, found) = plugins(&arguments);
    let cases = found["kits"][0]["cases"].as_array().unwrap();
    let failed: Vec<_> = cases.iter().filter(|case| case["outcome"] == "failed").collect();
    assert!(is_ok && failed.is_empty(), "{name}: {failed:#?}");
    let outcome = cases.iter().find(|one| one["name"] == *passes).map(|one| one["outcome"].clone());
    assert_eq!(outcome, Some("passed".into()), "{name}: {passes}");
}

#[test]
fn every_plugin_is_listed_and_says_what_it_is() {
    let directory = directory();
    let (_, rows) = plugins(&["list", "--dir", directory.to_str().unwrap(), "--json"]);
    for plugin in PLUGINS {
        let name = plugin.name.replace('_', "-");
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(row["reason"], Value::Null, "{row}");
        let (is_ok, found) = plugins(&["inspect", row["path"].as_str().unwrap(), "--json"]);
        assert!(is_ok && found[0]["name"] == name, "{found}");
        assert!(found[0]["kinds"][0]["schema"]["properties"].is_object(), "{found}");
    }
}
