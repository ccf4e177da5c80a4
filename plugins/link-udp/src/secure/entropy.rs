//! Where random bytes come from: a parameter, so that tests repeat.

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills `bytes` with bytes that nobody else can foresee.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The system's generator.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the system's generator is always there once seeded");
    }
}

/// `N` random bytes.
pub(super) fn bytes<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
