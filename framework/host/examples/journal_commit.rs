//! What a commit of the lead's journal costs, beside the least that durability can cost on the same disk: appending the
//! same octets to a file and syncing it. The two take turns. `cargo run --release --example journal_commit -- DIR`
//!
//! The figures are in `docs/decisions/010-journal.md`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vreserve::store::{Change, RedbStore, Store};

/// Commits of each kind that are timed, after as many that are not.
const COMMITS: usize = 500;
/// A record of a circuit that carries, as the journal writes it, has about so many octets.
const RECORD: usize = 700;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory: PathBuf =
        std::env::args_os().nth(1).ok_or("say a directory on the disk in question")?.into();
    let directory = tempfile::tempdir_in(directory)?;
    for kept in [10, 1_000] {
        let (journal, log) = measure(&directory.path().join(kept.to_string()), kept)?;
        println!(
            "{kept} records kept: journal {:.2} ms (90 %: {:.2}), append and sync {:.2} ms: {:.1} times",
            millis(journal[COMMITS / 2]),
            millis(journal[COMMITS * 9 / 10]),
            millis(log[COMMITS / 2]),
            journal[COMMITS / 2].as_secs_f64() / log[COMMITS / 2].as_secs_f64(),
        );
    }
    Ok(())
}

/// Times of commits to a journal with so many records, and of appends, each sorted.
fn measure(
    directory: &Path,
    kept: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), Box<dyn std::error::Error>> {
    std::fs::create_dir(directory)?;
    let mut store = RedbStore::at(directory.join("journal.redb"));
    store.load()?;
    let record = |nth: usize| Change::Put { key: format!("lab-1-{nth}"), value: vec![b'x'; RECORD] };
    store.commit(&(0..kept).map(record).collect::<Vec<_>>())?;
    let mut log = File::create(directory.join("log"))?;
    let (mut commits, mut appends) = (Vec::new(), Vec::new());
    for nth in 0..2 * COMMITS {
        let began = Instant::now();
        store.commit(&[record(nth % kept)])?;
        let committed = began.elapsed();
        append(&mut log)?;
        if nth >= COMMITS {
            commits.push(committed);
            appends.push(began.elapsed() - committed);
        }
    }
    commits.sort();
    appends.sort();
    Ok((commits, appends))
}

fn append(log: &mut File) -> io::Result<()> {
    log.write_all(&[b'x'; RECORD])?;
    log.sync_data()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
