//! What one must know, and prove, before a node spends a key exchange on a handshake.
//!
//! `mac1` shows that the sender knows the receiver's public key: strangers who scan do not. Under load a
//! cookie, sealed to the initiation that asked for it, has the sender prove that it receives at its address;
//! `mac2` is that proof. Both as in WireGuard (§5.4.4 and §5.4.7), with HMAC-SHA256.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;

use super::wire::{COOKIE, MAC, TAG};

/// A message authentication code.
pub(super) type Mac = [u8; MAC];

/// Whether two codes are the same, in constant time.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// The code of `bytes` under a cookie.
pub(super) fn mac2(cookie: &[u8; COOKIE], bytes: &[u8]) -> Mac {
    sign(&hmac::Key::new(hmac::HMAC_SHA256, cookie), bytes)
}

/// The first 16 bytes of HMAC-SHA256.
pub(super) fn sign(key: &hmac::Key, bytes: &[u8]) -> Mac {
    hmac::sign(key, bytes).as_ref()[..MAC].try_into().expect("HMAC-SHA256 has 32 bytes")
}

/// The keys that follow from a node's public key.
pub(super) struct Door {
    mac1: hmac::Key,
    cookie: hmac::Key,
}

impl Door {
    pub(super) fn of(public: &[u8; 32]) -> Self {
        let key = |label: &[u8]| {
            let mut context = Context::new(&SHA256);
            context.update(label);
            context.update(public);
            hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref())
        };
        Door { mac1: key(b"vreserve link 1 mac1"), cookie: key(b"vreserve link 1 cookie") }
    }

    /// The code that a message to this node carries over all that is in front of it.
    pub(super) fn mac1(&self, bytes: &[u8]) -> Mac {
        sign(&self.mac1, bytes)
    }

    /// Seals the cookie for the sender of the message with this `mac1`.
    pub(super) fn seal_cookie(
        &self,
        salt: &[u8; 16],
        mac1: &Mac,
        cookie: [u8; COOKIE],
    ) -> [u8; COOKIE + TAG] {
        let mut sealed = [0; COOKIE + TAG];
        let (text, tag) = sealed.split_at_mut(COOKIE);
        text.copy_from_slice(&cookie);
        self.cookie_key(salt, mac1)
            .seal_in_place_scatter(zero_nonce(), Aad::from(mac1), text, &[], tag)
            .expect("the tag has its length");
        sealed
    }

    /// Opens a cookie that this node sent for the message with this `mac1`.
    pub(super) fn open_cookie(
        &self,
        salt: &[u8],
        mac1: &Mac,
        sealed: &[u8; COOKIE + TAG],
    ) -> Option<[u8; COOKIE]> {
        let mut text = *sealed;
        let key = self.cookie_key(salt, mac1);
        let text = key.open_in_place(zero_nonce(), Aad::from(mac1), &mut text).ok()?;
        text[..].try_into().ok()
    }

    /// A key for one message: its salt is random.
    fn cookie_key(&self, salt: &[u8], mac1: &Mac) -> LessSafeKey {
        let mut context = hmac::Context::with_key(&self.cookie);
        context.update(salt);
        context.update(mac1);
        let key = UnboundKey::new(&CHACHA20_POLY1305, context.sign().as_ref()).expect("both have 32 bytes");
        LessSafeKey::new(key)
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
