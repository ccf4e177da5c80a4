//! A node that is told to read its file again.

use std::path::Path;
use std::process::Command;

use crate::binaries::program;

/// What `vreserve reload` ends with and says, on both outputs.
#[track_caller]
pub fn reload(config: &Path) -> (i32, String) {
    let output = Command::new(program("vreserve")).args(["reload", "--config"]).arg(config).output();
    let output = output.expect("the program is there");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8_lossy(&said).into_owned())
}
