//! What a list of the server's paths says of one circuit. Pure.
//!
//! Two ends have one path at most, so a path is ours by its two ends and its lambda. An id alone says little:
//! a server that was restarted counts from 1 again.

use crate::circuit::{Circuit, Stage};
use crate::listing::{Listed, ListedState};

/// What is to be recorded of a circuit, and what is known of it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It is this.
    Is(Circuit),
    /// Nothing is decided yet, for this reason; the record stays as it is.
    Pending(String),
    /// The server has nothing of it and will not have: it may be forgotten.
    Gone,
}

/// Judges a circuit by a list that was made after it was recorded so. `is_settled` says that whoever asked for it
/// has either reached the server or never will.
pub(crate) fn resolve(circuit: &Circuit, list: &[Listed], is_settled: bool, claimed: &[&str]) -> Resolution {
    match circuit.path() {
        Some(path) => by_id(circuit, path, list),
        None if circuit.stage == Stage::Unknown => by_ends(circuit, list, is_settled, claimed),
        None => Resolution::Pending(circuit.words.clone()),
    }
}

fn is_ours(circuit: &Circuit, listed: &Listed) -> bool {
    listed.joins(circuit.a, circuit.z) && listed.lambda == circuit.lambda
}

/// A request whose client was lost.
fn by_ends(circuit: &Circuit, list: &[Listed], is_settled: bool, claimed: &[&str]) -> Resolution {
    let is_claimed = |listed: &Listed| listed.state != ListedState::Waiting && claimed.contains(&&*listed.id);
    let mut ours = list.iter().filter(|listed| is_ours(circuit, listed) && !is_claimed(listed));
    let Some(listed) = ours.next() else {
        return if is_settled {
            Resolution::Gone
        } else {
            Resolution::Pending("the server does not have it yet".to_owned())
        };
    };
    let path = listed.id.clone();
    let found = |stage: Stage, words: String| {
        let switches = Some(listed.switches.join(" ")).filter(|switches| !switches.is_empty());
        Resolution::Is(Circuit { stage, switches, words, ..circuit.clone() })
    };
    match &listed.state {
        ListedState::Up => found(Stage::Up { path }, "up, by the server's list".to_owned()),
        ListedState::Booked => found(Stage::Booked { path }, "booked, by the server's list".to_owned()),
        ListedState::Waiting => Resolution::Pending("it waits in the server's queue".to_owned()),
        ListedState::SettingUp => Resolution::Pending(format!("path {path} is setting up")),
        ListedState::TearingDown => Resolution::Pending(format!("path {path} is being torn down")),
        ListedState::Other(word) => Resolution::Pending(format!("path {path} is {word}")),
    }
}

