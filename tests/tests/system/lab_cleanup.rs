//! After a kill -9, `vreserve lab down` leaves nothing behind.
//!
//! ```text
//!  world (killed) ┄ hub, alpha, beta: daemons in namespaces; ODIN server
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vreserve_tests::{program, skip, wait};

#[test]
fn nothing_is_left_of_a_killed_world() {
    if skip::is_skipped("lab_cleanup", &[]) {
        return;
    }
    let lab = format!("k{}", std::process::id());
    let mut command = Command::new(env!("CARGO_BIN_EXE_world"));
    command.env("VRESERVE_BIN_DIR", vreserve_tests::directory());
    let mut world = command.arg(&lab).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(world.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let dir = Path::new(line.trim()).to_owned();
    assert!(dir.is_dir(), "the world did not come up");
    world.kill().unwrap();
    world.wait().unwrap();

    let left = left_of(&lab, &dir);
    assert!(left.iter().any(|thing| thing.contains("vreserve run")), "the daemons outlive it: {left:?}");
    assert!(left.iter().any(|thing| thing.ends_with(".sock")), "{left:?}");
    let down = || {
        let output = Command::new(program("vreserve")).args(["lab", "down", &lab]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    down();
    wait::until_true("nothing is left", Duration::from_secs(5), || left_of(&lab, &dir).is_empty());
    down();
    fs::remove_dir_all(&dir).unwrap();
}

/// Namespaces, processes and sockets of a world.
fn left_of(lab: &str, dir: &Path) -> Vec<String> {
    let mut left = vreserve_testbed::lab::namespaces_left(lab);
    let of = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    let text = dir.to_str().unwrap();
    for process in of("/proc") {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(text) {
            left.push(command);
        }
    }
    let sockets =
        of(text).map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sock"));
    left.extend(sockets.map(|path| path.display().to_string()));
    left
}
