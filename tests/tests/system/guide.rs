//! The guide `docs/write-a-link-plugin.md` followed to the letter, in an empty directory outside the workspace.
//!
//! ```text
//!  sh blocks: commands ──────┐
//!                            ├─ in their order ─▶ one shell ─▶ crate ─▶ plugin ─▶ verify ─▶ two nodes ─▶ a ping
//!  rust, toml blocks: files ─┘
//!  text blocks: what the commands print
//! ```
//! A fence names its file behind the language, and the words before it name it for the reader. Blocks of several parts are
//! one file. `console` is what must have been done before; a block without a language is a picture.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vreserve_tests::{directory, program, skip};

const GUIDE: &str = include_str!("../../../docs/write-a-link-plugin.md");
/// The lab in the guide.
const LAB: &str = "counted";
/// What the test does beside the guide, once there is a crate: the versions that the workspace has, so that nothing is
/// downloaded, and a folder where other tests have built what every plugin depends on.
const WITH_WHAT_IS_BUILT: &str = "cp \"$WORKSPACE_LOCK\" Cargo.lock\nln -s \"$SHARED_TARGET\" target\n";

/// A fenced block of the document.
struct Block<'a> {
    language: &'a str,
    /// The file that it is, or is part of.
    file: Option<&'a str>,
    text: String,
    /// The paragraph before it.
    before: String,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut before, mut is_over) = (Vec::new(), String::new(), false);
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            if std::mem::replace(&mut is_over, line.is_empty()) && !line.is_empty() {
                before.clear();
            }
            before += line;
            before.push('\n');
            continue;
        };
        let (language, file) = fence.split_once(' ').map_or((fence, None), |(word, file)| (word, Some(file)));
        let text =
            lines.by_ref().take_while(|line| *line != "```").map(|line| line.to_owned() + "\n").collect();
        blocks.push(Block { language, file, text, before: std::mem::take(&mut before) });
    }
    blocks
}

/// What the reader does, as a script.
fn script(blocks: &[Block<'_>]) -> String {
    let mut script = String::from("set -eu\n");
    let mut begun = BTreeSet::new();
    for Block { language, file, text, before } in blocks {
        match (*language, *file) {
            ("sh", None) => {
                script += text;
                if text.contains("vreserve plugins new ") {
                    script += WITH_WHAT_IS_BUILT;
                }
            }
            ("rust" | "toml", Some(file)) => {
                assert!(
                    before.contains(&format!("`{file}`")),
                    "before its block {file} is not named: {before}"
                );
                let sign = if begun.insert(file) { ">" } else { ">>" };
                script += &format!("cat {sign} '{file}' <<'END OF BLOCK'\n{text}END OF BLOCK\n");
            }
            ("" | "console" | "text", None) => {}
            _ => panic!("neither a command, a file, nor something to look at: ```{language} {file:?}"),
        }
    }
    script
}

/// An empty directory in which the guide is followed; afterwards no lab is left, whatever happened.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(tempfile::Builder::new().prefix("vr-guide-").tempdir().unwrap());
        fs::create_dir(desk.place()).unwrap();
        // Of a run that was killed.
        desk.take_down();
        desk
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("empty")
    }

    /// Runs a script, and returns whether it succeeded and everything that was printed.
    fn follow(&self, script: &str) -> (bool, String) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (file, printed) = (self.0.path().join("guide.sh"), self.0.path().join("printed"));
        fs::write(&file, script).unwrap();
        // Not a pipe: a daemon that a failed script leaves running would keep it open.
        let out = File::create(&printed).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.arg(&file).current_dir(self.place());
        shell.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out);
        // What the reader has done before.
        shell.env("VRESERVE", workspace).env("BUILT", directory());
        shell.env("PATH", format!("{}:{path}", directory().display()));
        shell.env("WORKSPACE_LOCK", workspace.join("Cargo.lock"));
        // As in the host's test of `plugins new`, for the same reason also the flags.
        shell.env("SHARED_TARGET", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins"));
        shell.env("RUSTFLAGS", "-D warnings").env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
        let status = shell.status().unwrap();
        (status.success(), fs::read_to_string(printed).unwrap())
    }

    fn take_down(&self) {
        let down = Command::new(program("vreserve-lab")).args(["down", LAB]).output().unwrap();
        assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    }

    /// What the two daemons have logged.
    fn logs(&self) -> String {
        let log = |node: &str| {
            let file = self.place().join(format!("link-counted/{node}.log"));
            format!("---- {node}\n{}", fs::read_to_string(file).unwrap_or_default())
        };
        log("alpha") + &log("beta")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.take_down();
    }
}

#[test]
fn the_guide_followed_to_the_letter_gives_a_plugin_that_carries_a_ping() {
    let blocks = blocks(GUIDE);
    let script = script(&blocks);
    let parts = blocks.iter().filter(|block| block.file == Some("src/lib.rs")).count();
    assert_eq!(parts, 6, "of the listing");
    if skip::is_skipped("guide", &["cargo", "cc", "ping", "timeout"]) {
        return;
    }
    for needed in ["vreserve", "libvreserve_capture_iouring.so", "libvreserve_infer_vttif.so"] {
        program(needed);
    }
    fs::create_dir_all(Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins")).unwrap();
    let desk = Desk::new();
    let (is_done, printed) = desk.follow(&script);
    assert!(is_done, "the guide does not work:\n{printed}\n{}", desk.logs());
    let shown = blocks.iter().filter(|block| block.language == "text");
    for line in shown.flat_map(|block| block.text.lines()) {
        assert!(printed.contains(line), "{line:?} is never printed:\n{printed}");
    }
    let pinned = fs::read_to_string(desk.place().join("link-counted/alpha.toml")).unwrap();
    assert_eq!(pinned.matches("sha256 = \"").count(), 3, "{pinned}");
}
