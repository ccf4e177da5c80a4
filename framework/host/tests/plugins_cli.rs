//! `vreserve plugins pin`, `new` and `sample-config`, as an operator and an author run them.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use vreserve::loader::Metadata;
use vreserve::plugin::PluginKind;

/// A node of the fixture plugin and `infer-vttif`, with comments that must stay.
struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Node { dir: tempfile::tempdir().unwrap() };
        for file in ["libvreserve_fixture.so", "libvreserve_infer_vttif.so"] {
            let built = std::env::current_exe().unwrap().with_file_name(file);
            fs::copy(&built, node.path(file)).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
            fs::set_permissions(node.path(file), Permissions::from_mode(0o755)).unwrap();
        }
        let text = format!(
            "# a node\n[node]\nname = \"n\"\nkey = \"/n.key\"\n\
             proxy = {{ name = \"hub\", public_key = \"{}\", address = \"192.0.2.1:1\" }}\n\
             [plugins]\ndirs = [{:?}]\n\n[link.internet] # the star\nuse = \"fixture\"\nnumber = 7 # lucky\n\n\
             [link.gone]\nuse = \"missing\"\nnetwork = \"x\"\nrequired = false\n\n\
             [infer.vttif]\nuse = \"infer-vttif\"\n",
            keygen(&node.path("n.key")),
            node.dir.path(),
        );
        fs::write(node.config(), text).unwrap();
        fs::set_permissions(node.config(), Permissions::from_mode(0o640)).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("node.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    fn run(&self, words: &[&str]) -> Output {
        vreserve(words, &["--config", self.config().to_str().unwrap()])
    }

    /// One more byte at the end: another file that loads as well.
    fn change(&self, file: &str) {
        OpenOptions::new().append(true).open(self.path(file)).unwrap().write_all(b"\0").unwrap();
    }
}

fn vreserve(words: &[&str], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vreserve")).args(words).args(more).output().unwrap()
}

fn keygen(file: &Path) -> String {
    let made = vreserve(&["keygen"], &[file.to_str().unwrap()]);
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_pinned_loads_and_another_file_does_not_until_it_is_pinned() {
    let node = Node::new();
    let before = node.text();
    let dry = out(&node.run(&["plugins", "pin", "--dry-run"]));
    assert!(dry.contains("link.internet: ") && dry.contains("(new)"), "{dry}");
    assert_eq!(node.text(), before);

    let pinned = node.run(&["plugins", "pin"]);
    out(&pinned);
    assert!(err(&pinned).contains("link.gone: plugin missing"), "{}", err(&pinned));
    let text = node.text();
    assert_eq!(text.matches("sha256 = \"").count(), 2);
    let without: String =
        text.lines().filter(|line| !line.starts_with("sha256")).map(|l| l.to_owned() + "\n").collect();
    assert_eq!(without, before, "nothing else has changed");
    assert_eq!(node.config().metadata().unwrap().permissions().mode() & 0o777, 0o640);
    out(&node.run(&["check"]));

    node.change("libvreserve_fixture.so");
    let refused = node.run(&["check"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("the configuration pins another"), "{}", err(&refused));

    let other = out(&node.run(&["plugins", "pin", "infer.vttif"]));
    assert!(other.contains("(as before)") && !other.contains("link"), "{other}");
    assert_eq!(node.run(&["check"]).status.code(), Some(2));
    let json = out(&node.run(&["plugins", "pin", "--json", "link.internet"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pins"][0]["instance"], "link.internet");
    assert_ne!(json["pins"][0]["sha256"], json["pins"][0]["before"]);
    out(&node.run(&["check"]));
}

#[test]
fn a_file_that_would_not_be_loaded_is_not_pinned() {
    let node = Node::new();
    let before = node.text();
    fs::set_permissions(node.path("libvreserve_fixture.so"), Permissions::from_mode(0o777)).unwrap();
    let refused = node.run(&["plugins", "pin"]);
    assert!(!refused.status.success());
    assert!(err(&refused).contains("link.internet") && err(&refused).contains("others may write to it"));
    let unknown = node.run(&["plugins", "pin", "link.nowhere"]);
    assert!(err(&unknown).contains("has no instance link.nowhere"), "{}", err(&unknown));
    assert_eq!(node.text(), before);
}

#[test]
fn a_sample_of_a_plugins_table_is_toml_with_its_keys_and_their_defaults() {
    let node = Node::new();
    let text = out(&vreserve(
        &["plugins", "sample-config"],
        &[node.path("libvreserve_infer_vttif.so").to_str().unwrap()],
    ));
    assert!(text.contains("[infer.vttif]\nuse = \"infer-vttif\"\n"), "{text}");
    assert!(text.contains("\n# window = "), "{text}");
    toml::from_str::<toml::Table>(&text).unwrap();
    // Every default is a value that the plugin takes.
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                key.to_owned() + "\n"
            }
            _ => line.to_owned() + "\n",
        })
        .collect();
    toml::from_str::<toml::Table>(&all).unwrap();
    fs::write(node.config(), node.text().replace("[infer.vttif]\nuse = \"infer-vttif\"\n", &all)).unwrap();
    out(&node.run(&["check"]));

    let fixture = node.path("libvreserve_fixture.so");
    let words = ["plugins", "sample-config", "--kind", "reserve"];
    let reserve = out(&vreserve(&words, &[fixture.to_str().unwrap()]));
    assert!(reserve.contains("[reserve.fixture]\n") && !reserve.contains("[link."), "{reserve}");
    assert!(
        reserve.contains("# Must not be 13. (integer, at least 0, at most 255)\n# number = 0\n"),
        "{reserve}"
    );
    let words = ["plugins", "sample-config", "--json"];
    let several = vreserve(&words, &[fixture.to_str().unwrap()]);
    assert!(err(&several).contains("serves several kinds: name one"), "{}", err(&several));
    let schema = out(&vreserve(&words, &["--kind", "reserve", fixture.to_str().unwrap()]));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["properties"]["number"]["maximum"], 255);
}

#[test]
fn a_new_crates_files_are_told_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("made");
    let words = ["plugins", "new", "--kind", "adapt", "adapt-mine", "--json", "--path"];
    let made = out(&vreserve(&words, &[folder.to_str().unwrap()]));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["library"], "libadapt_mine.so");
    let files = made["files"].as_array().unwrap();
    assert!(
        files.len() == 4 && files.iter().all(|file| Path::new(file.as_str().unwrap()).is_file()),
        "{made}"
    );
    assert!(fs::read_to_string(folder.join("Cargo.toml")).unwrap().contains("vreserve-sdk = \"1\""));
}

