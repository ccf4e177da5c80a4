//! Reading what the program said. Pure, and everything here is hostile input: whatever is not exactly what the
//! protocol says means that nobody knows what happened.

use std::time::Duration;

use serde::de::DeserializeOwned;
use vreserve_sdk::{Failure, FailureKind};

use crate::diagnostics::plain;
use crate::process::Run;
use crate::protocol::{Complaint, Verb, exit};

/// Longest text of the program that is shown to a person, in characters.
const LONGEST_WORDS: usize = 200;
/// When a program says "again" and not when.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a program answered, if it did not fail.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer<A> {
    /// The answer.
    Is(A),
    /// There is no such reservation, for this reason.
    NoSuch(String),
}

/// Reads how a run for `verb` ended.
pub(crate) fn read<A: DeserializeOwned>(verb: Verb, run: Run) -> Result<Answer<A>, Failure> {
    let (code, answer, complaint) = match run {
        Run::NotStarted(reason) => return Err(Failure::unavailable(reason)),
        Run::Lost(reason) => return Err(nobody_knows(verb, reason)),
        Run::Exited { code, answer, complaint } => (code, answer, complaint),
    };
    if code == exit::DONE {
        let answer = serde_json::from_slice(&answer);
        return answer
            .map(Answer::Is)
            .map_err(|error| nobody_knows(verb, format!("the answer makes no sense: {error}")));
    }
    let is_known = (exit::REFUSED..=exit::UNKNOWN).contains(&code);
    if !is_known {
        return Err(nobody_knows(verb, said(&format!("the program ended with code {code}"), &complaint)));
    }
    let complaint = match complaint_of(&answer, &complaint) {
        Ok(complaint) => complaint,
        Err(error) => {
            return Err(nobody_knows(verb, format!("the complaint (code {code}) makes no sense: {error}")));
        }
    };
    let reason = complaint.reason.unwrap_or_default();
    Err(match code {
        exit::REFUSED => Failure::refused(reason),
        exit::INVALID => Failure::invalid(complaint.key.unwrap_or_default(), reason),
        exit::AGAIN => {
            Failure::retry(complaint.retry_after_ms.map_or(RETRY_AFTER, Duration::from_millis), reason)
        }
        exit::UNAVAILABLE => Failure::unavailable(reason),
        exit::UNSUPPORTED => Failure::unsupported(reason),
        exit::NO_SUCH => match verb {
            Verb::Cancel | Verb::Abort | Verb::Query | Verb::Find => return Ok(Answer::NoSuch(reason)),
            Verb::Commit | Verb::Activate | Verb::Deactivate | Verb::Modify => Failure::refused(reason),
            _ => nobody_knows(verb, format!("the program says that there is no such reservation: {reason}")),
        },
        _ => nobody_knows(verb, reason),
    })
}

/// The failure of a verb whose answer never came or made no sense.
pub(crate) fn nobody_knows(verb: Verb, reason: String) -> Failure {
    let reason = format!("{verb}: {reason}");
    if verb.only_looks() { Failure::unavailable(reason) } else { Failure::unknown_outcome(reason) }
}

/// Whether nobody knows what became of a call.
pub(crate) fn is_unknown(failure: &Failure) -> bool {
    failure.kind == FailureKind::UnknownOutcome
}

fn complaint_of(answer: &[u8], last_line: &str) -> Result<Complaint, serde_json::Error> {
    let complaint: Complaint =
        if answer.trim_ascii().is_empty() { Complaint::default() } else { serde_json::from_slice(answer)? };
    let own = complaint.reason.map(|reason| words(&reason)).filter(|reason| !reason.is_empty());
    let last_line = Some(words(last_line)).filter(|line| !line.is_empty());
    let reason = own.or(last_line).or(Some("the program does not say why".to_owned()));
    Ok(Complaint { reason, key: complaint.key.map(|key| words(&key)), ..complaint })
}

fn said(what: &str, last_line: &str) -> String {
    let last_line = words(last_line);
    if last_line.is_empty() { what.to_owned() } else { format!("{what}: {last_line}") }
}

