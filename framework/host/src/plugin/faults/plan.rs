//! Which faults are injected, and into which calls: a value, read from `[reserve.<instance>.faults]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use vreserve_sdk::Verb;

/// What can go wrong between a host and a reservation system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The request goes nowhere, and no answer comes before the deadline.
    Hang,
    /// The answer comes late.
    Delay,
    /// The request is lost on its way: nothing was done, and the caller cannot know.
    ReplyLostBefore,
    /// The request is carried out, its answer is lost.
    ReplyLostAfter,
    /// The request arrives twice; the answer to the first is returned.
    Duplicate,
    /// The answer is held back until a later call has had its own.
    Reordered,
    /// The request is carried out, its answer makes no sense.
    Garbage,
    /// The provider is not asked and the answer is no.
    Refusal,
    /// What the call was about is ended at the provider some time later, and nobody is told.
    ForcedEnd,
    /// The answer is that it carries, and the provider was never asked.
    BlackHole,
    /// Some time later the provider ends everything that it has and remembers none of it, as a server that is
    /// started again with an empty database.
    Amnesia,
}

/// The verbs of a reservation system, for readers of a configuration.
pub const VERBS: [Verb; 13] = [
    Verb::Submit,
    Verb::Cancel,
    Verb::Query,
    Verb::Commit,
    Verb::Abort,
    Verb::Activate,
    Verb::Deactivate,
    Verb::Modify,
    Verb::Find,
    Verb::ListOwned,
    Verb::Gc,
    Verb::Events,
    Verb::Health,
];

/// Verbs whose answer is one reservation, made or brought into use.
const GRANTS: [Verb; 2] = [Verb::Submit, Verb::Activate];
/// Verbs whose answer is one reservation.
const OBSERVES: [Verb; 6] =
    [Verb::Submit, Verb::Commit, Verb::Activate, Verb::Deactivate, Verb::Modify, Verb::Query];
/// Verbs that a fault hits only if it is told so: the host asks them all the time.
const ROUTINE: [Verb; 2] = [Verb::Events, Verb::Health];

impl Fault {
    /// Every fault, in the order in which they are tried: at most one hits a call.
    pub const ALL: [Fault; 11] = [
        Fault::Hang,
        Fault::Delay,
        Fault::ReplyLostBefore,
        Fault::ReplyLostAfter,
        Fault::Duplicate,
        Fault::Reordered,
        Fault::Garbage,
        Fault::Refusal,
        Fault::ForcedEnd,
        Fault::BlackHole,
        Fault::Amnesia,
    ];

    /// Its name in configurations, and behind `fault_` that of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Hang => "hang",
            Fault::Delay => "delay",
            Fault::ReplyLostBefore => "reply_lost_before",
            Fault::ReplyLostAfter => "reply_lost_after",
            Fault::Duplicate => "duplicate",
            Fault::Reordered => "reordered",
            Fault::Garbage => "garbage",
            Fault::Refusal => "refusal",
            Fault::ForcedEnd => "forced_end",
            Fault::BlackHole => "black_hole",
            Fault::Amnesia => "amnesia",
        }
    }

    /// Whether it can be injected into calls of `verb`.
    pub fn can_hit(self, verb: Verb) -> bool {
        match self {
            Fault::BlackHole => GRANTS.contains(&verb),
            Fault::ForcedEnd => OBSERVES.contains(&verb),
            _ => true,
        }
    }

    /// Whether it hits calls of `verb` when its rule names no verbs.
    pub(super) fn hits_by_default(self, verb: Verb, is_fused: bool) -> bool {
        match self {
            // Where submitting activates, only a submit can promise what is not there.
            Fault::BlackHole if is_fused => verb == Verb::Submit,
            Fault::BlackHole => verb == Verb::Activate,
            Fault::ForcedEnd | Fault::Amnesia => GRANTS.contains(&verb),
            _ => !ROUTINE.contains(&verb),
        }
    }

    /// How long it takes unless its rule says otherwise; none if it takes no time of its own.
    pub fn usual_time(self) -> Option<Duration> {
        match self {
            Fault::Delay | Fault::ForcedEnd | Fault::Amnesia => Some(Duration::from_secs(1)),
            Fault::Reordered => Some(Duration::from_secs(3)),
            _ => None,
        }
    }
}

/// A probability, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(pub u32);

impl Chance {
    /// Always.
    pub const CERTAIN: Chance = Chance(1_000_000);
}

/// Which of the calls that a rule is for are hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Each with this probability.
    Chance(Chance),
    /// Those with these numbers, from 1.
    Calls(BTreeSet<u64>),
}

/// How one fault is injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which calls.
    pub when: When,
    /// Of these verbs; empty: of all that it usually hits.
    pub verbs: BTreeSet<Verb>,
    /// How long it takes, where it takes time.
    pub time: Duration,
}

/// What is injected into one instance's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The same seed gives the same faults to the same calls.
    pub seed: u64,
    /// One rule per fault.
    pub rules: BTreeMap<Fault, Rule>,
    /// While this file exists its content is in force instead, and read again when it changes.
    pub file: Option<PathBuf>,
}

impl FaultPlan {
    /// What it injects, for a person.
    pub fn summary(&self) -> String {
        let mut names: Vec<_> = self.rules.keys().map(|fault| fault.name().to_owned()).collect();
        names.extend(self.file.iter().map(|file| format!("what {} says", file.display())));
        names.join(", ")
    }
}
