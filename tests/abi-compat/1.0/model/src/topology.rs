//! What inference makes of the traffic: demand per pair, and the pattern it forms.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BitsPerSecond, MacAddr};

/// Smoothed demand of one ordered (source, destination) pair of guests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// Smoothed rate of what the pair offers.
    pub rate: BitsPerSecond,
    /// Smoothed frames per second.
    pub frames_per_second: f64,
    /// How sure inference is that this is an edge of the application's topology, 0 to 1; 0 marks a pair
    /// that was pruned and is listed only for the record.
    pub confidence: f64,
}

/// The named shape of an application's topology (Gupta and Dinda, JSSPP 2004).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pattern {
    /// No edge is left after pruning.
    Silent,
    /// Disjoint pairs that talk to one another only.
    Pairs,
    /// Every guest talks to every other.
    AllToAll,
    /// One cycle through all guests.
    Ring,
    /// One open path through all guests (a bus).
    Chain,
    /// One guest talks to all others, which do not talk among themselves.
    Star,
    /// Connected and without a cycle, none of the above.
    Tree,
    /// A grid of two dimensions, each guest with its next neighbours.
    #[serde(rename = "mesh-2d")]
    Mesh2d,
    /// A grid of three dimensions.
    #[serde(rename = "mesh-3d")]
    Mesh3d,
    /// A grid of two dimensions that closes on itself in both.
    #[serde(rename = "torus-2d")]
    Torus2d,
    /// A grid of three dimensions that closes on itself in all.
    #[serde(rename = "torus-3d")]
    Torus3d,
    /// A cube of three or more dimensions, with a guest at each corner.
    Hypercube,
    /// A grid of two dimensions in which each guest exchanges with all around it, across corners too.
    NeighbourExchange,
    /// A shape without a name here, or with one that came later.
    #[serde(other)]
    Irregular,
}

impl Pattern {
    /// All names.
    pub const ALL: [Pattern; 14] = [
        Pattern::Silent,
        Pattern::Pairs,
        Pattern::AllToAll,
        Pattern::Ring,
        Pattern::Chain,
        Pattern::Star,
        Pattern::Tree,
        Pattern::Mesh2d,
        Pattern::Mesh3d,
        Pattern::Torus2d,
        Pattern::Torus3d,
        Pattern::Hypercube,
        Pattern::NeighbourExchange,
        Pattern::Irregular,
    ];
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::Silent => "silent",
            Pattern::Pairs => "pairs",
            Pattern::AllToAll => "all-to-all",
            Pattern::Ring => "ring",
            Pattern::Chain => "chain",
            Pattern::Star => "star",
            Pattern::Tree => "tree",
            Pattern::Mesh2d => "mesh-2d",
            Pattern::Mesh3d => "mesh-3d",
            Pattern::Torus2d => "torus-2d",
            Pattern::Torus3d => "torus-3d",
            Pattern::Hypercube => "hypercube",
            Pattern::NeighbourExchange => "neighbour-exchange",
            Pattern::Irregular => "irregular",
        })
    }
}

/// What the lead's inference believes at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopologyReport {
    /// The pattern that the edges form.
    pub pattern: Pattern,
    /// True while inference has seen the whole window and the edges have held still.
    pub settled: bool,
    /// Nodes whose reports are overdue: the view is partial.
    #[serde(default)]
    pub silent_nodes: Vec<String>,
    /// Demand per ordered pair, highest rate first. Crosses the plugin boundary as flat records, not in
    /// this document, because it may hold a million pairs.
    #[serde(default)]
    pub demands: Vec<Demand>,
}

impl TopologyReport {
    /// A view without any traffic.
    pub fn silent() -> Self {
        TopologyReport {
            pattern: Pattern::Silent,
            settled: false,
            silent_nodes: Vec::new(),
            demands: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_one_from_a_later_version_is_irregular() {
        for pattern in Pattern::ALL {
            let text = serde_json::to_string(&pattern).unwrap();
            assert_eq!(text, format!("\"{pattern}\""));
            assert_eq!(serde_json::from_str::<Pattern>(&text).unwrap(), pattern);
        }
        assert_eq!(serde_json::from_str::<Pattern>("\"butterfly\"").unwrap(), Pattern::Irregular);
    }
}
