//! Control sessions: Noise IK over TCP, carrying messages of any length.
//!
//! On the wire: each Noise message behind its length (u16, big endian). A message of ours is a u32 length
//! and that many bytes, cut into as many Noise messages as it takes. A stranger, or anybody who does not
//! finish the handshake properly, gets no byte back.

use std::io;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use snow::HandshakeState;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::keys::{KeyPair, NOISE_PATTERN, PublicKey};

/// The largest message taken from a far node.
const MAX_MESSAGE: usize = 64 << 20;
/// The largest Noise message, and the payload that fits beside its tag.
const MAX_NOISE: usize = 65_535;
const MAX_PAYLOAD: usize = MAX_NOISE - 16;
/// A handshake that takes longer is a stranger's.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Binds the handshake to this protocol and its version.
const PROLOGUE: &[u8] = b"vreserve control 1";

/// Why a session could not start or ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The TCP connection failed or was closed.
    #[error("connection")]
    Io(#[from] io::Error),
    /// The far end is not who it should be, or the stream was tampered with.
    #[error("handshake or decryption failed")]
    Noise(#[from] snow::Error),
    /// The far end proved a key that is not admitted.
    #[error("key {0} is not admitted")]
    NotAdmitted(PublicKey),
    /// The far end sent a message that is too long.
    #[error("message of {0} bytes is too long")]
    TooLong(usize),
    /// The handshake took too long.
    #[error("handshake timed out")]
    TimedOut,
}

/// The sending half of a session.
pub struct Sender {
    stream: OwnedWriteHalf,
    cipher: Cipher,
}

/// The receiving half of a session.
pub struct Receiver {
    stream: OwnedReadHalf,
    cipher: Cipher,
    /// Decrypted bytes that do not make a whole message yet.
    pending: Vec<u8>,
}

/// One direction's cipher. Noise's two directions are independent, so each half owns a stateless
/// transport and its own nonce.
struct Cipher {
    state: std::sync::Arc<snow::StatelessTransportState>,
    nonce: u64,
}

/// Starts a session as the node: `proxy` is the key that the far end must prove.
///
/// # Errors
/// If the far end cannot be reached, is silent, or is not the proxy.
pub async fn connect(
    mut stream: TcpStream,
    keys: &KeyPair,
    proxy: PublicKey,
) -> Result<(Sender, Receiver), SessionError> {
    let mut handshake = snow::Builder::new(NOISE_PATTERN.parse()?)
        .prologue(PROLOGUE)?
        .local_private_key(&keys.private[..])?
        .remote_public_key(&proxy.0)?
        .build_initiator()?;
    within(async {
        write_handshake(&mut stream, &mut handshake).await?;
        read_handshake(&mut stream, &mut handshake).await
    })
    .await?;
    split(stream, handshake)
}

/// Starts a session as the proxy. `admit` says whether the node that has proved a key may come in; if not,
/// nothing is answered.
///
/// # Errors
/// If the far end is a stranger or does not finish the handshake.
pub async fn accept(
    mut stream: TcpStream,
    keys: &KeyPair,
    admit: impl Fn(PublicKey) -> bool,
) -> Result<(PublicKey, Sender, Receiver), SessionError> {
    let mut handshake = snow::Builder::new(NOISE_PATTERN.parse()?)
        .prologue(PROLOGUE)?
        .local_private_key(&keys.private[..])?
        .build_responder()?;
    let key = within(async {
        read_handshake(&mut stream, &mut handshake).await?;
        let key = handshake.get_remote_static().and_then(|key| key.try_into().ok()).map(PublicKey);
        let key = key.ok_or(snow::Error::Decrypt)?;
        if !admit(key) {
            return Err(SessionError::NotAdmitted(key));
        }
        write_handshake(&mut stream, &mut handshake).await?;
        Ok(key)
    })
    .await?;
    let (sender, receiver) = split(stream, handshake)?;
    Ok((key, sender, receiver))
}

async fn within<T>(work: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    timeout(HANDSHAKE_TIME, work).await.map_err(|_| SessionError::TimedOut)?
}

async fn write_handshake(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<(), SessionError> {
    let mut buffer = [0; 256];
    let len = handshake.write_message(&[], &mut buffer[2..])?;
    buffer[..2].copy_from_slice(&u16::try_from(len).expect("a handshake message is short").to_be_bytes());
    stream.write_all(&buffer[..2 + len]).await?;
    Ok(())
}

async fn read_handshake(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<(), SessionError> {
    let len = usize::from(stream.read_u16().await?);
    let mut buffer = [0; 254];
    let message = buffer.get_mut(..len).ok_or(SessionError::TooLong(len))?;
    stream.read_exact(message).await?;
    handshake.read_message(message, &mut [0; 254])?;
    Ok(())
}

fn split(stream: TcpStream, handshake: HandshakeState) -> Result<(Sender, Receiver), SessionError> {
    stream.set_nodelay(true)?;
    watch_far_end(&stream)?;
    let state = std::sync::Arc::new(handshake.into_stateless_transport_mode()?);
    let (read, write) = stream.into_split();
    let cipher = || Cipher { state: state.clone(), nonce: 0 };
    Ok((
        Sender { stream: write, cipher: cipher() },
        Receiver { stream: read, cipher: cipher(), pending: Vec::new() },
    ))
}

/// A far end that is gone without a word, as after a power cut, ends the session within ten seconds.
fn watch_far_end(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &5)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &5)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &10_000)?;
    Ok(())
}

