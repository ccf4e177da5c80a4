use super::*;
use crate::gara::protocol::State;
use std::io::Read;

fn record(number: u64, seq: u64) -> Record {
    Record {
        number,
        handle: format!("h-{number}"),
        owner: "ann".to_owned(),
        label: Some("a \"label\"\\".to_owned()),
        endpoint_a: [198, 51, 100, 1].into(),
        endpoint_b: [198, 51, 100, 2].into(),
        start: 1000,
        end: Some(2000),
        kbps: 5,
        protocol: None,
        binding: None,
        state: State::Booked,
        class: 0x100,
        seq,
    }
}

/// A directory whose journal holds two records, and the length of its first two lines.
fn two_records() -> (tempfile::TempDir, u64) {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, left) = Journal::open(directory.path()).unwrap();
    assert_eq!(left, Left::default());
    journal.rewrite("h", (0, 0), std::iter::empty()).unwrap();
    journal.append(&record(1, 1)).unwrap();
    let length = journal.length;
    journal.append(&record(2, 2)).unwrap();
    (directory, length)
}

fn reopened(directory: &Path) -> Result<Left> {
    Journal::open(directory).map(|(_, left)| left)
}

#[test]
fn what_was_added_is_there_at_the_next_start() {
    let (directory, _) = two_records();
    let (mut journal, left) = Journal::open(directory.path()).unwrap();
    assert_eq!((left.prefix.as_deref(), left.last_number, left.last_seq), (Some("h"), 2, 2));
    assert_eq!(left.records.into_values().collect::<Vec<_>>(), [record(1, 1), record(2, 2)]);
    journal.rewrite("h", (7, 9), [record(2, 3)].iter()).unwrap();
    journal.append(&record(2, 12)).unwrap();
    drop(journal);
    let left = reopened(directory.path()).unwrap();
    assert_eq!((left.last_number, left.last_seq), (7, 12));
    assert_eq!(left.records.into_values().collect::<Vec<_>>(), [record(2, 12)]);
}

#[test]
fn wherever_the_last_record_is_torn_the_others_stay() {
    let (directory, whole) = two_records();
    let path = directory.path().join(FILE);
    let mut bytes = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    for length in whole..bytes.len() as u64 {
        std::fs::write(&path, &bytes[..usize::try_from(length).unwrap()]).unwrap();
        let left = reopened(directory.path()).unwrap();
        assert_eq!(left.records.into_values().collect::<Vec<_>>(), [record(1, 1)], "{length} bytes");
    }
}

#[test]
fn damage_before_the_end_is_not_passed_over() {
    let (directory, whole) = two_records();
    let path = directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(whole).unwrap() - 4] = b'}';
    std::fs::write(&path, bytes).unwrap();
    let error = reopened(directory.path()).unwrap_err();
    assert!(error.to_string().ends_with("journal:2: damaged"), "{error}");
}

#[test]
fn one_server_at_a_time_has_the_directory() {
    let (directory, _) = two_records();
    let first = Journal::open(directory.path()).unwrap();
    let error = reopened(directory.path()).unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
    drop(first);
    reopened(directory.path()).unwrap();
}
