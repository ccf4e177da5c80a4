//! `vreserve plugins inspect`: what a plugin says of itself once it is loaded.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::child::{Next, Probing};
use super::message::{Inspection, Message};

/// Which plugin.
#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The shared object
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let found = inspections(&self.file)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&found)?);
        } else {
            found.iter().for_each(|inspection| print!("{}", text(inspection)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the plugins in a file say of themselves, to a child process.
pub(super) fn inspections(file: &Path) -> anyhow::Result<Vec<Inspection>> {
    let mut probing = Probing::start(["--inspect".into(), file.as_os_str().to_owned()])?;
    let mut found = Vec::new();
    loop {
        match probing.next()? {
            Next::Said(Message::Inspected(inspection)) => found.push(*inspection),
            Next::Said(Message::Finished) => return Ok(found),
            Next::Said(Message::Refused(reason)) => bail!("{reason}"),
            Next::Said(_) => {}
            Next::Ended(how) => bail!("{}: loading it: {how}", file.display()),
        }
    }
}

fn text(found: &Inspection) -> String {
    let Inspection { name, version, description, abi, panic, path, sha256, kinds } = found;
    let mut text = format!(
        "plugin   {name} {version}: {description}\nfile     {}\nsha256   {sha256}\nabi      {abi}, panic = {panic}\n",
        path.display()
    );
    for kind in kinds {
        text += &format!("\n[{}.<instance>]\nuse = \"{name}\"\n", kind.kind);
        let required = kind.schema.get("required").and_then(Value::as_array);
        let is_required =
            |key: &str| required.is_some_and(|keys| keys.iter().any(|required| required == key));
        for (key, schema) in kind.schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let words =
                schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
            let default = match schema.get("default") {
                Some(Value::Null) | None if is_required(key) => "required".to_owned(),
                Some(Value::Null) | None => "optional".to_owned(),
                Some(default) => format!("default {default}"),
            };
            text += &format!("  {key} ({default}): {words}\n");
        }
    }
    text
}
