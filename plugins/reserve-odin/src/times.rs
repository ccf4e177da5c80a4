//! How long the server takes, by its own word: for planning. Kept in a file, so that the next run begins with
//! it; a file that cannot be read or written is as if there were none.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The file in the instance's state directory.
const FILE: &str = "times.json";
/// Of every new time so much: paths differ in length.
const SHARE_OF_NEW: f64 = 0.25;

/// Smoothed times in seconds; none before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) setup: Option<f64>,
    pub(crate) teardown: Option<f64>,
}

/// The times of one server.
#[derive(Debug)]
pub(crate) struct TimesFile {
    path: PathBuf,
    times: Times,
}

impl TimesFile {
    pub(crate) fn open(dir: &std::path::Path) -> TimesFile {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let is_time = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0;
        let times: Times = serde_json::from_str(&text).unwrap_or_default();
        let times = Times { setup: times.setup.filter(is_time), teardown: times.teardown.filter(is_time) };
        TimesFile { path, times }
    }

    pub(crate) fn times(&self) -> Times {
        self.times
    }

    pub(crate) fn handle_setup(&mut self, took: Option<f64>) {
        self.times.setup = smoothed(self.times.setup, took);
        self.save();
    }

    pub(crate) fn handle_teardown(&mut self, took: Option<f64>) {
        self.times.teardown = smoothed(self.times.teardown, took);
        self.save();
    }

    fn save(&self) {
        let saved = serde_json::to_vec(&self.times).map_err(std::io::Error::from);
        if let Err(error) = saved.and_then(|text| fs::write(&self.path, text)) {
            tracing::debug!(path = %self.path.display(), %error, "times not kept");
        }
    }
}

fn smoothed(before: Option<f64>, new: Option<f64>) -> Option<f64> {
    match (before, new) {
        (Some(before), Some(new)) => Some(before + SHARE_OF_NEW * (new - before)),
        (before, new) => new.or(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_smoothed_and_kept_and_a_bad_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = TimesFile::open(dir.path());
        assert_eq!(file.times(), Times::default());
        file.handle_setup(Some(10.0));
        file.handle_setup(None);
        file.handle_setup(Some(18.0));
        file.handle_teardown(Some(3.0));
        let times = Times { setup: Some(12.0), teardown: Some(3.0) };
        assert_eq!((file.times(), TimesFile::open(dir.path()).times()), (times, times));
        fs::write(dir.path().join(FILE), "{\"setup\":-4,\"teardown\":1e999}").unwrap();
        assert_eq!(TimesFile::open(dir.path()).times(), Times::default());
    }
}
