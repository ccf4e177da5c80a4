//! What goes wrong in a run, and when: the faults of the wrapper (`framework/host/src/plugin/faults`), a provider that
//! is started again with nothing, and nothing at all. Pure.

use std::fmt;

use fastrand::Rng;
use serde::Serialize;

use crate::campaign::reservation::Backend;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Case {
    /// Nothing: how much two runs alike differ.
    Nothing,
    Hang,
    Delay,
    ReplyLostBefore,
    ReplyLostAfter,
    Duplicate,
    Reordered,
    Garbage,
    Refusal,
    ForcedEnd,
    BlackHole,
    Amnesia,
    /// The provider is killed and started again: it knows nothing any more, and has nothing.
    Restart,
}

/// When in a run the fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Moment {
    /// While the circuit is obtained.
    Obtaining,
    /// While it is given back.
    GivingBack,
}

/// One run as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    pub(super) case: Case,
    pub(super) moment: Moment,
    /// The call that is hit, where that is said.
    pub(super) verb: Option<&'static str>,
    /// Whether what happens some time after a call happens late.
    pub(super) is_late: bool,
}

impl Case {
    pub(super) const ALL: [Self; 13] = [
        Self::Nothing,
        Self::Hang,
        Self::Delay,
        Self::ReplyLostBefore,
        Self::ReplyLostAfter,
        Self::Duplicate,
        Self::Reordered,
        Self::Garbage,
        Self::Refusal,
        Self::ForcedEnd,
        Self::BlackHole,
        Self::Amnesia,
        Self::Restart,
    ];

    /// The wrapper's name of the fault; of others our own.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Hang => "hang",
            Self::Delay => "delay",
            Self::ReplyLostBefore => "reply_lost_before",
            Self::ReplyLostAfter => "reply_lost_after",
            Self::Duplicate => "duplicate",
            Self::Reordered => "reordered",
            Self::Garbage => "garbage",
            Self::Refusal => "refusal",
            Self::ForcedEnd => "forced_end",
            Self::BlackHole => "black_hole",
            Self::Amnesia => "amnesia",
            Self::Restart => "restart",
        }
    }

    /// Whether the wrapper injects it.
    pub(super) const fn is_injected(self) -> bool {
        !matches!(self, Self::Nothing | Self::Restart)
    }

    /// Whether a circuit ends while it may carry traffic, and another must be had.
    pub(super) const fn ends_circuit(self) -> bool {
        matches!(self, Self::ForcedEnd | Self::Amnesia | Self::Restart)
    }

    /// Whether it can hit any call; others hit what they are about.
    const fn is_of_calls(self) -> bool {
        self.is_injected() && !self.ends_circuit() && !matches!(self, Self::BlackHole)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The calls of a circuit's life, with the moment in which they are made.
fn verbs(backend: Backend) -> &'static [(&'static str, Moment)] {
    match backend {
        Backend::Odin => &[("submit", Moment::Obtaining), ("cancel", Moment::GivingBack)],
        // Where a flow is bound to a reservation, that is a step of its own, and so is its end.
        Backend::Gara => &[
            ("submit", Moment::Obtaining),
            ("cancel", Moment::GivingBack),
            ("activate", Moment::Obtaining),
            ("deactivate", Moment::GivingBack),
        ],
    }
}

impl Plan {
    /// The same without the fault.
    pub(super) fn twin(self) -> Self {
        Plan { case: Case::Nothing, moment: Moment::Obtaining, verb: None, is_late: false }
    }

    fn new(case: Case, round: usize, backend: Backend) -> Self {
        let verbs = verbs(backend);
        let (verb, moment) = verbs[round % verbs.len()];
        let (verb, moment) =
            if case.is_of_calls() { (Some(verb), moment) } else { (None, Moment::Obtaining) };
        Plan { case, moment, verb, is_late: round % 2 == 1 }
    }

    /// What the wrapper's file says; none if it shall not be there.
    pub(super) fn rule(&self) -> Option<String> {
        let mut keys = vec!["calls = [1]".to_owned()];
        keys.extend(self.verb.map(|verb| format!("verbs = [\"{verb}\"]")));
        let time = match self.case {
            Case::Delay => Some("400ms"),
            // Until the lead asks the provider how it is, every two seconds.
            Case::Reordered => Some("2200ms"),
            // Before the circuit carries, or while it does.
            Case::ForcedEnd | Case::Amnesia if self.is_late => Some("600ms"),
            Case::ForcedEnd | Case::Amnesia => Some("60ms"),
            _ => None,
        };
        keys.extend(time.map(|time| format!("time = \"{time}\"")));
        self.case.is_injected().then(|| format!("{} = {{ {} }}\n", self.case, keys.join(", ")))
    }
}

/// `runs` of each case that is wanted: in rounds of all, each in an order of its own, so that whatever changes on the
/// machine meanwhile meets all of them alike.
pub(super) fn draw(seed: u64, runs: usize, backend: Backend, is_wanted: impl Fn(Case) -> bool) -> Vec<Plan> {
    let mut chance = Rng::with_seed(seed);
    let mut plans = Vec::new();
    for round in 0..runs {
        let mut cases: Vec<_> = Case::ALL.into_iter().filter(|case| is_wanted(*case)).collect();
        chance.shuffle(&mut cases);
        plans.extend(cases.into_iter().map(|case| Plan::new(case, round, backend)));
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_case_and_every_call_is_hit() {
        let plans = draw(1, 4, Backend::Odin, |_| true);
        assert_eq!(plans.len(), 4 * Case::ALL.len());
        for case in Case::ALL {
            let of: Vec<_> = plans.iter().filter(|plan| plan.case == case).collect();
            assert_eq!(of.len(), 4);
            let late = of.iter().filter(|plan| plan.moment == Moment::GivingBack).count();
            assert_eq!(late, if case.is_of_calls() { 2 } else { 0 }, "{case}");
        }
        assert_eq!(plans, draw(1, 4, Backend::Odin, |_| true));
        assert_ne!(plans, draw(2, 4, Backend::Odin, |_| true));
        assert!(
            draw(1, 4, Backend::Odin, |case| case == Case::Hang).iter().all(|plan| plan.case == Case::Hang)
        );
    }

    #[test]
    fn rules_are_what_the_wrapper_reads() {
        let rule = |case, round| Plan::new(case, round, Backend::Odin).rule();
        assert_eq!(rule(Case::Nothing, 0), None);
        assert_eq!(rule(Case::Restart, 0), None);
        assert_eq!(
            rule(Case::Hang, 1).unwrap(),
            "hang = { calls = [1], verbs = [\"cancel\"] }\n",
            "the odd ones hit the giving back"
        );
        assert_eq!(rule(Case::ForcedEnd, 1).unwrap(), "forced_end = { calls = [1], time = \"600ms\" }\n");
        for case in Case::ALL.into_iter().filter(|case| case.is_injected()) {
            rule(case, 0).unwrap().parse::<toml::Table>().unwrap();
        }
    }
}
