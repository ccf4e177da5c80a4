//! Which lambda to ask for. Pure.
//!
//! A path has one lambda on all its fibres, so a lambda is free for it only if it is free on each. Switches are
//! what is known of a way: two paths share a fibre if the same two switches follow one another on both.
//!
//! Lambdas that are in use elsewhere, and free on this way, come first: those that are free everywhere are kept
//! for paths over many fibres, which need one that is free all the way.

use std::collections::BTreeSet;

/// A path that occupies a lambda, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occupant {
    pub(crate) lambda: u16,
    /// Empty if unknown.
    pub(crate) switches: Vec<String>,
}

/// The allowed lambdas in the order in which to ask for them. `way` are the switches between the two ends, empty
/// if unknown. Never one that is quarantined; one that is believed to be busy comes last, as beliefs age.
pub(crate) fn candidates(
    allowed: &[u16],
    quarantined: &BTreeSet<u16>,
    occupants: &[Occupant],
    way: &[String],
) -> Vec<u16> {
    let mut ranked: Vec<(u8, u16)> = allowed
        .iter()
        .filter(|lambda| !quarantined.contains(lambda))
        .map(|lambda| (rank(*lambda, occupants, way), *lambda))
        .collect();
    // Stable: within a rank the operator's order holds.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, lambda)| lambda).collect()
}

fn rank(lambda: u16, occupants: &[Occupant], way: &[String]) -> u8 {
    const USED_ELSEWHERE: u8 = 0;
    const UNUSED: u8 = 1;
    const UNSURE: u8 = 2;
    const BUSY: u8 = 3;
    let on_it = || occupants.iter().filter(|occupant| occupant.lambda == lambda);
    if on_it().next().is_none() {
        return UNUSED;
    }
    if on_it().any(|occupant| shares_fibre(&occupant.switches, way)) {
        return BUSY;
    }
    let is_known = !way.is_empty() && on_it().all(|occupant| !occupant.switches.is_empty());
    if is_known { USED_ELSEWHERE } else { UNSURE }
}

fn shares_fibre(one: &[String], other: &[String]) -> bool {
    let is_same = |a: &[String], b: &[String]| a == b || (a[0] == b[1] && a[1] == b[0]);
    one.windows(2).any(|fibre| other.windows(2).any(|its| is_same(fibre, its)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn way(switches: &str) -> Vec<String> {
        switches.split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn on(lambda: u16, switches: &str) -> Occupant {
        Occupant { lambda, switches: way(switches) }
    }

    #[test]
    fn lambdas_in_use_on_other_fibres_come_first_and_those_free_all_over_are_kept() {
        let occupants = [on(1, "a b"), on(2, "c d"), on(3, "b c e")];
        let all = [1, 2, 3, 4];
        assert_eq!(candidates(&all, &BTreeSet::new(), &occupants, &way("b a")), [2, 3, 4, 1]);
        assert_eq!(candidates(&all, &BTreeSet::new(), &occupants, &way("a b c")), [2, 4, 1, 3]);
        assert_eq!(candidates(&all, &BTreeSet::from([2, 4]), &occupants, &way("a b c")), [1, 3]);
        assert_eq!(candidates(&all, &BTreeSet::new(), &occupants, &way("a")), [1, 2, 3, 4], "one switch");
    }

    #[test]
    fn where_the_way_is_unknown_unused_ones_come_first() {
        let occupants = [on(1, "a b"), on(3, "")];
        assert_eq!(candidates(&[3, 1, 2], &BTreeSet::new(), &occupants, &[]), [2, 3, 1]);
        assert_eq!(candidates(&[3, 1, 2], &BTreeSet::new(), &occupants, &way("b c")), [1, 2, 3]);
    }

    proptest! {
        /// Whatever is known, every lambda that may be asked for is tried, once.
        #[test]
        fn nothing_is_left_out(
            quarantined in proptest::collection::btree_set(1_u16..9, 0..4),
            occupants in proptest::collection::vec((1_u16..9, "([abcd] ){0,4}"), 0..6),
            this in "([abcd] ){0,4}",
        ) {
            let occupants: Vec<_> = occupants.iter().map(|(lambda, switches)| on(*lambda, switches)).collect();
            let mut tried = candidates(&[5, 4, 3, 2, 1], &quarantined, &occupants, &way(&this));
            tried.sort_unstable();
            let expected: Vec<u16> = (1..=5).filter(|lambda| !quarantined.contains(lambda)).collect();
            prop_assert_eq!(tried, expected);
        }
    }
}
