//! The replay window: which of a session's last counters have been received (RFC 6479).

use super::SecureDrop;

const BLOCKS: u64 = 128;
/// Counters that may be that far behind the greatest one: the bitmap less the block that is being filled.
pub(super) const REACH: u64 = (BLOCKS - 1) * 64;

/// A sliding bitmap that never shifts: blocks are cleared as the greatest counter moves into them.
#[derive(Debug)]
pub(super) struct Window {
    /// One more than the greatest counter received.
    next: u64,
    blocks: [u64; BLOCKS as usize],
}

impl Window {
    pub(super) fn new() -> Self {
        Window { next: 0, blocks: [0; BLOCKS as usize] }
    }

    /// Whether a datagram with this counter may still come.
    #[inline]
    pub(super) fn check(&self, counter: u64) -> Result<(), SecureDrop> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > REACH {
            return Err(SecureDrop::Late);
        }
        let seen = self.blocks[block(counter)] & bit(counter) != 0;
        if seen { Err(SecureDrop::Replayed) } else { Ok(()) }
    }

    /// Notes that an authentic datagram with this counter, which [`Window::check`] allowed, was received.
    #[inline]
    pub(super) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let reached = self.next.saturating_sub(1) / 64;
            let ahead = (counter / 64 - reached).min(BLOCKS);
            for step in 1..=ahead {
                self.blocks[((reached + step) % BLOCKS) as usize] = 0;
            }
            self.next = counter + 1;
        }
        self.blocks[block(counter)] |= bit(counter);
    }
}

fn block(counter: u64) -> usize {
    (counter / 64 % BLOCKS) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What the window promises, without a bitmap.
    #[derive(Default)]
    struct Reference {
        seen: BTreeSet<u64>,
    }

    impl Reference {
        fn check(&self, counter: u64) -> Result<(), SecureDrop> {
            let next = self.seen.last().map_or(0, |last| last + 1);
            if counter + REACH < next {
                Err(SecureDrop::Late)
            } else if self.seen.contains(&counter) {
                Err(SecureDrop::Replayed)
            } else {
                Ok(())
            }
        }
    }

    /// Counters that mostly advance, with steps over some datagrams, blocks, and the whole window.
    fn steps() -> impl Strategy<Value = Vec<(i64, bool)>> {
        let step = prop_oneof![
            6 => -70_i64..70,
            2 => -(REACH as i64) - 100..200,
            1 => 0_i64..3 * REACH as i64,
        ];
        proptest::collection::vec((step, any::<bool>()), 1..400)
    }

    proptest! {
        #[test]
        fn the_window_equals_a_set_of_all_counters(steps in steps()) {
            let (mut window, mut reference) = (Window::new(), Reference::default());
            let mut at = 0_i64;
            for (step, is_authentic) in steps {
                at = (at + step).max(0);
                let counter = at as u64;
                prop_assert_eq!(window.check(counter), reference.check(counter), "counter {}", counter);
                if window.check(counter).is_ok() && is_authentic {
                    window.mark(counter);
                    reference.seen.insert(counter);
                }
            }
        }
    }

    /// 8 MiB of socket buffer hold fewer datagrams of full size.
    const _: () = assert!(REACH >= 8_000);

    #[test]
    fn the_window_ends_where_its_reach_does() {
        let mut window = Window::new();
        window.mark(REACH);
        assert_eq!(window.check(1), Ok(()));
        assert_eq!(window.check(0), Err(SecureDrop::Late));
    }
}
