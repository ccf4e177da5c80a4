//! A node's identity: an X25519 key pair in a file. The private half is wiped from memory that is given back.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
pub use vreserve_core::key::PublicKey;
use zeroize::Zeroizing;

/// The handshake of control sessions (docs/decisions/003-control-session.md): the node knows the proxy's key beforehand, proves its own
/// in the first message, and gets no answer if the proxy does not admit it.
pub const NOISE_PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// A node's key pair.
#[derive(Clone)]
pub struct KeyPair {
    /// The half that other nodes are told.
    pub public: PublicKey,
    /// The half that stays here.
    pub private: Zeroizing<[u8; 32]>,
}

/// Why a key cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not base64 of 32 bytes.
    #[error("not a key: expected base64 of 32 bytes (44 characters)")]
    Malformed,
    /// The file cannot be read or written.
    #[error("key file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the owner may read the file.
    #[error("key file {path} is readable by others (mode {mode:03o}); run chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public)
    }
}

fn decode(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| KeyError::Malformed)?;
    let key = bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
    Ok(Zeroizing::new(key))
}

impl KeyPair {
    /// A new key pair.
    pub fn generate() -> Self {
        let pattern = NOISE_PATTERN.parse().expect("the pattern is well formed");
        let pair = snow::Builder::new(pattern).generate_keypair().expect("the resolver has the primitives");
        let private = Zeroizing::new(pair.private);
        let private = private.as_slice().try_into().expect("an X25519 key has 32 bytes");
        let public = pair.public.try_into().expect("an X25519 key has 32 bytes");
        KeyPair { public: PublicKey(public), private: Zeroizing::new(private) }
    }

    /// Reads the private key from `path`.
    ///
    /// # Errors
    /// If the file cannot be read, is not a key, or may be read by others than its owner.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.display().to_string(), source };
        let mode = std::fs::metadata(path).map_err(file)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.display().to_string(), mode });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(file)?);
        let private = decode(&text)?;
        Ok(KeyPair { public: public_of(&private), private })
    }

    /// Writes the private key to a new file at `path`, readable by its owner only.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let file = |source| KeyError::File { path: path.display().to_string(), source };
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
        let text = Zeroizing::new(STANDARD.encode(*self.private));
        writeln!(out, "{}", *text).map_err(file)
    }
}

fn public_of(private: &[u8; 32]) -> PublicKey {
    use snow::params::DHChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("the resolver has Curve25519");
    dh.set(private);
    PublicKey(dh.pubkey().try_into().expect("an X25519 key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_key_reads_back_with_its_public_half() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let pair = KeyPair::generate();
        pair.save(&path).unwrap();
        let read = KeyPair::load(&path).unwrap();
        assert_eq!(read.public, pair.public);
        assert_eq!(read.public.to_string().parse::<PublicKey>().unwrap(), pair.public);
        assert!(pair.save(&path).is_err(), "an existing key is never overwritten");
    }

    #[test]
    fn an_exposed_key_file_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        KeyPair::generate().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(KeyPair::load(&path), Err(KeyError::Exposed { mode: 0o644, .. })));
    }
}