/// A program's text for a person: one line, not too long.
fn words(text: &str) -> String {
    plain(text.as_bytes()).chars().take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Done, One, Perhaps};
    use proptest::prelude::*;
    use vreserve_sdk::model::ReservationState;

    const CHANGING: [Verb; 8] = [
        Verb::Submit,
        Verb::Commit,
        Verb::Abort,
        Verb::Activate,
        Verb::Deactivate,
        Verb::Modify,
        Verb::Cancel,
        Verb::Gc,
    ];

    fn exited(code: i32, answer: &str, complaint: &str) -> Run {
        Run::Exited { code, answer: answer.as_bytes().to_vec(), complaint: complaint.to_owned() }
    }

    fn failure(verb: Verb, run: Run) -> Failure {
        read::<One>(verb, run).map(|answer| format!("{answer:?}")).unwrap_err()
    }

    #[test]
    fn a_yes_is_read_and_half_a_yes_is_none() {
        let yes = r#"{"observed":{"key":"k","state":"booked","colour":"green"},"more":1}"#;
        let Ok(Answer::Is(one)) = read::<One>(Verb::Submit, exited(0, yes, "warned")) else { panic!() };
        assert_eq!(one.observed.state, ReservationState::Booked);
        for answer in
            ["", "{}", "[]", "yes", &yes[..20], &format!("{yes}{yes}"), &yes.replace("booked", "bought")]
        {
            for verb in CHANGING {
                let failure = failure(verb, exited(0, answer, ""));
                assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{verb} {answer}: {failure}");
            }
            assert_eq!(failure(Verb::Query, exited(0, answer, "")).kind, FailureKind::Unavailable);
        }
        assert!(matches!(read::<Done>(Verb::Cancel, exited(0, "{}", "")), Ok(Answer::Is(_))));
    }

    #[test]
    fn documented_codes_have_their_kinds_and_the_reason_is_the_documents_or_the_last_line() {
        for (code, kind) in [
            (10, FailureKind::Refused),
            (11, FailureKind::Invalid),
            (12, FailureKind::Retry),
            (13, FailureKind::Unavailable),
            (15, FailureKind::Unsupported),
            (16, FailureKind::UnknownOutcome),
        ] {
            let failure = failure(Verb::Submit, exited(code, r#"{"reason":"so\nit is"}"#, "not this"));
            assert_eq!(failure.kind, kind);
            assert!(failure.reason.ends_with("so it is"), "{failure}");
        }
        assert_eq!(failure(Verb::Submit, exited(10, "", "no room")).reason, "no room");
        let again = failure(Verb::Submit, exited(12, r#"{"retry_after_ms":250}"#, ""));
        assert_eq!(again.retry_after, Some(Duration::from_millis(250)));
        let invalid = failure(Verb::Submit, exited(11, r#"{"key":"request.a","reason":"who?"}"#, ""));
        assert_eq!(invalid.key.as_deref(), Some("request.a"));
        let unreadable = failure(Verb::Submit, exited(10, "no room", ""));
        assert_eq!(unreadable.kind, FailureKind::UnknownOutcome, "{unreadable}");
    }

    #[test]
    fn what_is_not_there_is_gone_cancelled_or_refused() {
        let run = || exited(14, "", "never heard of it");
        for verb in [Verb::Cancel, Verb::Abort, Verb::Query, Verb::Find] {
            assert!(matches!(read::<Perhaps>(verb, run()), Ok(Answer::NoSuch(_))), "{verb}");
        }
        assert_eq!(failure(Verb::Commit, run()).kind, FailureKind::Refused);
        assert_eq!(failure(Verb::Submit, run()).kind, FailureKind::UnknownOutcome);
        assert_eq!(failure(Verb::List, run()).kind, FailureKind::Unavailable);
    }

    #[test]
    fn every_other_end_leaves_the_outcome_unknown_and_a_look_unanswered() {
        for run in [|| exited(1, "{}", "Traceback"), || exited(17, "", ""), || Run::Lost("hung".into())] {
            for verb in CHANGING {
                assert_eq!(failure(verb, run()).kind, FailureKind::UnknownOutcome, "{verb}");
            }
            assert_eq!(failure(Verb::Find, run()).kind, FailureKind::Unavailable);
        }
        let not_asked = failure(Verb::Submit, Run::NotStarted("no such file".into()));
        assert_eq!(not_asked.kind, FailureKind::Unavailable);
    }

    proptest! {
        #[test]
        fn no_output_is_taken_for_a_yes_or_panics(code in 0..200_i32, answer in proptest::collection::vec(any::<u8>(), 0..60)) {
            let run = Run::Exited { code, answer, complaint: String::new() };
            prop_assert!(!matches!(read::<One>(Verb::Submit, run), Ok(Answer::Is(_))));
        }
    }
}