impl Sender {
    /// Sends one message.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let len = u32::try_from(message.len()).map_err(|_| SessionError::TooLong(message.len()))?;
        let mut plain = Vec::with_capacity(4 + message.len());
        plain.extend_from_slice(&len.to_be_bytes());
        plain.extend_from_slice(message);
        let mut wire = Vec::with_capacity(plain.len() + 64);
        let mut sealed = vec![0; MAX_NOISE];
        for chunk in plain.chunks(MAX_PAYLOAD) {
            let len = self.cipher.state.write_message(self.cipher.nonce, chunk, &mut sealed)?;
            self.cipher.nonce += 1;
            wire.extend_from_slice(&u16::try_from(len).expect("bounded by MAX_NOISE").to_be_bytes());
            wire.extend_from_slice(&sealed[..len]);
        }
        self.stream.write_all(&wire).await?;
        Ok(())
    }
}

impl Receiver {
    /// The next message. Not cancel safe: a dropped call may lose part of one, so a session has one task
    /// that only receives.
    ///
    /// # Errors
    /// If the connection is gone or the stream is not what the far end sent.
    pub async fn recv(&mut self) -> Result<Vec<u8>, SessionError> {
        loop {
            if let Some(length) = self.pending.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_MESSAGE {
                    return Err(SessionError::TooLong(length));
                }
                if self.pending.len() >= 4 + length {
                    let rest = self.pending.split_off(4 + length);
                    let mut message = std::mem::replace(&mut self.pending, rest);
                    message.drain(..4);
                    return Ok(message);
                }
            }
            let len = usize::from(self.stream.read_u16().await?);
            let mut sealed = vec![0; len];
            self.stream.read_exact(&mut sealed).await?;
            let mut plain = vec![0; len];
            let len = self.cipher.state.read_message(self.cipher.nonce, &sealed, &mut plain)?;
            self.cipher.nonce += 1;
            self.pending.extend_from_slice(&plain[..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn streams() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn messages_of_any_length_arrive_whole_and_in_order() {
        let (node, proxy) = (KeyPair::generate(), KeyPair::generate());
        let (near, far) = streams().await;
        let (opened, accepted) =
            tokio::join!(connect(near, &node, proxy.public), accept(far, &proxy, |key| key == node.public));
        let (mut sender, _) = opened.unwrap();
        let (key, _, mut receiver) = accepted.unwrap();
        assert_eq!(key, node.public);
        let messages = [vec![], vec![7], vec![1; MAX_PAYLOAD - 4], vec![2; 300_000]];
        let sending = tokio::spawn({
            let messages = messages.clone();
            async move {
                for message in &messages {
                    sender.send(message).await.unwrap();
                }
            }
        });
        for message in &messages {
            assert!(receiver.recv().await.unwrap() == *message);
        }
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_stranger_gets_no_byte_back() {
        let (stranger, proxy) = (KeyPair::generate(), KeyPair::generate());
        let (mut near, far) = streams().await;
        // The worst stranger: one who knows the proxy's public key.
        let mut handshake = snow::Builder::new(NOISE_PATTERN.parse().unwrap())
            .prologue(PROLOGUE)
            .unwrap()
            .local_private_key(&stranger.private[..])
            .unwrap()
            .remote_public_key(&proxy.public.0)
            .unwrap()
            .build_initiator()
            .unwrap();
        write_handshake(&mut near, &mut handshake).await.unwrap();
        let outcome = accept(far, &proxy, |_| false).await;
        assert!(matches!(outcome, Err(SessionError::NotAdmitted(key)) if key == stranger.public));
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn a_node_refuses_a_proxy_with_another_key() {
        let (node, proxy, impostor) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
        let (near, far) = streams().await;
        let (opened, accepted) =
            tokio::join!(connect(near, &node, proxy.public), accept(far, &impostor, |_| true));
        assert!(opened.is_err());
        assert!(accepted.is_err());
    }
}
