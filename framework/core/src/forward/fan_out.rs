//! Target lists of verdicts that send one frame to several places, each kept once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::rules::Target;

/// Names a list of at least two targets; good for [`Forwarder::targets`](super::Forwarder::targets)
/// until the next install or report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FanOut(u32);

/// The lists in use.
#[derive(Debug, Default)]
pub(super) struct FanOuts {
    /// The name of the first list. Names are not given again after a clear, so that a stale one finds
    /// nothing instead of another list.
    base: u32,
    lists: Vec<Arc<[Target]>>,
    names: BTreeMap<Arc<[Target]>, FanOut>,
}

impl FanOuts {
    /// The name of a list, the same for the same targets.
    pub(super) fn intern(&mut self, targets: &[Target]) -> FanOut {
        if let Some(name) = self.names.get(targets) {
            return *name;
        }
        let name = FanOut(self.base.wrapping_add(self.lists.len() as u32));
        let list: Arc<[Target]> = targets.into();
        self.lists.push(Arc::clone(&list));
        self.names.insert(list, name);
        name
    }

    /// The targets of a name, none if it is stale.
    pub(super) fn targets(&self, name: FanOut) -> &[Target] {
        let at = name.0.wrapping_sub(self.base) as usize;
        self.lists.get(at).map_or(&[], |list| list)
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    /// Forgets all lists.
    pub(super) fn clear(&mut self) {
        self.base = self.base.wrapping_add(self.lists.len() as u32);
        self.lists.clear();
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InterfaceId;

    #[test]
    fn equal_lists_share_a_name_and_stale_names_find_nothing() {
        let list = |ids: &[u16]| ids.iter().map(|id| Target::Interface(InterfaceId(*id))).collect::<Vec<_>>();
        let mut lists = FanOuts::default();
        let one = lists.intern(&list(&[1, 2]));
        let two = lists.intern(&list(&[1, 3]));
        assert_eq!(lists.intern(&list(&[1, 2])), one);
        assert_eq!(lists.targets(two), list(&[1, 3]));
        lists.clear();
        let three = lists.intern(&list(&[4, 5]));
        assert_eq!((lists.targets(one), lists.targets(two)), (&[][..], &[][..]));
        assert_eq!(lists.targets(three), list(&[4, 5]));
    }
}
