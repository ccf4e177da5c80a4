//! Which node each guest sits behind.

use std::collections::{BTreeMap, BTreeSet};

use vreserve_model::MacAddr;

/// The directory of guests. A guest that two nodes list belongs to the one that listed it last; if that one
/// withdraws it, to the other again.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestDirectory {
    /// The nodes that list a guest, in the order in which they began to; the last one has it.
    claims: BTreeMap<MacAddr, Vec<String>>,
    by_node: BTreeMap<String, BTreeSet<MacAddr>>,
}

/// What a new list changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GuestChange {
    pub(super) is_changed: bool,
    /// Guests that were another node's until now, with that node.
    pub(super) moved: Vec<(MacAddr, String)>,
    /// Entries that are no station's address, or more than the limit.
    pub(super) ignored: usize,
}

impl GuestDirectory {
    /// The node that has `guest`.
    pub(super) fn node_of(&self, guest: MacAddr) -> Option<&str> {
        self.claims.get(&guest)?.last().map(String::as_str)
    }

    /// Every guest with its node, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MacAddr, &str)> {
        self.claims.iter().filter_map(|(guest, nodes)| Some((*guest, nodes.last()?.as_str())))
    }

    /// Replaces the list of one node. Only an entry that its last list did not have is a claim: a node that
    /// repeats its list does not take back a guest that has moved on.
    pub(super) fn replace(&mut self, node: &str, listed: &[MacAddr], limit: usize) -> GuestChange {
        let stations = listed.iter().copied().filter(|guest| guest.is_station());
        let new: BTreeSet<_> = stations.collect::<BTreeSet<_>>().into_iter().take(limit).collect();
        let old = self.by_node.remove(node).unwrap_or_default();
        let mut change = GuestChange {
            is_changed: new != old,
            ignored: listed.iter().collect::<BTreeSet<_>>().len() - new.len(),
            ..GuestChange::default()
        };
        for guest in old.difference(&new) {
            self.withdraw(node, *guest);
        }
        for guest in new.difference(&old) {
            change.moved.extend(self.node_of(*guest).map(|from| (*guest, from.to_owned())));
            self.claims.entry(*guest).or_default().push(node.into());
        }
        if !new.is_empty() {
            self.by_node.insert(node.into(), new);
        }
        change
    }

    /// Forgets a node.
    pub(super) fn remove_node(&mut self, node: &str) {
        self.replace(node, &[], 0);
    }

    fn withdraw(&mut self, node: &str, guest: MacAddr) {
        if let Some(nodes) = self.claims.get_mut(&guest) {
            nodes.retain(|name| name != node);
            if nodes.is_empty() {
                self.claims.remove(&guest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const N: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn the_latest_claim_wins_and_a_repeated_list_is_no_claim() {
        let mut guests = GuestDirectory::default();
        assert!(guests.replace("a", &[M], 9).is_changed);
        assert_eq!(guests.replace("b", &[M], 9).moved, [(M, "a".to_owned())]);
        assert_eq!(guests.node_of(M), Some("b"));
        assert!(guests.replace("a", &[M, N], 9).moved.is_empty());
        assert_eq!(guests.node_of(M), Some("b"));
        assert_eq!(guests.iter().collect::<Vec<_>>(), [(M, "b"), (N, "a")]);
        guests.replace("b", &[], 9);
        assert_eq!(guests.node_of(M), Some("a"), "the node that still lists it has it again");
        guests.remove_node("a");
        assert_eq!(guests.iter().count(), 0);
    }

    #[test]
    fn group_addresses_and_too_many_guests_are_ignored() {
        let mut guests = GuestDirectory::default();
        let change = guests.replace("a", &[M, N, MacAddr::BROADCAST, MacAddr::ZERO], 1);
        assert_eq!(change.ignored, 3);
        assert_eq!(guests.iter().count(), 1);
    }
}
