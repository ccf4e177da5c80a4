//! The knock: who dials shows in the first message of TLS that it knows the public key of the node it dials. Nobody else
//! gets a byte back. Pure.
//!
//! It stands in the server name, where every TLS client has one: 16 random bytes and an HMAC over them, in hexadecimal,
//! as `<random>.<code>.vreserve`. Whoever overhears one may use it again, and gets what any TLS server would say to it.

use std::fmt::Write;

use aws_lc_rs::{constant_time, digest, hmac};

const CONTEXT: &[u8] = b"vreserve link-tcp knock 1";
const DOMAIN: &str = "vreserve";
/// Bytes of the random part, and of the code.
const PART: usize = 16;

/// Makes and checks knocks on one node.
pub(crate) struct Knock(hmac::Key);

impl Knock {
    /// For the node that has this public key.
    pub(crate) fn on(public: &[u8; 32]) -> Self {
        let secret = digest::digest(&digest::SHA256, &[CONTEXT, public].concat());
        Knock(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()))
    }

    /// A new one.
    pub(crate) fn name(&self, random: [u8; PART]) -> String {
        format!("{}.{}.{DOMAIN}", hexadecimal(&random), hexadecimal(&self.code(&random)))
    }

    /// Whether a server name is one.
    pub(crate) fn is_in(&self, name: &str) -> bool {
        let mut labels = name.split('.');
        let parts = (labels.next().and_then(octets), labels.next().and_then(octets));
        let is_ours = labels.next() == Some(DOMAIN) && labels.next().is_none();
        match parts {
            (Some(random), Some(code)) if is_ours => {
                constant_time::verify_slices_are_equal(&self.code(&random), &code).is_ok()
            }
            _ => false,
        }
    }

    fn code(&self, random: &[u8; PART]) -> [u8; PART] {
        let tag = hmac::sign(&self.0, random);
        *tag.as_ref().first_chunk().expect("a code of SHA-256 has 32 bytes")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn octets(text: &str) -> Option<[u8; PART]> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    let mut octets = [0; PART];
    if digits.len() != PART || !rest.is_empty() {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(digits) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_key_can_knock() {
        let door = Knock::on(&[7; 32]);
        let name = door.name([0xa5; 16]);
        assert!(door.is_in(&name));
        assert!(rustls::pki_types::ServerName::try_from(name.clone()).is_ok(), "{name}");
        assert!(!Knock::on(&[8; 32]).is_in(&name));
        let other =
            if name.starts_with('a') { name.replacen('a', "b", 1) } else { name.replacen('b', "a", 1) };
        for wrong in ["", "vreserve", "..vreserve", "example.org", &other, &format!("{name}.org"), &name[1..]]
        {
            assert!(!door.is_in(wrong), "{wrong}");
        }
    }
}
