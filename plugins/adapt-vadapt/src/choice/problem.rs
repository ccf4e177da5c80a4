//! The problem: demand between nodes, the links E that it could have, and what they may use.

/// What flows between two nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePairDemand {
    /// Its nodes, by number.
    pub ends: [usize; 2],
    /// The larger direction, in bit/s.
    pub demand: f64,
    /// What a link of its own is worth beside what it carries, in bit/s: the latency that it saves.
    pub worth: f64,
    /// Factor on the worth of its own link: over 1 for one that is there already, so that it is not given up
    /// for a small gain.
    pub bias: f64,
    /// Whether two circuits by way of a third node would do.
    pub may_relay: bool,
}

/// One link that a pair could have.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The pair, by number.
    pub pair: usize,
    /// The network, by number.
    pub network: usize,
    /// The rate of its circuit, in bit/s.
    pub rate: f64,
    /// What it costs, in the operator's unit.
    pub cost: f64,
    /// Whether it is there and must stay.
    pub is_held: bool,
}

/// What one network has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// Circuits; none if there is no limit.
    pub circuits: Option<usize>,
    /// The sum of their rates.
    pub rate: Option<f64>,
}

/// What all circuits together may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Circuits: VADAPT's k.
    pub links: usize,
    /// The sum of their rates; none if there is no limit.
    pub rate: Option<f64>,
    /// The sum of their costs.
    pub cost: Option<f64>,
}

/// Everything that a selection depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// Pairs with demand, largest first where that matters to nobody else.
    pub pairs: Vec<NodePairDemand>,
    /// E. The edges of one pair are in the order in which its networks are preferred.
    pub edges: Vec<Edge>,
    /// The networks' rooms.
    pub rooms: Vec<Room>,
    /// The budgets.
    pub limits: Limits,
    /// What a node's star link carries, in bit/s; none if that is not known: the star is then worth nothing, and a
    /// circuit whatever it carries.
    pub star_rate: Option<f64>,
    /// What else each node's star link carries, by node; nodes past its end carry nothing else.
    pub others: Vec<f64>,
    /// How many circuits in a row a pair may take: 1 or 2.
    pub max_hops: u32,
}

impl Problem {
    /// True if circuits are counted and nothing else is limited or shared: the largest gains are then the best, as in
    /// any matroid.
    pub(super) fn is_solved_by_greed(&self) -> bool {
        let counts_only = self.limits.rate.is_none()
            && self.limits.cost.is_none()
            && self.rooms.iter().all(|room| room.rate.is_none());
        let has_one_count = self.rooms.len() <= 1 || self.rooms.iter().all(|room| room.circuits.is_none());
        counts_only && has_one_count && self.star_rate.is_none() && self.max_hops < 2
    }

    /// The number of nodes named by pairs.
    pub(super) fn nodes(&self) -> usize {
        self.pairs.iter().flat_map(|pair| pair.ends).max().map_or(0, |most| most + 1)
    }

    /// What an edge's own pair gains by it at most: what it carries and is worth, less what the star would carry.
    pub(super) fn gain(&self, edge: &Edge, on_star: f64) -> f64 {
        let pair = &self.pairs[edge.pair];
        pair.bias * (pair.demand.min(edge.rate) + pair.worth) - on_star
    }
}
