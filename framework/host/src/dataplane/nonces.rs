//! Nonces of signals: what an acknowledgement or a reply must repeat.

/// Numbers that nobody off the path can guess: splitmix64 over a random secret.
pub(super) struct Nonces(u64);

impl Nonces {
    /// Nonces from a random secret.
    pub(super) fn new(secret: u64) -> Self {
        Nonces(secret)
    }

    /// The next one.
    pub(super) fn fresh(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