/// Compiles and tests a crate of every kind; their common dependencies once.
#[test]
fn a_new_crate_of_every_kind_compiles_passes_its_tests_and_is_a_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sdk = host.join("../sdk");
    for kind in PluginKind::ALL {
        let name = format!("{}-new", kind.name());
        let folder = dir.path().join(&name);
        let words =
            ["plugins", "new", "--kind", kind.name(), &name, "--sdk", sdk.to_str().unwrap(), "--path"];
        let made = out(&vreserve(&words, &[folder.to_str().unwrap()]));
        assert!(made.contains(&format!("lib{}_new.so", kind.name())), "{made}");
        let again = vreserve(&words, &[folder.to_str().unwrap()]);
        assert!(err(&again).contains("is not empty"), "{}", err(&again));
        // The versions that this workspace has, so that nothing need be downloaded.
        fs::copy(host.join("../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--offline", "--quiet"]).current_dir(&folder).env("CARGO_TARGET_DIR", &target);
        let tested = cargo.env("RUSTFLAGS", "-D warnings").output().unwrap();
        assert!(
            tested.status.success(),
            "{kind}: {}{}",
            err(&tested),
            String::from_utf8_lossy(&tested.stdout)
        );

        let library = target.join(format!("debug/lib{}_new.so", kind.name()));
        let library = if library.exists() {
            library
        } else {
            target.join(format!("debug/deps/lib{}_new.so", kind.name()))
        };
        let metadata = Metadata::read(&library).unwrap();
        assert_eq!((metadata[0].name.as_str(), metadata[0].kinds.trim()), (name.as_str(), kind.name()));
        let sample = out(&vreserve(&["plugins", "sample-config"], &[library.to_str().unwrap()]));
        assert!(sample.contains(&format!("[{}.new]\nuse = \"{name}\"\n", kind.name())), "{sample}");
        if kind == PluginKind::Link {
            let cases = ["--case", "batches_of_any_size_pass", "--case", "strangers_give_no_frame"];
            let verified = vreserve(&["plugins", "verify", library.to_str().unwrap()], &cases);
            assert!(out(&verified).contains("2 passed, 0 failed, 0 skipped"), "{}", out(&verified));
        }
    }
}

#[test]
fn a_name_that_would_not_do_is_refused() {
    for name in ["Link", "link_x", "9link", "link-", ""] {
        let refused = vreserve(&["plugins", "new", "--kind", "link"], &[name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
    }
    let refused = vreserve(&["plugins", "new", "--kind", "tunnel"], &["link-x"]);
    assert!(err(&refused).contains("capture, link, infer, adapt and reserve"), "{}", err(&refused));
}
