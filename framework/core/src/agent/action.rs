//! What the agent wants done.

use std::sync::Arc;

use crate::ids::{LinkId, SwitchId};
use crate::lead::PairOutcome;
use crate::overlay::OverlayLink;
use crate::rules::{RuleSet, RuleSetError};
use crate::switch::SwitchSpec;

/// A cut-over to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutoverSpec {
    /// The pair, the circuit and the direction.
    pub switch: SwitchSpec,
    /// The link that stands for the star in it.
    pub star: LinkId,
}

/// One effect for the host to carry out, in the order given.
#[derive(Clone, Debug)]
pub enum Action {
    /// Put rules in force, begin the cut-overs that they refer to, and forget ended ones, in one step.
    Install {
        /// The rules.
        rules: Arc<RuleSet>,
        /// Cut-overs to begin.
        begin: Vec<CutoverSpec>,
        /// Cut-overs that no rule refers to any more.
        retire: Vec<SwitchId>,
    },
    /// Rules could not be built: a defect. Those in force stay.
    NotInstalled(RuleSetError),
    /// Set up a link, and answer with `handle_link_added`.
    AddLink(OverlayLink),
    /// Take down a link.
    RemoveLink(LinkId),
    /// The old path of a cut-over is dead: it goes to the new one at once.
    Release(SwitchId),
    /// The new path of a cut-over is dead: it goes back to the old one.
    Abandon(SwitchId),
    /// Keep the star of the overlay in force for the next start, if it is another than the one kept.
    Keep,
    /// Tell the lead that a revision was set up, or could not be.
    Applied {
        /// Which.
        revision: u64,
        /// Why not.
        error: Option<String>,
    },
    /// Tell the lead how a cut-over ended.
    Switched {
        /// The revision that asked for it.
        revision: u64,
        /// How.
        outcome: PairOutcome,
    },
    /// Tell the lead that a link came up or went down.
    LinkState {
        /// Which.
        link: LinkId,
        /// Which of both.
        up: bool,
    },
    /// Tell the lead that a circuit is no longer worth its place; its pairs are on the star already.
    LinkDegraded {
        /// Which.
        link: LinkId,
        /// Why, in one line.
        reason: String,
    },
}
