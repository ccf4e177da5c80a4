//! The datagrams' fixed parts: kinds, lengths, fields.

/// Bytes in front of a sealed frame.
pub const HEADER: usize = 16;
/// Bytes behind a sealed frame: the authentication tag.
pub const TAG: usize = 16;
/// Bytes that a datagram has more than its frame.
pub const OVERHEAD: usize = HEADER + TAG;

/// Bytes of an Ethernet header: no frame is shorter.
const ETHERNET_HEADER: usize = 14;
/// The shortest data datagram.
pub(super) const LEAST_DATA: usize = OVERHEAD + ETHERNET_HEADER;

/// Kind, lane, reserved, index: the front of every datagram.
pub(super) const FRONT: usize = 8;
/// Bytes of a message authentication code.
pub(super) const MAC: usize = 16;
/// The initiation's payload: timestamp 8, number of lanes 1, cipher preference 1.
pub(super) const INITIATION_PAYLOAD: usize = 12;
/// Noise IK, message 1: ephemeral 32, static 32 + 16, payload + 16.
pub(super) const NOISE_1: usize = 32 + 48 + INITIATION_PAYLOAD + 16;
/// An initiation. Longer than its response and than a cookie, so that nobody can have a node amplify.
pub(super) const INITIATION: usize = FRONT + NOISE_1 + 2 * MAC;
/// The response's payload: index 4, lane 1, number of lanes 1, cipher preference 1.
pub(super) const RESPONSE_PAYLOAD: usize = 8;
/// Noise IK, message 2: ephemeral 32, payload + 16.
pub(super) const NOISE_2: usize = 32 + RESPONSE_PAYLOAD + 16;
/// A response.
pub(super) const RESPONSE: usize = FRONT + NOISE_2 + MAC;
/// Bytes of a cookie.
pub(super) const COOKIE: usize = 16;
/// A cookie reply: salt, sealed cookie.
pub(super) const COOKIE_REPLY: usize = FRONT + 16 + COOKIE + TAG;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A handshake's first message.
    Initiation = 1,
    /// A handshake's second message.
    Response = 2,
    /// The demand to prove one's address before a handshake.
    Cookie = 3,
    /// A frame.
    Data = 4,
    /// What the nodes' cores tell each other within a session: keep-alive, probe, acknowledgement.
    Control = 5,
}

impl Kind {
    /// The datagram's kind, if its front can be one's.
    pub fn of(datagram: &[u8]) -> Option<Kind> {
        let (&kind, length) = (datagram.first()?, datagram.len());
        match kind {
            1 if length == INITIATION => Some(Kind::Initiation),
            2 if length == RESPONSE => Some(Kind::Response),
            3 if length == COOKIE_REPLY => Some(Kind::Cookie),
            4 if length >= LEAST_DATA => Some(Kind::Data),
            5 if length >= OVERHEAD => Some(Kind::Control),
            _ => None,
        }
    }
}

/// The front of a datagram.
pub(super) fn front(kind: Kind, lane: u8, index: u32) -> [u8; FRONT] {
    let [a, b, c, d] = index.to_le_bytes();
    [kind as u8, lane, 0, 0, a, b, c, d]
}

/// The index of a datagram that is at least `FRONT` long.
#[inline]
pub(super) fn index(datagram: &[u8]) -> u32 {
    u32::from_le_bytes(datagram[4..8].try_into().expect("four bytes"))
}

/// The counter of a datagram that is at least `HEADER` long.
#[inline]
pub(super) fn counter(datagram: &[u8]) -> u64 {
    u64::from_le_bytes(datagram[8..16].try_into().expect("eight bytes"))
}
