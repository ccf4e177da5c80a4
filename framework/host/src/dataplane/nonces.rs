//! Nonces of signals: what an acknowledgement or a reply must repeat, and which worker asked.

/// The low bits of a nonce name the worker that it is from: answers come over whatever lane the far node's
/// own worker has.
const WORKER_BITS: u32 = 6;
/// The most workers that nonces can name.
pub const MAX_WORKERS: usize = 1 << WORKER_BITS;

/// Numbers that nobody off the path can guess: splitmix64 over a random secret, less the worker's bits.
pub(super) struct Nonces {
    state: u64,
    worker: u64,
}

impl Nonces {
    /// Nonces of a worker (below [`MAX_WORKERS`]) from a random secret.
    pub(super) fn new(secret: u64, worker: usize) -> Self {
        debug_assert!(worker < MAX_WORKERS, "worker {worker} has a number in a nonce");
        Nonces { state: secret, worker: worker as u64 }
    }

    /// The next one.
    pub(super) fn fresh(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & !(MAX_WORKERS as u64 - 1) | self.worker
    }
}

/// The worker whose nonce it is, if it is one of ours.
pub(super) fn worker_of(nonce: u64) -> usize {
    (nonce & (MAX_WORKERS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_leads_back_to_its_worker() {
        for worker in [0, 1, 63] {
            let mut nonces = Nonces::new(7, worker);
            let (one, two) = (nonces.fresh(), nonces.fresh());
            assert_ne!(one, two);
            assert_eq!((worker_of(one), worker_of(two)), (worker, worker));
        }
    }
}
