//! Patterns that degrees and connection tell: pairs, all-to-all, ring, chain, star, tree.

use vreserve_sdk::model::Pattern;

use super::graph::Part;
use super::tolerance;

/// The pattern, and how many edges are wrong in it; none if it is none of these.
pub(super) fn name(part: &Part) -> Option<(usize, Pattern)> {
    let (guests, edges) = (part.guests(), part.edges.len());
    let has_only_degrees = |low, high| part.degrees().all(|degree| (low..=high).contains(&degree));
    if has_only_degrees(1, 1) {
        return Some((0, Pattern::Pairs));
    }
    let all = guests * (guests - 1) / 2;
    if edges == all {
        return Some((0, Pattern::AllToAll));
    }
    if edges <= guests && part.is_connected() {
        let exact = match edges {
            _ if edges == guests && has_only_degrees(2, 2) => Some(Pattern::Ring),
            _ if edges + 1 != guests => None,
            _ if has_only_degrees(1, 2) => Some(Pattern::Chain),
            _ if part.degrees().any(|degree| degree == guests - 1) => Some(Pattern::Star),
            _ => Some(Pattern::Tree),
        };
        if let Some(pattern) = exact {
            return Some((0, pattern));
        }
    }
    let missing = all - edges;
    // Nobody may be left out of it: what lacks one guest's edges is a smaller shape and a stranger.
    if missing <= tolerance(guests, all) && part.degrees().all(|degree| degree * 3 >= guests * 2) {
        return Some((missing, Pattern::AllToAll));
    }
    let is_hub = |degree| degree == guests - 1;
    let beside_the_hub = (edges + 1).saturating_sub(guests);
    let has_hub = part.degrees().filter(|degree| is_hub(*degree)).count() == 1;
    (has_hub && beside_the_hub <= tolerance(guests, guests - 1)).then_some((beside_the_hub, Pattern::Star))
}