/// A path that we know by its id.
fn by_id(circuit: &Circuit, path: &str, list: &[Listed]) -> Resolution {
    let lost = |words: String| match circuit.stage {
        // It is gone, which is what was wanted.
        Stage::Releasing { .. } => Resolution::Gone,
        _ => Resolution::Is(Circuit { stage: Stage::Lost, words, ..circuit.clone() }),
    };
    let listed = list.iter().find(|listed| listed.state != ListedState::Waiting && listed.id == path);
    match listed {
        None => lost(format!("the server no longer has path {path}")),
        Some(listed) if !is_ours(circuit, listed) => {
            lost(format!("path {path} is another's now: the server has been restarted"))
        }
        Some(listed) => match (&circuit.stage, &listed.state) {
            (Stage::Booked { .. }, ListedState::Up) => Resolution::Is(Circuit {
                stage: Stage::Up { path: path.to_owned() },
                words: "up".to_owned(),
                ..circuit.clone()
            }),
            (Stage::Up { .. } | Stage::Releasing { .. }, ListedState::Up)
            | (Stage::Booked { .. }, ListedState::Booked) => Resolution::Is(circuit.clone()),
            (_, ListedState::SettingUp) => Resolution::Pending(format!("path {path} is setting up")),
            (_, ListedState::TearingDown) => Resolution::Pending(format!("path {path} is being torn down")),
            (_, other) => Resolution::Pending(format!("the server says of path {path}: {other:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::model::RequestKey;

    fn circuit(stage: Stage) -> Circuit {
        Circuit {
            key: RequestKey("k".into()),
            owner: "lab/1".into(),
            a: [10, 10, 0, 1].into(),
            z: [10, 10, 0, 2].into(),
            lambda: 2,
            stage,
            switches: None,
            words: String::new(),
            asked_ms: 0,
            start_ms: None,
            end_ms: None,
        }
    }

    fn at(id: &str, state: ListedState, z: u8, lambda: u16) -> Listed {
        let (a, z) = ([10, 10, 0, 1].into(), [10, 10, 0, z].into());
        Listed { id: id.into(), state, a, z, lambda, switches: vec!["s1".into(), "s2".into()] }
    }

    fn up(path: &str) -> Stage {
        Stage::Up { path: path.into() }
    }

    fn stage_of(resolution: Resolution) -> Stage {
        match resolution {
            Resolution::Is(circuit) => circuit.stage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lost_request_is_found_by_its_ends_and_lambda() {
        let unknown = circuit(Stage::Unknown);
        let list = [at("7", ListedState::Up, 3, 2), at("9", ListedState::Up, 2, 2)];
        assert_eq!(stage_of(resolve(&unknown, &list, false, &[])), up("9"));
        assert_eq!(resolve(&unknown, &list, true, &["9"]), Resolution::Gone, "another circuit's");
        let other_lambda = [at("9", ListedState::Up, 2, 1)];
        assert_eq!(resolve(&unknown, &other_lambda, true, &[]), Resolution::Gone, "another customer's");
        for state in [ListedState::Waiting, ListedState::SettingUp, ListedState::Other("odd".into())] {
            let list = [at("9", state, 2, 2)];
            assert!(matches!(resolve(&unknown, &list, true, &[]), Resolution::Pending(_)), "{list:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_gone_only_when_nothing_can_come_any_more() {
        let unknown = circuit(Stage::Unknown);
        assert!(matches!(resolve(&unknown, &[], false, &[]), Resolution::Pending(_)));
        assert_eq!(resolve(&unknown, &[], true, &[]), Resolution::Gone);
        assert!(matches!(resolve(&circuit(Stage::Asking), &[], true, &[]), Resolution::Pending(_)));
    }

    #[test]
    fn a_path_of_that_number_that_joins_others_is_not_ours() {
        let ours = circuit(up("1"));
        let restarted = [at("1", ListedState::Up, 3, 2)];
        let Resolution::Is(lost) = resolve(&ours, &restarted, true, &[]) else { panic!() };
        assert_eq!((lost.stage, lost.words.contains("restarted")), (Stage::Lost, true));
        assert_eq!(stage_of(resolve(&ours, &[], true, &[])), Stage::Lost);
        assert_eq!(stage_of(resolve(&ours, &[at("1", ListedState::Up, 2, 2)], true, &[])), up("1"));
        let releasing = circuit(Stage::Releasing { path: "1".into() });
        assert_eq!(resolve(&releasing, &restarted, true, &[]), Resolution::Gone);
        assert_eq!(resolve(&releasing, &[], true, &[]), Resolution::Gone);
    }

    #[test]
    fn a_booked_path_goes_up_by_the_servers_word() {
        let booked = circuit(Stage::Booked { path: "4".into() });
        assert_eq!(stage_of(resolve(&booked, &[at("4", ListedState::Up, 2, 2)], true, &[])), up("4"));
        let setting_up = [at("4", ListedState::SettingUp, 2, 2)];
        assert!(matches!(resolve(&booked, &setting_up, true, &[]), Resolution::Pending(_)));
    }
}
