//! Reading what the administrator's command lists. Pure; as hostile as the client's output: a list that is not
//! understood to its last line says nothing.
//!
//! ```text
//! path <id> <state> <source> <destination> lambda <n> [start <seconds>] [end <seconds>] via <switch> <switch> …
//! ```
//! States: `waiting` (in the server's queue; its id means nothing), `booked`, `setting-up`, `up`,
//! `tearing-down`. Any other is a state that we do not know, of a path that is there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::answer::{complaint, path_id, text, words};
use crate::client::Run;

/// A path that the server has, or a request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) state: ListedState,
    pub(crate) a: IpAddr,
    pub(crate) z: IpAddr,
    pub(crate) lambda: u16,
    pub(crate) switches: Vec<String>,
}

/// What it is doing, in the server's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListedState {
    Waiting,
    Booked,
    SettingUp,
    Up,
    TearingDown,
    /// A word that this plugin does not know.
    Other(String),
}

impl Listed {
    /// Whether it joins these two, whichever way round.
    pub(crate) fn joins(&self, a: IpAddr, z: IpAddr) -> bool {
        (self.a, self.z) == (a, z) || (self.a, self.z) == (z, a)
    }
}

/// The paths, or why nothing is known of them.
pub(crate) fn listed(run: &Run) -> Result<Vec<Listed>, String> {
    let output = match run {
        Run::NotStarted(reason) | Run::Lost(reason) => return Err(reason.clone()),
        Run::Exited { code: 0, stdout, .. } => text(stdout)?,
        Run::Exited { code, stderr, .. } => return Err(complaint(*code, stderr)),
    };
    if !output.is_empty() && !output.ends_with('\n') {
        return Err("the list's last line has no end".to_owned());
    }
    let paths: Vec<Listed> = output
        .lines()
        .map(|line| path(line).ok_or_else(|| format!("the list has an unexpected line: {}", words(line))))
        .collect::<Result<_, _>>()?;
    let mut ids = BTreeSet::new();
    let is_twice = |path: &&Listed| path.state != ListedState::Waiting && !ids.insert(path.id.clone());
    match paths.iter().find(is_twice) {
        Some(path) => Err(format!("the list has path {} twice", path.id)),
        None => Ok(paths),
    }
}

fn path(line: &str) -> Option<Listed> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    if next()? != "path" {
        return None;
    }
    let (id, state) = (path_id(next()?)?, state(next()?)?);
    let (a, z) = (next()?.parse().ok()?, next()?.parse().ok()?);
    if next()? != "lambda" {
        return None;
    }
    let lambda = next()?.parse().ok()?;
    loop {
        match next()? {
            "start" | "end" => next()?.parse::<f64>().is_ok().then_some(())?,
            "via" => break,
            _ => return None,
        }
    }
    let switches: Vec<String> = words.map(str::to_owned).collect();
    let are_named = switches.iter().all(|switch| !switch.is_empty() && !switch.contains(char::is_control));
    are_named.then_some(Listed { id, state, a, z, lambda, switches })
}

fn state(word: &str) -> Option<ListedState> {
    Some(match word {
        "waiting" => ListedState::Waiting,
        "booked" => ListedState::Booked,
        "setting-up" => ListedState::SettingUp,
        "up" => ListedState::Up,
        "tearing-down" => ListedState::TearingDown,
        "" => return None,
        other => ListedState::Other(words(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(output: &[u8]) -> Result<Vec<Listed>, String> {
        listed(&Run::Exited { code: 0, stdout: output.to_vec(), stderr: Vec::new() })
    }

    #[test]
    fn the_servers_own_list_is_read() {
        let text = "path 3 up 10.10.0.1 10.10.0.2 lambda 1 via chicago evanston\n\
                    path 4 booked 10.10.0.1 10.10.0.3 lambda 2 start 1700000000.000 end 1700003600.000 via c\n\
                    path 0 waiting 10.10.0.4 10.10.0.3 lambda 2 via\n\
                    path 0 waiting 10.10.0.4 10.10.0.5 lambda 2 via\n\
                    path 5 degraded 10.10.0.4 10.10.0.5 lambda 3 via a b\n";
        let paths = read(text.as_bytes()).unwrap();
        assert_eq!(paths.len(), 5);
        assert_eq!((paths[0].id.as_str(), paths[0].lambda), ("3", 1));
        assert_eq!(paths[0].switches, ["chicago", "evanston"]);
        assert_eq!(paths[1].state, ListedState::Booked);
        assert_eq!(paths[4].state, ListedState::Other("degraded".into()));
        assert!(paths[0].joins([10, 10, 0, 2].into(), [10, 10, 0, 1].into()));
        assert_eq!(read(b""), Ok(Vec::new()));
    }

    #[test]
    fn a_list_that_is_not_understood_says_nothing() {
        let good = "path 3 up 10.10.0.1 10.10.0.2 lambda 1 via c\n";
        for bad in [
            "path 3 up 10.10.0.1 10.10.0.2 lambda 1 via c",
            "Path 3 up 10.10.0.1 10.10.0.2 lambda 1 via c\n",
            "path x up 10.10.0.1 10.10.0.2 lambda 1 via c\n",
            "path 3  10.10.0.1 10.10.0.2 lambda 1 via c\n",
            "path 3 up 10.10.0.1 lambda 1 via c\n",
            "path 3 up 10.10.0.1 10.10.0.2 lambda 70000 via c\n",
            "path 3 up 10.10.0.1 10.10.0.2 lambda 1\n",
            "path 3 up 10.10.0.1 10.10.0.2 lambda 1 until 5 via c\n",
            "path 3 up 10.10.0.1 10.10.0.2 lambda 1 via c  d\n",
            "\n",
            "[]\n",
            "path 4 up 10.10.0.1 10.10.0.2 lambda 1 via c\npath 4 up 10.10.0.1 10.10.0.9 lambda 1 via c\n",
        ] {
            assert!(read(format!("{good}{bad}").as_bytes()).is_err(), "{bad:?}");
        }
        assert!(read(b"\xff\n").is_err());
        assert_eq!(listed(&Run::Lost("killed".into())), Err("killed".into()));
        let failed = Run::Exited { code: 1, stdout: good.into(), stderr: b"no server\n".to_vec() };
        assert_eq!(listed(&failed), Err("no server".into()));
    }

    proptest! {
        #[test]
        fn no_list_panics(output in proptest::collection::vec(any::<u8>(), 0..200),
                          lines in "(path [0-9]{0,3} (up|x|) 10.0.0.[0-9] 10.0.0.[0-9] lambda [0-9]{0,6} via\n){0,3}") {
            let _ = read(&output);
            let _ = read(lines.as_bytes());
        }
    }
}
