//! The way of a pair beside the star: over one circuit, or over two with a node between that relays its frames.

/// The circuits that a pair's frames take one after the other, by whatever names them.
///
/// There are never more than two: the way over the proxy has no more either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route<T> {
    /// Out of the ingress node.
    pub first: T,
    /// Out of the relay, which is the far end of the first; none if the first leads to the egress node.
    pub onward: Option<T>,
}

impl<T> Route<T> {
    /// Over one circuit.
    pub const fn direct(first: T) -> Self {
        Route { first, onward: None }
    }

    /// True if a node between relays the frames.
    pub const fn is_relayed(&self) -> bool {
        self.onward.is_some()
    }

    /// Each circuit, in the order in which frames take them.
    pub fn hops(&self) -> impl Iterator<Item = &T> {
        [&self.first].into_iter().chain(&self.onward)
    }

    /// Likewise, to be changed.
    pub fn hops_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.first].into_iter().chain(&mut self.onward)
    }

    /// The same route by other names; none if one of them has none.
    pub fn map<U>(&self, name: impl Fn(&T) -> Option<U>) -> Option<Route<U>> {
        let onward = match &self.onward {
            Some(onward) => Some(name(onward)?),
            None => None,
        };
        Some(Route { first: name(&self.first)?, onward })
    }
}

impl<T: PartialEq> Route<T> {
    /// True if it takes this circuit.
    pub fn takes(&self, circuit: &T) -> bool {
        self.hops().any(|hop| hop == circuit)
    }
}
