//! Receiver indices: a session or pending handshake by the number that the far node's datagrams carry.

use vreserve_sdk::FarId;

use super::session::Session;

/// What an index stands for.
pub(super) enum Entry {
    /// A handshake that this far node has not answered yet.
    Pending(FarId),
    /// A session.
    Session(Box<Session>),
}

/// A slab. An index is a place in it (low 16 bits) and a random number drawn for each use of the place, so
/// that a stranger cannot foresee it, and what is left of an old session does not meet a new one.
pub(super) struct Indices {
    places: Vec<Option<(u32, Entry)>>,
    free: Vec<u16>,
}

impl Indices {
    pub(super) fn new() -> Self {
        Indices { places: Vec::new(), free: Vec::new() }
    }

    /// Puts in what `entry` makes of its index; `None` if all 65,536 places are taken.
    pub(super) fn insert(&mut self, random: u16, entry: impl FnOnce(u32) -> Entry) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u16::try_from(self.places.len()).ok()?;
                self.places.push(None);
                place
            }
        };
        let index = u32::from(random) << 16 | u32::from(place);
        self.places[usize::from(place)] = Some((index, entry(index)));
        Some(index)
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        let (taken_as, entry) = self.places.get(place(index))?.as_ref()?;
        (*taken_as == index).then_some(entry)
    }

    pub(super) fn session(&self, index: u32) -> Option<&Session> {
        match self.entry(index)? {
            Entry::Session(session) => Some(session),
            Entry::Pending(_) => None,
        }
    }

    #[inline]
    pub(super) fn session_mut(&mut self, index: u32) -> Option<&mut Session> {
        match self.places.get_mut(place(index))? {
            Some((taken_as, Entry::Session(session))) if *taken_as == index => Some(session),
            _ => None,
        }
    }

    /// Whose handshake is pending under this index.
    pub(super) fn pending(&self, index: u32) -> Option<FarId> {
        match self.entry(index)? {
            Entry::Pending(far) => Some(*far),
            Entry::Session(_) => None,
        }
    }

    /// Turns the pending handshake of this index into a session.
    pub(super) fn establish(&mut self, index: u32, session: Session) {
        if let Some(Some((taken_as, entry))) = self.places.get_mut(place(index))
            && *taken_as == index
        {
            *entry = Entry::Session(Box::new(session));
        }
    }

    /// Forgets an index; one that is not taken is ignored.
    pub(super) fn remove(&mut self, index: u32) {
        if self.entry(index).is_some() {
            self.places[place(index)] = None;
            self.free.push((index & 0xffff) as u16);
        }
    }
}

fn place(index: u32) -> usize {
    (index & 0xffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_under_another_index() {
        let mut indices = Indices::new();
        let first = indices.insert(0xaaaa, |_| Entry::Pending(FarId(1))).unwrap();
        assert_eq!((first, indices.pending(first)), (0xaaaa_0000, Some(FarId(1))));
        indices.remove(first);
        indices.remove(first);
        let second = indices.insert(0xbbbb, |_| Entry::Pending(FarId(2))).unwrap();
        assert_eq!(second, 0xbbbb_0000);
        assert_eq!((indices.pending(first), indices.pending(second)), (None, Some(FarId(2))));
        let third = indices.insert(0xbbbb, |_| Entry::Pending(FarId(3))).unwrap();
        assert_eq!(third, 0xbbbb_0001, "removed twice, but free once");
    }

    #[test]
    fn a_full_slab_refuses() {
        let mut indices = Indices::new();
        for _ in 0..=0xffff {
            assert!(indices.insert(1, |_| Entry::Pending(FarId(0))).is_some());
        }
        assert!(indices.insert(1, |_| Entry::Pending(FarId(0))).is_none());
    }
}
